"""Figures of the motion: temperature, energy, pressure, cell over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.report.figure import MODEL, REFERENCE, drawing, thinned
from otf.report.parts import shade, time_ps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import FloatArray
    from otf.report.figure import Axes, Drawing
    from otf.report.parts import Part
    from otf.store.run_reader import RunView


def running_mean(y: FloatArray) -> tuple[FloatArray, int]:
    """Return the mean over a window of a fiftieth of the series, and its width."""
    window = len(y) // 50
    if window < 3:
        return y, 1
    total = np.cumsum(np.concatenate([[0.0], y]))
    return (total[window:] - total[:-window]) / window, window


def motion_drawings(
    view: RunView, n_atoms: int, parts: Sequence[Part]
) -> list[Drawing]:
    """Draw temperature, potential energy, drift, pressure and volume over time."""
    table, time = view.thermo, time_ps(view)
    if len(time) < 2:
        return []
    drift = 1000.0 * (table["conserved_eV"] - table["conserved_eV"][0]) / n_atoms
    volume = table["volume_A3"] / n_atoms
    panels = [
        ("temperature", "Temperature", "K", table["temperature_K"], MODEL),
        (
            "energy",
            "Potential energy",
            "eV/atom",
            table["potential_eV"] / n_atoms,
            MODEL,
        ),
        ("pressure", "Pressure", "GPa", table["pressure_GPa"], MODEL),
        ("volume", "Volume", "Å³/atom", volume, MODEL),
        ("drift", "Conserved quantity, change", "meV/atom", drift, REFERENCE),
    ]
    return [
        _trace(view, parts, name, title, unit, y, color)
        for name, title, unit, y, color in panels
        if np.isfinite(y).any() and (name != "volume" or varies(y))
    ]


def varies(series: FloatArray) -> bool:
    """Return whether a series (T,) changes by more than rounding."""
    known = series[np.isfinite(series)]
    return bool(len(known) and np.ptp(known) > 1e-9 * np.abs(known).max())


def _trace(
    view: RunView,
    parts: Sequence[Part],
    name: str,
    title: str,
    unit: str,
    y: FloatArray,
    color: str,
) -> Drawing:
    time = time_ps(view)
    mean, window = running_mean(y)

    def draw(axes: Axes) -> None:
        faint = 0.45 if window > 1 else 1.0
        axes.plot(*thinned(time, y), color=color, alpha=faint, linewidth=0.8)
        if window > 1:
            half = (window - 1) // 2
            middle = time[half : half + len(mean)]
            axes.plot(*thinned(middle, mean), color=color, linewidth=1.8)
        axes.set_ylabel(unit)
        axes.set_xlabel("time (ps)")
        axes.margins(x=0.01)
        shade(axes, view, parts)

    known = mean[np.isfinite(mean)]
    alt = (
        f"{title} over time: {known[0]:.4g} {unit} at the beginning, "
        f"{known[-1]:.4g} at the end, between {known.min():.4g} and {known.max():.4g}."
    )
    return drawing(name, title, alt, draw)
