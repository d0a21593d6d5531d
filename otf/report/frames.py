"""A few frames of every part of a run, evenly spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.configuration import Configuration
from otf.store.frames import after_step_of, frame_of, read_frame_records, system_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from otf.report.parts import Part
    from otf.store.frames import Frame, System


class _Spread:
    """At most ``limit`` frames, evenly spread over all that were shown."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._stride = 1
        self._index = 0
        self._kept: list[tuple[int, Frame]] = []

    def show(self, frame: Frame) -> None:
        if self._index % self._stride == 0:
            self._kept.append((self._index, frame))
        self._index += 1
        if len(self._kept) > self._limit:
            self._stride *= 2
            self._kept = [(k, f) for k, f in self._kept if k % self._stride == 0]

    def discard(self, after_step: int) -> None:
        self._kept = [(k, f) for k, f in self._kept if f.step <= after_step]

    @property
    def frames(self) -> list[Frame]:
        return [frame for _, frame in self._kept]


def spread_frames(
    path: Path, parts: Sequence[Part], *, limit: int
) -> tuple[System | None, list[list[Frame]]]:
    """Return at most ``limit`` valid frames of every part, evenly spread.

    The file is read once, and no more than that many frames are held. No system and no
    frames are returned where there is no file yet.

    Raises
    ------
    StoreError
        When the file is foreign or damaged.
    """
    kept = [_Spread(limit) for _ in parts]
    system: System | None = None
    if not path.is_file():
        return None, [[] for _ in parts]
    for record in read_frame_records(path):
        if record.kind == "system":
            system = system_of(record)
        elif record.kind == "invalid":
            for spread in kept:
                spread.discard(after_step_of(record))
        elif record.kind == "frame":
            frame = frame_of(record)
            at = np.array([float(frame.step)])
            for part, spread in zip(parts, kept, strict=True):
                if part.holds(at)[0]:
                    spread.show(frame)
    return system, [spread.frames for spread in kept]


def configurations_of(
    system: System | None, frames: Sequence[Frame]
) -> list[Configuration]:
    """Return the structures of frames."""
    if system is None:
        return []
    return [
        Configuration(system.numbers, f.positions, f.cell, system.pbc) for f in frames
    ]
