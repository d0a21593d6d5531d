"""Figures of the structure: pair distributions, the lattice over temperature."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from ase.data import chemical_symbols

from otf.report.figure import MODEL, QUIET, REFERENCE, SERIES, TIME, drawing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otf.report.figure import Axes, Drawing
    from otf.report.physics import Lattice
    from otf.report.rdf import Rdf

LENGTHS = ("a", "b", "c")


def rdf_drawings(rdfs: Mapping[str, Sequence[Rdf]]) -> list[Drawing]:
    """Draw g(r) of every pair of species, one curve for each part of the run.

    Parameters
    ----------
    rdfs
        For every part, by the name in the legend, all pairs in the same order.
    """
    if not rdfs:
        return []
    n_pairs = len(next(iter(rdfs.values())))
    return [_pair({name: rdf[k] for name, rdf in rdfs.items()}) for k in range(n_pairs)]


def _pair(curves: Mapping[str, Rdf]) -> Drawing:
    some = next(iter(curves.values()))
    a, b = chemical_symbols[some.first], chemical_symbols[some.second]
    colors = [SERIES[0], SERIES[1]]
    if len(curves) > len(colors):
        colors = list(mpl.colormaps[TIME](np.linspace(0.0, 0.88, len(curves))))

    def draw(axes: Axes) -> None:
        for color, (name, rdf) in zip(colors, curves.items(), strict=False):
            axes.plot(rdf.distance, rdf.g, color=color, label=name, linewidth=1.4)
            if np.isfinite(rdf.error).all():
                low, high = rdf.g - rdf.error, rdf.g + rdf.error
                axes.fill_between(
                    rdf.distance, low, high, color=color, alpha=0.3, linewidth=0
                )
        axes.axhline(1.0, color=QUIET, linewidth=0.8, zorder=0)
        axes.set_xlabel("distance (Å)")
        axes.set_ylabel("g(r)")
        axes.set_xlim(0.0, max(float(rdf.distance[-1]) for rdf in curves.values()))
        axes.set_ylim(bottom=0.0)
        axes.legend(loc="lower center", ncols=3, bbox_to_anchor=(0.45, 1.0))

    peaks = "; ".join(
        f"{name}, {rdf.g.max():.3g} at {rdf.distance[rdf.g.argmax()]:.2f} Å"
        for name, rdf in curves.items()
        if rdf.g.any()
    )
    alt = f"Pair distribution of {a} and {b}; highest: {peaks}."
    return drawing(f"rdf-{a}-{b}", f"{a}–{b}", alt, draw)


def lattice_drawings(lattice: Lattice, n_atoms: int) -> list[Drawing]:
    """Draw volume and lengths of the cell over temperature."""
    t = np.array([p.temperature.value for p in lattice.points])
    dt = np.array([p.temperature.error for p in lattice.points])
    ramp = np.array(lattice.ramp)

    def points(
        axes: Axes, name: str, scale: float, zero: float, **look: object
    ) -> None:
        y = np.array([p.parameters[name].value for p in lattice.points])
        dy = np.array([p.parameters[name].error for p in lattice.points])
        for chosen, fill in ((~ramp, "full"), (ramp, "none")):
            if chosen.any():
                axes.errorbar(
                    t[chosen],
                    scale * (y - zero)[chosen],
                    xerr=np.nan_to_num(dt)[chosen],
                    yerr=scale * np.nan_to_num(dy)[chosen],
                    fmt="o",
                    fillstyle=fill,
                    markersize=5,
                    elinewidth=0.9,
                    **{**look, "label": look.get("label") if fill == "full" else None},
                )

    def volume(axes: Axes) -> None:
        points(axes, "volume", 1.0 / n_atoms, 0.0, color=MODEL)
        axes.set(xlabel="temperature (K)", ylabel="volume (Å³/atom)")

    def lengths(axes: Axes) -> None:
        for name, color in zip(LENGTHS, (MODEL, REFERENCE, SERIES[2]), strict=True):
            first = lattice.points[0].parameters[name].value
            points(axes, name, 100.0 / first, first, color=color)
            axes.plot([], [], "o", color=color, label=name)
        axes.set(xlabel="temperature (K)", ylabel="change of length (%)")
        axes.legend(loc="best", ncols=3, handletextpad=0.0)

    v = [p.parameters["volume"].value / n_atoms for p in lattice.points]
    of = f"{len(v)} temperatures between {t.min():.0f} and {t.max():.0f} K"
    drawings = [
        drawing(
            "lattice-volume",
            "Volume over temperature",
            f"Volume at {of}: {min(v):.4g} to {max(v):.4g} Å³ per atom.",
            volume,
        )
    ]
    if not keeps_its_shape(lattice):
        drawings.append(
            drawing(
                "lattice-lengths",
                "Cell lengths over temperature",
                f"Change of the lengths of the cell vectors a, b and c at {of}.",
                lengths,
            )
        )
    return drawings


def keeps_its_shape(lattice: Lattice) -> bool:
    """Return whether all lengths of the cell change alike, as its volume tells."""
    rows = np.array(
        [[p.parameters[name].value for name in LENGTHS] for p in lattice.points]
    )
    ratios = rows / rows[:, :1]
    return bool(np.allclose(ratios, ratios[0], rtol=1e-9))
