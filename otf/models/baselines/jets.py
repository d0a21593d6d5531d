"""Functions of one distance with their first two derivatives, and tables of them."""

from __future__ import annotations

from math import factorial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import erf

if TYPE_CHECKING:
    from otf.configuration import FloatArray


class Jet(NamedTuple):
    """Value, slope and curvature of a function at some distances, (k,) each."""

    value: FloatArray
    slope: FloatArray
    curvature: FloatArray

    def plus(self, other: Jet) -> Jet:
        """Return the sum."""
        return Jet(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, other: Jet) -> Jet:
        """Return the product."""
        return Jet(
            self.value * other.value,
            self.slope * other.value + self.value * other.slope,
            self.curvature * other.value
            + 2.0 * self.slope * other.slope
            + self.value * other.curvature,
        )

    def scaled(self, factor: float) -> Jet:
        """Return the product with a number."""
        return Jet(*(factor * a for a in self))


def power(r: FloatArray, exponent: int) -> Jet:
    """Return r^exponent."""
    k = exponent
    return Jet(r ** float(k), k * r ** (k - 1.0), k * (k - 1.0) * r ** (k - 2.0))


def fade(r: FloatArray, start: float, end: float) -> Jet:
    """Return the function that falls from 1 to 0 between two distances.

    It has two continuous derivatives.
    """
    width = end - start
    x = np.clip((r - start) / width, 0.0, 1.0)
    return Jet(
        1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2),
        -30.0 * x**2 * (1.0 - x) ** 2 / width,
        -60.0 * x * (1.0 - x) * (1.0 - 2.0 * x) / width**2,
    )


def fermi(r: FloatArray, middle: float, steepness: float) -> Jet:
    """Return 1/(1 + exp(-steepness (r/middle - 1)))."""
    f = 1.0 / (1.0 + np.exp(-steepness * (r / middle - 1.0)))
    rate = steepness / middle
    return Jet(f, rate * f * (1.0 - f), rate**2 * f * (1.0 - f) * (1.0 - 2.0 * f))


_TERMS = np.arange(14)
_SERIES = np.array(
    [(-1.0) ** n * 2.0 / np.sqrt(np.pi) / factorial(n) / (2 * n + 1) for n in _TERMS]
)


def erf_over_r(r: FloatArray, b: float | FloatArray) -> Jet:
    """Return erf(b r)/r, smooth at 0.

    Notes
    -----
    It is the potential of a Gaussian charge, so that Poisson's equation gives the
    curvature: f'' + 2 f'/r = -4 b^3/sqrt(pi) exp(-b^2 r^2). Near 0, where slopes are
    small differences, it is the power series.
    """
    x = b * np.asarray(r, dtype=np.float64)
    near = x < 0.5
    # 1 stands in where the closed form is not used.
    far = np.where(near, 1.0, x)
    gauss = 2.0 / np.sqrt(np.pi) * np.exp(-(far**2))
    value = erf(far) / far
    slope = (gauss - value) / far
    curvature = -2.0 * gauss - 2.0 * slope / far
    inside, even = x[near], 2 * _TERMS
    value[near] = inside[:, None] ** even @ _SERIES
    slope[near] = inside[:, None] ** (even[1:] - 1) @ (_SERIES * even)[1:]
    curvature[near] = (
        inside[:, None] ** (even[1:] - 2) @ (_SERIES * even * (even - 1))[1:]
    )
    return Jet(b * value, b**2 * slope, b**3 * curvature)


def spline(jet: Jet, step: float) -> FloatArray:
    """Return the quintic through equidistant nodes, (nodes - 1, 6).

    Row i holds the coefficients of t^k, k = 0..5, between node i and the next, with
    t = 0..1; value, slope and curvature agree at every node.
    """
    v, d, c = jet.value, step * jet.slope, 0.5 * step**2 * jet.curvature
    left = np.stack([v[:-1], d[:-1], c[:-1]], axis=1)
    rest_v = v[1:] - left.sum(axis=1)
    rest_d = d[1:] - d[:-1] - 2.0 * c[:-1]
    rest_c = c[1:] - c[:-1]
    right = np.stack(
        [
            10.0 * rest_v - 4.0 * rest_d + rest_c,
            -15.0 * rest_v + 7.0 * rest_d - 2.0 * rest_c,
            6.0 * rest_v - 3.0 * rest_d + rest_c,
        ],
        axis=1,
    )
    return np.concatenate([left, right], axis=1)
