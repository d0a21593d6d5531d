"""The chapter on cost and speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.report.account import account_of, duration
from otf.report.cost import cost_of
from otf.report.cost_plots import cost_drawing
from otf.report.elements import gallery, percent, section, sentences, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otf.report.cost import Cost
    from otf.report.plan import Plan
    from otf.store.run_reader import RunView


def cost_section(view: RunView, plan: Plan | None) -> str:
    """Return the chapter, empty before the first checkpoint."""
    cost = cost_of(view, plan)
    if cost is None:
        return ""
    return section(
        "cost",
        "Cost and speed",
        [sentences(findings(view, cost)), gallery([cost_drawing(cost)]), split(cost)],
    )


def findings(view: RunView, cost: Cost) -> Iterator[str]:
    """Yield what the run cost, saved and reached."""
    yield (
        f"{cost.n_steps:,} steps of {cost.n_atoms:,} atoms took {duration(cost.wall)}: "
        f"{cost.atom_steps:,.0f} atom-steps a second with everything."
    )
    if np.isfinite(cost.predicted_atom_steps) and cost.reference > 0.0:
        yield (
            f"Without labels and fits it was {cost.predicted_atom_steps:,.0f} "
            "atom-steps a second."
        )
    if np.isfinite(cost.reference_alone):
        saved = max(0, cost.n_steps - account_of(view).n_calls)
        yield (
            f"{saved:,} calls were saved. By the reference alone, at the measured "
            f"median of {duration(cost.seconds_per_call)} a call, the steps would have "
            "taken "
            f"{duration(cost.reference_alone)}, {cost.speed_up:.3g} times as long as "
            "this run."
        )
    if cost.why:
        yield f"The time of predictions cannot be told: {cost.why}."


def split(cost: Cost) -> str:
    """Return the table of what a step took."""
    lines = [
        ("labels by the reference", cost.reference),
        ("fits", cost.fits),
        ("predictions, motion, files", cost.rest),
    ]
    rows = [
        (
            duration(seconds),
            duration(seconds / cost.n_steps),
            f"{percent(seconds / cost.wall)}",
            name,
        )
        for name, seconds in [*lines, ("all", cost.wall)]
        if seconds > 0.0  # NaN is not
    ]
    return table(
        "Wall time",
        ("in all", "a step", "share", ""),
        rows,
        note="Up to the last checkpoint, over all processes of the run.",
    )
