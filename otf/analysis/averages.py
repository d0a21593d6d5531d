"""Means of correlated series with the error that their correlation leaves.

References
----------
J. D. Chodera, W. C. Swope, J. W. Pitera, C. Seok, K. A. Dill, Use of the weighted
histogram analysis method for the analysis of simulated and parallel tempering
simulations, J. Chem. Theory Comput. 3, 26 (2007), doi 10.1021/ct0502864.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from otf.analysis.libraries import library

if TYPE_CHECKING:
    from otf.configuration import FloatArray


@dataclass(frozen=True)
class Mean:
    """A mean and its standard error, in the unit of the series.

    Attributes
    ----------
    value : the mean
    error : standard error; NaN for a single value
    n_independent : values of the series divided by its statistical inefficiency
    """

    value: float
    error: float
    n_independent: float


def inefficiency(series: FloatArray) -> float:
    """Return how many values of a series (T,) count as one, at least 1.

    Notes
    -----
    g = 1 + 2 sum_t (1 - t/T) C(t), summed until the correlation C first falls below
    zero. A series that does not vary has 1.
    """
    spread = float(np.ptp(series))
    # A constant has no correlation; so has what varies by rounding alone.
    if len(series) < 2 or spread <= 1e-13 * float(np.abs(series).max()):
        return 1.0
    timeseries = library("pymbar.timeseries")
    return float(timeseries.statistical_inefficiency(series))


def mean_of(series: FloatArray) -> Mean:
    """Return the mean of a series (T,) and its standard error sd sqrt(g / T)."""
    n = len(series)
    independent = n / inefficiency(series)
    spread = float(np.std(series, ddof=1)) if n > 1 else math.nan
    error = spread / math.sqrt(independent)
    return Mean(float(np.mean(series)), error, independent)


def means_of(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the means (k,) of k series (T, k) and their standard errors (k,)."""
    means = [mean_of(column) for column in rows.T]
    return np.array([m.value for m in means]), np.array([m.error for m in means])


def blocks(n: int, count: int) -> list[slice]:
    """Return ``count`` adjoining parts of equal length of n values, or n of one.

    Those that are over are left out at the beginning, where a run is least settled.
    """
    count = min(count, n)
    length = n // count
    start = n - count * length
    return [slice(k, k + length) for k in range(start, n, length)]
