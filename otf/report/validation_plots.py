"""Figures of a validation: parity, error bars, intervals, and the learning curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import erf

from otf.analysis.errors import NAMES, SCALES
from otf.analysis.held_out import KINDS, joined_scores
from otf.report.accuracy_plots import draw_parity, joined
from otf.report.figure import (
    MODEL,
    QUIET,
    REFERENCE,
    SERIES,
    THRESHOLD,
    Plot,
    canvas,
    plain_log,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from otf.analysis.bootstrap import ResampledErrors
    from otf.analysis.held_out import HeldOut
    from otf.analysis.learning_curve import CurvePoint, PowerLaw
    from otf.analysis.validation import HeldOutStudy, LearningCurve
    from otf.report.figure import Axes

UNITS: Final = {"energy": "meV/atom", "forces": "eV/Å", "stress": "GPa"}
COLORS: Final = dict(zip(KINDS, (MODEL, REFERENCE, SERIES[2]), strict=True))
RMSES: Final = {kind: NAMES[kind].format("rmse") for kind in KINDS}
BINS = 40
LARGEST_SCORE = 4.0


def study_plots(study: HeldOutStudy) -> Iterator[Plot]:
    """Yield the figures of held-out structures that can be drawn."""
    yield held_out_parity(study.held)
    if any(len(joined_scores(study.held, kind)) for kind in KINDS):
        yield reliability_plot(study.held)
    if study.resampled:
        yield interval_plot(study)


def held_out_parity(held: Sequence[HeldOut]) -> Plot:
    """Draw predictions of unseen structures over their labels."""
    energies = joined(held, "label_energy")
    middle = float(np.nanmean(energies)) if np.isfinite(energies).any() else 0.0
    panels = []
    for kind in KINDS:
        unit, scale = UNITS[kind], SCALES[kind]
        zero = middle if kind == "energy" else 0.0
        true = scale * (joined(held, f"label_{kind}") - zero)
        predicted = scale * (joined(held, kind) - zero)
        if np.isfinite(true - predicted).any():
            panels.append((kind, unit, true, predicted))
    with canvas("parity", columns=len(panels), size=(3.23 * len(panels), 3.35)) as c:
        for axes, (kind, unit, true, predicted) in zip(c.axes, panels, strict=True):
            draw_parity(axes, kind, unit, [(true, predicted)], [COLORS[kind]])
    caption = (
        "Every structure, predicted by a model that was not fitted to it; energies are "
        "relative to their mean. Points on the diagonal are right."
    )
    return Plot("parity", "Predictions of unseen structures", caption, c.svg)


def reliability_plot(held: Sequence[HeldOut]) -> Plot:
    """Draw observed against expected shares within deviations, and the scores."""
    bounds = np.linspace(0.0, LARGEST_SCORE, 201)
    expected = 100.0 * erf(bounds / np.sqrt(2.0))
    with canvas("reliability", columns=2, size=(9.7, 3.7)) as c:
        left, right = c.axes
        left.plot([0, 100], [0, 100], color=QUIET, linewidth=0.9)
        edges = np.linspace(-LARGEST_SCORE, LARGEST_SCORE, BINS + 1)
        middles = 0.5 * (edges[1:] + edges[:-1])
        right.plot(middles, _normal(middles), color=QUIET, linewidth=0.9)
        for kind in KINDS:
            scores = joined_scores(held, kind)
            if not len(scores):
                continue
            sizes = np.sort(np.abs(scores))
            observed = np.searchsorted(sizes, bounds, side="right") / len(sizes)
            left.plot(expected, 100.0 * observed, color=COLORS[kind], label=kind)
            counts, _ = np.histogram(scores, edges)
            density = counts / len(scores) / (edges[1] - edges[0])
            right.step(middles, density, where="mid", color=COLORS[kind], label=kind)
        left.set_aspect("equal", adjustable="box")
        left.set(xlim=(0, 100), ylim=(0, 100), xlabel="expected share of errors (%)")
        left.set_ylabel("observed share (%)")
        left.legend(loc="upper left")
        right.set(xlabel="error / predicted deviation", ylabel="probability density")
        right.set(xlim=(-LARGEST_SCORE, LARGEST_SCORE))
        right.legend(loc="upper right")
    caption = (
        "Left: how many errors lie within a multiple of the predicted deviation, "
        "against how many would of normal errors. Above the diagonal deviations are "
        "too large, below it too small. Right: errors in units of their deviations; "
        "the grey line is the normal density. A narrow peak with long tails says that "
        "the deviations are right on average only: quiet structures are known better, "
        "others worse."
    )
    title = "Can the predicted deviations be believed?"
    return Plot("reliability", title, caption, c.svg)


def interval_plot(study: HeldOutStudy) -> Plot:
    """Draw the errors of the structures drawn again, with their intervals."""
    kinds = [kind for kind in KINDS if kind in study.resampled]
    with canvas("intervals", columns=len(kinds), size=(3.23 * len(kinds), 3.0)) as c:
        for axes, kind in zip(c.axes, kinds, strict=True):
            draw_interval(axes, kind, study.resampled[kind])
    caption = (
        "The RMSE over structures drawn again with replacement, as often as there are "
        "any. 95 % of the draws lie between the dashed lines: another data set of the "
        "same kind and size would give an RMSE like these. The fits are not repeated."
    )
    return Plot("intervals", "How sure are the errors?", caption, c.svg)


def draw_interval(axes: Axes, kind: str, found: ResampledErrors) -> None:
    """Draw how often an RMSE was found, and the ends of its interval."""
    unit, scale = UNITS[kind], SCALES[kind]
    values = scale * found.rmse[np.isfinite(found.rmse)]
    axes.hist(values, bins=BINS, color=COLORS[kind], alpha=0.8)
    for end in found.rmse_interval:
        axes.axvline(scale * end, color=THRESHOLD, linewidth=0.9, linestyle="--")
    axes.set(xlabel=f"RMSE of {kind} ({unit})", ylabel="draws")
    axes.locator_params(nbins=5)


def curve_plot(curve: LearningCurve) -> Plot:
    """Draw RMSE over the number of structures, with the power laws."""
    kinds = [k for k in KINDS if any(p.rmse(RMSES[k]) for p in curve.points)]
    with canvas("curve", columns=len(kinds), size=(3.23 * len(kinds), 3.35)) as c:
        for axes, kind in zip(c.axes, kinds, strict=True):
            draw_curve(axes, kind, curve.points, curve.laws.get(RMSES[kind]))
    caption = (
        f"RMSE on {curve.n_held_out} structures that were never fitted, after fits "
        "to growing parts of the others. Bars are the scatter over random orders. The "
        "line is a power law fitted to all points: where they flatten at the end, more "
        "data of this kind will not help, and a finer model may."
    )
    return Plot("curve", "What more structures are worth", caption, c.svg)


def draw_curve(
    axes: Axes, kind: str, points: Sequence[CurvePoint], law: PowerLaw | None
) -> None:
    """Draw the RMSE of one kind."""
    known = [(p.n_frames, found) for p in points if (found := p.rmse(RMSES[kind]))]
    sizes = np.array([n for n, _ in known], dtype=np.float64)
    means = np.array([mean for _, (mean, _) in known])
    spreads = np.array([spread for _, (_, spread) in known])
    axes.errorbar(
        sizes, means, spreads, fmt="o", markersize=4, color=COLORS[kind], capsize=2
    )
    if law is not None:
        n = np.geomspace(sizes[0], sizes[-1], 50)
        axes.plot(n, law.at(n), color=QUIET, linewidth=0.9, zorder=0)
        axes.set_title(f"n^{-law.exponent:.2f} (± {law.deviation:.2f})")
    axes.set(xscale="log", yscale="log", xlabel="structures fitted")
    axes.set_ylabel(f"RMSE of {kind} ({UNITS[kind]})")
    plain_log(axes.xaxis)
    plain_log(axes.yaxis)


def _normal(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-0.5 * x**2) / np.sqrt(2.0 * np.pi))
