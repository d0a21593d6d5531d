"""Formulae of one pair, inlined in the kernels: spline and spherical harmonics.

numba's cache does not notice that a function called by a cached kernel has changed:
remove the __pycache__ folders after editing this file.
"""

from functools import lru_cache
from math import factorial

import numpy as np
from numba import njit

# IEEE arithmetic: with reordered or fused sums, code that numba has just compiled and
# the same code from its cache differed in the last bit, and with them a run and its
# resumption. It costs nothing measurable. Nothing depends on the number of threads.
OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": False}

# Below this distance the direction is scaled down to zero instead of dividing by zero;
# all h_nl of l > 0 vanish there.
TINY = 1e-10


@lru_cache(maxsize=16)
def harmonic_norms(l_max):
    """Return the factors (L + 1, L + 1) of d^m P_l/dz^m in real Y_lm."""
    norms = np.zeros((l_max + 1, l_max + 1))
    for order in range(l_max + 1):
        for m in range(order + 1):
            ratio = factorial(order - m) / factorial(order + m) * (2.0 if m else 1.0)
            norms[order, m] = np.sqrt((2 * order + 1) / (4 * np.pi) * ratio)
    return norms


@njit(**OPTIONS)
def read_radial(values, inverse_step, r, h):
    """Write h_nl(r) to h (C,); values are (nodes, 3, C)."""
    u = r * inverse_step
    k = min(int(u), values.shape[0] - 2)
    t = u - k
    t3 = t * t * t
    a0 = 1.0 - t3 * (10.0 - t * (15.0 - 6.0 * t))
    a1 = t - t3 * (6.0 - t * (8.0 - 3.0 * t))
    a2 = 0.5 * t * t * (1.0 - t * (3.0 - t * (3.0 - t)))
    b0 = 1.0 - a0
    b1 = -t3 * (4.0 - t * (7.0 - 3.0 * t))
    b2 = 0.5 * t3 * (1.0 - t) * (1.0 - t)
    left = values[k]
    right = values[k + 1]
    for c in range(h.shape[0]):
        h[c] = (
            a0 * left[0, c]
            + a1 * left[1, c]
            + a2 * left[2, c]
            + b0 * right[0, c]
            + b1 * right[1, c]
            + b2 * right[2, c]
        )


@njit(**OPTIONS)
def read_radial_slope(values, inverse_step, r, h, d):
    """Write h_nl(r) to h and h_nl'(r) to d, (C,)."""
    read_radial(values, inverse_step, r, h)
    u = r * inverse_step
    k = min(int(u), values.shape[0] - 2)
    t = u - k
    s = 1.0 - t
    b0 = 30.0 * t * t * s * s * inverse_step
    a1 = s * s * (1.0 + t * (2.0 - 15.0 * t)) * inverse_step
    a2 = 0.5 * t * s * s * (2.0 - 5.0 * t) * inverse_step
    b1 = t * t * (-12.0 + t * (28.0 - 15.0 * t)) * inverse_step
    b2 = 0.5 * t * t * s * (3.0 - 5.0 * t) * inverse_step
    left = values[k]
    right = values[k + 1]
    for c in range(h.shape[0]):
        d[c] = (
            b0 * (right[0, c] - left[0, c])
            + a1 * left[1, c]
            + a2 * left[2, c]
            + b1 * right[1, c]
            + b2 * right[2, c]
        )


@njit(**OPTIONS)
def _legendre(z, n, q):
    """Write d^m P_l/dz^m to q[l, m] for l < n; entries above the diagonal stay."""
    q[0, 0] = 1.0
    if n > 1:
        q[1, 0] = z
        q[1, 1] = 1.0
    for order in range(2, n):
        q[order, 0] = (
            (2 * order - 1) * z * q[order - 1, 0] - (order - 1) * q[order - 2, 0]
        ) / order
        # P_l' = P_(l-2)' + (2 l - 1) P_(l-1), differentiated m - 1 times
        for m in range(1, order + 1):
            q[order, m] = q[order - 2, m] + (2 * order - 1) * q[order - 1, m - 1]


@njit(**OPTIONS)
def harmonics(u, norms, q, y):
    """Write the real spherical harmonics of the unit vector u to y (M,).

    q is zeroed scratch, (L + 2, L + 2).
    """
    n = norms.shape[0]
    _legendre(u[2], n, q)
    cosine = 1.0
    sine = 0.0
    for m in range(n):
        for order in range(m, n):
            f = norms[order, m] * q[order, m]
            middle = order * order + order
            y[middle + m] = f * cosine
            if m > 0:
                y[middle - m] = f * sine
        cosine, sine = u[0] * cosine - u[1] * sine, u[0] * sine + u[1] * cosine


@njit(**OPTIONS)
def harmonics_slope(u, norms, q, y, dy):
    """Write also the Cartesian gradient dy (3, M) of the polynomials that give y.

    Of this gradient only the part tangential to the unit sphere has a meaning; callers
    project.
    """
    n = norms.shape[0]
    _legendre(u[2], n, q)
    cosine = 1.0
    sine = 0.0
    cosine_before = 0.0  # of m - 1, times m: the derivative of (x + i y)^m
    sine_before = 0.0
    for m in range(n):
        for order in range(m, n):
            f = norms[order, m] * q[order, m]
            g = norms[order, m] * q[order, m + 1]
            middle = order * order + order
            if m > 0:
                y[middle - m] = f * sine
                dy[0, middle - m] = f * sine_before
                dy[1, middle - m] = f * cosine_before
                dy[2, middle - m] = g * sine
            y[middle + m] = f * cosine
            dy[0, middle + m] = f * cosine_before
            dy[1, middle + m] = -f * sine_before
            dy[2, middle + m] = g * cosine
        cosine_before = (m + 1) * cosine
        sine_before = (m + 1) * sine
        cosine, sine = u[0] * cosine - u[1] * sine, u[0] * sine + u[1] * cosine


@njit(**OPTIONS)
def direction(vector, r, u):
    """Write the unit vector to u and return 1 / r."""
    inverse = 1.0 / max(r, TINY)
    for k in range(3):
        u[k] = vector[k] * inverse
    return inverse
