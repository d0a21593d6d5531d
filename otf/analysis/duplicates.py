"""Structures that stand in a data set more than once, with equal or other labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.analysis.frame_facts import FrameFacts

SAME = 1e-4  # of fingerprints, about angstrom; files keep positions to 4 digits or more
SAME_VOLUME = 1e-5  # relative
# Differences that are no noise of a converged calculation.
ENERGY_NOISE = 1e-3  # eV/atom
FORCE_NOISE = 0.02  # eV/angstrom, of the largest force
STRESS_NOISE = 0.1  # GPa, of an eigenvalue
NOISE = 0.02  # of the largest value, for forces and stresses, on top


@dataclass(frozen=True)
class Duplicates:
    """Structures that are the same, up to rotation and reflection.

    Attributes
    ----------
    members : their indices
    differing : the labels that differ between them: energy, forces, stress
    """

    members: tuple[int, ...]
    differing: tuple[str, ...]


def duplicates_of(frames: Sequence[FrameFacts]) -> list[Duplicates]:
    """Return the groups of two and more equal structures.

    Notes
    -----
    Within a kind structures are sorted by the first number of the fingerprint, so that
    each is compared with few others.
    """
    kinds: dict[tuple[object, ...], list[int]] = {}
    for k, facts in enumerate(frames):
        kinds.setdefault(facts.kind, []).append(k)
    out = []
    for members in kinds.values():
        for group in _groups(frames, members):
            labels = _differing([frames[k] for k in group])
            out.append(Duplicates(tuple(sorted(group)), labels))
    return sorted(out, key=lambda group: group.members)


def _groups(frames: Sequence[FrameFacts], members: list[int]) -> list[list[int]]:
    order = sorted(members, key=lambda k: float(frames[k].fingerprint[0]))
    leader: dict[int, int] = {}
    for at, k in enumerate(order):
        if k in leader:
            continue
        for other in order[at + 1 :]:
            gap = frames[other].fingerprint[0] - frames[k].fingerprint[0]
            if gap > SAME:
                break
            if other not in leader and _same(frames[k], frames[other]):
                leader[other] = leader[k] = k
    groups: dict[int, list[int]] = {}
    for k, first in leader.items():
        groups.setdefault(first, []).append(k)
    return list(groups.values())


def _same(one: FrameFacts, other: FrameFacts) -> bool:
    if np.isfinite(one.volume) and not np.isclose(
        one.volume, other.volume, rtol=SAME_VOLUME, atol=0.0
    ):
        return False
    return bool(np.abs(one.fingerprint - other.fingerprint).max() <= SAME)


def _differing(group: Sequence[FrameFacts]) -> tuple[str, ...]:
    """Return the labels that differ, by what rotations leave alone."""
    stresses = [_eigenvalues(f) for f in group]
    spreads = {
        "energy": _spread([f.energy for f in group]) / ENERGY_NOISE,
        "forces": _in_noise([f.largest_force for f in group], FORCE_NOISE),
        "stress": max(_in_noise(v, STRESS_NOISE) for v in zip(*stresses, strict=True)),
    }
    return tuple(name for name, spread in spreads.items() if spread > 1.0)


def _in_noise(values: Sequence[float], noise: float) -> float:
    largest = max((abs(v) for v in values if np.isfinite(v)), default=0.0)
    return _spread(values) / (noise + NOISE * largest)


def _spread(values: Sequence[float]) -> float:
    known = [v for v in values if np.isfinite(v)]
    return max(known) - min(known) if known else 0.0


def _eigenvalues(frame: FrameFacts) -> list[float]:
    if not np.isfinite(frame.stress).all():
        return [np.nan] * 3
    xx, yy, zz, yz, xz, xy = frame.stress
    tensor = [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]
    return [float(x) for x in np.linalg.eigvalsh(tensor)]
