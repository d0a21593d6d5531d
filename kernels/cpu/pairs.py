"""Formulae of one pair, inlined in the kernels: spline and spherical harmonics.

numba's cache does not notice that a function called by a cached kernel has changed:
remove the __pycache__ folders after editing this file.
"""

import numpy as np
from numba import njit

from otf.kernels.cpu.lanes import filled, load, store

# IEEE arithmetic: with reordered or fused sums, code that numba has just compiled and
# the same code from its cache differed in the last bit, and with them a run and its
# resumption. It costs nothing measurable. Nothing depends on the number of threads.
OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": False}

# Below this distance the direction is scaled down to zero instead of dividing by zero;
# all h_nl of l > 0 vanish there.
TINY = 1e-10


@njit(**OPTIONS)
def interval(values, inverse_step, r):
    """Return the interval of r, the place t in it, and the weights of its six rows."""
    u = r * inverse_step
    k = min(int(u), values.shape[0] - 2)
    t = u - k
    t3 = t * t * t
    a0 = 1.0 - t3 * (10.0 - t * (15.0 - 6.0 * t))
    a1 = t - t3 * (6.0 - t * (8.0 - 3.0 * t))
    a2 = 0.5 * t * t * (1.0 - t * (3.0 - t * (3.0 - t)))
    b1 = -t3 * (4.0 - t * (7.0 - 3.0 * t))
    b2 = 0.5 * t3 * (1.0 - t) * (1.0 - t)
    return k, t, (a0, a1, a2, 1.0 - a0, b1, b2)


@njit(**OPTIONS)
def slope_weights(t, inverse_step):
    """Return the weights of y_0 - x_0 and of slope and curvature, left and right."""
    s = 1.0 - t
    return (
        30.0 * t * t * s * s * inverse_step,
        s * s * (1.0 + t * (2.0 - 15.0 * t)) * inverse_step,
        0.5 * t * s * s * (2.0 - 5.0 * t) * inverse_step,
        t * t * (-12.0 + t * (28.0 - 15.0 * t)) * inverse_step,
        0.5 * t * t * s * (3.0 - 5.0 * t) * inverse_step,
    )


@njit(**OPTIONS)
def read_values(values, at, width, weights, size):
    """Return a row of h_nl(r), of the interval whose first number stands at a place."""
    a0, a1, a2, b0, b1, b2 = weights
    return (
        a0 * load(values, at, size)
        + a1 * load(values, at + width, size)
        + a2 * load(values, at + 2 * width, size)
        + b0 * load(values, at + 3 * width, size)
        + b1 * load(values, at + 4 * width, size)
        + b2 * load(values, at + 5 * width, size)
    )


@njit(**OPTIONS)
def read_slopes(values, at, width, weights, size):
    """Return a row of h_nl'(r), likewise."""
    step, a1, a2, b1, b2 = weights
    rise = load(values, at + 3 * width, size) - load(values, at, size)
    return (
        step * rise
        + a1 * load(values, at + width, size)
        + a2 * load(values, at + 2 * width, size)
        + b1 * load(values, at + 4 * width, size)
        + b2 * load(values, at + 5 * width, size)
    )


@njit(**OPTIONS)
def harmonics_scratch(n_l, most):
    """Return memory for the harmonics of up to ``most`` pairs.

    Arrays have the pair as last index: every formula is a loop over pairs, which the
    compiler turns into vector instructions.

    Returns
    -------
    u, inverse : (3, most) unit vectors and (most,) 1 / r
    q, circle : what y is made of
    y : (M, most) harmonics
    """
    return (
        np.empty((3, most)),
        np.empty(most),
        np.zeros((n_l, n_l, most)),
        np.empty((2, n_l, most)),
        np.empty((n_l * n_l, most)),
    )


@njit(**OPTIONS)
def most_pairs(start):
    """Return the largest number of pairs of a centre."""
    most = 0
    for i in range(len(start) - 1):
        most = max(most, start[i + 1] - start[i])
    return most


@njit(**OPTIONS)
def _legendre(z, n_l, n, q):
    """Write d^m P_l/dz^m of n numbers to q[l, m]; entries above the diagonal stay."""
    for p in range(n):
        q[0, 0, p] = 1.0
    if n_l > 1:
        for p in range(n):
            q[1, 0, p] = z[p]
            q[1, 1, p] = 1.0
    for order in range(2, n_l):
        a = (2 * order - 1) / order
        b = (order - 1) / order
        new, last, before = q[order, 0], q[order - 1, 0], q[order - 2, 0]
        for p in range(n):
            new[p] = a * z[p] * last[p] - b * before[p]
        # P_l' = P_(l-2)' + (2 l - 1) P_(l-1), differentiated m - 1 times
        c = 2.0 * order - 1.0
        for m in range(1, order + 1):
            new, same, last = q[order, m], q[order - 2, m], q[order - 1, m - 1]
            for p in range(n):
                new[p] = same[p] + c * last[p]


@njit(**OPTIONS)
def _frame(vector, distance, n_l, scratch):
    """Write unit vectors, Legendre derivatives and the powers of x + i y."""
    u, inverse, q, circle = scratch[0], scratch[1], scratch[2], scratch[3]
    n = len(distance)
    for p in range(n):
        inverse[p] = 1.0 / max(distance[p], TINY)
        for k in range(3):
            u[k, p] = vector[p, k] * inverse[p]
    _legendre(u[2], n_l, n, q)
    for p in range(n):
        circle[0, 0, p] = 1.0
        circle[1, 0, p] = 0.0
    x, y = u[0], u[1]
    for m in range(1, n_l):
        cosine, sine = circle[0, m], circle[1, m]
        before, behind = circle[0, m - 1], circle[1, m - 1]
        for p in range(n):
            cosine[p] = x[p] * before[p] - y[p] * behind[p]
            sine[p] = x[p] * behind[p] + y[p] * before[p]


@njit(**OPTIONS)
def harmonics(vector, distance, norms, scratch):
    """Write unit vectors, 1 / r and the real spherical harmonics of some pairs."""
    n_l, n = norms.shape[0], len(distance)
    _frame(vector, distance, n_l, scratch)
    q, circle, y = scratch[2], scratch[3], scratch[4]
    for m in range(n_l):
        cosine, sine = circle[0, m], circle[1, m]
        for order in range(m, n_l):
            norm, legendre = norms[order, m], q[order, m]
            plus, minus = y[order * order + order + m], y[order * order + order - m]
            for p in range(n):
                f = norm * legendre[p]
                minus[p] = f * sine[p]
                plus[p] = f * cosine[p]  # the one that stays where m = 0


@njit(**OPTIONS)
def _ladder(order, m):
    """Return what Lambda couples m and m + 1 with, halved."""
    f = 0.5 if m else np.sqrt(0.5)
    return f * np.sqrt((order - m) * (order + m + 1.0))


@njit(**OPTIONS)
def turned(w, at, n_l, out, size):
    """Write w, and Lambda^T w for x, y and z, to out (M, 4, len(size)).

    Rows w_m, m = 0 ... M - 1, stand in an array from a place on, and belong to the
    harmonics Y_m. With Lambda = r x grad, (Lambda Y)_m = sum_m' Lambda_mm' Y_m', and
    sum_m w_m (Lambda Y)_m = sum_m (Lambda^T w)_m Y_m. These are i times the operators
    of angular momentum.
    """
    n = len(size)
    zero = filled(0.0, size)
    for order in range(n_l):
        middle = order * order + order
        for m in range(order + 1):
            c = load(w, at + (middle + m) * n, size)
            s = load(w, at + (middle - m) * n, size)
            cx, cy, sx, sy = zero, zero, zero, zero
            if m < order:
                f = _ladder(order, m)
                up_c = load(w, at + (middle + m + 1) * n, size)
                up_s = load(w, at + (middle - m - 1) * n, size)
                cx -= f * up_s
                cy += f * up_c
                sx += f * up_c
                sy += f * up_s
            if m > 0:
                f = _ladder(order, m - 1)
                down_c = load(w, at + (middle + m - 1) * n, size)
                cy -= f * down_c
                sx += f * down_c
            if m > 1:
                down_s = load(w, at + (middle - m + 1) * n, size)
                cx -= f * down_s
                sy -= f * down_s
            to = 4 * n * (middle - m)
            if m > 0:
                store(out, to, s)
                store(out, to + n, sx)
                store(out, to + 2 * n, sy)
                store(out, to + 3 * n, -float(m) * c)
            to = 4 * n * (middle + m)
            store(out, to, c)
            store(out, to + n, cx)
            store(out, to + 2 * n, cy)
            store(out, to + 3 * n, float(m) * s)


@njit(**OPTIONS)
def direction(vector, r, u):
    """Write the unit vector to u and return 1 / r."""
    inverse = 1.0 / max(r, TINY)
    for k in range(3):
        u[k] = vector[k] * inverse
    return inverse
