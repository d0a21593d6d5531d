"""What the journal says: every kind of record, written once.

A journal begins with ``start``; ``finish`` is its last word. ``label`` and the
``method`` it came by outlive everything: a resume takes back what other kinds said
after its checkpoint, but a label once paid stays. Steps count as in
:class:`otf.state.State`; energies are in eV, lengths in angstrom, times in seconds of
wall clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np

from otf.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otf.configuration import Configuration, FloatArray, Labels
    from otf.store.record_file import Record


@dataclass(frozen=True, eq=False, kw_only=True)
class Start:
    """The run as it was asked for; says nothing of the host.

    Attributes
    ----------
    input_text : the input file, verbatim
    versions : package -> version
    fingerprint : of the reference, empty for a run with a frozen model
    configuration : the structure the run starts from
    seed : of all noise
    """

    kind: ClassVar[str] = "start"
    input_text: str
    versions: Mapping[str, str]
    fingerprint: str = ""
    configuration: Configuration | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Method:
    """What a fingerprint in later labels stands for; written once for each.

    Attributes
    ----------
    fingerprint : of a reference and its physical settings
    description : code, version and settings in one line of words
    """

    kind: ClassVar[str] = "method"
    fingerprint: str
    description: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Label:
    """A paid answer of the reference.

    Attributes
    ----------
    configuration, labels : question and answer
    fingerprint : of the reference
    key : of configuration and fingerprint, see :func:`otf.store.labels.label_key`
    seconds : the reference took
    attempts : including the one that succeeded
    cached : whether it was found in the cache of all runs
    doubt : why the model did not believe the first answer, and what came of it; empty
        for an answer that was not doubted
    """

    kind: ClassVar[str] = "label"
    configuration: Configuration
    labels: Labels
    fingerprint: str
    key: str
    seconds: float = np.nan
    attempts: int = 1
    cached: bool = False
    doubt: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Decision:
    """What was decided at a step, and how right the model was when it was labelled.

    Attributes
    ----------
    step, reason : of the decision
    labelled : whether the reference was called
    error : e, largest calibrated deviation in eV/angstrom, NaN without a model
    threshold : t in eV/angstrom
    max_spilling : largest spilling factor
    key : of the label, empty when the reference was not called
    label_energy, label_forces, label_stress : eV, (n, 3) eV/angstrom, (6,)
        eV/angstrom^3, of the reference; NaN or None when it was not called
    energy, forces, stress : the same of the model before it learned them, NaN or None
        without a model
    force_errors : (n,) eV/angstrom, e_i before, None without a model
    """

    kind: ClassVar[str] = "decision"
    step: int
    reason: str
    labelled: bool
    error: float
    threshold: float
    max_spilling: float
    key: str = ""
    label_energy: float = np.nan
    label_forces: FloatArray | None = None
    label_stress: FloatArray | None = None
    energy: float = np.nan
    forces: FloatArray | None = None
    stress: FloatArray | None = None
    force_errors: FloatArray | None = None

    @property
    def force_rmse(self) -> float:
        """Return the error of the model's forces, eV/angstrom, NaN without either."""
        if self.forces is None or self.label_forces is None:
            return float("nan")
        return float(np.sqrt(np.nanmean((self.forces - self.label_forces) ** 2)))


@dataclass(frozen=True, eq=False, kw_only=True)
class Retrain:
    """One fit.

    Attributes
    ----------
    step : of the fit
    n_frames, n_references, n_rows : size of the regression
    s_w, s_v : precision of prior and noise
    n_effective : weights the labels determine
    log_evidence : of the scaled labels
    energy_rmse, force_rmse, stress_rmse : training errors, eV/atom, eV/angstrom,
        eV/angstrom^3
    clamps : bounds in force, in words
    seconds : the fit took
    """

    kind: ClassVar[str] = "retrain"
    step: int
    n_frames: int
    n_references: int
    s_w: float
    s_v: float
    n_rows: int = 0
    n_effective: float = np.nan
    log_evidence: float = np.nan
    energy_rmse: float = np.nan
    force_rmse: float = np.nan
    stress_rmse: float = np.nan
    clamps: Sequence[str] = ()
    seconds: float = np.nan


@dataclass(frozen=True, eq=False, kw_only=True)
class Failure:
    """A structure the reference gave no labels for.

    Attributes
    ----------
    step, reason : of the call
    text : why there are no labels
    folder : name of the folder it was put aside in
    """

    kind: ClassVar[str] = "failure"
    step: int
    reason: str
    text: str
    folder: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Rollback:
    """The run went back from ``step`` to ``to_step`` and took a new noise stream."""

    kind: ClassVar[str] = "rollback"
    step: int
    to_step: int
    reason: str
    stream: int
    labelled: int = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Stage:
    """A stage of the schedule begins at ``step``."""

    kind: ClassVar[str] = "stage"
    step: int
    name: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Resume:
    """The run goes on from a checkpoint.

    Attributes
    ----------
    step : of the checkpoint
    journal_size : bytes the journal had then; what non-label records say between there
        and this record never happened. A step could not mark that: a roll-back makes
        the same steps twice.
    versions : package -> version, now
    """

    kind: ClassVar[str] = "resume"
    step: int
    journal_size: int
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True)
class Finish:
    """The run has ended.

    Attributes
    ----------
    step : of the end
    converged : the verdict; None for a run that does not learn
    reason : one clause for people
    """

    kind: ClassVar[str] = "finish"
    step: int
    converged: bool | None
    reason: str


Entry = (
    Start
    | Method
    | Label
    | Decision
    | Retrain
    | Failure
    | Rollback
    | Stage
    | Resume
    | Finish
)
KINDS: dict[str, type[Entry]] = {
    cls.kind: cls
    for cls in (
        Start,
        Method,
        Label,
        Decision,
        Retrain,
        Failure,
        Rollback,
        Stage,
        Resume,
        Finish,
    )
}
_E = TypeVar("_E", bound=Entry)


def to_data(entry: Entry) -> dict[str, object]:
    """Return the fields of an entry by name."""
    return {f.name: getattr(entry, f.name) for f in fields(entry)}


def from_record(record: Record) -> Entry | None:
    """Return the entry a record holds, None for a kind a later version brought.

    Raises
    ------
    StoreError
        When a field without a default is missing.
    """
    cls = KINDS.get(record.kind)
    return None if cls is None else build(cls, record)


def build(cls: type[_E], record: Record) -> _E:
    """Return a record as an entry of the class; unknown fields are left out.

    Raises
    ------
    StoreError
        When a field without a default is missing.
    """
    names = {f.name for f in fields(cls)}
    known = {k: v for k, v in record.data.items() if k in names}
    try:
        return cls(**known)  # type: ignore[arg-type]
    except TypeError as error:
        raise StoreError(
            f"{record.kind} record at byte {record.offset} lacks a field ({error})"
        ) from error
