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
    sparse,
)
from otf.units import GPA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import FloatArray
    from otf.report.comparison import Comparison
    from otf.report.figure import Axes

FEW_AUDITS = 3  # below that a curve of audits says nothing


def parity_plot(frames: Sequence[Comparison]) -> Plot | None:
    """Draw predicted against reference energies, forces and stresses."""
    if not frames:
        return None
    energies = [np.array([c.label_energy for c in frames])]
    energies.append(np.array([c.energy for c in frames]))
    middle = energies[0].mean()
    quantities = [
        ("energy (meV/atom)", *(1000.0 * (e - middle) for e in energies)),
        ("force (eV/Å)", joined(frames, "label_forces"), joined(frames, "forces")),
        (
            "stress (GPa)",
            joined(frames, "label_stress") / GPA,
            joined(frames, "stress") / GPA,
        ),
    ]
    shown = [q for q in quantities if np.isfinite(q[1] - q[2]).any()]
    with canvas("parity", columns=len(shown), size=(3.15 * len(shown), 3.25)) as c:
        for axes, (label, true, predicted) in zip(c.axes, shown, strict=True):
            draw_parity(axes, label, true, predicted)
    caption = (
        "Every labelled frame, predicted before the model had learned it; energies are "
        "relative to their mean. Points on the diagonal are right. These frames were "
        "mostly chosen because the model was unsure, so typical errors of the run are "
        "smaller than these."
    )
    return Plot("parity", "Predictions against the reference", caption, c.svg)


def joined(frames: Sequence[Comparison], name: str) -> FloatArray:
    """Return one attribute of all frames as a flat array."""
    return np.concatenate([np.ravel(getattr(frame, name)) for frame in frames])


def draw_parity(
    axes: Axes, label: str, true: FloatArray, predicted: FloatArray
) -> None:
    """Draw one panel with its root mean square error."""
    known = np.isfinite(true) & np.isfinite(predicted)
    true, predicted = true[known], predicted[known]
    rmse = float(np.sqrt(np.mean((predicted - true) ** 2)))
    some = sparse(len(true))
    low = float(min(true.min(), predicted.min()))
    high = float(max(true.max(), predicted.max()))
    margin = 0.05 * (high - low) or 1.0
    ends = (low - margin, high + margin)
    axes.plot(ends, ends, color=QUIET, linewidth=0.9)
    axes.scatter(
        true[some],
        predicted[some],
        s=7,
        color=REFERENCE,
        alpha=0.45,
        linewidths=0,
        rasterized=len(true) > 1500,
    )
    axes.set(xlim=ends, ylim=ends, xlabel=f"reference {label}", ylabel="predicted")
    axes.set_aspect("equal", adjustable="box")
    axes.locator_params(nbins=5)
    axes.set_title(f"RMSE {rmse:.3g}")


def calibration_plot(frames: Sequence[Comparison]) -> Plot | None:
    """Draw the calibration curve, and predicted against true largest errors."""
    expected = np.linspace(0.01, 0.99, 99)
    observed, n_atoms = calibration_curve(frames, expected)
    if not n_atoms:
        return None
    audits = [c for c in frames if c.audit]
    with canvas("calibration", columns=2, size=(9.2, 3.7)) as c:
        left, right = c.axes
        percent = 100.0 * expected
        left.plot([0, 100], [0, 100], color=QUIET, linewidth=0.9)
        left.plot(percent, 100.0 * observed, color=REFERENCE, label="labelled frames")
        if len(audits) >= FEW_AUDITS:
            seen, _ = calibration_curve(audits, expected)
            left.plot(percent, 100.0 * seen, color=AUDIT, label="audits only")
        left.axvline(100.0 * COVERED, color=THRESHOLD, linewidth=0.9, linestyle="--")
        left.set(xlim=(0, 100), ylim=(0, 100), xlabel="expected share of errors (%)")
        left.set_ylabel("observed share (%)")
        left.legend(loc="upper left")
        draw_largest(right, frames)
    caption = (
        "Left: how many of the true force errors lie within the error bar, against how "
        "many should. Above the diagonal the bars are too wide (calls are wasted), "
        "below it too narrow (errors slip through). Audits are the fair sample: they "
        "were not chosen for being uncertain. Right: the largest true error of every "
        "frame against the predicted e; points above the diagonal were underestimated."
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
    if values:
        pool = np.concatenate(values)
        ends = (0.7 * pool.min(), 1.4 * pool.max())
        axes.plot(ends, ends, color=QUIET, linewidth=0.9)
        axes.set(xlim=ends, ylim=ends)
        axes.legend(loc="upper left")
