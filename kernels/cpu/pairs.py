"""Formulae of one pair, inlined in the kernels: spline and spherical harmonics.

numba's cache does not notice that a function called by a cached kernel has changed:
remove the __pycache__ folders after editing this file.
"""

import numpy as np
from numba import njit

# IEEE arithmetic: with reordered or fused sums, code that numba has just compiled and
# the same code from its cache differed in the last bit, and with them a run and its
# resumption. It costs nothing measurable. Nothing depends on the number of threads.
OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": False}

# Below this distance the direction is scaled down to zero instead of dividing by zero;
# all h_nl of l > 0 vanish there.
TINY = 1e-10


@njit(**OPTIONS)
def _interval(values, inverse_step, r):
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
    return k, t, a0, a1, a2, 1.0 - a0, b1, b2


@njit(**OPTIONS)
def read_radial(values, inverse_step, r, h):
    """Write h_nl(r) to h (C,); values are (nodes, 3, C)."""
    k, _, a0, a1, a2, b0, b1, b2 = _interval(values, inverse_step, r)
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
def _slope_weights(t, inverse_step):
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
def read_radial_slope(values, inverse_step, r, h, d):
    """Write h_nl(r) to h and h_nl'(r) to d, (C,)."""
    k, t, a0, a1, a2, b0, b1, b2 = _interval(values, inverse_step, r)
    step, left_1, left_2, right_1, right_2 = _slope_weights(t, inverse_step)
    x0, x1, x2 = values[k, 0], values[k, 1], values[k, 2]
    y0, y1, y2 = values[k + 1, 0], values[k + 1, 1], values[k + 1, 2]
    for c in range(h.shape[0]):
        h[c] = (
            a0 * x0[c] + a1 * x1[c] + a2 * x2[c] + b0 * y0[c] + b1 * y1[c] + b2 * y2[c]
        )
        d[c] = (
            step * (y0[c] - x0[c])
            + left_1 * x1[c]
            + left_2 * x2[c]
            + right_1 * y1[c]
            + right_2 * y2[c]
        )


@njit(**OPTIONS)
def slope_along(values, inverse_step, r, weights):
    """Return sum_c weights_c h_c'(r)."""
    u = r * inverse_step
    k = min(int(u), values.shape[0] - 2)
    step, left_1, left_2, right_1, right_2 = _slope_weights(u - k, inverse_step)
    x0, x1, x2 = values[k, 0], values[k, 1], values[k, 2]
    y0, y1, y2 = values[k + 1, 0], values[k + 1, 1], values[k + 1, 2]
    # Sums apart from each other need not wait for each other.
    s0 = 0.0
    s1 = 0.0
    s2 = 0.0
    z1 = 0.0
    z2 = 0.0
    for c in range(len(weights)):
        s0 += weights[c] * (y0[c] - x0[c])
        s1 += weights[c] * x1[c]
        s2 += weights[c] * x2[c]
        z1 += weights[c] * y1[c]
        z2 += weights[c] * y2[c]
    return step * s0 + left_1 * s1 + left_2 * s2 + right_1 * z1 + right_2 * z2


@njit(**OPTIONS)
def harmonics_scratch(n_l, most):
    """Return memory for the harmonics of up to ``most`` pairs.

    Arrays have the pair as last index: every formula is a loop over pairs, which the
    compiler turns into vector instructions.

    Returns
    -------
    u, inverse : (3, most) unit vectors and (most,) 1 / r
    q, circle : what y is made of
    y, dy : (M, most) harmonics and (3, M, most) the Cartesian gradient of the
        polynomials that give them, of which only the part tangential to the unit sphere
        has a meaning; callers project
    """
    return (
        np.empty((3, most)),
        np.empty(most),
        np.zeros((n_l + 1, n_l + 1, most)),
        np.empty((2, n_l + 1, most)),
        np.empty((n_l * n_l, most)),
        np.zeros((3, n_l * n_l, most)),
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
def harmonics_slope(vector, distance, norms, scratch):
    """Write also the gradient of the polynomials that give the harmonics."""
    n_l, n = norms.shape[0], len(distance)
    _frame(vector, distance, n_l, scratch)
    q, circle, y, dy = scratch[2], scratch[3], scratch[4], scratch[5]
    for m in range(n_l):
        cosine, sine = circle[0, m], circle[1, m]
        before, behind = circle[0, max(m - 1, 0)], circle[1, max(m - 1, 0)]
        for order in range(m, n_l):
            norm, legendre, slope = norms[order, m], q[order, m], q[order, m + 1]
            middle = order * order + order
            x0, x1, x2 = dy[0, middle + m], dy[1, middle + m], dy[2, middle + m]
            plus = y[middle + m]
            if m == 0:
                for p in range(n):
                    plus[p] = norm * legendre[p]
                    x2[p] = norm * slope[p]
                continue
            z0, z1, z2 = dy[0, middle - m], dy[1, middle - m], dy[2, middle - m]
            minus = y[middle - m]
            times_m = norm * m
            for p in range(n):
                f = norm * legendre[p]
                g = norm * slope[p]
                f_m = times_m * legendre[p]
                plus[p] = f * cosine[p]
                minus[p] = f * sine[p]
                x0[p] = f_m * before[p]
                x1[p] = -f_m * behind[p]
                x2[p] = g * cosine[p]
                z0[p] = f_m * behind[p]
                z1[p] = f_m * before[p]
                z2[p] = g * sine[p]


@njit(**OPTIONS)
def direction(vector, r, u):
    """Write the unit vector to u and return 1 / r."""
    inverse = 1.0 / max(r, TINY)
    for k in range(3):
        u[k] = vector[k] * inverse
    return inverse
