"""Where a series jumps, with the confidence that it does.

References
----------
.. [1] J. Bai, P. Perron, Estimating and testing linear models with multiple structural
   changes, Econometrica 66, 47 (1998), doi 10.2307/2998540.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.signal import lfilter

from otf.analysis.averages import inefficiency
from otf.errors import InputError

if TYPE_CHECKING:
    from numpy.random import Generator

    from otf.configuration import FloatArray

CONFIDENCE: Final = 0.99
MARGIN: Final = 0.05  # of a series at each end, where no jump is looked for
FEWEST: Final = 20  # independent values
UNCORRELATED: Final = 1.5  # inefficiency below which values need no blocks
JUMPS: Final = 3  # that are not taken for correlation
MOST: Final = 400  # blocks: more of them find no smaller jumps
PER_BLOCK: Final = 2.0  # times that count as one value
DRAWS: Final = 4000
REPEATS: Final = 400
LEVEL: Final = 95.0  # percent, of the interval of a place


@dataclass(frozen=True)
class ChangePoint:
    """A jump in a series.

    Attributes
    ----------
    index : of the first value behind the jump
    low, high : ends of the interval that holds it with 95 % probability
    size, error : of the jump, in the unit of the series
    probability : that noise alone gives one as large, anywhere in the series
    """

    index: int
    low: int
    high: int
    size: float
    error: float
    probability: float


def change_points(
    series: FloatArray,
    *,
    confidence: float = CONFIDENCE,
    degree: int = 0,
    seed: int = 0,
) -> list[ChangePoint]:
    """Return the jumps of a series (T,), in order.

    Parameters
    ----------
    series
        At equal distances.
    confidence
        Of every jump: a series that is noise about its trend shows one with a
        probability of 1 - confidence.
    degree
        Of the polynomial that the series follows without jumps: 0 for a level, 1 for
        a ramp, on which expansion alone changes what is measured.
    seed
        Of the draws behind probabilities and intervals.

    Raises
    ------
    InputError
        When fewer than 20 independent values are left.

    Notes
    -----
    Blocks twice as long as the correlation are averaged. The correlation is that of
    what is left beside the three greatest jumps, so that these are not taken for it.
    For every place the polynomial is fitted with and without a jump; the largest gain
    is compared with that of Gaussian noise that forgets exponentially and has the
    correlation that is left between blocks. Where a jump is found, both sides are
    searched in the same way [1]_.
    """
    length, n_blocks, memory = _blocking(series, degree)
    if n_blocks < FEWEST:
        msg = (
            f"{len(series)} frames are {n_blocks} independent values, too few to tell "
            f"a jump from noise: at least {FEWEST} are needed"
        )
        raise InputError(msg)
    start = len(series) - n_blocks * length
    means = series[start:].reshape(n_blocks, length).mean(axis=1)
    noise = _Noise(np.random.default_rng(seed), memory)
    found: list[ChangePoint] = []
    _search(means, 0, confidence, degree, noise, found)

    def frame(block: int) -> int:
        return start + block * length

    return [
        ChangePoint(
            frame(c.index),
            # A block does not say where in it the jump is.
            max(frame(c.low) - length // 2, 0),
            min(frame(c.high) + length // 2, len(series)),
            c.size,
            c.error,
            c.probability,
        )
        for c in sorted(found, key=lambda c: c.index)
    ]


class _Noise:
    """Gaussian noise of unit variance whose neighbours correlate."""

    def __init__(self, generator: Generator, memory: float) -> None:
        self._generator = generator
        self._memory = memory

    def draw(self, rows: int, n: int) -> FloatArray:
        """Return rows (rows, n)."""
        white = self._generator.normal(size=(rows, n))
        white[:, 1:] *= math.sqrt(1.0 - self._memory**2)
        rows_of = lfilter([1.0], [1.0, -self._memory], white, axis=1)
        return np.asarray(rows_of, dtype=np.float64)


def _blocking(series: FloatArray, degree: int) -> tuple[int, int, float]:
    """Return length and number of blocks, and the correlation of neighbours."""
    fewest = -(-len(series) // MOST)
    short = max(1, fewest)
    if len(series) // short < FEWEST:
        return short, len(series) // short, 0.0
    n = len(series) // short
    means = series[len(series) - n * short :].reshape(n, short).mean(axis=1)
    g = inefficiency(_beside(means, degree))
    # Two standard errors more (Wolff, doi 10.1016/S0010-4655(03)00467-3, eq. 42, with
    # a window of g): too small a correlation makes jumps of noise.
    g *= 1.0 + 2.0 * math.sqrt(2.0 * (2.0 * g + 1.0) / n)
    many = 1 if g < UNCORRELATED else math.ceil(PER_BLOCK * g)
    return short * many, len(series) // (short * many), _between_blocks(g, many)


def _beside(means: FloatArray, degree: int) -> FloatArray:
    """Return what is left of a series beside its trend and its greatest jumps."""
    n = len(means)
    columns = [_trend(n, degree)]
    rest = means
    for _ in range(JUMPS):
        gain, _ = _gains(rest[None], degree)
        place = int(gain[0].argmax()) + _first(n, degree)
        columns.append((np.arange(n) >= place).astype(np.float64)[:, None])
        design = np.hstack(columns)
        rest = means - design @ np.linalg.lstsq(design, means)[0]
    return rest


def _between_blocks(g: float, length: int) -> float:
    """Return the correlation of means of adjoining blocks.

    Of a series that forgets exponentially, a^t with (1 + a) / (1 - a) = g.
    """
    a = (g - 1.0) / (g + 1.0)
    fall = 1.0 - a**length
    own = length * (1.0 - a * a) - 2.0 * a * fall
    return a * fall**2 / own


def _search(
    means: FloatArray,
    offset: int,
    confidence: float,
    degree: int,
    noise: _Noise,
    found: list[ChangePoint],
) -> None:
    n = len(means)
    if n < FEWEST:
        return
    gain, _ = _gains(means[None], degree)
    best = int(gain[0].argmax())
    largest = _gains(noise.draw(DRAWS, n), degree)[0].max(axis=1)
    # One more than counted: no probability is zero after so many draws.
    probability = float((np.sum(largest >= gain[0, best]) + 1) / (DRAWS + 1))
    if probability > 1.0 - confidence:
        return
    place = best + _first(n, degree)
    size, error = _jump(means, place, degree)
    low, high = _interval(means, place, degree, noise)
    found.append(
        ChangePoint(
            offset + place, offset + low, offset + high, size, error, probability
        )
    )
    _search(means[:place], offset, confidence, degree, noise, found)
    _search(means[place:], offset + place, confidence, degree, noise, found)


def _first(n: int, degree: int) -> int:
    """Return the first place of a jump: enough values must lie on both sides."""
    return max(degree + 2, int(MARGIN * n))


def _trend(n: int, degree: int) -> FloatArray:
    """Return orthonormal polynomials (n, degree + 1)."""
    powers = np.vander(np.linspace(-1.0, 1.0, n), degree + 1)
    return np.asarray(np.linalg.qr(powers)[0], dtype=np.float64)


def _gains(rows: FloatArray, degree: int) -> tuple[FloatArray, FloatArray]:
    """Return for every row (r, n) and place what a jump explains.

    The first array is t^2 = (n - p) x / (1 - x), x the share of the squares about the
    trend that the jump takes, the second its size.
    """
    n = rows.shape[1]
    trend = _trend(n, degree)
    places = np.arange(_first(n, degree), n - _first(n, degree) + 1)
    steps = (np.arange(n)[None] >= places[:, None]).astype(np.float64)
    steps -= (steps @ trend) @ trend.T
    squares = (steps**2).sum(axis=1)
    rest = rows - (rows @ trend) @ trend.T
    products = rest @ steps.T
    total = (rest**2).sum(axis=1, keepdims=True)
    share = products**2 / squares / np.maximum(total, np.finfo(float).tiny)
    share = np.minimum(share, 1.0 - 1e-12)
    return (n - degree - 2) * share / (1.0 - share), products / squares


def _design(n: int, place: int, degree: int) -> FloatArray:
    step = (np.arange(n) >= place).astype(np.float64)
    return np.column_stack([_trend(n, degree), step])


def _fitted(means: FloatArray, place: int, degree: int) -> FloatArray:
    design = _design(len(means), place, degree)
    return np.asarray(design @ np.linalg.lstsq(design, means)[0], dtype=np.float64)


def _jump(means: FloatArray, place: int, degree: int) -> tuple[float, float]:
    design = _design(len(means), place, degree)
    found = np.linalg.lstsq(design, means)[0]
    rest = means - design @ found
    variance = float(rest @ rest) / (len(means) - design.shape[1])
    error = math.sqrt(variance * np.linalg.inv(design.T @ design)[-1, -1])
    return float(found[-1]), error


def _interval(
    means: FloatArray, place: int, degree: int, noise: _Noise
) -> tuple[int, int]:
    """Return where repeats of the series, drawn from its fit, put the jump."""
    n = len(means)
    curve = _fitted(means, place, degree)
    spread = math.sqrt(float(((means - curve) ** 2).sum()) / (n - degree - 2))
    repeats = curve + spread * noise.draw(REPEATS, n)
    places = _gains(repeats, degree)[0].argmax(axis=1) + _first(n, degree)
    tail = 0.5 * (100.0 - LEVEL)
    low, high = np.percentile(places, [tail, 100.0 - tail])
    return min(int(low), place), max(math.ceil(high), place)
