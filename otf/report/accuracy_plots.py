"""Figures of the accuracy: parity of unseen frames, and whether e can be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.report.comparison import COVERED, calibration_curve
from otf.report.figure import (
    AUDIT,
    QUIET,
    REFERENCE,
    THRESHOLD,
    Plot,
    canvas,
    plain_log,
    sparse,
)
from otf.units import GPA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import FloatArray
    from otf.report.comparison import Comparison
    from otf.report.figure import Axes

FEW_AUDITS = 3  # below that a curve of audits says nothing
FEW_POINTS, MANY_POINTS = 300, 1500  # drawn larger; drawn as pixels


def parity_plot(frames: Sequence[Comparison]) -> Plot | None:
    """Draw predicted against reference energies, forces and stresses."""
    if not frames:
        return None
    middle = float(np.mean([c.label_energy for c in frames]))
    quantities = (
        ("energy", "meV/atom", 1e3, middle),
        ("forces", "eV/Å", 1.0, 0.0),
        ("stress", "GPa", 1.0 / GPA, 0.0),
    )
    groups = [[c for c in frames if c.audit is audit] for audit in (False, True)]
    panels = []
    for name, unit, scale, zero in quantities:
        values = [
            (
                scale * (joined(group, f"label_{name}") - zero),
                scale * (joined(group, name) - zero),
            )
            for group in groups
        ]
        if any(np.isfinite(true - predicted).any() for true, predicted in values):
            panels.append((name, unit, values))
    n = len(panels)
    with canvas("parity", columns=n, size=(3.23 * n, 3.35)) as c:
        for axes, (name, unit, values) in zip(c.axes, panels, strict=True):
            draw_parity(axes, name, unit, values, (REFERENCE, AUDIT))
    caption = (
        "Every labelled frame, predicted before the model had learned it; energies are "
        "relative to their mean. Points on the diagonal are right. Orange frames were "
        "labelled because the model was unsure, so they are worse than the run; purple "
        "ones are audits, which are a fair sample of it."
    )
    return Plot("parity", "Predictions against the reference", caption, c.svg)


def joined(frames: Sequence[object], name: str) -> FloatArray:
    """Return one attribute of all frames as a flat array."""
    parts = [np.ravel(getattr(frame, name)) for frame in frames]
    return np.concatenate([np.empty(0), *parts])


def draw_parity(
    axes: Axes,
    name: str,
    unit: str,
    groups: Sequence[tuple[FloatArray, FloatArray]],
    colors: Sequence[str],
) -> None:
    """Draw one panel of groups, true then predicted, with the error of all together."""
    errors, low, high = [], np.inf, -np.inf
    for (true, predicted), color in zip(groups, colors, strict=True):
        known = np.isfinite(true) & np.isfinite(predicted)
        if not known.any():
            continue
        x, y = true[known], predicted[known]
        errors.append(y - x)
        low = min(low, float(x.min()), float(y.min()))
        high = max(high, float(x.max()), float(y.max()))
        some = sparse(len(x))
        axes.scatter(
            x[some],
            y[some],
            s=16 if len(x) < FEW_POINTS else 7,
            color=color,
            alpha=0.45,
            linewidths=0,
            rasterized=len(x) > MANY_POINTS,
        )
    margin = 0.05 * (high - low) or 1.0
    ends = (low - margin, high + margin)
    axes.plot(ends, ends, color=QUIET, linewidth=0.9, zorder=0)
    axes.set(xlim=ends, ylim=ends)
    axes.set_xlabel(f"reference {name} ({unit})")
    axes.set_ylabel(f"predicted ({unit})")
    axes.set_aspect("equal", adjustable="box")
    axes.locator_params(nbins=5)
    rmse = float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))
    axes.set_title(f"RMSE {rmse:.3g} {unit}")


def calibration_plot(frames: Sequence[Comparison]) -> Plot | None:
    """Draw the calibration curve, and predicted against true largest errors."""
    expected = np.linspace(0.01, 0.99, 99)
    observed, n_atoms = calibration_curve(frames, expected)
    if not n_atoms:
        return None
    audits = [c for c in frames if c.audit]
    with canvas("calibration", columns=2, size=(9.7, 3.7)) as c:
        left, right = c.axes
        percent = 100.0 * expected
        left.plot([0, 100], [0, 100], color=QUIET, linewidth=0.9)
        if len(audits) < len(frames):
            left.plot(percent, 100.0 * observed, color=REFERENCE, label="all labels")
        if len(audits) >= FEW_AUDITS or len(audits) == len(frames):
            seen, _ = calibration_curve(audits, expected)
            left.plot(percent, 100.0 * seen, color=AUDIT, label="audits")
        left.set_aspect("equal", adjustable="box")
        left.axvline(100.0 * COVERED, color=THRESHOLD, linewidth=0.9, linestyle="--")
        left.set(xlim=(0, 100), ylim=(0, 100), xlabel="expected share of errors (%)")
        left.set_ylabel("observed share (%)")
        left.legend(loc="upper left")
        draw_largest(right, frames)
    caption = (
        "Left: how many of the true force errors lie within the error bar, against how "
        "many should. Above the diagonal the bars are too wide (calls are wasted), "
        "below it too narrow (errors slip through). Audits are the fair sample: they "
        "were not chosen as uncertain. Right: the largest true error of every "
        "frame against the predicted e. One atom in twenty may be above its error bar, "
        "so points somewhat above the diagonal are normal; far above, they are not."
    )
    return Plot("calibration", "Can the error bars be believed?", caption, c.svg)


def draw_largest(axes: Axes, frames: Sequence[Comparison]) -> None:
    """Draw the largest true error of every frame against its e."""
    groups = ((False, REFERENCE, "v", "reference call"), (True, AUDIT, "D", "audit"))
    values = []
    for audit, color, marker, label in groups:
        chosen = [c for c in frames if c.audit is audit]
        e = np.array([c.deviations.max() for c in chosen])
        error = np.array([c.force_errors.max() for c in chosen])
        positive = (e > 0) & (error > 0)
        if positive.any():
            axes.scatter(
                e[positive],
                error[positive],
                s=16,
                color=color,
                marker=marker,
                alpha=0.8,
                linewidths=0,
                label=label,
            )
            values += [e[positive], error[positive]]
    axes.set(xscale="log", yscale="log", xlabel="predicted e (eV/Å)")
    axes.set_ylabel("largest true error (eV/Å)")
    axes.set_aspect("equal", adjustable="box")
    plain_log(axes.xaxis)
    plain_log(axes.yaxis)
    if values:
        pool = np.concatenate(values)
        ends = (0.7 * pool.min(), 1.4 * pool.max())
        axes.plot(ends, ends, color=QUIET, linewidth=0.9)
        axes.set(xlim=ends, ylim=ends)
        axes.legend(loc="upper left")
