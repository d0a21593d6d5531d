"""How errors fall with the number of structures a model is fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.analysis.errors import ErrorReport
    from otf.configuration import FloatArray

FEWEST_SIZES = 3  # below, a power law has no deviation


@dataclass(frozen=True)
class CurvePoint:
    """Errors on the same held-out structures after fits to n others.

    Attributes
    ----------
    n_frames : n
    reports : one for each order the structures came in
    n_references : of the models, mean
    """

    n_frames: int
    reports: tuple[ErrorReport, ...]
    n_references: float

    def rmse(self, name: str) -> tuple[float, float] | None:
        """Return mean and standard deviation over the orders; None without labels.

        The deviation of a single order is NaN.
        """
        values = [getattr(report, name) for report in self.reports]
        if None in values:
            return None
        spread = np.std(values, ddof=1) if len(values) > 1 else np.nan
        return float(np.mean(values)), float(spread)


@dataclass(frozen=True)
class PowerLaw:
    """error = prefactor n^-exponent.

    Attributes
    ----------
    exponent : the larger, the more another structure is worth
    deviation : standard error of the exponent, from how far points lie off the line
    prefactor : error at n = 1, in the unit of the errors
    """

    exponent: float
    deviation: float
    prefactor: float

    def at(self, n: FloatArray) -> FloatArray:
        """Return the errors at numbers of structures."""
        return np.asarray(self.prefactor * n**-self.exponent)


def log_spaced(smallest: int, largest: int, count: int) -> list[int]:
    """Return at most ``count`` different whole numbers, evenly spaced in logarithm."""
    values = np.geomspace(smallest, largest, count).round().astype(int)
    return sorted(set(values.tolist()))


def power_law(sizes: Sequence[int], errors: Sequence[float]) -> PowerLaw | None:
    """Fit ln error = ln prefactor - exponent ln n by least squares.

    None with fewer than three sizes, or where an error is 0.
    """
    values = np.asarray(errors, dtype=np.float64)
    if len(values) < FEWEST_SIZES or not (values > 0.0).all():
        return None
    x, y = np.log(np.asarray(sizes, dtype=np.float64)), np.log(values)
    away = x - x.mean()
    slope = float(away @ y / (away @ away))
    residuals = y - y.mean() - slope * away
    variance = float(residuals @ residuals) / (len(x) - 2) / float(away @ away)
    start = float(np.exp(y.mean() - slope * x.mean()))
    return PowerLaw(-slope, float(np.sqrt(variance)), start)
