"""Where the wall time of a run went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from otf.store.schema import SHARED, SweepFolder

if TYPE_CHECKING:
    from otf.report.plan import Plan
    from otf.store.run_reader import RunView

# The run loop counts its wall clock here, over all resumes.
WALL_CLOCK = "wall_s"


@dataclass(frozen=True)
class Cost:
    """Wall time up to the last checkpoint, and what it was spent on.

    Attributes
    ----------
    n_steps, n_atoms : moved
    wall : seconds, over all processes of the run
    reference : seconds of calls, fits : seconds of fits
    rest : seconds of predictions, the motion, files; NaN where they cannot be told
        from the others
    why : that they cannot be told, in words; empty where they can
    seconds_per_call : median of the reference; NaN without calls
    """

    n_steps: int
    n_atoms: int
    wall: float
    reference: float
    fits: float
    rest: float
    why: str
    seconds_per_call: float

    @property
    def reference_alone(self) -> float:
        """Return what all steps would have taken by the reference, seconds."""
        return self.n_steps * self.seconds_per_call

    @property
    def speed_up(self) -> float:
        """Return the time by the reference alone over the wall time."""
        return self.reference_alone / self.wall

    @property
    def atom_steps(self) -> float:
        """Return atoms times steps a second of wall time, all included."""
        return self.n_atoms * self.n_steps / self.wall

    @property
    def predicted_atom_steps(self) -> float:
        """Return the same without the time of labels and fits; NaN where unknown."""
        return self.n_atoms * self.n_steps / self.rest if self.rest > 0.0 else np.nan


def cost_of(view: RunView, plan: Plan | None) -> Cost | None:
    """Return the cost of a run; None before its clock has been saved."""
    saved, first = view.checkpoint, view.start.configuration
    if saved is None or first is None or saved.state.step == 0:
        return None
    if view.folder.path.name == SHARED:  # it has no steps of its own
        return None
    wall = saved.counters.get(WALL_CLOCK)
    if not isinstance(wall, int | float) or not wall > 0.0:
        return None
    # What was paid after the checkpoint is not in the clock.
    step = saved.state.step
    before = {d.key for d in view.decisions if d.step <= step}
    paid = [y.seconds for y in view.labels if not y.cached and y.key in before]
    seconds = np.array(paid, dtype=np.float64)
    seconds = seconds[np.isfinite(seconds)]
    fits = float(np.nansum([r.seconds for r in view.retrains if r.step <= step]))
    reference = float(seconds.sum())
    rest, why = wall - reference - fits, ""
    if plan is not None and plan.works_beside:
        why = "labels or fits were computed beside the run"
    elif SweepFolder(view.folder.path.parent).shared.journal.is_file():
        why = "the clock counts the turns of the other runs that share the model"
    elif rest < 0.0:
        why = "a part of the time was lost when the run was killed"
    return Cost(
        n_steps=step,
        n_atoms=first.n_atoms,
        wall=float(wall),
        reference=reference,
        fits=fits,
        rest=float("nan") if why else rest,
        why=why,
        seconds_per_call=float(np.median(seconds)) if seconds.size else float("nan"),
    )
