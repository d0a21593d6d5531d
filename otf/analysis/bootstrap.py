"""Confidence intervals of errors: structures are drawn again, with replacement.

References
----------
B. Efron, R. J. Tibshirani, An Introduction to the Bootstrap, Chapman & Hall 1993,
chapter 13 (percentile intervals), doi 10.1201/9780429246593.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from otf.analysis.held_out import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.analysis.held_out import HeldOut
    from otf.configuration import FloatArray, IntArray

LEVEL: Final = 0.95


@dataclass(frozen=True, eq=False)
class ResampledErrors:
    """Errors of one kind over structures drawn again, in the units of a held-out one.

    Attributes
    ----------
    mae, rmse : (B,), one for each draw; NaN where a draw has no label of the kind
    """

    mae: FloatArray
    rmse: FloatArray

    @property
    def mae_interval(self) -> tuple[float, float]:
        """Return the ends of the interval that holds 95 % of the draws."""
        return interval(self.mae)

    @property
    def rmse_interval(self) -> tuple[float, float]:
        """Return the ends of the interval that holds 95 % of the draws."""
        return interval(self.rmse)


def resampled_errors(
    held: Sequence[HeldOut], *, n_samples: int, seed: int
) -> dict[str, ResampledErrors]:
    """Return the errors of every labelled kind over structures drawn again.

    Parameters
    ----------
    held
        F structures, each predicted without its own labels.
    n_samples
        Draws of F structures with replacement, B.
    seed
        Of the draws, which are the same for all kinds.

    Notes
    -----
    Labels of one structure stand or fall together: errors within a structure are
    alike, so drawing labels one by one would give intervals that are too narrow.
    """
    times = drawn(len(held), n_samples=n_samples, seed=seed)
    out = {}
    for kind in KINDS:
        sums = np.array([_sums(one.errors(kind)) for one in held])
        if not sums[:, 0].any():
            continue
        count, absolute, square = (times @ sums).T
        count = np.where(count > 0, count, np.nan)
        out[kind] = ResampledErrors(absolute / count, np.sqrt(square / count))
    return out


def drawn(n: int, *, n_samples: int, seed: int) -> IntArray:
    """Return how often each of n structures is in every draw of n, (B, n)."""
    generator = np.random.default_rng(seed)
    return np.asarray(generator.multinomial(n, np.full(n, 1.0 / n), n_samples))


def root_mean_square(values: FloatArray) -> float | None:
    """Return the root mean square of what is known; None where nothing is."""
    known = values[np.isfinite(values)]
    return float(np.sqrt((known**2).mean())) if len(known) else None


def interval(values: FloatArray, level: float = LEVEL) -> tuple[float, float]:
    """Return the ends of the central interval that holds a share of the values."""
    tail = 50.0 * (1.0 - level)
    low, high = np.nanpercentile(values, [tail, 100.0 - tail])
    return float(low), float(high)


def _sums(errors: FloatArray) -> tuple[float, float, float]:
    known = errors[np.isfinite(errors)]
    return float(len(known)), float(np.abs(known).sum()), float((known**2).sum())
