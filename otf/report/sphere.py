"""The picture of a map on the sphere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from otf.configuration import FloatArray
    from otf.report.figure import Axes

TICKS = (-120, -60, 0, 60, 120)
PIECES = 6


@dataclass(frozen=True, eq=False)
class Globe:
    """A density on the sphere in the equal-area projection of Mollweide.

    Attributes
    ----------
    heights : (h + 1,) edges of the cells in z
    angles : (a + 1,) edges in the angle about z, radians from x
    density : (h, a)
    label : of the colours
    title : above the map
    """

    heights: FloatArray
    angles: FloatArray
    density: FloatArray
    label: str
    title: str = ""

    @property
    def projection(self) -> str | None:
        """Return the projection of matplotlib it needs."""
        return "mollweide"

    def draw(self, figure: Figure, axes: Axes) -> None:
        """Draw the map with its colours and the six directions of the axes."""
        # Each cell in pieces, for the projection joins corners by straight lines.
        heights, angles = _finer(self.heights), _finer(self.angles)
        density = np.kron(self.density, np.ones((PIECES, PIECES)))
        latitudes = np.arcsin(np.clip(heights, -1.0, 1.0))
        axes.grid(visible=False)
        mesh = axes.pcolormesh(angles, latitudes, density, cmap="viridis", vmin=0.0)
        mesh.set_rasterized(True)  # a vector file of hundreds of cells shows seams
        figure.colorbar(mesh, ax=axes, label=self.label, shrink=0.8)
        marks = {
            "x": (0.0, 0.0),
            "y": (np.pi / 2, 0.0),
            "−y": (-np.pi / 2, 0.0),
            "z": (0.0, np.pi / 2 * 0.86),
            "−z": (0.0, -np.pi / 2 * 0.86),
        }
        for name, place in marks.items():
            axes.annotate(
                name, place, color="white", ha="center", va="center", fontsize=9
            )
        axes.set_xticks(np.radians(TICKS), [])
        axes.set_yticks(np.radians([-60, -30, 0, 30, 60]))
        axes.set_title(self.title)


def _finer(edges: FloatArray) -> FloatArray:
    """Return edges with each cell cut into pieces."""
    n = len(edges) - 1
    places = np.linspace(0.0, n, n * PIECES + 1)
    return np.asarray(np.interp(places, np.arange(n + 1), edges), dtype=np.float64)
