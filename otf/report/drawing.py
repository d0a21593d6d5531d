"""Figures for files: panels of curves with error bars, as PNG and SVG."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from otf.report.figure import QUIET, SERIES, STYLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otf.configuration import FloatArray
    from otf.report.figure import Axes

WIDTH, HEIGHT = 6.4, 3.4  # inches, of one panel
PNG_DPI = 130
MOST_LEGENDS = 12
PAPER = {
    "axes.facecolor": "white",
    "figure.facecolor": "white",
    "savefig.transparent": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "otf-md",
}

Form = Literal["line", "points", "steps", "dashed"]


@dataclass(frozen=True, eq=False)
class Curve:
    """One series of a panel.

    Attributes
    ----------
    label : in the legend; empty for none
    x, y : (k,)
    error : (k,) of y, drawn as a band of a line and as bars of points; None without
    x_error : (k,) of x, bars; None without
    form : how it is drawn
    color : number in the common palette; the next one when None
    """

    label: str
    x: FloatArray
    y: FloatArray
    error: FloatArray | None = None
    x_error: FloatArray | None = None
    form: Form = "line"
    color: int | None = None


class Panel(Protocol):
    """Something that draws itself into axes."""

    @property
    def projection(self) -> str | None:
        """Return the projection of matplotlib it needs."""

    def draw(self, figure: Figure, axes: Axes) -> None:
        """Draw."""


@dataclass(frozen=True, eq=False)
class Lines:
    """Curves over one pair of axes.

    Attributes
    ----------
    x_label, y_label : with the unit
    curves : drawn in order
    title : above the panel
    verticals : x of thin lines with a label each
    horizontals : y of thin lines
    x_ticks : places and names, instead of numbers
    logarithmic : which of x and y
    from_zero : whether y begins at zero
    y_limits : lowest and highest y; None for what the curves need
    """

    x_label: str
    y_label: str
    curves: Sequence[Curve]
    title: str = ""
    verticals: Mapping[float, str] = field(default_factory=dict)
    horizontals: Sequence[float] = ()
    x_ticks: tuple[Sequence[float], Sequence[str]] | None = None
    logarithmic: tuple[bool, bool] = (False, False)
    from_zero: bool = False
    y_limits: tuple[float, float] | None = None

    @property
    def projection(self) -> str | None:
        """Return the projection of matplotlib it needs: the plain one."""
        return None

    def draw(self, figure: Figure, axes: Axes) -> None:
        """Draw curves, lines and labels."""
        numbers = [
            k if curve.color is None else curve.color
            for k, curve in enumerate(self.curves)
        ]
        palette = _palette(max(numbers, default=0) + 1)
        for number, curve in zip(numbers, self.curves, strict=True):
            _draw(axes, curve, palette[number])
        for y in self.horizontals:
            axes.axhline(y, color=QUIET, linewidth=0.8, zorder=0)
        for x, label in self.verticals.items():
            axes.axvline(x, color=QUIET, linewidth=0.9, linestyle="--", zorder=0)
            if label:
                axes.annotate(
                    label,
                    (x, 1.0),
                    xycoords=("data", "axes fraction"),
                    xytext=(3, -3),
                    textcoords="offset points",
                    va="top",
                    fontsize=8,
                )
        axes.set_xscale("log" if self.logarithmic[0] else "linear")
        axes.set_yscale("log" if self.logarithmic[1] else "linear")
        axes.set_xlabel(self.x_label)
        axes.set_ylabel(self.y_label)
        axes.set_title(self.title)
        if not self.logarithmic[0]:
            axes.margins(x=0.02)
        if self.from_zero:
            axes.set_ylim(bottom=0.0)
        if self.y_limits is not None:
            axes.set_ylim(*self.y_limits)
        if self.x_ticks is not None:
            axes.set_xticks(*self.x_ticks)
        named = sum(bool(curve.label) for curve in self.curves)
        if 1 <= named <= MOST_LEGENDS:
            axes.legend(ncols=2 if named > 4 else 1)


def _palette(n: int) -> Sequence[object]:
    """Return n colours: those of every figure, or a ramp where they do not suffice."""
    if n <= len(SERIES):
        return SERIES
    return list(mpl.colormaps["viridis"](np.linspace(0.0, 0.92, n)))


def _draw(axes: Axes, curve: Curve, color: object) -> None:
    look = {"color": color, "label": curve.label or None}
    if curve.form == "points":
        # A point without an error bar is a point all the same.
        axes.errorbar(
            curve.x,
            curve.y,
            yerr=_known(curve.error),
            xerr=_known(curve.x_error),
            fmt="o",
            markersize=4,
            capsize=2,
            **look,
        )
        return
    if curve.form == "steps":
        axes.step(curve.x, curve.y, where="mid", **look)
    else:
        style = "--" if curve.form == "dashed" else "-"
        axes.plot(curve.x, curve.y, linestyle=style, linewidth=1.4, **look)
    if curve.error is not None and np.isfinite(curve.error).any():
        step = "mid" if curve.form == "steps" else None
        low, high = curve.y - curve.error, curve.y + curve.error
        axes.fill_between(
            curve.x, low, high, color=color, alpha=0.25, linewidth=0, step=step
        )


def _known(error: FloatArray | None) -> FloatArray | None:
    return None if error is None else np.nan_to_num(error, nan=0.0)


def drawn(panels: Sequence[Panel], *, columns: int = 1) -> dict[str, bytes]:
    """Return a figure of panels as the bytes of files, by their suffix."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with mpl.rc_context({**STYLE, **PAPER}):
        figure = Figure(figsize=(WIDTH * columns, HEIGHT * rows))
        FigureCanvasAgg(figure)
        for k, panel in enumerate(panels):
            axes = figure.add_subplot(rows, columns, k + 1, projection=panel.projection)
            panel.draw(figure, axes)
        files = {}
        for suffix in ("png", "svg"):
            buffer = io.BytesIO()
            # Without the date, the same numbers give the same file.
            metadata = {"Date": None} if suffix == "svg" else {"Software": None}
            figure.savefig(buffer, format=suffix, dpi=PNG_DPI, metadata=metadata)
            files[suffix] = buffer.getvalue()
    return files
