"""The decision at every step: trust the model, or call the reference."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from otf.configuration import BoolArray, FloatArray
    from otf.potential import Arrays


class Reason(StrEnum):
    """Why a step was labelled, or why not."""

    START = "start"
    SPECIES = "new species"
    CRITICAL = "critical"
    SAMPLE = "sample"
    AUDIT = "audit"
    ROLLBACK = "roll-back"
    DUPLICATE = "near-duplicate"
    GAP = "too soon"
    PREDICT = "predict"

    @property
    def labels(self) -> bool:
        """Return whether the reference is called."""
        return self not in (Reason.DUPLICATE, Reason.GAP, Reason.PREDICT)

    @property
    def urgent(self) -> bool:
        """Return whether the atoms must not move on before the labels are there."""
        return self in (Reason.CRITICAL, Reason.SPECIES)


@dataclass(frozen=True)
class Rules:
    """The fixed numbers of the decision.

    Attributes
    ----------
    selection_bound : spilling above which an environment becomes a reference candidate
    max_spilling : spilling above which a step is sampled; default 20 selection bounds
    critical_spilling : spilling above which it is critical
    critical_ratio : e / t above which a step is critical
    candidate_ratio : e_i / t above which an atom's environment is a candidate
    duplicate_spilling : largest spilling of a frame that has nothing new
    minimum_gap : steps between two sampled labels
    queue : labels that wait before the model is fitted again
    consecutive : labelled steps in a row before the user is warned
    exact_interval : steps between two exact force deviations while all is calm
    exact_spacing : the same when e is about the threshold
    """

    selection_bound: float = 1e-4
    max_spilling: float = 2e-3
    critical_spilling: float = 0.5
    critical_ratio: float = 2.0
    candidate_ratio: float = 0.6
    duplicate_spilling: float = 1e-6
    minimum_gap: int = 10
    queue: int = 5
    consecutive: int = 20
    exact_interval: int = 50
    exact_spacing: int = 5


@dataclass(frozen=True, eq=False)
class Assessment:
    """What is known of one prediction when the decision falls.

    Attributes
    ----------
    errors : (n,) e_i in eV/angstrom, None when they were not evaluated for all atoms
    spilling : (n,)
    threshold : t in eV/angstrom
    of_stress : eV/angstrom, what the error of the stress counts for; 0 in a fixed cell
    of_few : eV/angstrom, e of the atoms that know least where only theirs was needed
    """

    errors: FloatArray | None
    spilling: FloatArray
    threshold: float
    of_stress: float = 0.0
    of_few: float | None = None

    @property
    def is_exact(self) -> bool:
        """Return whether exact deviations were evaluated."""
        return self.errors is not None or self.of_few is not None

    @property
    def error(self) -> float:
        """Return e, the largest e_i or what the stress counts; 0 when not needed."""
        if self.errors is None:
            return self.of_few or 0.0
        return max(float(self.errors.max(initial=0.0)), self.of_stress)

    @property
    def max_spilling(self) -> float:
        """Return the largest spilling."""
        return float(self.spilling.max()) if len(self.spilling) else 0.0

    def candidates(self, rules: Rules) -> BoolArray:
        """Return (n,), True where an environment should be offered as a reference."""
        chosen: BoolArray = self.spilling > rules.selection_bound
        if self.errors is not None:
            chosen |= self.errors > rules.candidate_ratio * self.threshold
        return chosen


def decide(assessment: Assessment, rules: Rules, *, since_label: int) -> Reason:
    """Return what to do with a prediction.

    The Bayesian force deviation saturates far from the data while the true error
    grows; the spilling does not. Either of them calls the reference.
    """
    e, t, s = assessment.error, assessment.threshold, assessment.max_spilling
    if e > rules.critical_ratio * t or s > rules.critical_spilling:
        return Reason.CRITICAL
    if e <= t and s <= rules.max_spilling:
        return Reason.PREDICT
    if since_label < rules.minimum_gap:
        return Reason.GAP
    if s < rules.duplicate_spilling:
        return Reason.DUPLICATE
    return Reason.SAMPLE


class Policy(Protocol):
    """Where the threshold comes from."""

    @property
    def threshold(self) -> float:
        """Return t in eV/angstrom."""
        ...

    @property
    def calibrated(self) -> bool:
        """Return whether t is compared with calibrated errors or raw deviations."""
        ...

    def retrained(self, deviation: float) -> None:
        """Learn the largest sigma of the frame that was just learned, after the fit."""
        ...

    def called(self) -> None:
        """Learn that the reference was called once more."""
        ...

    def stepped(self, step: int, error: float | None) -> None:
        """Learn that a step ended, and e in eV/angstrom where it was evaluated."""
        ...

    def may_call(self, *, critical: bool, calls: int = 1) -> bool:
        """Return whether so many further calls are allowed."""
        ...

    def state(self) -> Arrays:
        """Return what ``restore`` needs."""
        ...

    def restore(self, state: Arrays) -> None:
        """Take up the state of another instance."""
        ...


class Calibrated:
    """A threshold stated by the user: the largest tolerated force error."""

    calibrated = True

    def __init__(self, max_force_error: float = 0.3) -> None:
        self.threshold = max_force_error

    def retrained(self, deviation: float) -> None:
        """Do nothing: the threshold is fixed."""

    def called(self) -> None:
        """Do nothing: calls are not counted here."""

    def stepped(self, step: int, error: float | None) -> None:
        """Do nothing: the threshold is fixed."""

    def may_call(self, *, critical: bool, calls: int = 1) -> bool:
        """Return True: there is no limit."""
        return True

    def state(self) -> Arrays:
        """Return the threshold."""
        return {"threshold": np.array(self.threshold)}

    def restore(self, state: Arrays) -> None:
        """Take up the threshold."""
        self.threshold = float(state["threshold"])


class History:
    """A threshold that follows the deviations after earlier fits, as in VASP.

    Offered for comparison: it compares raw deviations, is set by luck within the first
    hundred steps, and creeps up in the hot phase of a run.

    Parameters
    ----------
    start
        First threshold in eV/angstrom.
    length
        Entries of the history; the threshold moves when it is full.
    excess
        c_x in t = mean (1 + c_x).

    References
    ----------
    R. Jinnouchi, F. Karsai, G. Kresse, Phys. Rev. B 100, 014105 (2019),
    doi:10.1103/PhysRevB.100.014105.
    """

    calibrated = False

    def __init__(
        self, start: float = 0.002, *, length: int = 10, excess: float = 0.0
    ) -> None:
        self.threshold = start
        self.excess = excess
        self._history: deque[float] = deque(maxlen=length)

    def retrained(self, deviation: float) -> None:
        """Push a deviation; move the threshold when the history is full and flat."""
        self._history.append(deviation)
        if len(self._history) < (self._history.maxlen or 0):
            return
        values = np.array(self._history)
        mean = float(values.mean())
        slope = float(np.polyfit(np.arange(len(values)), values, 1)[0])
        flat = abs(slope) * (len(values) - 1) / mean < 0.2
        if values.std() / mean < 0.4 and flat:
            self.threshold = mean * (1 + self.excess)

    def called(self) -> None:
        """Do nothing: calls are not counted here."""

    def stepped(self, step: int, error: float | None) -> None:
        """Do nothing: only fits move the threshold."""

    def may_call(self, *, critical: bool, calls: int = 1) -> bool:
        """Return True: there is no limit."""
        return True

    def state(self) -> Arrays:
        """Return threshold and history."""
        return {
            "threshold": np.array(self.threshold),
            "history": np.array(self._history),
        }

    def restore(self, state: Arrays) -> None:
        """Take up threshold and history."""
        self.threshold = float(state["threshold"])
        self._history.clear()
        self._history.extend(float(x) for x in state["history"])


class Budget:
    """A threshold that spends a given number of calls over a given number of steps.

    The threshold moves by a constant factor a step against the distance between the
    calls made and a straight line through the planned steps. The last calls are kept
    for critical steps.

    Parameters
    ----------
    calls
        Reference calls of the whole run.
    steps
        Planned steps.
    start
        First threshold in eV/angstrom.
    """

    calibrated = True
    reserve = 0.04

    def __init__(self, calls: int, steps: int, *, start: float = 0.3) -> None:
        self.calls = calls
        self.steps = max(steps, 1)
        self.threshold = start
        self.made = 0
        self._largest = start  # e of late, forgotten within a few hundred steps

    def pace(self, step: int) -> float:
        """Return the calls that should have been made by a step."""
        return self.calls * (1 - self.reserve) * min(step / self.steps, 1.0)

    def forecast(self, step: int) -> float:
        """Return the calls the whole run will need at the pace kept so far."""
        return self.made * self.steps / max(step, 1)

    def retrained(self, deviation: float) -> None:
        """Do nothing: the pace moves the threshold."""

    def called(self) -> None:
        """Count a call."""
        self.made += 1

    def stepped(self, step: int, error: float | None) -> None:
        """Raise the threshold when calls are ahead of the pace, lower it when behind.

        The gain is such that being ahead by 2 % of the budget doubles the threshold
        within 1 % of the run. The threshold stays between a fifth and 1.2 times the
        largest e of late: beyond that it would decide nothing more, and only take long
        to come back.
        """
        ahead = (self.made - self.pace(step)) / self.calls
        gain = np.log(2.0) / (0.01 * self.steps) / 0.02
        self.threshold *= float(np.exp(np.clip(gain * ahead, -0.05, 0.05)))
        self._largest = max(0.995 * self._largest, error or 0.0)
        bounds = 0.2 * self._largest, 1.2 * self._largest
        self.threshold = float(np.clip(self.threshold, *bounds))

    def may_call(self, *, critical: bool, calls: int = 1) -> bool:
        """Return whether the calls fit; some are kept for critical steps."""
        left = self.calls - self.made - calls + 1
        return left > 0 if critical else left > self.reserve * self.calls

    def state(self) -> Arrays:
        """Return threshold and calls made."""
        return {
            "threshold": np.array(self.threshold),
            "made": np.array(self.made),
            "largest": np.array(self._largest),
        }

    def restore(self, state: Arrays) -> None:
        """Take up threshold and calls made."""
        self.threshold = float(state["threshold"])
        self.made = int(state["made"])
        self._largest = float(state["largest"])
