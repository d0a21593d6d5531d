"""Pairs of atoms within a distance, and the gate against atoms that overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from otf.configuration import VOIGT, Configuration, FloatArray
from otf.kernels import load
from otf.neighbors import NeighborList
from otf.potential import Untrusted

if TYPE_CHECKING:
    from otf.configuration import BoolArray, IntArray
    from otf.kernels import Backend
    from otf.neighbors import Pairs

COVALENT_RADII: FloatArray = np.array(covalent_radii)  # angstrom, by atomic number
SHORTEST_CONTACT = 0.6  # in sums of covalent radii; N2 at rest stands at 0.77


class Contact(NamedTuple):
    """Two atoms and their distance in angstrom and in sums of covalent radii."""

    first: int
    second: int
    distance: float
    ratio: float


def centers(pairs: Pairs) -> IntArray:
    """Return (p,) the atom every pair starts from."""
    return np.repeat(np.arange(len(pairs.first) - 1), np.diff(pairs.first))


def closest_contact(
    positions: FloatArray,
    cell: FloatArray,
    pbc: BoolArray,
    radii: FloatArray,
    *,
    within: float = 1.0,
) -> Contact | None:
    """Return the pair of smallest distance in units of the sum of its radii.

    Parameters
    ----------
    positions, cell, pbc
        (n, 3) and (3, 3) angstrom, (3,).
    radii
        (n,) covalent radii, angstrom.
    within
        Only pairs below this many sums of radii are looked for.

    Returns
    -------
    Contact or None
        None when no pair is that close.
    """
    if len(positions) == 0:
        return None
    bare = Configuration(np.zeros(len(positions), np.int64), positions, cell, pbc)
    return _closest(NeighborList(_reach(radii, within)).pairs(bare), radii, within)


def _reach(radii: FloatArray, within: float) -> float:
    return 2.0 * within * float(np.max(radii))


def _closest(pairs: Pairs, radii: FloatArray, within: float) -> Contact | None:
    """Return the closest of all pairs below ``within`` sums of radii."""
    first, second = centers(pairs), pairs.neighbor
    ratios = pairs.distance / (radii[first] + radii[second])
    if not np.any(ratios < within):
        return None
    p = int(np.argmin(ratios))
    return Contact(
        int(first[p]), int(second[p]), float(pairs.distance[p]), float(ratios[p])
    )


class DistanceGate:
    """Refuses structures in which atoms overlap; made for one structure after another.

    Parameters
    ----------
    shortest
        Smallest allowed distance in sums of covalent radii.
    backend
        Where positions are looked at.
    """

    def __init__(
        self, shortest: float = SHORTEST_CONTACT, *, backend: Backend | None = None
    ) -> None:
        self.shortest = shortest
        self._backend = backend or load("cpu")
        # The last atoms, and what is known of them: a step changes no number.
        self._last: tuple[Any, NeighborList | None, Any] = None, None, None

    def require(self, configuration: Configuration) -> None:
        """Raise when a position is not finite or two atoms overlap.

        Raises
        ------
        Untrusted
            Names the pair, its distance and the bound.
        """
        c, backend = configuration, self._backend
        if not backend.watch.holds(backend.xp.isfinite(c.positions).all()):
            positions = backend.host(c.positions)
            where = int(np.flatnonzero(~np.isfinite(positions).all(axis=1))[0])
            raise Untrusted(
                c.moved(positions), f"the position of atom {where} is not finite"
            )
        if c.n_atoms and not backend.watch.holds(self._are_apart(c)):
            self._refuse(c.moved(backend.host(c.positions)))

    def _are_apart(self, c: Configuration) -> FloatArray:
        """Return whether no two atoms overlap, of shape (), where positions are."""
        xp, n = self._backend.xp, c.n_atoms
        numbers, neighbors, radii = self._last
        if numbers is not c.numbers or neighbors is None:
            on_host = COVALENT_RADII[c.numbers]
            radii, reach = self._backend.here(on_host), _reach(on_host, self.shortest)
            neighbors = NeighborList(reach, backend=self._backend)
            self._last = c.numbers, neighbors, radii
        pairs = neighbors.search(c)(slice(0, n))
        if not pairs.n_pairs:
            return np.ones((), np.bool_)
        centre = xp.searchsorted(
            pairs.first, xp.arange(pairs.n_pairs), side="right"
        ).clip(1, n)
        reach = radii[centre - 1] + radii[pairs.neighbor]
        apart: FloatArray = (pairs.distance >= self.shortest * reach).all()
        return apart

    def _refuse(self, configuration: Configuration) -> None:
        radii = COVALENT_RADII[configuration.numbers]
        neighbors = NeighborList(_reach(radii, self.shortest))
        contact = _closest(neighbors.pairs(configuration), radii, self.shortest)
        assert contact is not None  # the caller has seen one
        i, j = contact.first, contact.second
        a, b = (chemical_symbols[configuration.numbers[k]] for k in (i, j))
        raise Untrusted(
            configuration,
            f"atoms {i} ({a}) and {j} ({b}) are {contact.distance:.3f} angstrom apart, "
            f"{contact.ratio:.2f} of the sum of their covalent radii "
            f"(at least {self.shortest:g} is needed)",
        )


def require_sane_distances(configuration: Configuration) -> None:
    """Raise when a position of one structure is not finite or two atoms overlap.

    Raises
    ------
    Untrusted
        Names the pair, its distance and the bound.
    """
    DistanceGate().require(configuration)


def forces_and_virial(
    pairs: Pairs, gradients: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return forces and virial of an energy that depends on pair vectors only.

    Parameters
    ----------
    pairs
        The p directed pairs, i to j and j to i.
    gradients
        (p, 3) eV/angstrom, derivative of the energy by every pair vector.

    Returns
    -------
    forces : (n, 3) eV/angstrom
    virial : (6,) eV, dE/dstrain in Voigt order xx yy zz yz xz xy
    """
    n_atoms = len(pairs.first) - 1
    first = centers(pairs)
    forces = np.empty((n_atoms, 3))
    for k in range(3):
        forces[:, k] = np.bincount(first, gradients[:, k], n_atoms)
        forces[:, k] -= np.bincount(pairs.neighbor, gradients[:, k], n_atoms)
    w = pairs.vector.T @ gradients
    w = 0.5 * (w + w.T)
    return forces, np.array([w[a, b] for a, b in VOIGT])
