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
from typing import TYPE_CHECKING, Final

import numpy as np

from otf.analysis.libraries import library

if TYPE_CHECKING:
    from collections.abc import Callable

    from otf.configuration import FloatArray, IntArray


BLOCKS: Final = 10


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


def jackknife(
    n: int, statistic: Callable[[IntArray], FloatArray], *, n_blocks: int = BLOCKS
) -> tuple[FloatArray, FloatArray]:
    """Return a statistic of n frames and its standard error.

    Parameters
    ----------
    n
        Number of frames.
    statistic
        Takes the numbers of frames and returns an array, of the same shape each time.
    n_blocks
        Adjoining parts that are left out one after the other.

    Notes
    -----
    error^2 = (B - 1) / B sum_b (s_b - mean s)^2, where block b was left out of s_b. The
    value is that of all frames. Blocks must be longer than the correlation.
    """
    every = np.arange(n, dtype=np.int64)
    value = np.asarray(statistic(every), dtype=np.float64)
    parts = blocks(n, n_blocks)
    if len(parts) < 2:
        return value, np.full_like(value, math.nan)
    kept = [statistic(np.delete(every, part)) for part in parts]
    rows = np.asarray(kept, dtype=np.float64)
    squares = ((rows - rows.mean(axis=0)) ** 2).sum(axis=0)
    return value, np.sqrt((len(parts) - 1) / len(parts) * squares)
