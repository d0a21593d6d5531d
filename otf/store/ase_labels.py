"""Labelled structures in ASE's Atoms objects, as its readers return them.

Names of labels differ between programs. A frame is searched for one family of names
after the other (``REF_``, ``DFT_``, plain ...), and all its labels come from the first
family found, so that energies of one method never meet forces of another. Where both
stand, ``free_energy`` goes before ``energy``: forces are the gradient of the former.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.configuration import Configuration
from otf.errors import StoreError
from otf.store.labelled import labelled_frame, require_finite, voigt_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ase import Atoms

    from otf.configuration import FloatArray
    from otf.store.labelled import LabelledFrame

PREFIXES = ("REF_", "ref_", "DFT_", "dft_", "")
ENERGIES = ("free_energy", "energy", "Energy", "total_energy", "TotEnergy")
FORCES = ("forces", "force", "Forces")
STRESSES = ("stress", "Stress")
VIRIALS = ("virial", "virials", "Virial")


def frame_of_atoms(atoms: Atoms, where: str) -> LabelledFrame:
    """Return the structure and the labels of an ASE Atoms object.

    A missing label is NaN, and so is stress along a non-periodic axis. ``virial`` is
    -stress times volume, as in ASE.

    Parameters
    ----------
    atoms
        Labels are looked for in the calculator, ``info`` and ``arrays``.
    where
        File and frame, for errors.

    Raises
    ------
    StoreError
        When the frame holds non-finite numbers, arrays of wrong shape or an atom
        twice.
    """
    if len(atoms) == 0:
        raise StoreError(f"{where}: has no atoms")
    try:
        configuration = Configuration.from_atoms(atoms)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{where}: charge or spin is no number ({error})") from error
    results = {} if atoms.calc is None else atoms.calc.results
    given: dict[str, object] = {**atoms.arrays, **atoms.info, **results}
    prefix = _family(given)
    energy = _first(given, prefix, ENERGIES)
    forces = _first(given, prefix, FORCES)
    shape = (configuration.n_atoms, 3)
    return labelled_frame(
        configuration,
        where,
        energy=np.nan if energy is None else float(_array(energy, (), "energy", where)),
        forces=None if forces is None else _array(forces, shape, "forces", where),
        stress=_stress(given, prefix, configuration, where),
    )


def _family(given: Mapping[str, object]) -> str:
    """Return the first prefix under which there is an energy or forces."""
    for prefix in PREFIXES:
        if any(prefix + name in given for name in ENERGIES + FORCES):
            return prefix
    return ""


def _first(given: Mapping[str, object], prefix: str, names: tuple[str, ...]) -> object:
    return next((given[prefix + n] for n in names if prefix + n in given), None)


def _stress(
    given: Mapping[str, object], prefix: str, c: Configuration, where: str
) -> FloatArray | None:
    stress = _first(given, prefix, STRESSES)
    if stress is not None:
        return _voigt(stress, "stress", where)
    virial = _first(given, prefix, VIRIALS)
    if virial is None:
        return None
    if c.volume == 0.0:
        raise StoreError(f"{where}: has a virial but no cell")
    return -_voigt(virial, "virial", where) / c.volume


def _voigt(value: object, name: str, where: str) -> FloatArray:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{where}: {name} is not numeric") from error
    require_finite(array, name, where)
    if array.shape == (6,):
        return array
    if array.size != 9:
        raise StoreError(f"{where}: {name} must have 6 or 9 numbers, got {array.size}")
    return voigt_of(array.reshape(3, 3))


def _array(value: object, shape: tuple[int, ...], name: str, where: str) -> FloatArray:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{where}: {name} is not numeric") from error
    if array.shape != shape:
        raise StoreError(f"{where}: {name} has shape {array.shape}, expected {shape}")
    require_finite(array, name, where)
    return array
