"""Radial distribution functions of the frames of a run."""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from otf.configuration import Configuration
from otf.neighbors import NeighborList
from otf.store.frames import after_step_of, frame_of, read_frame_records, system_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from otf.configuration import FloatArray
    from otf.store.frames import Frame, System

FARTHEST = 10.0  # angstrom
WIDTH = 0.05  # angstrom
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
    numbers = configurations[0].numbers
    cutoff = min(FARTHEST, *(half_width(c.cell) for c in configurations))
    edges = np.arange(0.0, cutoff + 1e-9, width)
    species = sorted({int(z) for z in numbers})
    pairs_of_species = list(combinations_with_replacement(species, 2))
    sums = {pair: np.zeros(len(edges) - 1) for pair in pairs_of_species}
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    for c in configurations:
        pairs = NeighborList(cutoff).pairs(c)
        start = np.repeat(numbers, np.diff(pairs.first))
        end = numbers[pairs.neighbor]
        for a, b in pairs_of_species:
            chosen = pairs.distance[(start == a) & (end == b)]
            n_pairs = float((numbers == a).sum() * (numbers == b).sum())
            sums[a, b] += np.histogram(chosen, edges)[0] * c.volume / n_pairs / shells
    middle = 0.5 * (edges[1:] + edges[:-1])
    n = len(configurations)
    return [Rdf(a, b, middle, sums[a, b] / n) for a, b in pairs_of_species]


def half_width(cell: FloatArray) -> float:
    """Return half the smallest distance between opposite faces, angstrom."""
    return 0.5 / float(np.linalg.norm(np.linalg.inv(cell), axis=0).max())


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
