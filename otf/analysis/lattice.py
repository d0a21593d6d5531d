"""Lattice parameters along trajectories, and how they grow with temperature."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from ase.geometry import cell_to_cellpar
from scipy.stats import chi2

from otf.analysis.averages import mean_of
from otf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otf.analysis.averages import Mean
    from otf.configuration import FloatArray

UNITS: Final[Mapping[str, str]] = {
    "a": "Å",
    "b": "Å",
    "c": "Å",
    "alpha": "°",
    "beta": "°",
    "gamma": "°",
    "volume": "Å³",
    "b/a": "",
    "c/a": "",
}
EXPANDING: Final = ("a", "b", "c", "volume")
PASSES: Final = 5  # of the fit with errors in both variables
SETTLED: Final = 3.0  # standard errors between the halves of a series


def lattice_parameters(
    cells: FloatArray, repeat: Sequence[int] = (1, 1, 1)
) -> dict[str, FloatArray]:
    """Return the parameters of UNITS, each (T,), in angstrom, degrees, angstrom^3.

    Parameters
    ----------
    cells
        (T, 3, 3) angstrom, rows are the cell vectors.
    repeat
        How many unit cells lie along each vector: lengths and volume are of one.
    """
    unit = cells / np.asarray(repeat, dtype=np.float64)[None, :, None]
    six = np.array([cell_to_cellpar(cell) for cell in unit])
    names = ("a", "b", "c", "alpha", "beta", "gamma")
    out = {name: six[:, k] for k, name in enumerate(names)}
    out["volume"] = np.abs(np.linalg.det(unit))
    out["b/a"], out["c/a"] = six[:, 1] / six[:, 0], six[:, 2] / six[:, 0]
    return out


@dataclass(frozen=True)
class Point:
    """A lattice at one temperature.

    Attributes
    ----------
    temperature : K; NaN where it is not known
    parameters : mean of every parameter with its error, by the names of UNITS
    """

    temperature: Mean
    parameters: Mapping[str, Mean]


def point_of(temperature: FloatArray, parameters: Mapping[str, FloatArray]) -> Point:
    """Return the means of series (T,) with errors that know of their correlation."""
    means = {name: mean_of(series) for name, series in parameters.items()}
    return Point(mean_of(temperature), means)


def is_settled(series: FloatArray) -> bool:
    """Return whether both halves of a series have the same mean within their errors."""
    half = len(series) // 2
    first, second = mean_of(series[:half]), mean_of(series[half:])
    error = math.hypot(first.error, second.error)
    # Rounding alone is no drift.
    tiny = 1e-9 * abs(first.value)
    return abs(first.value - second.value) <= max(SETTLED * error, tiny)


@dataclass(frozen=True)
class Expansion:
    """A straight line through a parameter against temperature.

    Attributes
    ----------
    coefficient, error : (1/y) dy/dT at ``temperature``, 1/K
    temperature : weighted mean of the points, K
    value, value_error : y there
    slope : dy/dT
    probability : that a straight line scatters more than the points do; NaN for two
    """

    coefficient: float
    error: float
    temperature: float
    value: float
    value_error: float
    slope: float
    probability: float


def expansion(points: Sequence[Point], name: str) -> Expansion:
    """Return the thermal expansion of a parameter.

    Notes
    -----
    Weighted least squares. Errors of temperatures enter as those of the parameter
    times the slope, which is found by repeating the fit.

    Raises
    ------
    InputError
        When there are fewer than two points with different temperatures.
    """
    t = np.array([p.temperature.value for p in points])
    if len(points) < 2 or np.ptp(t) == 0.0:
        msg = "thermal expansion needs two temperatures at least"
        raise InputError(msg)
    y = np.array([p.parameters[name].value for p in points])
    sigma_y = np.array([p.parameters[name].error for p in points])
    sigma_t = np.array([p.temperature.error for p in points])
    sigma_y = np.maximum(np.nan_to_num(sigma_y), 1e-12 * np.abs(y))
    sigma_t = np.nan_to_num(sigma_t)
    slope = float(np.polyfit(t, y, 1)[0])
    for _ in range(PASSES):
        weights = 1.0 / (sigma_y**2 + (slope * sigma_t) ** 2)
        center = float(weights @ t / weights.sum())
        level = float(weights @ y / weights.sum())
        spread = float(weights @ (t - center) ** 2)
        slope = float(weights @ ((t - center) * (y - level)) / spread)
    residuals = y - level - slope * (t - center)
    freedom = len(t) - 2
    return Expansion(
        coefficient=slope / level,
        # Slope and level at the weighted mean are independent.
        error=math.hypot(
            1.0 / math.sqrt(spread) / level,
            slope / level**2 / math.sqrt(weights.sum()),
        ),
        temperature=center,
        value=level,
        value_error=1.0 / math.sqrt(weights.sum()),
        slope=slope,
        probability=(
            float(chi2.sf(weights @ residuals**2, freedom)) if freedom else math.nan
        ),
    )
