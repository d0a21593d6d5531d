"""Pairs of atoms within a distance, and the gate against atoms that overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from otf.configuration import VOIGT, Configuration, FloatArray
from otf.neighbors import NeighborList
from otf.potential import Untrusted

if TYPE_CHECKING:
    from otf.configuration import BoolArray, IntArray
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
    """

    def __init__(self, shortest: float = SHORTEST_CONTACT) -> None:
        self.shortest = shortest
        self._neighbors: NeighborList | None = None

    def require(self, configuration: Configuration) -> None:
        """Raise when a position is not finite or two atoms overlap.

        Raises
        ------
        Untrusted
            Names the pair, its distance and the bound.
        """
        finite = np.isfinite(configuration.positions).all(axis=1)
        if not finite.all():
            where = int(np.flatnonzero(~finite)[0])
            raise Untrusted(
                configuration, f"the position of atom {where} is not finite"
            )
        if not configuration.n_atoms:
            return
        radii = COVALENT_RADII[configuration.numbers]
        reach = _reach(radii, self.shortest)
        if self._neighbors is None or self._neighbors.cutoff != reach:
            self._neighbors = NeighborList(reach)
        pairs = self._neighbors.pairs(configuration)
        contact = _closest(pairs, radii, self.shortest)
        if contact is None:
            return
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
