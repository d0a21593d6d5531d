"""Figures of the learning: uncertainty against its threshold, calls, references."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.report.figure import (
    AUDIT,
    MODEL,
    QUIET,
    REFERENCE,
    THRESHOLD,
    Plot,
    canvas,
    plain_log,
    thinned,
)
from otf.report.motion_plots import mark_stages, ps_of, time_ps

if TYPE_CHECKING:
    from otf.report.figure import Axes
    from otf.store.run_reader import RunView


def uncertainty_plot(view: RunView) -> Plot | None:
    """Draw the predicted error and the spilling over time, with calls and audits."""
    table, time = view.thermo, time_ps(view)
    e, s = table["e_eV_per_A"], table["max_spilling"]
    if not (np.isfinite(e) & (e > 0)).any():
        return None
    with canvas(
        "uncertainty", rows=2, size=(9.7, 5.0), share_x=True, heights=(2.2, 1.0)
    ) as c:
        top, bottom = c.axes
        top.set_yscale("log")
        bottom.set_yscale("log")
        known = e > 0  # not every step asks for the exact deviation
        top.plot(
            *thinned(time[known], e[known]),
            color=MODEL,
            linewidth=0.8,
            label="e, predicted",
        )
        top.plot(
            *thinned(time, table["threshold_eV_per_A"]),
            color=THRESHOLD,
            label="t, tolerated",
        )
        # A perfect crystal has no error at all, and would fill the axis.
        lowest = 1e-3 * float(np.nanmin(table["threshold_eV_per_A"]))
        top.set_ylim(bottom=max(top.get_ylim()[0], lowest))
        plain_log(top.yaxis)
        mark_calls(top, view)
        top.set_ylabel("largest force error (eV/Å)")
        top.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        spilled = s > 0
        bottom.plot(*thinned(time[spilled], s[spilled]), color=QUIET, linewidth=0.8)
        bottom.set_ylabel("largest\nspilling")
        bottom.set_xlabel("time (ps)")
        top.margins(x=0.01)
        mark_stages(top, view, view.stages)
        c.figure.align_ylabels(c.axes)
    caption = (
        "95 % of the true errors should lie below e. Where e crosses the red line the "
        "reference is called (orange) and the model learns. A run that has learned "
        "shows e below t with few orange marks at the right end. Spilling is the share "
        "of an atom's surroundings that no stored environment explains: a sudden rise "
        "means something new."
    )
    return Plot("uncertainty", "Uncertainty and calls", caption, c.svg)


def mark_calls(axes: Axes, view: RunView) -> None:
    """Mark labelled steps at their predicted error; audits apart."""
    marks = (
        ("reference call", REFERENCE, "v", 16, False),
        ("audit", AUDIT, "D", 18, True),
    )
    for label, color, marker, size, audit in marks:
        chosen = [
            d
            for d in view.decisions
            if d.labelled and (d.reason == "audit") is audit and d.error > 0
        ]
        if chosen:
            axes.scatter(
                ps_of(view, [d.step for d in chosen]),
                [d.error for d in chosen],
                s=size,
                color=color,
                marker=marker,
                linewidths=0,
                zorder=3,
                label=label,
                rasterized=len(chosen) > 1500,
            )


def growth_plot(view: RunView) -> Plot | None:
    """Draw the sum of calls and the size of the model over time."""
    kinds = (("calls", REFERENCE, False), ("audits", AUDIT, True))
    labelled = [d for d in view.decisions if d.labelled]
    if not labelled:
        return None
    with canvas("growth", columns=2, size=(9.7, 2.9)) as c:
        left, right = c.axes
        end = float(ps_of(view, [max(view.step, *(d.step for d in labelled))])[0])
        for label, color, audit in kinds:
            steps = [d.step for d in labelled if (d.reason == "audit") is audit]
            if steps:
                x = np.append(ps_of(view, sorted(steps)), end)
                y = np.append(np.arange(1, len(steps) + 1), len(steps))
                left.step(x, y, where="post", color=color, linewidth=1.6, label=label)
        # Below the names of the stages, which stand along the upper edge.
        left.legend(loc="upper left", bbox_to_anchor=(0.0, 0.93))
        left.set_ylabel("reference calls so far")
        left.set_xlabel("time (ps)")
        left.set_ylim(bottom=0)
        mark_stages(left, view, view.stages)
        if view.retrains:
            x = ps_of(view, [r.step for r in view.retrains])
            n = [r.n_references for r in view.retrains]
            right.step(
                np.append(x, end), [*n, n[-1]], where="post", color=MODEL, linewidth=1.6
            )
        right.set_ylabel("local reference environments")
        right.set_xlabel("time (ps)")
        right.set_ylim(bottom=0)
    caption = (
        "Calls and environments should rise steeply at first and then flatten. Curves "
        "that keep rising mean that the run still visits new structures, or that the "
        "tolerated error is too small for this model. Audits are made on purpose, at "
        "even intervals. Predictions become slower as the environments grow in number."
    )
    return Plot("growth", "Growth of the model", caption, c.svg)
