"""Labels that cannot mend what they were asked for: the basis is too coarse.

An error above the threshold asks for a label. Where the references span the
environments to within the selection bound, none of them becomes a reference: the basis
stays, its misfit stays, and the same error asks again as soon as it may.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from otf.learning.policy import Reason

if TYPE_CHECKING:
    from otf.learning.events import Decision
    from otf.learning.policy import Rules
    from otf.potential import Arrays

logger = logging.getLogger(__name__)

# In 30 runs that converged at most 4 followed one another; in 6 that went on asking, of
# silicon, aluminium and a perovskite, 11 to 31 did.
TOO_MANY = 10
# Of their spilling: a bound that lets such environments in (docs/theory/decision.md).
SHARE = 0.1


class BarrenLabels:
    """Count labels in a row that brought no reference, and say so once.

    Parameters
    ----------
    rules
        With the selection bound.

    Attributes
    ----------
    in_a_row : so far
    most : the largest number there ever was
    spilling : largest of the label that made it so many
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.in_a_row = 0
        self.most = 0
        self.spilling = 0.0

    def learned(self, decision: Decision) -> None:
        """Take note of a label, and warn when there are too many in a row.

        Only those that the decision asked for count: audits, copies and frames of a
        roll-back need bring nothing.
        """
        known = None if decision.before is None else decision.before.uncertainty
        asked = decision.reason in (Reason.SAMPLE, Reason.CRITICAL)
        if not asked or known is None or known.error is None:
            return
        if decision.max_spilling > self._rules.selection_bound:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        if self.in_a_row > self.most:
            self.most, self.spilling = self.in_a_row, decision.max_spilling
        if self.most == self.in_a_row == TOO_MANY:
            logger.warning(
                "step %d: the last %d labels brought no local reference (error %.3g "
                "above the threshold %.3g eV/A, but largest spilling %.2g below "
                "selection_bound = %.2g): the basis is too coarse for such errors and "
                "labels cannot mend it; lower learning.selection_bound to about %.0g, "
                "or raise learning.max_force_error_eV_per_A%s",
                decision.step,
                TOO_MANY,
                known.error,
                decision.threshold,
                decision.max_spilling,
                self._rules.selection_bound,
                SHARE * self.spilling,
                # Errors of the stress count as forces.
                " and max_stress_error_GPa" if known.error > decision.error else "",
            )

    @property
    def hint(self) -> str:
        """Return a clause for the verdict; empty where there were never too many."""
        if self.most < TOO_MANY:
            return ""
        return (
            f"up to {self.most} labels in a row brought no local reference: lower "
            f"learning.selection_bound from {self._rules.selection_bound:g} to about "
            f"{SHARE * self.spilling:.0g}"
        )

    def state(self) -> Arrays:
        """Return the counts and the spilling."""
        return {
            "counts": np.array([self.in_a_row, self.most]),
            "spilling": np.array(self.spilling),
        }

    def restore(self, state: Arrays) -> None:
        """Take them up; checkpoints of older versions have none."""
        if "counts" in state:
            self.in_a_row, self.most = (int(n) for n in state["counts"])
            self.spilling = float(state["spilling"])
