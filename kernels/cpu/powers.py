"""Softened directions and weighted powers: the covariance stage of a prediction."""

import numpy as np
from numba import njit

from otf.kernels.cpu.pairs import OPTIONS


@njit(**OPTIONS)
def square(x):
    """Return x . x in double precision.

    In four partial sums: each waits for its last term only.
    """
    n = len(x)
    whole = n - n % 4
    s0 = 0.0
    s1 = 0.0
    s2 = 0.0
    s3 = 0.0
    for k in range(0, whole, 4):
        x0, x1 = np.float64(x[k]), np.float64(x[k + 1])
        x2, x3 = np.float64(x[k + 2]), np.float64(x[k + 3])
        s0 += x0 * x0
        s1 += x1 * x1
        s2 += x2 * x2
        s3 += x3 * x3
    for k in range(whole, n):
        s0 += np.float64(x[k]) * np.float64(x[k])
    return (s0 + s1) + (s2 + s3)


@njit(**OPTIONS)
def softened(features, softening):
    directions = np.empty_like(features)
    rho = np.empty(len(features))
    for i in range(len(features)):
        x, u = features[i], directions[i]
        own_square = square(x)
        norm_square = own_square + softening * softening
        inverse = 1.0 / np.sqrt(norm_square)
        rho[i] = own_square / norm_square
        for k in range(len(x)):
            u[k] = inverse * x[k]
    return directions, rho


@njit(**OPTIONS)
def softened_gradient(features, softening, slope, own):
    out = np.empty_like(features)
    for i in range(len(features)):
        x, y, g = features[i], slope[i], out[i]
        inverse = 1.0 / np.sqrt(square(x) + softening * softening)
        along = own[i] * inverse * inverse
        for k in range(len(x)):
            g[k] = inverse * y[k] + along * x[k]
    return out


@njit(**OPTIONS)
def _weighted_power(k, weights, exponent, out):
    n_columns = k.shape[1]
    whole = n_columns - n_columns % 4
    for i in range(len(k)):
        row = k[i]
        s0 = 0.0
        s1 = 0.0
        s2 = 0.0
        s3 = 0.0
        for b in range(0, whole, 4):
            x0, x1, x2, x3 = row[b], row[b + 1], row[b + 2], row[b + 3]
            a0, a1 = weights[b], weights[b + 1]
            a2, a3 = weights[b + 2], weights[b + 3]
            for _ in range(exponent - 1):
                a0 *= x0
                a1 *= x1
                a2 *= x2
                a3 *= x3
            s0 += a0 * x0
            s1 += a1 * x1
            s2 += a2 * x2
            s3 += a3 * x3
            row[b] = exponent * a0
            row[b + 1] = exponent * a1
            row[b + 2] = exponent * a2
            row[b + 3] = exponent * a3
        for b in range(whole, n_columns):
            x0, a0 = row[b], weights[b]
            for _ in range(exponent - 1):
                a0 *= x0
            s0 += a0 * x0
            row[b] = exponent * a0
        out[i] = (s0 + s1) + (s2 + s3)


def weighted_power(k, weights, exponent):
    out = np.empty(len(k))
    _weighted_power(k, weights, exponent, out)
    return out
