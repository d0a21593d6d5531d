"""Raw frames of a run, appended as it goes: the truth behind the trajectory.

The format is that of :mod:`otf.store.record_file`: one ``system`` record, then
``frame`` records, and an ``invalid`` record where a roll-back discards the frames after
a step.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from otf.errors import StoreError
from otf.store.record_file import HEADER_SIZE, RecordFile, read_records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from otf.configuration import BoolArray, FloatArray, IntArray
    from otf.potential import Prediction
    from otf.state import State
    from otf.store.record_file import Record

_PURPOSE = "frames"
_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class System:
    """What all frames of a run share.

    Attributes
    ----------
    numbers : (n,) atomic numbers
    masses : (n,) amu
    pbc : (3,) periodic directions
    """

    numbers: IntArray
    masses: FloatArray
    pbc: BoolArray


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame, in the units inside: eV, angstrom, amu, internal time.

    Attributes
    ----------
    step, time : of the state
    positions : (n, 3) angstrom
    velocities : (n, 3) angstrom / internal time
    forces : (n, 3) eV/angstrom
    force_errors : (n,) eV/angstrom, calibrated e_i, NaN where they were not evaluated
    cell : (3, 3) angstrom
    potential_energy, kinetic_energy, conserved, learning_work : eV
    labelled : whether the forces are those of the reference
    valid : False when a roll-back discarded the frame
    """

    step: int
    time: float
    positions: FloatArray
    velocities: FloatArray
    forces: FloatArray
    force_errors: FloatArray
    cell: FloatArray
    potential_energy: float
    kinetic_energy: float
    conserved: float
    learning_work: float
    labelled: bool
    valid: bool = True

    @classmethod
    def of(cls, state: State, prediction: Prediction) -> Frame:
        """Return the frame of a state and the prediction at its positions."""
        kinetic, potential = state.kinetic_energy, prediction.model_energy
        known = prediction.uncertainty
        errors = None if known is None else known.errors
        if errors is None:
            errors = np.full(state.configuration.n_atoms, np.nan)
        return cls(
            step=state.step,
            time=state.time,
            positions=state.configuration.positions,
            velocities=state.momenta / state.masses[:, None],
            forces=prediction.forces,
            force_errors=errors,
            cell=state.configuration.cell,
            potential_energy=potential,
            kinetic_energy=kinetic,
            conserved=kinetic + potential + state.heat - state.learning_work,
            learning_work=state.learning_work,
            labelled=prediction.labelled,
        )


class FrameLog(RecordFile):
    """The frames file open for append by the run."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _PURPOSE)

    def begin(self, state: State) -> None:
        """Write what all frames share; does nothing in a file that has it.

        Raises
        ------
        StoreError
            When the disk is full or fails.
        """
        if self.size == HEADER_SIZE:
            system = {
                "numbers": state.configuration.numbers,
                "masses": state.masses,
                "pbc": state.configuration.pbc,
            }
            self.append("system", system, sync=False)

    def write(self, frame: Frame) -> None:
        """Append a frame; ``sync`` makes it durable later.

        Raises
        ------
        StoreError
            When the disk is full or fails; the file then ends at the frame before.
        """
        data = {f.name: getattr(frame, f.name) for f in fields(frame)}
        del data["valid"]  # what comes later decides
        self.append("frame", data, sync=False)

    def invalidate(self, after_step: int) -> None:
        """Mark the frames written so far after a step as discarded.

        Raises
        ------
        StoreError
            When the disk is full or fails.
        """
        self.append("invalid", {"after_step": after_step}, sync=False)


def read_frame_records(path: Path, *, start: int = HEADER_SIZE) -> Iterator[Record]:
    """Yield the raw records of a frames file from byte ``start``.

    Raises
    ------
    StoreError
        When the file is missing, foreign or damaged.
    """
    return read_records(path, _PURPOSE, start=start)


def frame_of(record: Record) -> Frame:
    """Return the frame of a ``frame`` record.

    Raises
    ------
    StoreError
        When the record lacks a field.
    """
    return _build(Frame, record)


def system_of(record: Record) -> System:
    """Return the system of a ``system`` record.

    Raises
    ------
    StoreError
        When the record lacks a field.
    """
    return _build(System, record)


def read_frames(path: Path) -> tuple[System, list[Frame]]:
    """Return all frames of a run with their validity, also beside a live run.

    Raises
    ------
    StoreError
        When the file is missing, foreign, damaged or empty.
    """
    system: System | None = None
    frames: list[Frame] = []
    for record in read_frame_records(path):
        if record.kind == "system":
            system = system_of(record)
        elif record.kind == "frame":
            frames.append(frame_of(record))
        elif record.kind == "invalid":
            last = after_step_of(record)
            frames = [replace(f, valid=f.valid and f.step <= last) for f in frames]
    if system is None:
        raise StoreError(f"{path}: holds no frame yet")
    return system, frames


def after_step_of(record: Record) -> int:
    """Return the last good step of an ``invalid`` record."""
    step = record.data["after_step"]
    assert isinstance(step, int)  # invalidate writes nothing else
    return step


def _build(cls: type[_T], record: Record) -> _T:
    try:
        return cls(**record.data)
    except TypeError as error:
        raise StoreError(
            f"{record.kind} record at byte {record.offset} lacks a field ({error})"
        ) from error
