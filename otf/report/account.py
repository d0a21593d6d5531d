"""What a run did and what it cost: the numbers at the top of the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from otf.store.run_reader import RunView


@dataclass(frozen=True)
class Account:
    """Steps, calls and seconds.

    Attributes
    ----------
    n_steps : made
    picoseconds : simulated, NaN when unknown
    n_calls : reference calls, audits included
    n_cached : labels that the cache of all runs had
    n_doubted : labels that were computed once more before they were believed
    n_audits : labels that only judged the model
    seconds_per_call : median of the reference, NaN when unknown
    reference_seconds, fit_seconds : spent
    """

    n_steps: int
    picoseconds: float
    n_calls: int
    n_cached: int
    n_doubted: int
    n_audits: int
    seconds_per_call: float
    reference_seconds: float
    fit_seconds: float

    @property
    def bypassed(self) -> float:
        """Return the share of steps that needed no reference call."""
        return 1.0 - min(self.n_calls, self.n_steps) / max(self.n_steps, 1)


def account_of(view: RunView) -> Account:
    """Return the account of a run so far."""
    computed = [label for label in view.labels if not label.cached]
    seconds = np.array([label.seconds for label in computed], dtype=np.float64)
    seconds = seconds[np.isfinite(seconds)]
    per_call = float(np.median(seconds)) if seconds.size else float("nan")
    fits = np.array([r.seconds for r in view.retrains], dtype=np.float64)
    time = view.thermo["time_fs"]
    # A roll-back or a resume takes steps back, not what was paid for them.
    n_calls = len(computed)
    return Account(
        n_steps=view.step,
        picoseconds=float(time[-1]) / 1000.0 if len(time) else float("nan"),
        n_calls=n_calls,
        n_cached=len(view.labels) - n_calls,
        n_doubted=sum(bool(label.doubt) for label in view.labels),
        n_audits=sum(d.reason == "audit" for d in view.decisions),
        seconds_per_call=per_call,
        reference_seconds=float(seconds.sum()),
        fit_seconds=float(np.nansum(fits)),
    )


def duration(seconds: float) -> str:
    """Return a time for people: 0.8 ms, 12 s, 3.4 min, 5.1 h, 2.3 days."""
    if not np.isfinite(seconds):
        return "unknown"
    for bound, unit, size in (
        (1.0, "ms", 1e-3),
        (120.0, "s", 1.0),
        (7200.0, "min", 60.0),
        (172800.0, "h", 3600.0),
    ):
        if seconds < bound:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86400.0:.3g} days"
