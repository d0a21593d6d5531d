"""What LAMMPS hands to a model, made here: domains with ghosts, pairs, sums.

A model proves itself through these domains before LAMMPS may use it. They are those of
a run on two processors, so the ghosts of an atom are its own images, images of others
and atoms of the other domain. Images and pairs are found by other means than in
:mod:`otf.neighbors`.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.spatial import cKDTree

from otf.models.posterior import stress_of
from otf.neighbors import complete_cell
from otf.potential import Prediction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import Configuration, FloatArray, IntArray
    from otf.kernels import Backend

DOMAINS = 2


class PairData(Protocol):
    """What a model sees of LAMMPS at a step, under the names LAMMPS gives it.

    Arrays are NumPy's, or with KOKKOS on a GPU CuPy's, and those of no length cannot
    be asked for.

    Attributes
    ----------
    ntotal, nlistatoms, natomneigh, npairs : atoms with ghosts, atoms of the list, the
        same with those ghosts that have pairs, pairs
    elems : (ntotal,) index of every atom's element
    iatoms : (natomneigh,) atoms of the list, ghosts after the others
    pair_i, jatoms : (npairs,) atoms of every pair, in the order of ``iatoms``
    rij : (npairs, 3) angstrom, from i to j
    eflag : not 0 when the energy is asked for
    energy : eV, of the atoms of the list
    eatoms : (nlistatoms,) eV, of each of them; without KOKKOS it can be written only
    """

    ntotal: int
    nlistatoms: int
    natomneigh: int
    npairs: int
    elems: IntArray
    iatoms: IntArray
    pair_i: IntArray
    jatoms: IntArray
    rij: FloatArray
    eflag: int
    energy: float

    @property
    def eatoms(self) -> FloatArray: ...  # noqa: D102 - above

    @eatoms.setter
    def eatoms(self, energies: FloatArray) -> None: ...

    def update_pair_forces(self, fij: FloatArray) -> None:
        """Add dE_i/dr_ij, (npairs, 3), to forces and virial."""
        ...


class PairStyle(Protocol):
    """What LAMMPS calls at every step."""

    def compute_forces(self, data: PairData) -> None:
        """Give energies and pair forces."""
        ...


class Domain:
    """The atoms of one processor as pair_style mliap unified describes them.

    Names and types are those of LAMMPS, of its data without KOKKOS: indices are of 32
    bits, and the energies of atoms can be written but not read.

    Parameters
    ----------
    positions
        (k, 3) angstrom, of local atoms and then of ghosts.
    elements
        (k,) index of every atom's element.
    n_local
        The first ones, which this processor owns.
    cutoff
        angstrom; pairs at or beyond it are left out.
    backend
        Where the arrays are.
    """

    def __init__(
        self,
        positions: FloatArray,
        elements: IntArray,
        n_local: int,
        cutoff: float,
        backend: Backend,
    ) -> None:
        here, local = backend.here, np.arange(n_local)
        i, j = _pairs(positions, n_local, cutoff)
        self.ntotal, self.npairs = len(positions), len(i)
        self.nlistatoms = self.natomneigh = self.nlocal = n_local
        self.eflag = 1
        self.elems = here(elements.astype(np.int32))
        self.iatoms = here(local.astype(np.int32))
        self.pair_i = here(i.astype(np.int32))
        self.jatoms = here(j.astype(np.int32))
        self.rij = here(positions[j] - positions[i])
        self.energy = np.nan
        self.f = np.zeros((self.ntotal, 3))
        self.strain = np.zeros((3, 3))
        self.written = np.full(n_local, np.nan)  # energies of atoms
        self._backend = backend

    def update_pair_forces(self, fij: FloatArray) -> None:
        """Add to forces and strain derivative, fij (p, 3) being dE_i/dr_ij.

        Raises
        ------
        TypeError
            When LAMMPS would read other numbers than were meant.
        """
        if fij.dtype != np.float64 or not fij.flags.c_contiguous:
            raise TypeError("LAMMPS reads contiguous numbers in double precision")
        host = self._backend.host
        fij = host(fij)
        np.add.at(self.f, host(self.pair_i), fij)
        np.subtract.at(self.f, host(self.jatoms), fij)
        self.strain += host(self.rij).T @ fij

    @property
    def eatoms(self) -> FloatArray:
        """Refuse to be read, as without KOKKOS."""
        raise AttributeError("energies of atoms can be written only")

    @eatoms.setter
    def eatoms(self, energies: FloatArray) -> None:
        self.written[:] = self._backend.host(energies)


MakeDomain = type[Domain]


def predicted(
    style: PairStyle,
    configuration: Configuration,
    *,
    elements: Sequence[int],
    cutoff: float,
    backend: Backend,
    n_domains: int = DOMAINS,
    make: MakeDomain = Domain,
) -> Prediction:
    """Return what LAMMPS would make of a configuration.

    Parameters
    ----------
    style
        Of the model.
    configuration
        Any; an atom without neighbours is one too.
    elements
        Atomic numbers in the order of the model.
    cutoff
        angstrom, of pairs and ghosts.
    backend
        Where the arrays are.
    n_domains
        Processors, side by side along the first axis.
    make
        Makes each domain.
    """
    positions, owner = _with_images(configuration, cutoff)
    kinds = np.searchsorted(np.array(elements), configuration.numbers)
    forces, strain, energy = np.zeros((configuration.n_atoms, 3)), np.zeros((3, 3)), 0.0
    for local in _slabs(configuration, n_domains):
        ghosts = np.setdiff1d(np.arange(len(owner)), local)
        order = np.concatenate([local, _near(positions, local, ghosts, cutoff)])
        domain = make(
            positions[order], kinds[owner[order]], len(local), cutoff, backend
        )
        style.compute_forces(domain)
        np.add.at(forces, owner[order], domain.f)  # what ghosts got goes home
        strain += domain.strain
        energy += domain.energy
    both = 0.5 * (strain + strain.T)
    voigt = np.array([*np.diagonal(both), both[1, 2], both[0, 2], both[0, 1]])
    return Prediction(
        energy=energy, forces=forces, stress=stress_of(voigt, configuration)
    )


def _slabs(configuration: Configuration, n_domains: int) -> list[IntArray]:
    """Return the atoms of every domain, in equal numbers as far as possible."""
    along = configuration.positions @ np.linalg.inv(complete_cell(configuration))
    return np.array_split(np.argsort(along[:, 0], kind="stable"), n_domains)


def _with_images(
    configuration: Configuration, cutoff: float
) -> tuple[FloatArray, IntArray]:
    """Return atoms and all images that may be within the cutoff, and their atoms."""
    cell = complete_cell(configuration)
    inverse = np.linalg.inv(cell)
    fractional = configuration.positions @ inverse
    # The distance of opposite faces is 1/|row of the reciprocal cell|.
    reach = cutoff * np.linalg.norm(inverse, axis=0) + np.ptp(fractional, axis=0)
    counts = np.where(configuration.pbc, np.ceil(reach), 0).astype(int)
    shifts = np.array(list(product(*(range(-m, m + 1) for m in counts))))
    # The atoms themselves come first.
    shifts = shifts[np.argsort(np.abs(shifts).sum(axis=1), kind="stable")]
    images = shifts @ cell
    positions = (images[:, None] + configuration.positions).reshape(-1, 3)
    return positions, np.tile(np.arange(configuration.n_atoms), len(shifts))


def _near(
    positions: FloatArray, local: IntArray, others: IntArray, cutoff: float
) -> IntArray:
    """Return those of the others that some local atom has within the cutoff."""
    if not len(local) or not len(others):
        return others[:0]
    distance: FloatArray
    distance, _ = cKDTree(positions[local]).query(positions[others])
    return others[distance < cutoff]


def _pairs(
    positions: FloatArray, n_local: int, cutoff: float
) -> tuple[IntArray, IntArray]:
    """Return the ordered pairs of local atoms, sorted by the first atom."""
    tree = cKDTree(positions)
    found = tree.query_ball_point(positions[:n_local], cutoff)
    i = np.repeat(np.arange(n_local), [len(one) for one in found])
    j = np.array([k for one in found for k in one], dtype=np.int64)
    distance = np.linalg.norm(positions[j] - positions[i], axis=1)
    kept = (i != j) & (distance < cutoff)
    return i[kept], j[kept]
