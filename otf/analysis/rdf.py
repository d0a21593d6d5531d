"""Radial distribution functions and coordination numbers of periodic systems."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from otf.analysis.averages import mean_of, means_of
from otf.errors import InputError
from otf.neighbors import NeighborList

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otf.analysis.averages import Mean
    from otf.configuration import Configuration, FloatArray, IntArray

FARTHEST = 10.0  # angstrom
WIDTH = 0.05  # angstrom
SMOOTHING = 0.1  # angstrom, of g(r) before its first minimum is looked for
PROMINENCE = 0.1  # of a peak of g(r) that counts as a shell

SpeciesPair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class PairDistribution:
    """g(r) of two species, averaged over frames.

    Attributes
    ----------
    first, second : atomic numbers; first <= second
    distance : (k,) middles of the bins, angstrom
    g, error : (k,) mean and its standard error
    coordination, coordination_error : (k,) atoms of the second species around one of
        the first, closer than the outer edge of the bin
    shell : first peak of g, its width, None where no peak stands out
    """

    first: int
    second: int
    distance: FloatArray
    g: FloatArray
    error: FloatArray
    coordination: FloatArray
    coordination_error: FloatArray
    shell: Shell | None


@dataclass(frozen=True)
class Shell:
    """The first shell of neighbours.

    Attributes
    ----------
    peak : where g is largest, angstrom
    end : of the shell, the first minimum of g, angstrom
    first_around_second, second_around_first : neighbours closer than ``end``, of the
        first species around one atom of the second, and the other way round
    """

    peak: float
    end: float
    first_around_second: Mean
    second_around_first: Mean


def half_width(cell: FloatArray) -> float:
    """Return half the smallest distance between opposite faces, angstrom."""
    return 0.5 / float(np.linalg.norm(np.linalg.inv(cell), axis=0).max())


def pair_counts(
    configuration: Configuration,
    edges: FloatArray,
    neighbors: NeighborList,
    pairs_of_species: Iterable[SpeciesPair],
) -> dict[SpeciesPair, IntArray]:
    """Return the number of ordered pairs a -> b in every bin of distance."""
    numbers = configuration.numbers
    pairs = neighbors.pairs(configuration)
    start = np.repeat(numbers, np.diff(pairs.first))
    end = numbers[pairs.neighbor]
    return {
        (a, b): np.histogram(pairs.distance[(start == a) & (end == b)], edges)[0]
        for a, b in pairs_of_species
    }


def species_pairs(numbers: IntArray) -> list[SpeciesPair]:
    """Return every pair of species of the atoms, the smaller number first."""
    species = sorted({int(z) for z in numbers})
    return list(combinations_with_replacement(species, 2))


def ideal_counts(
    configuration: Configuration, edges: FloatArray, pair: SpeciesPair
) -> FloatArray:
    """Return the mean number of ordered pairs where N_a N_b atoms lie anywhere."""
    n_first, n_second = ((configuration.numbers == z).sum() for z in pair)
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    return np.asarray(n_first * n_second * shells / configuration.volume)


def pair_distributions(
    configurations: list[Configuration],
    *,
    pairs: Iterable[SpeciesPair] | None = None,
    cutoff: float | None = None,
    width: float = WIDTH,
) -> list[PairDistribution]:
    """Return g(r) of pairs of species with errors and coordination numbers.

    Parameters
    ----------
    configurations
        T frames of the same atoms, periodic in three directions.
    pairs
        Of atomic numbers, the smaller first; all when None.
    cutoff
        Angstrom; half the smallest width of any cell, at most 10, when None.
    width
        Of the bins, angstrom.

    Raises
    ------
    InputError
        When the system is not periodic, or the cutoff beyond half a cell.

    Notes
    -----
    g_ab(r) = V n_ab / (N_a N_b v), where n_ab is the number of ordered pairs in a shell
    of volume v; an ideal gas of N atoms has 1 - 1/N for pairs of one species.
    """
    first = configurations[0]
    if not first.pbc.all():
        msg = (
            "g(r) compares with the mean density, which only a system that is periodic "
            "in three directions has: give the cell, with pbc in all directions"
        )
        raise InputError(msg)
    limit = min(half_width(c.cell) for c in configurations)
    cutoff = min(FARTHEST, limit) if cutoff is None else cutoff
    if cutoff > limit:
        msg = (
            f"g(r) up to {cutoff:g} angstrom goes beyond half the smallest width of "
            f"the cell, {limit:.2f} angstrom: ask for less, or make the cell larger"
        )
        raise InputError(msg)
    # At least one whole bin; the last may end short of the cutoff, never beyond.
    n_bins = int(cutoff / width * (1.0 + 1e-12))
    edges = np.asarray(width * np.arange(n_bins + 1), dtype=np.float64)
    if n_bins < 2:
        msg = f"bins of {width:g} angstrom are too wide for distances to {cutoff:.2f}"
        raise InputError(msg)
    chosen = list(pairs) if pairs is not None else species_pairs(first.numbers)
    neighbors = NeighborList(float(edges[-1]))
    counts: dict[SpeciesPair, list[IntArray]] = {pair: [] for pair in chosen}
    ideal: dict[SpeciesPair, list[FloatArray]] = {pair: [] for pair in chosen}
    for c in configurations:
        for pair, found in pair_counts(c, edges, neighbors, chosen).items():
            counts[pair].append(found)
            ideal[pair].append(ideal_counts(c, edges, pair))
    return [
        _distribution(
            pair, edges, np.array(counts[pair]), np.array(ideal[pair]), first.numbers
        )
        for pair in chosen
    ]


def _distribution(
    pair: SpeciesPair,
    edges: FloatArray,
    counts: IntArray,
    ideal: FloatArray,
    numbers: IntArray,
) -> PairDistribution:
    g, error = means_of(counts / ideal)
    around_first = np.cumsum(counts, axis=1) / (numbers == pair[0]).sum()
    coordination, coordination_error = means_of(around_first)
    middle = 0.5 * (edges[1:] + edges[:-1])
    ratio = (numbers == pair[0]).sum() / (numbers == pair[1]).sum()
    shell = None
    limits = _first_shell(g, float(edges[1]))
    if limits is not None:
        peak, end = limits
        inside = around_first[:, end]
        shell = Shell(
            float(middle[peak]),
            float(edges[end + 1]),
            first_around_second=mean_of(ratio * inside),
            second_around_first=mean_of(inside),
        )
    return PairDistribution(
        pair[0], pair[1], middle, g, error, coordination, coordination_error, shell
    )


def _first_shell(g: FloatArray, width: float) -> tuple[int, int] | None:
    """Return the bins of the first peak and of the minimum behind it."""
    smooth = gaussian_filter1d(g, SMOOTHING / width, mode="nearest")
    peaks, _ = find_peaks(
        np.concatenate([[0.0], smooth, [0.0]]), prominence=PROMINENCE, height=1.0
    )
    peaks = peaks - 1
    if not len(peaks):
        return None
    first = int(peaks[0])
    # Up to the next peak, or twice the distance where there is none within reach.
    end = int(peaks[1]) if len(peaks) > 1 else min(len(g), 2 * first)
    between = smooth[first:end]
    if len(between) < 2 or int(np.argmin(between)) == 0:
        return None
    lowest = np.flatnonzero(between <= between.min() + 1e-9)
    minimum = first + int(lowest[len(lowest) // 2])
    around = slice(max(0, first - 2), first + 3)
    return int(np.argmax(g[around])) + around.start, minimum
