"""Audits: labels at steps the model was sure of, and the verdict they support."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from otf.configuration import FloatArray
    from otf.potential import Arrays


@dataclass(frozen=True)
class Verdict:
    """Whether the model of a run may be used for production.

    Attributes
    ----------
    converged : few calls at the end, enough audits, their error below the goal
    calls : reference calls in the last part of the run, audits not counted
    steps : steps of that part
    audits : audits in it
    force_rmse : eV/angstrom over the components of those audits, NaN without any
    goal : eV/angstrom
    reason : one clause for people
    """

    converged: bool
    calls: int
    steps: int
    audits: int
    force_rmse: float
    goal: float
    reason: str


class Auditor:
    """Schedule audits and judge convergence.

    Parameters
    ----------
    planned_steps
        Length of the run; None when nobody knows it (foreign drivers).
    goal
        Largest force RMSE of the audits, eV/angstrom, for a converged run.
    enabled
        Whether audits are made at all; without them no run counts as converged.

    Notes
    -----
    While fewer than ``quiet_share`` of the steps in the last tenth of the plan were
    calls, one predicted step in every 3 % of the plan is labelled. The run has
    converged when at most 0.3 % of the last 20 % of the plan were calls, and at least
    five audits in that part have a force RMSE below the goal.
    """

    quiet_share = 0.005
    quiet_window = 0.1
    interval_share = 0.03
    shortest = 25  # steps between two audits; closer ones are the same structure
    unplanned_interval = 1000
    final_share = 0.2
    final_calls = 0.003
    minimum_audits = 5

    def __init__(
        self, planned_steps: int | None, *, goal: float, enabled: bool = True
    ) -> None:
        self.planned_steps = planned_steps
        self.goal = goal
        self.enabled = enabled
        self._calls: list[int] = []
        self._audits: list[tuple[int, float, int]] = []  # step, sum of squares, number
        self._tried = 0  # step of the last audit, whether or not it has labels

    @property
    def interval(self) -> int:
        """Return the steps between two audits."""
        if self.planned_steps is None:
            return self.unplanned_interval
        return max(int(self.interval_share * self.planned_steps), self.shortest)

    @property
    def _window(self) -> int:
        if self.planned_steps is None:
            return int(
                self.unplanned_interval * self.quiet_window / self.interval_share
            )
        return max(int(self.quiet_window * self.planned_steps), 1)

    @property
    def n_audits(self) -> int:
        """Return the number of audits so far."""
        return len(self._audits)

    def due(self, step: int) -> bool:
        """Return whether a predicted step should be labelled as an audit."""
        if not self.enabled or step - self._tried < self.interval:
            return False
        window = min(self._window, step)
        recent = sum(1 for s in self._calls if s > step - window)
        return recent < self.quiet_share * window

    def called(self, step: int) -> None:
        """Remember a reference call that was no audit."""
        self._calls.append(step)

    def tried(self, step: int) -> None:
        """Remember an audit without labels, yet or for ever: the next comes later."""
        self._tried = step

    def audited(self, step: int, errors: FloatArray) -> None:
        """Remember an audit; errors are its force components, NaN where unknown."""
        self._tried = max(step, self._tried)  # later ones may be under way
        known = errors[np.isfinite(errors)]
        self._audits.append((step, float((known**2).sum()), known.size))

    def verdict(self, step: int) -> Verdict:
        """Judge the run at its present length."""
        planned = self.planned_steps or step
        part = max(int(self.final_share * planned), 1)
        first = step - part
        calls = sum(1 for s in self._calls if s > first)
        audits = [a for a in self._audits if a[0] > first]
        number = sum(a[2] for a in audits)
        rmse = float(np.sqrt(sum(a[1] for a in audits) / number)) if number else np.nan
        allowed = self.final_calls * part
        if calls > allowed:
            reason = (
                f"{calls} reference calls in the last {part} steps (<= {allowed:.1f})"
            )
        elif len(audits) < self.minimum_audits:
            reason = f"only {len(audits)} audits in the last {part} steps"
        elif rmse > self.goal:
            reason = f"audit force RMSE {rmse:.3f} eV/A above the goal {self.goal:.3f}"
        else:
            reason = f"audit force RMSE {rmse:.3f} eV/A, {calls} calls in the last part"
        converged = (
            calls <= allowed
            and len(audits) >= self.minimum_audits
            and rmse <= self.goal
        )
        return Verdict(converged, calls, part, len(audits), rmse, self.goal, reason)

    def state(self) -> Arrays:
        """Return all calls and audits."""
        return {
            "calls": np.array(self._calls, dtype=np.int64),
            "audits": np.array(self._audits, dtype=np.float64).reshape(-1, 3),
            "tried": np.array(self._tried),
        }

    def restore(self, state: Arrays) -> None:
        """Take up the calls and audits of another instance."""
        self._calls = [int(s) for s in state["calls"]]
        self._audits = [(int(a), float(b), int(c)) for a, b, c in state["audits"]]
        self._tried = int(state["tried"])
