"""When the exact force deviation is worth its cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from otf.configuration import FloatArray
    from otf.learning.policy import Rules
    from otf.potential import Arrays, Uncertainty


# Growth beyond e = t, or beyond the last evaluation, that is looked at at once.
ALARM = 1.5
# Of a ratio just seen in the running mean of ratios.
FRESH = 0.2


class Screen:
    """Flag the predictions whose exact force covariance is evaluated.

    The cheap measures of every atom are known at every step. How near a prediction is
    to a reference call, r, is the larger of its largest spilling over the sampling
    bound and its largest local deviation over the one that, at the last exact
    evaluation, corresponded to e = t. Deviations change over tens of steps, so the
    exact one is evaluated again after (1 - r) ``exact_interval`` steps, at least
    ``exact_spacing``; but at once where the local part has grown beyond ``ALARM``, or
    by that factor where e was above t already, and where the spilling, on which alone
    a call may be made, is beyond a bound: soon after a label that of critical steps.

    Attributes
    ----------
    all_over_few : e of all atoms over that of the few that know least, as it was lately
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._local_at_threshold = 0.0
        self._error_per_local = 0.0
        self._excess = 1.0  # e / t of the last evaluation where that is above 1
        self._last = -(10**9)
        self.all_over_few = 1.0

    def flags(self, cheap: Uncertainty, *, step: int, since_label: int) -> bool:
        """Return whether the exact deviation is needed."""
        rules = self._rules
        spilling = _largest(cheap.spilling)
        local = _largest(cheap.local)
        if local > 0.0:
            known = self._local_at_threshold
            local = local / known if known > 0.0 else np.inf
        may_sample = since_label >= rules.minimum_gap
        bound = rules.max_spilling if may_sample else rules.critical_spilling
        since = step - self._last
        if local > ALARM * self._excess or spilling > bound or since < 0:
            return True
        near = max(local, spilling / rules.max_spilling)
        wait = max((1.0 - near) * rules.exact_interval, rules.exact_spacing)
        return since >= wait

    def expects(self, cheap: Uncertainty) -> float:
        """Return e in eV/angstrom as its largest local deviation lets one expect it."""
        return _largest(cheap.local) * self._error_per_local

    def learn(
        self,
        exact: Uncertainty,
        *,
        cheap: Uncertainty,
        error: float,
        threshold: float,
        step: int,
    ) -> None:
        """Relate local deviations to e, from an exact evaluation.

        Parameters
        ----------
        exact, cheap
            Against all references, and what the screen had said of the same atoms.
        error
            e
        """
        self._last = step
        self._excess = max(1.0, error / threshold)
        if error > 0:
            local = _largest(exact.local)
            self._local_at_threshold = local * threshold / error
        seen = _largest(cheap.local)
        self._error_per_local = error / seen if seen > 0.0 else 0.0

    def learn_few(self, of_few: float, of_all: float) -> None:
        """Take in e of few and of all atoms in one frame, eV/angstrom."""
        if of_few > 0.0:
            self.all_over_few += FRESH * (of_all / of_few - self.all_over_few)

    def forget(self) -> None:
        """Start anew: the model changed."""
        self._local_at_threshold = 0.0
        self._excess = 1.0

    def state(self) -> Arrays:
        """Return the scale and the last evaluation."""
        return {
            "local_at_threshold": np.array(self._local_at_threshold),
            "error_per_local": np.array(self._error_per_local),
            "excess": np.array(self._excess),
            "last": np.array(self._last),
            "all_over_few": np.array(self.all_over_few),
        }

    def restore(self, state: Arrays) -> None:
        """Take up the state of another instance."""
        self._local_at_threshold = float(state["local_at_threshold"])
        self._error_per_local = float(state["error_per_local"])
        self._excess = float(state["excess"])
        self._last = int(state["last"])
        if "all_over_few" in state:  # checkpoints of older versions have none
            self.all_over_few = float(state["all_over_few"])


def _largest(values: FloatArray) -> float:
    """Return the largest of (n,), 0 of none."""
    return float(values.max()) if len(values) else 0.0
