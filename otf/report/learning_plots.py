"""Figures of the learning: uncertainty against its threshold, calls, references."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.report.elements import percent
from otf.report.figure import (
    AUDIT,
    MODEL,
    QUIET,
    REFERENCE,
    THRESHOLD,
    drawing,
    plain_log,
    thinned,
)
from otf.report.parts import ps_of, shade, time_ps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import FloatArray
    from otf.report.figure import Axes, Drawing
    from otf.report.parts import Part
    from otf.store.run_reader import RunView

WINDOWS = 20  # of the run, for the share of steps without the reference
MANY_MARKS = 800  # drawn as pixels


def uncertainty_drawing(view: RunView, parts: Sequence[Part]) -> Drawing | None:
    """Draw the predicted error over time, with calls and audits."""
    table, time = view.thermo, time_ps(view)
    e, threshold = table["e_eV_per_A"], table["threshold_eV_per_A"]
    known = np.isfinite(e) & (e > 0)  # not every step asks for the exact deviation
    if not known.any():
        return None

    def draw(axes: Axes) -> None:
        axes.set_yscale("log")
        axes.plot(
            *thinned(time[known], e[known]),
            color=MODEL,
            linewidth=0.8,
            label="e, predicted",
        )
        axes.plot(
            *thinned(time, threshold), color=THRESHOLD, linewidth=1.3, label="tolerated"
        )
        # A perfect crystal has no error at all, and would fill the axis.
        if np.isfinite(threshold).any():
            lowest = 1e-3 * float(np.nanmin(threshold))
            axes.set_ylim(bottom=max(axes.get_ylim()[0], lowest))
        plain_log(axes.yaxis)
        mark_calls(axes, view)
        axes.set_ylabel("largest force error (eV/Å)")
        axes.set_xlabel("time (ps)")
        axes.margins(x=0.01)
        shade(axes, view, parts)
        axes.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.45, 1.06))

    above = float((e[known] > threshold[known]).mean())
    alt = (
        "Largest predicted force error over time beside what is tolerated: above it in "
        f"{percent(above)} of the steps in the table; at the end {e[known][-1]:.3g} "
        f"against {threshold[-1]:.3g} eV/Å."
    )
    title = "Predicted error and calls"
    return drawing("uncertainty", title, alt, draw, height=3.4, wide=True)


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
                rasterized=len(chosen) > MANY_MARKS,
            )


def calls_drawing(view: RunView, parts: Sequence[Part]) -> Drawing | None:
    """Draw the sums of calls and audits over time."""
    labelled = [d for d in view.decisions if d.labelled]
    if not labelled or not len(view.thermo["step"]):
        return None
    end = max(view.step, *(d.step for d in labelled))

    def draw(axes: Axes) -> None:
        for label, color, audit in (
            ("calls", REFERENCE, False),
            ("audits", AUDIT, True),
        ):
            steps = [d.step for d in labelled if (d.reason == "audit") is audit]
            if steps:
                x = ps_of(view, [*sorted(steps), end])
                y = [*range(1, len(steps) + 1), len(steps)]
                axes.step(x, y, where="post", color=color, linewidth=1.6, label=label)
        axes.legend(loc="upper left")
        axes.set_ylabel("so far")
        axes.set_xlabel("time (ps)")
        axes.set_ylim(bottom=0)
        shade(axes, view, parts)

    n_late = sum(d.step > 0.8 * end and d.reason != "audit" for d in labelled)
    alt = (
        f"Sum of reference calls over time: {len(labelled)} in all, {n_late} of them, "
        "audits not counted, in the last fifth of the steps."
    )
    return drawing("calls", "Calls of the reference", alt, draw)


def bypass_drawing(view: RunView, parts: Sequence[Part]) -> Drawing | None:
    """Draw the share of steps without the reference, in windows of the run."""
    edges, shares = bypassed_in_windows(view, audits=False)
    _, with_audits = bypassed_in_windows(view, audits=True)
    if not len(shares):
        return None

    def draw(axes: Axes) -> None:
        x = ps_of(view, edges)
        for values, color, label in (
            (with_audits, AUDIT, "audits counted"),
            (shares, MODEL, "audits apart"),
        ):
            axes.stairs(
                100.0 * values,
                x,
                color=color,
                linewidth=1.5,
                baseline=None,
                label=label,
            )
        axes.set_ylim(top=100.5)
        axes.set_ylabel("of the steps (%)")
        axes.set_xlabel("time (ps)")
        axes.legend(loc="lower right")
        shade(axes, view, parts)

    alt = (
        f"Share of steps without the reference in {len(shares)} windows, audits apart: "
        f"{percent(shares[0])} in the first, {percent(shares[-1])} in the last."
    )
    return drawing("bypassed", "Steps without the reference", alt, draw)


def bypassed_in_windows(
    view: RunView, *, audits: bool
) -> tuple[FloatArray, FloatArray]:
    """Return the edges (w + 1,) of windows in steps, and the shares (w,) in them.

    Parameters
    ----------
    view
        The run.
    audits
        Whether steps that were labelled to judge the model count as calls, too.
    """
    labelled = [d for d in view.decisions if d.labelled]
    steps = np.unique([d.step for d in labelled if audits or d.reason != "audit"])
    n_steps = view.step
    if not labelled or not len(view.thermo["step"]) or n_steps < WINDOWS:
        return np.empty(0), np.empty(0)
    edges = np.linspace(0.5, n_steps + 0.5, WINDOWS + 1)
    counts, _ = np.histogram(steps, edges)
    return edges, np.asarray(1.0 - counts / (n_steps / WINDOWS))


def references_drawing(view: RunView, parts: Sequence[Part]) -> Drawing | None:
    """Draw the number of local references over time."""
    if not view.retrains or not len(view.thermo["step"]):
        return None
    n = [r.n_references for r in view.retrains]

    def draw(axes: Axes) -> None:
        end = max(view.step, view.retrains[-1].step)
        x = ps_of(view, [*(r.step for r in view.retrains), end])
        axes.step(x, [*n, n[-1]], where="post", color=MODEL, linewidth=1.6)
        axes.set_ylabel("environments")
        axes.set_xlabel("time (ps)")
        axes.set_ylim(bottom=0)
        shade(axes, view, parts)

    alt = f"Local reference environments over time, {n[0]:,} to {n[-1]:,}."
    return drawing("references", "Local references", alt, draw)


def spilling_drawing(
    view: RunView, parts: Sequence[Part], bound: float | None
) -> Drawing | None:
    """Draw the largest spilling over time with its bound."""
    time, spilling = time_ps(view), view.thermo["max_spilling"]
    known = spilling > 0  # NaN is not
    if not known.any():
        return None

    def draw(axes: Axes) -> None:
        axes.set_yscale("log")
        axes.plot(*thinned(time[known], spilling[known]), color=QUIET, linewidth=0.8)
        if bound is not None:
            axes.axhline(bound, color=THRESHOLD, linewidth=1.3)
        plain_log(axes.yaxis)
        axes.set_ylabel("largest of any atom")
        axes.set_xlabel("time (ps)")
        axes.margins(x=0.01)
        shade(axes, view, parts)

    alt = (
        f"Largest spilling of any atom over time, between {spilling[known].min():.1e} "
        f"and {spilling[known].max():.1e}"
        + ("." if bound is None else f"; {bound:.1e} is trusted.")
    )
    return drawing("spilling", "Spilling at the time", alt, draw)
