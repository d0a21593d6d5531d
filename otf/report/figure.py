"""One look for all figures, and matplotlib turned into SVG that belongs to the page."""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from otf.configuration import FloatArray

# matplotlib ships no complete types; axes are Any at this one door.
Axes = Any

# The same thing has the same colour in every figure; all read on white and on black
# and with the common colour blindnesses.
MODEL = "#3f8fd0"
REFERENCE = "#e1812c"
AUDIT = "#a06cd5"
THRESHOLD = "#d1495b"
QUIET = "#8a8f98"
SERIES = (MODEL, REFERENCE, "#2a9d74", AUDIT, THRESHOLD, "#b08d2f")
TIME = "viridis"  # colours of what has an order: time, temperature
NARROW, WIDE = 3.6, 10.6  # inches
LETTERS, SIGN = 12, 4  # in an inch of a legend; the room of a sign, in letters
INK = "#010203"  # replaced by the colour of the text around the figure

STYLE = {
    "axes.edgecolor": QUIET,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titlecolor": INK,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.09,
    "font.size": 9.5,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "grid.alpha": 0.25,
    "grid.color": QUIET,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.1,
    "savefig.transparent": True,
    "svg.fonttype": "none",
    "text.color": INK,
    "xtick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.color": QUIET,
    "ytick.labelcolor": INK,
}


# At the width of a telephone text of 10.5 points is 14 pixels high.
PHONE = {
    **STYLE,
    "axes.labelsize": 10.5,
    "axes.titlesize": 10.5,
    "font.size": 10.5,
    "legend.fontsize": 10.5,
    "legend.borderpad": 0.1,
    "legend.handlelength": 1.3,
    "legend.handletextpad": 0.4,
    "legend.labelspacing": 0.2,
    "legend.columnspacing": 0.9,
    "figure.constrained_layout.w_pad": 0.04,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
}


@dataclass(frozen=True)
class Plot:
    """A figure of the page.

    Attributes
    ----------
    name : unique on the page
    title : what is shown
    caption : what to look for, one or two plain sentences
    svg : the drawing
    """

    name: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Drawing:
    """One panel of the page, as wide as a telephone.

    Attributes
    ----------
    name : unique on the page
    title : what is shown
    alt : the same, with its outcome, for who cannot see it
    svg : the drawing, NARROW inches wide
    wide : the same for screens with room for it, WIDE inches; empty where it has none
    """

    name: str
    title: str
    alt: str
    svg: str
    wide: str = ""


def drawing(
    name: str,
    title: str,
    alt: str,
    draw: Callable[[Axes], None],
    *,
    height: float = 2.75,
    wide: bool = False,
) -> Drawing:
    """Draw one panel; a wide one also for large screens."""
    with canvas(name, size=(NARROW, height), look=PHONE) as c:
        draw(c.axes[0])
    if not wide:
        return Drawing(name, title, alt, c.svg)
    with canvas(f"{name}-wide", size=(WIDE, 3.1), look=PHONE) as w:
        draw(w.axes[0])
    return Drawing(name, title, alt, c.svg, w.svg)


class Canvas:
    """A figure being drawn; ``svg`` holds the drawing once its block has ended."""

    def __init__(self, figure: Figure, axes: Axes) -> None:
        self.figure = figure
        self.axes = axes
        self.svg = ""


@contextmanager
def canvas(
    name: str,
    *,
    rows: int = 1,
    columns: int = 1,
    size: tuple[float, float],
    share_x: bool = False,
    heights: tuple[float, ...] | None = None,
    look: Mapping[str, object] = STYLE,
) -> Iterator[Canvas]:
    """Open a figure in the style of the page; sizes are in inches.

    ``axes`` of the canvas is a flat list.
    """
    with mpl.rc_context({**look, "svg.hashsalt": name}):
        figure = Figure(figsize=size)
        FigureCanvasSVG(figure)
        grid = figure.subplots(
            rows,
            columns,
            squeeze=False,
            sharex=share_x,
            gridspec_kw={"height_ratios": heights} if heights else None,
        )
        open_canvas = Canvas(figure, list(grid.flat))
        yield open_canvas
        open_canvas.svg = to_svg(figure, name)


def to_svg(figure: Figure, name: str) -> str:
    """Return the figure as an SVG element that takes its ink from the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", dpi=160, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Several drawings share one page: their ids must differ.
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = text.replace(INK, "currentColor")
    # The page scales a drawing to its column; the viewBox keeps its shape.
    return re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1).replace(
        "<svg", '<svg class="plot"', 1
    )


def thinned(
    x: FloatArray, y: FloatArray, limit: int = 1200
) -> tuple[FloatArray, FloatArray]:
    """Return a line with at most ``limit`` points that keeps every peak.

    Of each bin the smallest and the largest value are kept.
    """
    n_bins = limit // 2
    if len(x) <= limit:
        return x, y
    edges = np.linspace(0, len(x), n_bins + 1).astype(int)
    kept: list[int] = []
    for start, end in pairwise(edges):
        part = y[start:end]
        if np.isfinite(part).any():
            ends = {start + int(np.nanargmin(part)), start + int(np.nanargmax(part))}
            kept.extend(sorted(ends))
        else:
            kept.append(start)
    return x[kept], y[kept]


def sparse(n: int, limit: int = 6000) -> slice:
    """Return a slice that takes at most ``limit`` of n points, evenly."""
    return slice(None, None, max(1, -(-n // limit)))


def names_in_a_row(axes: Axes, names: Sequence[str]) -> int:
    """Return how many names of a legend fit side by side above axes."""
    room = LETTERS * axes.get_window_extent().width / axes.figure.dpi
    lengths = sorted((len(name) + SIGN for name in names), reverse=True)
    rows = [n for n in (3, 2) if sum(lengths[:n]) <= room]
    return rows[0] if rows else 1


def plain_log(axis: Axes) -> None:
    """Label a logarithmic axis at 1, 2 and 5 times the powers of ten."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
