"""A run as its files tell it, for those who only look: show and report.

Works beside a live run and after a kill; nothing is written, no lock is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from otf.errors import StoreError
from otf.store import journal as journals
from otf.store.checkpoint import load_newest
from otf.store.entries import (
    Decision,
    Entry,
    Failure,
    Finish,
    Label,
    Method,
    Resume,
    Retrain,
    Rollback,
    Stage,
    Start,
    from_record,
)
from otf.store.lock import is_locked
from otf.store.schema import RunFolder
from otf.store.thermo import COLUMNS, read_thermo

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike

    from otf.configuration import FloatArray
    from otf.store.checkpoint import Checkpoint
    from otf.store.record_file import Record

_E = TypeVar("_E", bound=Entry)
# What no resume takes back.
STANDING = (Start, Method, Label, Resume)


@dataclass(frozen=True, eq=False)
class RunView:
    """What a run has done so far; records a resume took back are left out.

    Attributes
    ----------
    folder : of the run
    start : what was asked for
    labels : every label paid for, those of superseded steps too: in the order of the
        decisions that asked for them, then the others; the journal has them as they
        arrived
    descriptions : what the fingerprints of labels stand for
    decisions, retrains, failures, rollbacks, stages, resumes : in order
    thermo : columns of the table by name
    checkpoint : the newest whole one, None before the first
    finish : None while the run is not over
    running : whether a process works on it now
    """

    folder: RunFolder
    start: Start
    labels: list[Label]
    descriptions: Mapping[str, str]
    decisions: list[Decision]
    retrains: list[Retrain]
    failures: list[Failure]
    rollbacks: list[Rollback]
    stages: list[Stage]
    resumes: list[Resume]
    thermo: Mapping[str, FloatArray]
    checkpoint: Checkpoint | None
    finish: Finish | None
    running: bool

    @property
    def audits(self) -> list[Decision]:
        """Return the predicted steps that were labelled to judge the model."""
        return [d for d in self.decisions if d.reason == "audit"]

    @property
    def step(self) -> int:
        """Return the last step that can be seen."""
        steps = self.thermo["step"]
        saved = 0 if self.checkpoint is None else self.checkpoint.state.step
        return int(steps[-1]) if len(steps) else saved

    @classmethod
    def load(cls, path: str | PathLike[str]) -> RunView:
        """Read the folder of a run.

        Raises
        ------
        StoreError
            When there is no run in the folder, or a file of it is damaged.
        """
        folder = RunFolder(Path(path))
        if not folder.journal.is_file():
            raise StoreError(f"{path}: there is no run in this folder")
        entries = list(standing(journals.read(folder.journal)))
        starts = _only(Start, entries)
        if not starts:
            raise StoreError(f"{path}: the run ended before it wrote anything")
        finishes = _only(Finish, entries)
        thermo = (
            read_thermo(folder.thermo)
            if folder.thermo.is_file()
            else {name: np.empty(0) for name in COLUMNS}
        )
        return cls(
            folder=folder,
            start=starts[-1],
            labels=as_asked(_only(Label, entries), _only(Decision, entries)),
            descriptions={m.fingerprint: m.description for m in _only(Method, entries)},
            decisions=_only(Decision, entries),
            retrains=_only(Retrain, entries),
            failures=_only(Failure, entries),
            rollbacks=_only(Rollback, entries),
            stages=_only(Stage, entries),
            resumes=_only(Resume, entries),
            thermo=thermo,
            checkpoint=load_newest(folder),
            finish=finishes[-1] if finishes else None,
            running=is_locked(folder.lock),
        )


def standing(records: Iterable[Record]) -> list[Entry]:
    """Return the entries that stand once every resume has taken back what it must.

    Raises
    ------
    StoreError
        When a record lacks a field.
    """
    kept: list[tuple[int, Entry]] = []
    for record in records:
        entry = from_record(record)
        if entry is None:
            continue
        if isinstance(entry, Resume):
            kept = [
                (offset, e)
                for offset, e in kept
                if offset < entry.journal_size or isinstance(e, STANDING)
            ]
        kept.append((record.offset, entry))
    return [entry for _, entry in kept]


def as_asked(labels: list[Label], decisions: list[Decision]) -> list[Label]:
    """Return labels in the order of their decisions; those without one come last."""
    places: dict[str, int] = {}
    for place, decision in enumerate(decisions):
        places.setdefault(decision.key, place)
    return sorted(labels, key=lambda label: places.get(label.key, len(places)))


def _only(cls: type[_E], entries: list[Entry]) -> list[_E]:
    return [entry for entry in entries if isinstance(entry, cls)]
