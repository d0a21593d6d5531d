"""Means, drift and lattice of a run, with their errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from otf.analysis.averages import Mean, blocks, jackknife
from otf.analysis.lattice import is_settled, lattice_parameters, point_of
from otf.analysis.run_means import RunMeans, means_of_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.analysis.lattice import Point
    from otf.configuration import FloatArray, IntArray
    from otf.report.parts import Part
    from otf.store.frames import Frame
    from otf.store.run_reader import RunView

SETTLING: Final = 5  # the first part of so many of a held stage is left out of means
RAMP_POINTS: Final = 8  # of the lattice along a ramp
FEWEST: Final = 10  # rows, or frames, that have a mean


def part_means(view: RunView, part: Part, *, n_atoms: int) -> RunMeans:
    """Return the means over a held stage, less its first fifth; unknown for a ramp.

    Raises
    ------
    InputError
        When the package for the errors of correlated series is not installed.
    """
    steps = view.thermo["step"]
    first = part.first + (part.last - part.first) // SETTLING
    rows = (steps > first) & (steps <= part.last)
    if part.ramp or rows.sum() < FEWEST:
        return RunMeans()
    return means_of_rows(view.thermo, rows, n_atoms=n_atoms)


def drift(view: RunView, *, n_atoms: int) -> Mean | None:
    """Return the slope of the conserved quantity in meV/atom/ps; None without one.

    Notes
    -----
    A straight line through all rows; its standard error is that of a jackknife over
    adjoining blocks.
    """
    time = view.thermo["time_fs"] / 1000.0
    conserved = 1000.0 * view.thermo["conserved_eV"] / n_atoms
    known = np.isfinite(conserved)
    time, conserved = time[known], conserved[known]
    if len(time) < 2 * FEWEST:
        return None

    def slope(chosen: IntArray) -> FloatArray:
        x = time[chosen] - time[chosen].mean()
        return np.asarray(x @ conserved[chosen] / (x @ x))

    value, error = jackknife(len(time), slope)
    return Mean(float(value), float(error), float(len(time)))


@dataclass(frozen=True, eq=False)
class Lattice:
    """The cell of a run at every temperature it was at.

    Attributes
    ----------
    points : means with errors; volumes are those of the whole cell
    ramp : (k,) whether the temperature or pressure changed meanwhile
    unsettled : numbers of held stages whose halves differ in volume
    """

    points: Sequence[Point]
    ramp: Sequence[bool]
    unsettled: Sequence[int] = ()


def lattice_of(
    view: RunView, parts: Sequence[Part], frames: Sequence[Sequence[Frame]]
) -> Lattice | None:
    """Return the lattice over temperature; None where too few frames are known.

    Held stages make one point, less their first fifth; ramps make several.

    Raises
    ------
    InputError
        When the package for the errors of correlated series is not installed.
    """
    table = view.thermo
    points, ramps, unsettled = [], [], []
    for part, some in zip(parts, frames, strict=True):
        if len(some) < FEWEST or not len(table["step"]):
            continue
        steps = np.array([f.step for f in some], dtype=np.float64)
        temperature = np.interp(steps, table["step"], table["temperature_K"])
        cells = lattice_parameters(np.array([f.cell for f in some]))
        held = [slice(len(some) // SETTLING, None)]
        n_points = min(RAMP_POINTS, len(some) // FEWEST)
        for chosen in blocks(len(some), n_points) if part.ramp else held:
            series = {name: values[chosen] for name, values in cells.items()}
            points.append(point_of(temperature[chosen], series))
            ramps.append(part.ramp)
        if not part.ramp and not is_settled(cells["volume"][held[0]]):
            unsettled.append(part.number)
    return Lattice(points, ramps, unsettled) if points else None
