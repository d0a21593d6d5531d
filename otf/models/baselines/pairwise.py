"""A tabulated pair potential as a baseline: neighbours, species, kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.kernels import PairTable, load
from otf.models.baselines.interface import BaselineValues
from otf.models.baselines.jets import spline
from otf.neighbors import NeighborList

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otf.configuration import Configuration, FloatArray
    from otf.models.baselines.jets import Jet

# angstrom between nodes: the quintic is then exact to 1e-10 eV for all we tabulate, and
# its slope is the force to the last bit in any case. Finer tables leave the cache.
STEP = 0.02


def pair_table(
    n_species: int,
    cutoff: float,
    smooth: Callable[[int, int, FloatArray], Jet],
    bare: FloatArray | None = None,
) -> PairTable:
    """Tabulate u_ab(r) = bare_ab/r + s_ab(r).

    Parameters
    ----------
    n_species
        Species a, b = 0 .. n_species - 1.
    cutoff
        angstrom, where u ends.
    smooth
        Gives s_ab (eV) at distances, the first of which is 0, for a <= b.
    bare
        (S, S) eV angstrom; 0 when None.
    """
    intervals = int(np.ceil(cutoff / STEP))
    r = np.linspace(0.0, cutoff, intervals + 1)
    table = np.empty((n_species, n_species, intervals, 6))
    for a in range(n_species):
        for b in range(a, n_species):
            table[a, b] = table[b, a] = spline(smooth(a, b, r), cutoff / intervals)
    if bare is None:
        bare = np.zeros((n_species, n_species))
    return PairTable(bare, table, cutoff)


class PairSum:
    """Sums one tabulated pair potential over all pairs of a configuration.

    Parameters
    ----------
    species
        Atomic numbers in the order of the table.
    table
        eV and angstrom.
    """

    def __init__(self, species: Sequence[int], table: PairTable) -> None:
        self._table = table
        self._neighbors = NeighborList(table.cutoff)
        self._kind = np.full(max(species) + 1, -1, dtype=np.int64)
        self._kind[list(species)] = np.arange(len(species))
        self._sum = load("cpu").kernels.pair_potential

    def evaluate(self, configuration: Configuration) -> BaselineValues:
        """Return energies, forces and strain derivative."""
        pairs = self._neighbors.pairs(configuration)
        return BaselineValues(
            *self._sum(
                pairs.first,
                pairs.neighbor,
                self._kind[configuration.numbers],
                pairs.vector,
                pairs.distance,
                self._table,
            )
        )
