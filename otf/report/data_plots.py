"""Figures of a data set: what it spans, its stresses, and what a model makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.analysis.examination import CONTRADICTED_ENERGY, CONTRADICTED_FORCE
from otf.analysis.stress_conventions import RIGHT
from otf.report.figure import (
    MODEL,
    QUIET,
    REFERENCE,
    SERIES,
    THRESHOLD,
    Plot,
    canvas,
    plain_log,
    sparse,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otf.analysis.examination import Examination, ModelCheck, StressCheck
    from otf.configuration import FloatArray
    from otf.report.figure import Axes

BINS = 40
LEAST_SCORE = 1e-2  # smaller ones, as of forces that symmetry forbids, are not drawn
MANY_POINTS = 1500  # drawn as pixels
MOST_NAMES = 5  # of a legend


def data_plots(data: Examination) -> Iterator[Plot]:
    """Yield the figures that can be drawn."""
    yield span_plot(data)
    if data.model is None:
        return
    if data.model.stress is not None:
        yield stress_plot(data.model.stress)
    yield score_plot(data.model)


def span_plot(data: Examination) -> Plot:
    """Draw energies over volumes, and histograms of forces and stresses."""
    with canvas("span", columns=3, size=(9.7, 3.2)) as c:
        draw_energies(c.axes[0], data)
        forces = _known([f.largest_force for f in data.facts])
        draw_histogram(c.axes[1], forces, "largest force (eV/Å)", REFERENCE)
        stress = _known(np.ravel([f.stress for f in data.facts]))
        draw_histogram(c.axes[2], stress, "stress component (GPa)", SERIES[2])
    caption = (
        "Left: every structure, one colour for each of the most frequent compositions. "
        "Middle and right: how many structures have a largest force, and how many "
        "components a stress, of this size."
    )
    return Plot("span", "What the data span", caption, c.svg)


def draw_energies(axes: Axes, data: Examination) -> None:
    """Draw energies per atom over volumes per atom."""
    volumes = np.array([f.volume for f in data.facts])
    energies = np.array([f.energy for f in data.facts])
    formulae = np.array([f.formula for f in data.facts])
    names, counts = np.unique(formulae, return_counts=True)
    frequent = names[np.argsort(-counts, kind="stable")][:MOST_NAMES]
    colors = dict(zip(frequent, SERIES, strict=False))
    some = sparse(len(volumes))
    axes.scatter(
        volumes[some],
        energies[some],
        s=9,
        c=[colors.get(name, QUIET) for name in formulae[some]],
        alpha=0.6,
        linewidths=0,
        rasterized=len(volumes) > MANY_POINTS,
    )
    axes.set(xlabel="volume (Å³/atom)", ylabel="energy (eV/atom)")
    axes.set_title(", ".join(frequent))


def draw_histogram(axes: Axes, values: FloatArray, label: str, color: str) -> None:
    """Draw how often values occur; the counts are logarithmic."""
    if len(values):
        axes.hist(values, bins=BINS, color=color, alpha=0.8)
        axes.set_yscale("log")
        plain_log(axes.yaxis)
    axes.set(xlabel=label, ylabel="count")


def stress_plot(check: StressCheck) -> Plot:
    """Draw stresses read over stresses implied, one colour for each verdict."""
    names = np.array([check.verdict.name_of(k) for k in range(len(check.frames))])
    found, counts = np.unique(names, return_counts=True)
    order = sorted(zip(-counts, found, strict=True), key=lambda x: (x[1] != RIGHT, x))
    with canvas("stress", columns=2, size=(9.7, 4.4)) as c:
        for axes, part, title in (
            (c.axes[0], slice(0, 3), "normal components"),
            (c.axes[1], slice(3, 6), "shear components"),
        ):
            for at, (_, name) in enumerate(order):
                chosen = names == name
                axes.scatter(
                    check.implied[chosen, part].ravel(),
                    check.read[chosen, part].ravel(),
                    s=9,
                    color=SERIES[at % len(SERIES)],
                    alpha=0.55,
                    linewidths=0,
                    rasterized=3 * len(names) > MANY_POINTS,
                    label=f"{name} ({chosen.sum()})" if at < MOST_NAMES else None,
                )
            low, high = axes.get_xlim()
            axes.plot([low, high], [low, high], color=QUIET, linewidth=0.9, zorder=0)
            axes.set(xlabel="implied stress (GPa)", ylabel="stress read (GPa)")
            axes.set_title(title)
        c.axes[0].legend(loc="best", fontsize=8)
    caption = (
        "Stresses as they were read, over those that a model fitted to energies and "
        "forces alone implies. Right stresses lie on the diagonal; a flipped sign on "
        "the other one, a wrong unit on a steeper or flatter line, a wrong order of "
        "shear components in a cloud on the right only."
    )
    return Plot("stress", "Do stresses agree with energies?", caption, c.svg)


def score_plot(model: ModelCheck) -> Plot:
    """Draw by how many deviations labels differ from what the others say."""
    panels = (
        ("energy", np.abs(model.energy_scores), CONTRADICTED_ENERGY, MODEL),
        ("forces, worst atom", model.force_scores, CONTRADICTED_FORCE, REFERENCE),
    )
    with canvas("scores", columns=2, size=(9.7, 3.2)) as c:
        for axes, (name, scores, bound, color) in zip(c.axes, panels, strict=True):
            known = np.flatnonzero(scores > LEAST_SCORE)
            axes.scatter(
                known,
                scores[known],
                s=9,
                color=color,
                linewidths=0,
                rasterized=len(known) > MANY_POINTS,
            )
            axes.axhline(bound, color=THRESHOLD, linewidth=0.9, linestyle="--")
            axes.set(xlabel="structure", ylabel="deviations", yscale="log")
            axes.set_title(name)
            plain_log(axes.yaxis)
    caption = (
        "Every structure beside what a model says of it that was fitted to all others, "
        "in units of the deviation the model expects, scaled to the set. Structures "
        "above the dashed line are named."
    )
    return Plot("scores", "Which labels do the others contradict?", caption, c.svg)


def _known(values: FloatArray | list[float]) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    return array[np.isfinite(array)]
