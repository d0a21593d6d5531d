"""Figures of the motion: temperature, energy, pressure over time, structure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

from otf.report.figure import MODEL, QUIET, REFERENCE, SERIES, Plot, canvas, thinned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import FloatArray
    from otf.report.figure import Axes
    from otf.report.rdf import Rdf
    from otf.store.entries import Stage
    from otf.store.run_reader import RunView


def time_ps(view: RunView) -> FloatArray:
    """Return the times of the table in picoseconds."""
    return view.thermo["time_fs"] / 1000.0


def ps_of(view: RunView, steps: Sequence[int]) -> FloatArray:
    """Return the time in picoseconds at which steps were made."""
    table = view.thermo
    if not len(table["step"]):
        return np.asarray(steps, dtype=np.float64)
    # The table may skip steps, and time need not be uniform over stages.
    known = np.interp(np.asarray(steps, np.float64), table["step"], table["time_fs"])
    return np.asarray(known, dtype=np.float64) / 1000.0


def mark_stages(axes: Axes, view: RunView, stages: Sequence[Stage]) -> None:
    """Draw a thin line and the name where a stage begins; a single one needs none."""
    if len(stages) < 2:
        return
    for stage, x in zip(stages, ps_of(view, [s.step for s in stages]), strict=True):
        axes.axvline(x, color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        axes.annotate(
            stage.name,
            (x, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, -2),
            textcoords="offset points",
            va="top",
            fontsize=8,
            color=QUIET,
        )


def running_mean(y: FloatArray) -> tuple[FloatArray, int]:
    """Return the mean over a window of a fiftieth of the series, and its width."""
    window = len(y) // 50
    if window < 3:
        return y, 1
    total = np.cumsum(np.concatenate([[0.0], y]))
    return (total[window:] - total[:-window]) / window, window


def motion_plot(view: RunView, n_atoms: int) -> Plot | None:
    """Draw temperature, potential energy, drift, pressure and volume over time."""
    table, time = view.thermo, time_ps(view)
    if len(time) < 2:
        return None
    drift = 1000.0 * (table["conserved_eV"] - table["conserved_eV"][0]) / n_atoms
    energy = table["potential_eV"] / n_atoms
    panels = [
        ("temperature (K)", table["temperature_K"], MODEL),
        ("potential energy\n(eV/atom)", energy, MODEL),
        ("change of the conserved\nquantity (meV/atom)", drift, REFERENCE),
    ]
    if np.isfinite(table["pressure_GPa"]).any():
        panels.append(("pressure (GPa)", table["pressure_GPa"], MODEL))
    volume = table["volume_A3"] / n_atoms
    if np.ptp(volume) > 0.0:  # also false where no volume is known
        panels.append(("volume (Å³/atom)", volume, MODEL))
    n = len(panels)
    with canvas("motion", rows=n, size=(9.7, 1.65 * n + 0.4), share_x=True) as c:
        for axes, (label, y, color) in zip(c.axes, panels, strict=True):
            mean, window = running_mean(y)
            faint = 0.45 if window > 1 else 1.0
            axes.plot(*thinned(time, y), color=color, alpha=faint, linewidth=0.8)
            if window > 1:
                half = (window - 1) // 2
                middle = time[half : half + len(mean)]
                axes.plot(*thinned(middle, mean), color=color, linewidth=1.8)
            axes.set_ylabel(label)
            axes.margins(x=0.01)
        mark_stages(c.axes[0], view, view.stages)
        c.axes[-1].set_xlabel("time (ps)")
        c.figure.align_ylabels(c.axes)
    means = "Thick lines are means over a fiftieth of the run. " if window > 1 else ""
    caption = (
        f"{means}The conserved quantity already has the work of every change of the "
        "model taken out, so it should stay flat; a steady slope means that the time "
        "step is too long or the thermostat too coarse, a jump that a change of the "
        "model was felt."
    )
    return Plot("motion", "Motion", caption, c.svg)


def rdf_plot(rdfs: Sequence[Rdf], n_frames: int, stage: str) -> Plot | None:
    """Draw g(r) of every pair of species."""
    if not rdfs:
        return None
    with canvas("rdf", size=(9.7, 3.0)) as c:
        axes = c.axes[0]
        for k, rdf in enumerate(rdfs):
            a, b = chemical_symbols[rdf.first], chemical_symbols[rdf.second]
            color = SERIES[k % len(SERIES)]
            axes.plot(rdf.distance, rdf.g, color=color, label=f"{a}-{b}", linewidth=1.5)
        axes.axhline(1.0, color=QUIET, linewidth=0.8)
        axes.set_xlabel("distance (Å)")
        axes.set_ylabel("g(r)")
        axes.set_xlim(0.0, float(rdfs[0].distance[-1]))
        axes.set_ylim(bottom=0.0)
        axes.legend(ncols=2 if len(rdfs) > 3 else 1)
    where = f"stage “{stage}”" if stage else "the whole run"
    caption = (
        f"Mean over {n_frames} frames of {where}. Sharp separate peaks belong to a "
        "solid, a first peak with ripples that die out around 1 to a liquid. Weight "
        "below the first peak would mean atoms closer than they can be."
    )
    return Plot("rdf", "Pair distribution", caption, c.svg)
