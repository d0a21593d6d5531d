"""The figure of the cost: where the wall time went."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.report.account import duration
from otf.report.figure import AUDIT, MODEL, REFERENCE, drawing

if TYPE_CHECKING:
    from otf.report.cost import Cost
    from otf.report.figure import Axes, Drawing


def cost_drawing(cost: Cost) -> Drawing | None:
    """Draw the seconds of the run beside those of the reference alone."""
    if not np.isfinite(cost.reference_alone):
        return None
    spent = [("all", cost.wall, MODEL)]
    if np.isfinite(cost.rest):
        spent = [
            ("reference", cost.reference, REFERENCE),
            ("fits", cost.fits, AUDIT),
            ("the rest", cost.rest, MODEL),
        ]

    def draw(axes: Axes) -> None:
        left = 0.0
        for label, seconds, color in spent:
            axes.barh(1, seconds, left=left, color=color, label=label, height=0.6)
            left += seconds
        axes.barh(0, cost.reference_alone, color=REFERENCE, alpha=0.45, height=0.6)
        axes.set_yticks([1, 0], ["this run", "reference\nalone"])
        axes.set_ylim(-0.5, 1.5)
        axes.set_xlabel("seconds")
        axes.grid(visible=False, axis="y")
        axes.locator_params(axis="x", nbins=4)
        axes.legend(loc="lower center", ncols=3, bbox_to_anchor=(0.35, 1.0))

    alt = (
        f"This run took {duration(cost.wall)}; all steps by the reference would have "
        f"taken {duration(cost.reference_alone)}."
    )
    return drawing("cost", "Wall time", alt, draw, height=2.3)
