"""Radial distribution functions of the frames of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from otf.analysis.averages import jackknife
from otf.analysis.rdf import (
    FARTHEST,
    WIDTH,
    half_width,
    ideal_counts,
    pair_counts,
    species_pairs,
)
from otf.neighbors import NeighborList

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import Configuration, FloatArray, IntArray

MAX_PAIRS = 2_000_000  # counted over all frames; keeps a report within seconds


class Rdf(NamedTuple):
    """g(r) of one pair of species: atomic numbers, (k,) angstrom, (k,), its error."""

    first: int
    second: int
    distance: FloatArray
    g: FloatArray
    error: FloatArray


def radial_distribution(
    configurations: Sequence[Configuration], *, width: float = WIDTH
) -> list[Rdf]:
    """Return g(r) of every pair of species, averaged over the configurations.

    Parameters
    ----------
    configurations
        Periodic in three directions, all of the same atoms, in the order of time.
    width
        Of the bins, angstrom.

    Returns
    -------
    list of Rdf
        Up to half the smallest distance between faces of any cell, at most 10
        angstrom: farther out the minimum image would be counted with others.

    Notes
    -----
    g_ab(r) = V n_ab / (N_a N_b v), where n_ab is the number of ordered pairs in a shell
    of volume v; an ideal gas of N atoms has 1 - 1/N. Standard errors are those of a
    jackknife over blocks of configurations.
    """
    cutoff = min(FARTHEST, *(half_width(c.cell) for c in configurations))
    edges = np.arange(0.0, cutoff + 1e-9, width)
    pairs = species_pairs(configurations[0].numbers)
    rows: dict[tuple[int, int], list[FloatArray]] = {pair: [] for pair in pairs}
    for c in configurations:
        found = pair_counts(c, edges, NeighborList(cutoff), pairs)
        for pair, counts in found.items():
            rows[pair].append(counts / ideal_counts(c, edges, pair))
    middle = 0.5 * (edges[1:] + edges[:-1])
    return [Rdf(a, b, middle, *_mean(np.array(rows[a, b]))) for a, b in pairs]


def _mean(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    def mean(chosen: IntArray) -> FloatArray:
        return np.asarray(rows[chosen].mean(axis=0))

    return jackknife(len(rows), mean)


def rdf_of_frames(configurations: Sequence[Configuration]) -> list[Rdf]:
    """Return g(r) of as many frames as can be looked at in a moment.

    Nothing is returned for systems that are not periodic in three directions, which
    have no density, and for cells so small that no pair lies within half their width.
    """
    if not configurations or not np.all(configurations[0].pbc):
        return []
    r = min(FARTHEST, *(half_width(c.cell) for c in configurations))
    if r < 10 * WIDTH:
        return []
    first = configurations[0]
    pairs_a_frame = first.n_atoms**2 * 4.19 * r**3 / first.volume
    stride = max(1, int(np.ceil(len(configurations) * pairs_a_frame / MAX_PAIRS)))
    found = radial_distribution(configurations[::stride])
    return found if any(rdf.g.any() for rdf in found) else []
