"""Figures of the accuracy: parity of unseen frames, and whether e can be believed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from otf.report.comparison import (
    COVERED,
    NORMAL,
    binned_errors,
    calibration_curve,
    shares_within,
)
from otf.report.elements import percent
from otf.report.figure import (
    AUDIT,
    MODEL,
    QUIET,
    REFERENCE,
    THRESHOLD,
    drawing,
    plain_log,
    sparse,
)
from otf.report.parts import ps_of, shade
from otf.units import GPA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import FloatArray
    from otf.report.comparison import Comparison
    from otf.report.figure import Axes, Drawing
    from otf.report.parts import Part
    from otf.store.run_reader import RunView

FEW_AUDITS = 3  # below that a curve of audits says nothing
FEW_POINTS, MANY_POINTS = 300, 800  # drawn larger; drawn as pixels
QUANTITIES = (
    ("energy", "meV/atom", 1e3),
    ("forces", "eV/Å", 1.0),
    ("stress", "GPa", 1.0 / GPA),
)


def parity_drawings(frames: Sequence[Comparison]) -> list[Drawing]:
    """Draw predicted against reference energies, forces and stresses."""
    groups = [[c for c in frames if c.audit is audit] for audit in (False, True)]
    drawings = []
    for name, unit, scale in QUANTITIES:
        zero = 0.0
        if name == "energy" and frames:
            zero = float(np.mean([c.label_energy for c in frames]))
        values = [
            (
                scale * (joined(group, f"label_{name}") - zero),
                scale * (joined(group, name) - zero),
            )
            for group in groups
        ]
        errors = np.concatenate([predicted - true for true, predicted in values])
        errors = errors[np.isfinite(errors)]
        if not len(errors):
            continue
        draw = partial(
            draw_parity, name=name, unit=unit, groups=values, colors=(REFERENCE, AUDIT)
        )
        rmse = float(np.sqrt(np.mean(errors**2)))
        alt = (
            f"Predicted over reference {name} of {len(frames)} labelled frames, near "
            f"the diagonal; root mean square error {rmse:.3g} {unit}."
        )
        title = name.capitalize()
        drawings.append(drawing(f"parity-{name}", title, alt, draw, height=3.5))
    return drawings


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


def reliability_drawing(frames: Sequence[Comparison]) -> Drawing | None:
    """Draw the observed over the expected share of errors inside their bars."""
    expected = np.linspace(0.01, 0.99, 99)
    observed, n_components = calibration_curve(frames, expected)
    if not n_components:
        return None
    audits = [c for c in frames if c.audit]

    def draw(axes: Axes) -> None:
        x = 100.0 * expected
        axes.plot([0, 100], [0, 100], color=QUIET, linewidth=0.9)
        if len(audits) < len(frames):
            axes.plot(x, 100.0 * observed, color=REFERENCE, label="all labels")
        if len(audits) >= FEW_AUDITS or len(audits) == len(frames):
            seen, _ = calibration_curve(audits, expected)
            axes.plot(x, 100.0 * seen, color=AUDIT, label="audits")
        axes.set_aspect("equal", adjustable="box")
        axes.axvline(100.0 * COVERED, color=THRESHOLD, linewidth=0.9, linestyle="--")
        axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="expected share of errors (%)")
        axes.set_ylabel("observed share (%)")
        axes.legend(loc="upper left")

    one, two = shares_within(frames)
    alt = (
        "Observed over expected share of force errors inside their error bars: "
        f"{percent(one.value)} within one sigma, where {percent(NORMAL[0])} are "
        f"expected, and {percent(two.value)} within two, where {percent(NORMAL[1])} "
        "are."
    )
    return drawing("reliability", "Share inside the bars", alt, draw, height=3.5)


def binned_drawing(frames: Sequence[Comparison]) -> Drawing | None:
    """Draw true errors over predicted ones, in bins of equal counts."""
    sigma, rmse, error = binned_errors(frames)
    if not len(sigma):
        return None

    def draw(axes: Axes) -> None:
        pool = np.concatenate([sigma, rmse[rmse > 0]])
        ends = (0.7 * pool.min(), 1.4 * pool.max())
        axes.plot(ends, ends, color=QUIET, linewidth=0.9, zorder=0)
        axes.errorbar(
            sigma, rmse, yerr=np.minimum(error, 0.99 * rmse), fmt="o", color=MODEL
        )
        axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
        axes.set_xlabel("predicted σ (eV/Å)")
        axes.set_ylabel("true RMSE (eV/Å)")
        axes.set_aspect("equal", adjustable="box")
        plain_log(axes.xaxis)
        plain_log(axes.yaxis)

    ratio = rmse / sigma
    alt = (
        "True force error over predicted sigma in bins of equal counts: true over "
        f"predicted is between {ratio.min():.2f} and {ratio.max():.2f}."
    )
    return drawing("binned", "Large where predicted large?", alt, draw, height=3.5)


def trend_drawing(
    view: RunView, frames: Sequence[Comparison], parts: Sequence[Part]
) -> Drawing | None:
    """Draw the force error of every labelled frame over time."""
    known = [c for c in frames if c.force_rmse > 0.0]
    if len(known) < 2 or not len(view.thermo["step"]):
        return None

    def draw(axes: Axes) -> None:
        for audit, color, marker, label in (
            (False, REFERENCE, "v", "called"),
            (True, AUDIT, "D", "audit"),
        ):
            chosen = [c for c in known if c.audit is audit]
            if chosen:
                axes.scatter(
                    ps_of(view, [c.step for c in chosen]),
                    [c.force_rmse for c in chosen],
                    s=16,
                    color=color,
                    marker=marker,
                    linewidths=0,
                    label=label,
                    rasterized=len(chosen) > MANY_POINTS,
                )
        axes.set(yscale="log", xlabel="time (ps)", ylabel="force RMSE (eV/Å)")
        plain_log(axes.yaxis)
        axes.legend(loc="upper right", ncols=2)
        shade(axes, view, parts)

    first, last = trend_of(known)
    alt = (
        f"Force error of {len(known)} labelled frames over time: the median is "
        f"{first:.3g} eV/Å in the first half of the labels, {last:.3g} in the second."
    )
    return drawing("trend", "Force error at the labels", alt, draw)


def trend_of(frames: Sequence[Comparison]) -> tuple[float, float]:
    """Return the median force RMSE of the first and of the second half, eV/angstrom."""
    half = len(frames) // 2
    first, second = frames[:half], frames[half:]
    return (
        float(np.median([c.force_rmse for c in first])),
        float(np.median([c.force_rmse for c in second])),
    )
