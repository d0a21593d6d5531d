"""Radial functions of the broadened atomic density, tabulated for splines.

A Gaussian of width sigma at distance r, damped by the cutoff function and expanded in
spherical Bessel functions chi_nl on [0, R_c], has the radial coefficient

    h_nl(r) = f_cut(r) 4 pi / (2 pi sigma^2)^(3/2) int_0^R_c ds s^2
              chi_nl(s) exp(-(s^2 + r^2) / 2 sigma^2) i_l(r s / sigma^2)

with f_cut(r) = (1 + cos(pi r / R_c)) / 2 and the modified spherical Bessel function
i_l. References: A. P. Bartok, R. Kondor, G. Csanyi, Phys. Rev. B 87, 184115 (2013),
DOI 10.1103/PhysRevB.87.184115; R. Jinnouchi, F. Karsai, G. Kresse, Phys. Rev. B 100,
014105 (2019), DOI 10.1103/PhysRevB.100.014105.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq
from scipy.special import roots_legendre, spherical_jn

from otf.kernels import RadialTable

if TYPE_CHECKING:
    from otf.configuration import FloatArray

# Step of the table in units of sigma. The broadened basis holds no wave vectors beyond
# some 6 / sigma, so the quintic spline errs in the slope by about
# step^5 max|h^(6)| / 4000, 1e-10 of the largest slope.
STEP = 0.03


@lru_cache(maxsize=32)
def radial_table(cutoff: float, n_max: int, l_max: int, sigma: float) -> RadialTable:
    """Return the spline table of h_nl for n = 1..n_max, l = 0..l_max."""
    nodes = int(np.ceil(cutoff / (STEP * sigma))) + 1
    r = np.linspace(0.0, cutoff, nodes)
    values = radial_functions(r, cutoff, n_max, l_max, sigma)
    step = cutoff / (nodes - 1)
    values *= np.array([1.0, step, step**2])[:, None, None]
    values.setflags(write=False)
    return RadialTable(values, float(cutoff))


def radial_functions(
    r: FloatArray, cutoff: float, n_max: int, l_max: int, sigma: float
) -> FloatArray:
    """Return h_nl, h_nl' and h_nl'' by quadrature, (len(r), 3, l_max + 1, n_max).

    Notes
    -----
    Derivatives are exact: i_l' = (l i_(l-1) + (l+1) i_(l+1)) / (2l+1) under the
    integral. The Gauss-Legendre rule has some ten nodes per sigma, far beyond what the
    Gaussian needs for 1e-13.
    """
    x, w = roots_legendre(64 + 4 * n_max + int(10 * cutoff / sigma))
    s, w = 0.5 * cutoff * (x + 1.0), 0.5 * cutoff * w
    prefactor = 4 * np.pi / (2 * np.pi * sigma**2) ** 1.5
    gauss = np.exp(-((r[:, None] - s) ** 2) / (2 * sigma**2))
    bessel = scaled_bessel(np.outer(r, s) / sigma**2, l_max + 2)
    a, b = r[:, None] / sigma**2, s / sigma**2
    integral = np.empty((len(r), 3, l_max + 1, n_max))
    for order in range(l_max + 1):
        chi = basis(s, cutoff, n_max, order) * (prefactor * w * s**2)
        i0, i1, i2 = _bessel_derivatives(bessel, order)
        # d/dr of exp(-r^2 / 2 sigma^2) i_l(r s / sigma^2), and once more
        slope = b * i1 - a * i0
        curvature = b**2 * i2 - 2 * a * b * i1 + (a**2 - 1 / sigma**2) * i0
        for k, factor in enumerate((i0, slope, curvature)):
            integral[:, k, order] = (gauss * factor) @ chi.T
    return _damped(integral, r, cutoff)


def basis(r: FloatArray, cutoff: float, n_max: int, order: int) -> FloatArray:
    """Return chi_nl(r), (n_max, len(r)): j_l(q_nl r), zero at the cutoff, normalised.

    The norm is int_0^R_c chi^2 r^2 dr = 1, from R_c^3 j_(l+1)(q R_c)^2 / 2.
    """
    zeros = np.array(bessel_zeros(order, n_max))
    norm = np.sqrt(2 / cutoff**3) / np.abs(spherical_jn(order + 1, zeros))
    chi: FloatArray = spherical_jn(order, np.outer(zeros / cutoff, r)) * norm[:, None]
    return chi


@lru_cache(maxsize=64)
def bessel_zeros(order: int, count: int) -> tuple[float, ...]:
    """Return the first positive zeros of j_l.

    Those of j_0 are n pi; the zeros of j_l lie one by one between those of j_(l-1).
    """
    if order == 0:
        return tuple(np.pi * n for n in range(1, count + 1))
    ends = bessel_zeros(order - 1, count + 1)
    return tuple(
        float(brentq(lambda x: spherical_jn(order, x), a, b, xtol=1e-14, rtol=1e-15))
        for a, b in pairwise(ends)
    )


def scaled_bessel(x: FloatArray, l_max: int) -> FloatArray:
    """Return exp(-x) i_l(x) for l = 0..l_max, (l_max + 1, ...), x >= 0.

    The ratios i_l / i_(l-1) come from the downward recurrence, which is stable and
    forgets its start like (i_start / i_l)^2, about exp(-start^2 / x).
    """
    start = l_max + 12 + int(np.sqrt(40 * x.max(initial=0.0)))
    ratios = np.empty((l_max + 1, *x.shape))
    ratio = np.zeros_like(x)
    for order in range(start, 0, -1):
        ratio = x / (2 * order + 1 + x * ratio)
        if order <= l_max:
            ratios[order] = ratio
    small = x < 1e-8
    y = np.where(small, 1.0, x)
    ratios[0] = np.where(small, 1.0 - x, -np.expm1(-2 * y) / (2 * y))
    bessel: FloatArray = np.multiply.accumulate(ratios, axis=0)
    return bessel


def _bessel_derivatives(
    bessel: FloatArray, order: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return i_l, i_l' and i_l'' (each times exp(-x)) from the table of i_l."""

    def slope(k: int) -> FloatArray:
        lower = k * bessel[k - 1] if k else 0.0
        out: FloatArray = (lower + (k + 1) * bessel[k + 1]) / (2 * k + 1)
        return out

    lower = order * slope(order - 1) if order else 0.0
    curvature = (lower + (order + 1) * slope(order + 1)) / (2 * order + 1)
    return bessel[order], slope(order), curvature


def _damped(integral: FloatArray, r: FloatArray, cutoff: float) -> FloatArray:
    """Multiply value, slope and curvature by the cutoff function (product rule)."""
    k = np.pi / cutoff
    cut = 0.5 * (1 + np.cos(k * r))[:, None, None]
    cut1 = -0.5 * k * np.sin(k * r)[:, None, None]
    cut2 = -0.5 * k**2 * np.cos(k * r)[:, None, None]
    f0, f1, f2 = integral[:, 0], integral[:, 1], integral[:, 2]
    out = np.stack(
        [cut * f0, cut * f1 + cut1 * f0, cut * f2 + 2 * cut1 * f1 + cut2 * f0], axis=1
    )
    # sin(pi) is 1e-16 in floating point; the cutoff is an exact zero of value and slope
    out[r == cutoff, :2] = 0.0
    return out
