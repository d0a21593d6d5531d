"""The power spectrum of density coefficients, forward and backward."""

import numpy as np
from numba import njit

from otf.kernels.cpu.pairs import OPTIONS

SQRT2 = np.sqrt(2.0)


@njit(**OPTIONS)
def _channels(c, flat):
    """Copy c (S, M, N) to flat (M, S N)."""
    n_max = c.shape[2]
    for s in range(c.shape[0]):
        for m in range(c.shape[1]):
            for n in range(n_max):
                flat[m, s * n_max + n] = c[s, m, n]


@njit(**OPTIONS)
def _spectrum_full(c, weights, out):
    n_a = c.shape[1] * c.shape[3]
    flat = np.empty((c.shape[2], n_a))
    sums = np.empty(n_a)
    for i in range(len(c)):
        _channels(c[i], flat)
        q = 0
        for order in range(len(weights)):
            for a in range(n_a):
                sums[a:] = 0.0
                for m in range(order * order, (order + 1) * (order + 1)):
                    x = flat[m, a]
                    for b in range(a, n_a):
                        sums[b] += x * flat[m, b]
                out[i, q] = weights[order] * sums[a]
                q += 1
                for b in range(a + 1, n_a):
                    out[i, q] = SQRT2 * weights[order] * sums[b]
                    q += 1


def spectrum_full(c, weights):
    n_a = c.shape[1] * c.shape[3]
    out = np.empty((len(c), len(weights) * n_a * (n_a + 1) // 2))
    _spectrum_full(c, weights, out)
    return out


@njit(**OPTIONS)
def _adjoint_full(c, weights, gradient, out):
    n_max = c.shape[3]
    n_a = c.shape[1] * n_max
    flat = np.empty((c.shape[2], n_a))
    result = np.empty((c.shape[2], n_a))
    for i in range(len(c)):
        _channels(c[i], flat)
        result[:] = 0.0
        q = 0
        for order in range(len(weights)):
            for a in range(n_a):
                f = 2.0 * weights[order] * gradient[i, q]
                g = SQRT2 * weights[order]
                for m in range(order * order, (order + 1) * (order + 1)):
                    x = flat[m, a]
                    s = 0.0
                    for b in range(a + 1, n_a):
                        z = g * gradient[i, q + b - a]
                        s += z * flat[m, b]
                        result[m, b] += z * x
                    result[m, a] += s + f * x
                q += n_a - a
        for s in range(c.shape[1]):
            for m in range(c.shape[2]):
                for n in range(n_max):
                    out[i, s, m, n] = result[m, s * n_max + n]


def adjoint_full(c, weights, gradient):
    out = np.empty_like(c)
    _adjoint_full(c, weights, gradient, out)
    return out


@njit(**OPTIONS)
def _jacobian_full(owner, c, weights, species, derivatives, out):
    n_max = c.shape[3]
    n_a = c.shape[1] * n_max
    low, high = species * n_max, (species + 1) * n_max
    flat = np.empty((c.shape[2], n_a))
    sums = np.empty((n_max, n_a))  # sum_m dc_ma c_mb
    last = -1
    for r in range(len(owner)):
        if owner[r] != last:
            last = owner[r]
            _channels(c[last], flat)
        d = derivatives[r]
        row = out[r]
        q = 0
        for order in range(len(weights)):
            sums[:] = 0.0
            for m in range(order * order, (order + 1) * (order + 1)):
                for a in range(n_max):
                    x = d[m, a]
                    for b in range(n_a):
                        sums[a, b] += x * flat[m, b]
            f = weights[order]
            g = SQRT2 * weights[order]
            for a in range(n_a):
                inside = low <= a < high
                row[q] = 2.0 * f * sums[a - low, a] if inside else 0.0
                q += 1
                for b in range(a + 1, n_a):
                    x = sums[a - low, b] if inside else 0.0
                    if low <= b < high:
                        x += sums[b - low, a]
                    row[q] = g * x
                    q += 1


def jacobian_full(owner, c, weights, species, derivatives):
    n_a = c.shape[1] * c.shape[3]
    out = np.empty((len(owner), len(weights) * n_a * (n_a + 1) // 2))
    _jacobian_full(owner, c, weights, species, derivatives, out)
    return out


@njit(**OPTIONS)
def _add_species(c, total):
    """Write the sum of c (S, M, N) over species to total (M, N)."""
    total[:] = 0.0
    for s in range(c.shape[0]):
        for m in range(c.shape[1]):
            for n in range(c.shape[2]):
                total[m, n] += c[s, m, n]


@njit(**OPTIONS)
def _spectrum_reduced(c, weights, out):
    n_species, n_m, n_max = c.shape[1:]
    total = np.empty((n_m, n_max))
    for i in range(len(c)):
        _add_species(c[i], total)
        q = 0
        for order in range(len(weights)):
            for s in range(n_species):
                for n in range(n_max):
                    out[i, q : q + n_max] = 0.0
                    for m in range(order * order, (order + 1) * (order + 1)):
                        x = weights[order] * c[i, s, m, n]
                        for b in range(n_max):
                            out[i, q + b] += x * total[m, b]
                    q += n_max


def spectrum_reduced(c, weights):
    _, n_species, _, n_max = c.shape
    out = np.empty((len(c), len(weights) * n_species * n_max * n_max))
    _spectrum_reduced(c, weights, out)
    return out


@njit(**OPTIONS)
def _adjoint_reduced(c, weights, gradient, out):
    n_species, n_m, n_max = c.shape[1:]
    total = np.empty((n_m, n_max))
    shared = np.empty((n_m, n_max))
    for i in range(len(c)):
        _add_species(c[i], total)
        shared[:] = 0.0
        q = 0
        for order in range(len(weights)):
            for s in range(n_species):
                for n in range(n_max):
                    for m in range(order * order, (order + 1) * (order + 1)):
                        x = c[i, s, m, n]
                        z = 0.0
                        for b in range(n_max):
                            g = weights[order] * gradient[i, q + b]
                            z += g * total[m, b]
                            shared[m, b] += g * x
                        out[i, s, m, n] = z
                    q += n_max
        for s in range(n_species):
            for m in range(n_m):
                for n in range(n_max):
                    out[i, s, m, n] += shared[m, n]


def adjoint_reduced(c, weights, gradient):
    out = np.empty_like(c)
    _adjoint_reduced(c, weights, gradient, out)
    return out
