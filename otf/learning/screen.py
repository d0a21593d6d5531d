"""When the exact force deviation is worth its cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from otf.learning.policy import Rules
    from otf.potential import Arrays, Uncertainty


class Screen:
    """Flag the predictions whose exact force covariance is evaluated.

    The cheap measures of every atom are known at every step. A prediction is flagged
    when its largest spilling exceeds a quarter of the sampling bound, when its largest
    local deviation exceeds half of that which corresponds to e = t, and at every
    ``exact_interval``-th step. Deviations change over tens of steps, so a flag within
    ``exact_spacing`` steps of the last evaluation counts only where the cheap measures
    exceed the sampling bound, or one and a half times that of e = t.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._local_at_threshold = 0.0
        self._last = -(10**9)

    def due(self, step: int) -> bool:
        """Return whether the exact deviation is evaluated at this step anyway."""
        return step % self._rules.exact_interval == 0

    def flags(self, cheap: Uncertainty, *, step: int) -> bool:
        """Return whether the exact deviation is needed."""
        rules = self._rules
        spilling = float(cheap.spilling.max(initial=0.0)) / rules.max_spilling
        local = float(cheap.local.max(initial=0.0))
        recent = 0 <= step - self._last < rules.exact_spacing
        spilling_bound, local_bound = (1.0, 1.5) if recent else (0.25, 0.5)
        return (
            spilling > spilling_bound or local > local_bound * self._local_at_threshold
        )

    def learn(
        self, cheap: Uncertainty, *, error: float, threshold: float, step: int
    ) -> None:
        """Relate the local deviation to the threshold, from an exact evaluation."""
        self._last = step
        if error > 0:
            local = float(cheap.local.max(initial=0.0))
            self._local_at_threshold = local * threshold / error

    def forget(self) -> None:
        """Start anew: the model changed."""
        self._local_at_threshold = 0.0

    def state(self) -> Arrays:
        """Return the scale and the last evaluation."""
        return {
            "local_at_threshold": np.array(self._local_at_threshold),
            "last": np.array(self._last),
        }

    def restore(self, state: Arrays) -> None:
        """Take up the state of another instance."""
        self._local_at_threshold = float(state["local_at_threshold"])
        self._last = int(state["last"])
