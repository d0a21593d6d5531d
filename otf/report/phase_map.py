"""A map of phases: what was found at every temperature and pressure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patches import Patch, Rectangle

from otf.report.figure import QUIET, SERIES, names_in_a_row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from otf.configuration import FloatArray
    from otf.report.figure import Axes

MOST_NUMBERS = 40  # cells that still have room for a word


@dataclass(frozen=True, eq=False)
class PhaseMap:
    """Phases over temperature (K) and pressure (GPa), one cell for each pair.

    Attributes
    ----------
    title : above the map
    temperatures, pressures : in rising order
    phases : by temperature and pressure; a pair that is missing stays white
    remarks : in the cells, such as "2 of 3" for replicas that do not agree
    palette : phases in the order of their colours, the same for maps side by side
    """

    title: str
    temperatures: Sequence[float]
    pressures: Sequence[float]
    phases: Mapping[tuple[float, float], str]
    remarks: Mapping[tuple[float, float], str]
    palette: Sequence[str]

    @property
    def projection(self) -> str | None:
        """Return the projection of matplotlib it needs: the plain one."""
        return None

    def draw(self, figure: Figure, axes: Axes) -> None:
        """Draw a cell around every point, as far as half way to its neighbours."""
        x, y = edges(self.temperatures), edges(self.pressures)
        colors = {name: SERIES[k % len(SERIES)] for k, name in enumerate(self.palette)}
        for i, temperature in enumerate(self.temperatures):
            for j, pressure in enumerate(self.pressures):
                corner, size = (x[i], y[j]), (x[i + 1] - x[i], y[j + 1] - y[j])
                name = self.phases.get((temperature, pressure), "")
                look = (
                    {"facecolor": colors[name], "alpha": 0.45}
                    if name
                    else {"facecolor": "none"}
                )
                axes.add_patch(Rectangle(corner, *size, linewidth=0, **look))
                axes.plot(temperature, pressure, ".", color=QUIET, markersize=3)
                remark = self.remarks.get((temperature, pressure), "")
                if remark and len(self.phases) <= MOST_NUMBERS:
                    axes.annotate(
                        remark,
                        (temperature, pressure),
                        xytext=(0, -4),
                        textcoords="offset points",
                        ha="center",
                        va="top",
                    )
        axes.set_xlim(x[0], x[-1])
        axes.set_ylim(y[0], y[-1])
        axes.set_xticks(list(self.temperatures))
        axes.set_yticks(list(self.pressures))
        axes.grid(visible=False)
        axes.set_xlabel("temperature (K)")
        axes.set_ylabel("pressure (GPa)")
        handles = [
            Patch(facecolor=colors[name], alpha=0.45, label=name)
            for name in self.palette
            if name in self.phases.values()
        ]
        # Above the map: beside it, names would take the room of a narrow one.
        axes.legend(
            handles=handles,
            title=self.title,
            alignment="left",
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=names_in_a_row(axes, [str(one.get_label()) for one in handles]),
        )


def edges(values: Sequence[float]) -> FloatArray:
    """Return the borders (k + 1,) of cells around k values in rising order."""
    v = np.asarray(values, dtype=np.float64)
    if len(v) == 1:
        return np.array([v[0] - 0.5, v[0] + 0.5])
    middle = 0.5 * (v[1:] + v[:-1])
    return np.concatenate([[2 * v[0] - middle[0]], middle, [2 * v[-1] - middle[-1]]])
