"""The model that LAMMPS calls: pair_style mliap unified.

LAMMPS finds the pairs, exchanges ghost atoms and adds up forces; the model gives the
energy E_i of every local atom and the derivatives dE_i/dr_ij of its pairs. LAMMPS adds
them to atom i, subtracts them from atom j, whosever it is, and makes the virial of
them, so a model that needs its pairs alone needs no communication.

What LAMMPS does is read from src/ML-IAP/mliap_unified*.pyx and
src/KOKKOS/mliap_unified_couple_kokkos.pyx of its release of 4 July 2026.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

from otf.deploy.lammps_domain import predicted
from otf.errors import InputError, OTFError
from otf.neighbors import Pairs
from otf.store.model_file import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from otf.configuration import Configuration, FloatArray, IntArray
    from otf.deploy.lammps_domain import PairData
    from otf.deploy.lammps_spilling import SpillingLog
    from otf.kernels import Backend, Device
    from otf.models.posterior import KernelPosterior
    from otf.potential import Prediction
    from otf.store.model_file import Proof

LAMMPS = "lammps"


class LammpsModel:
    """A model with the attributes and functions of LAMMPS' MLIAPUnified.

    It inherits nothing, for LAMMPS asks for these names only, and is so tested where
    LAMMPS is not.

    Parameters
    ----------
    model
        Fitted, with a baseline of near pairs or none.
    proof
        Given again on every device before it is used; none when empty.
    spilling
        Where the spilling is written at an interval; None for nowhere.

    Attributes
    ----------
    interface : set by LAMMPS
    element_types : symbols, which the input's pair_coeff maps types to
    ndescriptors, nparams : asked for, and of no use to a model that keeps its own
    rcutfac : angstrom, half the cutoff, since LAMMPS adds up two radii of 1
    cutoff : angstrom, the largest of those of the descriptor's parts and the baseline;
        some variants of LAMMPS ask for it

    Raises
    ------
    InputError
        When near pairs are not all the model needs.
    StoreError
        When it does not give its proof again.
    """

    def __init__(
        self,
        model: KernelPosterior,
        *,
        proof: Proof | None = None,
        spilling: SpillingLog | None = None,
    ) -> None:
        parts = model.require_pairs()
        self.interface: object = None
        self.species = model.descriptor.species
        self.element_types = [ElementName(chemical_symbols[z]) for z in self.species]
        self.ndescriptors = self.nparams = 1
        self.cutoff = max(model.descriptor.cutoff, *(part.reach for part in parts), 0.0)
        self.rcutfac = 0.5 * self.cutoff
        self._proof = proof or []
        self._spilling = spilling
        self._models: dict[Device, KernelPosterior] = {}
        self._model = model
        self._given: FloatArray | None = None
        self._take(model)

    def compute_gradients(self, data: PairData) -> None:
        """Do nothing: LAMMPS asks for parts that ``compute_forces`` makes at once."""

    def compute_descriptors(self, data: PairData) -> None:
        """Do nothing, as above."""

    def compute_forces(self, data: PairData) -> None:
        """Give LAMMPS energies and pair forces of the local atoms.

        Parameters
        ----------
        data
            MLIAPDataPy of LAMMPS, with NumPy arrays, or CuPy's of KOKKOS.
        """
        if not data.nlistatoms:
            # LAMMPS would add the energy of the last step on which there were atoms.
            data.energy = 0.0
            self._write_spilling(self._is_due(), np.zeros(0), np.zeros(0, np.int64))
            return
        with errors_in_one_line():
            self._compute(data)

    def _compute(self, data: PairData) -> None:
        model, is_due = self._on(device_of(data.elems)), self._is_due()
        backend = model.backend
        # KOKKOS fills its arrays on a stream that CuPy's does not wait for, and may
        # still read what was given at the last step.
        backend.wait()
        own, species, pairs = read_pairs(data, backend)
        found = model.predict_pairs(own, species, pairs, measured=is_due)
        if data.eflag:
            _give_energies(data, found.energies)
        if found.spilling is not None:
            self._write_spilling(is_due, backend.host(found.spilling), own)
        self._given = _padded(found.gradient, data.npairs, backend)
        backend.wait()
        if data.npairs:
            data.update_pair_forces(self._given)

    def _on(self, device: Device) -> KernelPosterior:
        """Return the model on a device, proven there when it is first used."""
        if device not in self._models:
            self._take(self._model.on(device))
        return self._models[device]

    def _take(self, model: KernelPosterior) -> None:
        if self._proof:
            verify(as_lammps_predicts(model), self._proof, backend=LAMMPS)
        self._models[model.descriptor.device] = model

    def _is_due(self) -> bool:
        return self._spilling is not None and self._spilling.is_due()

    def _write_spilling(
        self, is_due: bool, spilling: FloatArray, own: IntArray
    ) -> None:
        if is_due and self._spilling is not None:
            self._spilling.write(spilling, [self.element_types[k] for k in own])


class ElementName(str):
    """A symbol whose bytes stay.

    Earlier releases of LAMMPS, such as that of 28 March 2023, point to the bytes of
    ``encode`` after they are gone: 'Incorrect args for pair coefficients'.
    """

    _bytes: dict[str, bytes] = {}  # noqa: RUF012 - one for all names, on purpose

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Return the same bytes each time."""
        return self._bytes.setdefault(str(self), super().encode(encoding, errors))


def as_lammps_predicts(
    model: KernelPosterior,
) -> Callable[[Configuration], Prediction]:
    """Return a function that predicts as LAMMPS would with the model.

    Raises
    ------
    InputError
        When near pairs are not all the model needs.
    """
    style = LammpsModel(model)
    return partial(
        predicted,
        style,
        elements=style.species,
        cutoff=style.cutoff,
        backend=model.backend,
    )


def device_of(array: FloatArray | IntArray) -> Device:
    """Return the device an array of LAMMPS lives on."""
    return "cpu" if isinstance(array, np.ndarray) else "gpu"


def read_pairs(data: PairData, backend: Backend) -> tuple[IntArray, IntArray, Pairs]:
    """Return species of the local atoms, of all atoms, and the pairs of the former.

    Local atoms are those of LAMMPS' list, in its order. Pairs of ghosts, which a list
    made with the option for them has after the others, are left out.

    Raises
    ------
    InputError
        When LAMMPS does not tell the list, or would drop forces of it.

    Notes
    -----
    Pairs are counted, since the ``numneighs`` of KOKKOS are integers of the host, read
    as floating-point numbers of the device. Arrays of no length cannot be asked for.
    """
    xp, n = backend.xp, data.nlistatoms
    require_list(data)
    atoms = data.iatoms[:n]
    species = data.elems.astype(np.int64)
    own = backend.host(species[atoms])
    first = xp.zeros(n + 1, dtype=np.int64)
    if not data.npairs:
        nobody = xp.zeros(0, dtype=np.int64)
        return own, species, Pairs(first, nobody, xp.zeros((0, 3)), xp.zeros(0))
    counts = xp.bincount(data.pair_i, minlength=data.ntotal)
    xp.cumsum(counts[atoms], out=first[1:])
    n_pairs = int(first[-1])
    vector = data.rij[:n_pairs]
    return (
        own,
        species,
        Pairs(
            first=first,
            neighbor=data.jatoms[:n_pairs].astype(np.int64),
            vector=vector,
            distance=xp.sqrt((vector**2).sum(axis=1)),
        ),
    )


def require_list(data: PairData) -> None:
    """Refuse earlier releases, such as that of 28 March 2023, where they are wrong.

    Raises
    ------
    InputError
        When KOKKOS hides the list, or forces on some atoms of it are dropped.
    """
    mend = "use a newer release of LAMMPS, that of 4 July 2026 does it right"
    n = data.nlistatoms
    if data.natomneigh < n:
        raise InputError(
            "this LAMMPS does not tell a model which atoms are in the list of its pair "
            f"style: {mend}, or leave out KOKKOS"
        )
    # Those releases know no nlocal, and take pairs of atoms n and beyond for ghosts'.
    if not hasattr(data, "nlocal") and int(data.iatoms[:n].max()) >= n:
        raise InputError(
            "this LAMMPS drops forces where the list of a pair style leaves out atoms, "
            f"as with pair_style hybrid: {mend}"
        )


def _give_energies(data: PairData, energies: FloatArray) -> None:
    data.energy = float(energies.sum())
    try:
        held = data.eatoms
    except AttributeError:
        data.eatoms = energies  # without KOKKOS it can be written only
    else:
        held[...] = energies


def _padded(gradient: FloatArray, n_pairs: int, backend: Backend) -> FloatArray:
    """Return the gradient with zeros for pairs of ghosts."""
    if len(gradient) == n_pairs:
        return gradient
    out: FloatArray = backend.xp.zeros((n_pairs, 3))
    out[: len(gradient)] = gradient
    return out


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Let LAMMPS print an error of ours as one line.

    LAMMPS prints an exception by ``sys.excepthook`` and then ends all its processes.
    """
    try:
        yield
    except OTFError:
        sys.excepthook = _print_error
        raise


def _print_error(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if isinstance(error, OTFError):
        print(f"otf-md: error: {error}", file=sys.stderr, flush=True)
    else:
        sys.__excepthook__(kind, error, trace)
