"""A sweep as its page shows it: what was varied, its runs and sets of replicas."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import PurePath

    from otf.analysis.run_means import RunMeans
    from otf.report.drawing import Panel
    from otf.store.run_reader import RunView

State = Literal["finished", "failed", "running", "not finished"]


@dataclass(frozen=True)
class Axis:
    """Something that was varied.

    Attributes
    ----------
    name : in the plural
    values : in words, without the unit
    unit : empty where there is none
    """

    name: str
    values: Sequence[str]
    unit: str = ""


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure of the results.

    Attributes
    ----------
    title : what is shown
    alt : the same, with its outcome, for who cannot see it
    panel : draws it
    """

    title: str
    alt: str
    panel: Panel


@dataclass(frozen=True, eq=False)
class SweepRun:
    """A run of a sweep.

    Attributes
    ----------
    name : of its folder, made of the values that vary
    state : how it stands
    means : of the end of the last stage; NaN where they are not known
    phase : in a word, empty where it is not known
    steps : made
    calls : of the reference; None where none is called
    verdict : on what it has learned, empty where there is none
    problem : why it failed, empty where it did not
    page : of the run, as seen from the page of the sweep; None where there is none
    """

    name: str
    state: State
    means: RunMeans
    phase: str = ""
    steps: int = 0
    calls: int | None = None
    verdict: str = ""
    problem: str = ""
    page: PurePath | None = None


@dataclass(frozen=True, eq=False)
class ReplicaSet:
    """Runs that differ in their seeds alone.

    Attributes
    ----------
    name : made of the values that vary, the seed left out
    n_runs, n_finished : of them
    means : over those that are finished, with the error of their scatter
    phase : that most of them are in, with how many are where not all
    """

    name: str
    n_runs: int
    n_finished: int
    means: RunMeans
    phase: str = ""


@dataclass(frozen=True, eq=False)
class SweepView:
    """A sweep as its page shows it.

    Attributes
    ----------
    title : of the page
    subtitle : what is simulated, and where it lies
    running : whether a process works on it
    axes : what was varied
    runs : in the order they were asked for
    sets : of replicas; empty where no two runs differ in their seeds alone
    n_steps : that every run is asked for
    pictures : of the results, in rows
    input_text : the input file
    notes : what a reader must know, one sentence each
    shared : what runs that learn together have learned; None where they do not, or
        have not begun
    shared_page : of that, as seen from the page of the sweep; None where there is none
    """

    title: str
    subtitle: str
    running: bool
    axes: Sequence[Axis]
    runs: Sequence[SweepRun]
    sets: Sequence[ReplicaSet]
    n_steps: int
    pictures: Sequence[Sequence[Picture]]
    input_text: str
    notes: Sequence[str] = field(default_factory=tuple)
    shared: RunView | None = None
    shared_page: PurePath | None = None

    def count(self, state: State) -> int:
        """Return how many runs stand like this."""
        return sum(run.state == state for run in self.runs)
