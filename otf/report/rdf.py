"""Radial distribution functions of the frames of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from otf.analysis.rdf import (
    FARTHEST,
    WIDTH,
    half_width,
    ideal_counts,
    pair_counts,
    species_pairs,
)
from otf.configuration import Configuration
from otf.neighbors import NeighborList
from otf.store.frames import after_step_of, frame_of, read_frame_records, system_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from otf.configuration import FloatArray
    from otf.store.frames import Frame, System

MAX_PAIRS = 2_000_000  # counted over all frames; keeps a report within seconds


class Rdf(NamedTuple):
    """g(r) of one pair of species: atomic numbers, (k,) angstrom, (k,)."""

    first: int
    second: int
    distance: FloatArray
    g: FloatArray


def spread_frames(
    path: Path, *, since: int, limit: int = 100
) -> tuple[System | None, list[Frame]]:
    """Return at most ``limit`` valid frames from step ``since`` on, evenly spread.

    The file is read once, and no more than twice that many frames are held.
    """
    system: System | None = None
    kept: list[tuple[int, Frame]] = []
    stride, index = 1, 0
    for record in read_frame_records(path):
        if record.kind == "system":
            system = system_of(record)
        elif record.kind == "invalid":
            last = after_step_of(record)
            kept = [(k, frame) for k, frame in kept if frame.step <= last]
        elif record.kind == "frame":
            frame = frame_of(record)
            if frame.step >= since:
                if index % stride == 0:
                    kept.append((index, frame))
                index += 1
            if len(kept) > limit:
                stride *= 2
                kept = [(k, f) for k, f in kept if k % stride == 0]
    return system, [frame for _, frame in kept]


def radial_distribution(
    configurations: Sequence[Configuration], *, width: float = WIDTH
) -> list[Rdf]:
    """Return g(r) of every pair of species, averaged over the configurations.

    Parameters
    ----------
    configurations
        Periodic in three directions, all of the same atoms.
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
    of volume v; an ideal gas of N atoms has 1 - 1/N.
    """
    cutoff = min(FARTHEST, *(half_width(c.cell) for c in configurations))
    edges = np.arange(0.0, cutoff + 1e-9, width)
    pairs = species_pairs(configurations[0].numbers)
    sums = {pair: np.zeros(len(edges) - 1) for pair in pairs}
    for c in configurations:
        found = pair_counts(c, edges, NeighborList(cutoff), pairs)
        for pair, counts in found.items():
            sums[pair] += counts / ideal_counts(c, edges, pair)
    middle = 0.5 * (edges[1:] + edges[:-1])
    n = len(configurations)
    return [Rdf(a, b, middle, sums[a, b] / n) for a, b in pairs]


def rdf_of_run(path: Path, *, since: int) -> tuple[list[Rdf], int]:
    """Return g(r) from step ``since`` on and the number of frames it is the mean of.

    Nothing is returned for systems that are not periodic in three directions, which
    have no density, and for cells so small that no pair lies within half their width.
    """
    if not path.is_file():
        return [], 0
    system, frames = spread_frames(path, since=since)
    if system is None or not frames or not np.all(system.pbc):
        return [], 0
    cells = [frame.cell for frame in frames]
    r = min(FARTHEST, *(half_width(cell) for cell in cells))
    if r < 10 * WIDTH:
        return [], 0
    n_atoms = len(system.numbers)
    volume = abs(float(np.linalg.det(cells[0])))
    pairs_a_frame = n_atoms**2 * 4.19 * r**3 / volume
    frames = frames[:: max(1, int(np.ceil(len(frames) * pairs_a_frame / MAX_PAIRS)))]
    configurations = [
        Configuration(system.numbers, f.positions, f.cell, system.pbc) for f in frames
    ]
    found = radial_distribution(configurations)
    if not any(rdf.g.any() for rdf in found):
        return [], 0
    return found, len(frames)
