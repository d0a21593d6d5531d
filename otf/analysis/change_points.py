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
    from collections.abc import Sequence

    from numpy.random import Generator

    from otf.configuration import FloatArray

CONFIDENCE: Final = 0.99
MARGIN: Final = 0.05  # of a series at each end, where no jump is looked for
FEWEST: Final = 20  # independent values
UNCORRELATED: Final = 1.5  # inefficiency below which values need no blocks
PASSES: Final = 3  # of moving jumps while the others stay
JUMPS: Final = 3  # that are not taken for correlation
MOST: Final = 400  # blocks: more of them find no smaller jumps
PER_BLOCK: Final = 2.0  # times that count as one value
DRAWS: Final = 2000
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
    searched in the same way, and all that were found are fitted together [1]_.
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
    chances: dict[int, float] = {}
    _search(means, 0, confidence, degree, noise, chances)
    found = _together(means, chances, degree, noise)

    def frame(block: int) -> int:
        return start + block * length

    return [
        ChangePoint(
            frame(c.index),
            # The jump may lie within the block before or behind this place.
            max(frame(c.low) - length, 0),
            min(frame(c.high) + length, len(series)),
            c.size,
            c.error,
            c.probability,
        )
        for c in found
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
    places: list[int] = []
    for _ in range(JUMPS):
        gain = _gains(means[None], _base(n, degree, places), degree)
        places.append(int(gain[0].argmax()) + _first(n, degree))
    base = _base(n, degree, places)
    return np.asarray(means - (means @ base) @ base.T, dtype=np.float64)


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
    chances: dict[int, float],
) -> None:
    """Add the places of jumps, and the probability that noise makes them."""
    n = len(means)
    if n < FEWEST:
        return
    base = _base(n, degree)
    gain = _gains(means[None], base, degree)[0]
    largest = _gains(noise.draw(DRAWS, n), base, degree).max(axis=1)
    # One more than counted: no probability is zero after so many draws.
    probability = float((np.sum(largest >= gain.max()) + 1) / (DRAWS + 1))
    if probability > 1.0 - confidence:
        return
    place = int(gain.argmax()) + _first(n, degree)
    chances[offset + place] = probability
    _search(means[:place], offset, confidence, degree, noise, chances)
    _search(means[place:], offset + place, confidence, degree, noise, chances)


def _together(
    means: FloatArray, chances: dict[int, float], degree: int, noise: _Noise
) -> list[ChangePoint]:
    """Return the jumps fitted together: while one was looked for, others hid it."""
    n, places = len(means), sorted(chances)
    probabilities = [chances[place] for place in places]
    for _ in range(PASSES):
        for k in range(len(places)):
            others = places[:k] + places[k + 1 :]
            gain = _gains(means[None], _base(n, degree, others), degree)[0]
            low, high = _between(places, k, n, degree)
            allowed = gain[low - _first(n, degree) :][: high - low]
            places[k] = low + int(allowed.argmax())
    if not places:
        return []
    design = np.column_stack([_trend(n, degree), *(_step(n, p) for p in places)])
    sizes = np.linalg.lstsq(design, means)[0]
    rest = means - design @ sizes
    variance = float(rest @ rest) / (n - design.shape[1])
    errors = np.sqrt(variance * np.diagonal(np.linalg.inv(design.T @ design)))
    repeats = means - rest + math.sqrt(variance) * noise.draw(REPEATS, n)
    tail = 0.5 * (100.0 - LEVEL)
    found = []
    for k, place in enumerate(places):
        others = places[:k] + places[k + 1 :]
        gain = _gains(repeats, _base(n, degree, others), degree)
        low, high = _between(places, k, n, degree)
        offset = low - _first(n, degree)
        drawn = low + gain[:, offset : offset + high - low].argmax(axis=1)
        first, last = np.percentile(drawn, [tail, 100.0 - tail])
        found.append(
            ChangePoint(
                place,
                min(int(first), place),
                max(math.ceil(last), place),
                float(sizes[degree + 1 + k]),
                float(errors[degree + 1 + k]),
                probabilities[k],
            )
        )
    return found


def _between(places: list[int], k: int, n: int, degree: int) -> tuple[int, int]:
    """Return first and last (not counted) place jump k may take among the others."""
    low = places[k - 1] + 1 if k else _first(n, degree)
    high = places[k + 1] if k + 1 < len(places) else n - _first(n, degree) + 1
    return max(low, _first(n, degree)), min(high, n - _first(n, degree) + 1)


def _first(n: int, degree: int) -> int:
    """Return the first place of a jump: enough values must lie on both sides."""
    return max(degree + 2, int(MARGIN * n))


def _trend(n: int, degree: int) -> FloatArray:
    """Return powers (n, degree + 1)."""
    return np.asarray(np.vander(np.linspace(-1.0, 1.0, n), degree + 1))


def _step(n: int, place: int) -> FloatArray:
    return np.asarray(np.arange(n) >= place, dtype=np.float64)


def _base(n: int, degree: int, places: Sequence[int] = ()) -> FloatArray:
    """Return orthonormal columns that span the trend and jumps that are known."""
    columns = [_trend(n, degree), *(_step(n, place)[:, None] for place in places)]
    return np.asarray(np.linalg.qr(np.hstack(columns))[0], dtype=np.float64)


def _gains(rows: FloatArray, base: FloatArray, degree: int) -> FloatArray:
    """Return t^2 of one more jump at every place, for every row (r, n).

    t^2 = (n - p) x / (1 - x), x the share of the squares about the base that the jump
    takes. Places go from ``_first`` to as many values before the end.
    """
    n = rows.shape[1]
    places = np.arange(_first(n, degree), n - _first(n, degree) + 1)
    steps = (np.arange(n)[None] >= places[:, None]).astype(np.float64)
    steps -= (steps @ base) @ base.T
    squares = (steps**2).sum(axis=1)
    rest = rows - (rows @ base) @ base.T
    total = (rest**2).sum(axis=1, keepdims=True)
    # A jump that the base has already takes nothing.
    fresh = squares > 1e-9
    products = (rest @ steps.T) ** 2 / np.where(fresh, squares, np.inf)
    share = np.minimum(products / np.maximum(total, np.finfo(float).tiny), 1.0 - 1e-12)
    return np.asarray((n - base.shape[1] - 1) * share / (1.0 - share))
