"""Where a run starts: the structure with its masses, velocities and fixed atoms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from otf.errors import InputError
from otf.settings.base import by_number
from otf.settings.structures import first_configuration, movable, read_atoms

if TYPE_CHECKING:
    from ase import Atoms

    from otf.configuration import BoolArray, Configuration, FloatArray
    from otf.settings.settings import Settings


@dataclass(frozen=True, eq=False)
class StartingPoint:
    """What the structure file and the input file say of the first moment.

    Attributes
    ----------
    configuration : the atoms
    masses : (n,) amu
    free : (n, 3) False where a coordinate is fixed
    velocities : (n, 3) angstrom / internal time, None when the file has none
    """

    configuration: Configuration
    masses: FloatArray
    free: BoolArray
    velocities: FloatArray | None


def starting_point(settings: Settings) -> StartingPoint:
    """Read the first structure with everything that moves or holds it.

    Raises
    ------
    InputError
        When the structure cannot be read, or holds a constraint other than fixed atoms.
    """
    section = settings.structure
    configuration = first_configuration(settings)
    atoms = read_atoms(
        settings.structure_path, index=section.index, file_format=section.format
    ).repeat(section.repeat)
    free = movable(settings, configuration) & _free_in_file(atoms)
    momenta = atoms.arrays.get("momenta")
    masses = np.array(atoms.get_masses(), dtype=np.float64)
    velocities = None
    if momenta is not None and np.any(momenta):
        velocities = np.asarray(momenta, dtype=np.float64) / masses[:, None]
    masses = _with_masses_of_user(masses, section.masses_amu, configuration)
    return StartingPoint(configuration, masses, free, velocities)


def _with_masses_of_user(
    masses: FloatArray, table: dict[str, float], configuration: Configuration
) -> FloatArray:
    """Return the masses (n,) with those of the input file in their places."""
    given = by_number(table)
    for symbol, number in zip(table, given, strict=True):
        if number not in configuration.numbers:
            raise InputError(
                f"masses_amu names {symbol}, of which the structure has none: remove "
                "it (structure.masses_amu)"
            )
    return np.array(
        [
            given.get(int(z), m)
            for z, m in zip(configuration.numbers, masses, strict=True)
        ]
    )


def _free_in_file(atoms: Atoms) -> BoolArray:
    """Return (n, 3), False where the structure file fixes a coordinate."""
    from ase.constraints import FixAtoms, FixCartesian

    free = np.ones((len(atoms), 3), dtype=np.bool_)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            free[constraint.index] = False
        elif isinstance(constraint, FixCartesian):
            fixed = np.broadcast_to(constraint.mask, (len(constraint.index), 3))
            free[constraint.index] = ~np.asarray(fixed, dtype=np.bool_)
        else:
            name = type(constraint).__name__
            msg = (
                f"the structure file holds a constraint {name}; only fixed atoms and "
                "fixed coordinates are honoured: remove it (structure.file)"
            )
            raise InputError(msg)
    return free
