"""The neighbour density in radial functions and harmonics, and its derivatives."""

import numpy as np
from numba import njit

from otf.kernels.cpu.pairs import (
    OPTIONS,
    TINY,
    harmonics,
    harmonics_scratch,
    harmonics_slope,
    most_pairs,
    read_radial,
    read_radial_slope,
    slope_along,
)
from otf.kernels.norms import harmonic_norms

# Pairs whose harmonics are computed together where they are not those of one centre.
BLOCK = 32


def _shape(table):
    """Return the flat table, 1 / step, cutoff and the norms of the harmonics."""
    nodes, _, n_l, n_max = table.values.shape
    flat = table.values.reshape(nodes, 3, n_l * n_max)
    return flat, (nodes - 1) / table.cutoff, table.cutoff, harmonic_norms(n_l - 1)


@njit(**OPTIONS)
def _expand(start, species, vector, distance, values, inverse, cutoff, norms, c):
    n_l = norms.shape[0]
    n_max = values.shape[2] // n_l
    h = np.empty(n_l * n_max)
    scratch = harmonics_scratch(n_l, most_pairs(start))
    y = scratch[4]
    for i in range(len(start) - 1):
        low, high = start[i], start[i + 1]
        harmonics(vector[low:high], distance[low:high], norms, scratch)
        for p in range(low, high):
            r = distance[p]
            if r >= cutoff:
                continue
            read_radial(values, inverse, r, h)
            out = c[i, species[p]]
            for order in range(n_l):
                for m in range(order * order, (order + 1) * (order + 1)):
                    f = y[m, p - low]
                    for n in range(n_max):
                        out[m, n] += f * h[order * n_max + n]


@njit(**OPTIONS)
def _expand_isotropic(start, species, distance, values, inverse, cutoff, norms, c):
    """Expand where l = 0 alone is there: no directions are needed."""
    n_max = values.shape[2]
    h = np.empty(n_max)
    for i in range(len(start) - 1):
        for p in range(start[i], start[i + 1]):
            if distance[p] >= cutoff:
                continue
            read_radial(values, inverse, distance[p], h)
            out = c[i, species[p], 0]
            for n in range(n_max):
                out[n] += norms[0, 0] * h[n]


def expand(start, species, vector, distance, table, n_species):
    n_l, n_max = table.values.shape[2:]
    c = np.zeros((len(start) - 1, n_species, n_l * n_l, n_max))
    if n_l == 1:
        _expand_isotropic(start, species, distance, *_shape(table), c)
    else:
        _expand(start, species, vector, distance, *_shape(table), c)
    return c


@njit(**OPTIONS)
def _add_pair_gradient(
    start, species, vector, distance, values, inverse, cutoff, norms, w, out
):
    n_l = norms.shape[0]
    n_max = values.shape[2] // n_l
    h = np.empty(n_l * n_max)
    d = np.empty(n_l * n_max)
    scratch = harmonics_scratch(n_l, most_pairs(start))
    u, over_r, y, dy = scratch[0], scratch[1], scratch[4], scratch[5]
    for i in range(len(start) - 1):
        low, high = start[i], start[i + 1]
        harmonics_slope(vector[low:high], distance[low:high], norms, scratch)
        for p in range(low, high):
            r = distance[p]
            if r >= cutoff:
                continue
            k = p - low
            read_radial_slope(values, inverse, r, h, d)
            weights = w[i, species[p]]
            radial = 0.0
            x0 = 0.0
            x1 = 0.0
            x2 = 0.0
            for order in range(n_l):
                for m in range(order * order, (order + 1) * (order + 1)):
                    s = 0.0
                    t = 0.0
                    for n in range(n_max):
                        s += weights[m, n] * h[order * n_max + n]
                        t += weights[m, n] * d[order * n_max + n]
                    radial += t * y[m, k]
                    x0 += s * dy[0, m, k]
                    x1 += s * dy[1, m, k]
                    x2 += s * dy[2, m, k]
            along = x0 * u[0, k] + x1 * u[1, k] + x2 * u[2, k]
            radial -= along * over_r[k]
            out[p, 0] += radial * u[0, k] + x0 * over_r[k]
            out[p, 1] += radial * u[1, k] + x1 * over_r[k]
            out[p, 2] += radial * u[2, k] + x2 * over_r[k]


@njit(**OPTIONS)
def _add_isotropic_gradient(
    start, species, vector, distance, values, inverse, cutoff, norms, w, out
):
    """Add the gradient where l = 0 alone is there: it is along the pair."""
    for i in range(len(start) - 1):
        for p in range(start[i], start[i + 1]):
            r = distance[p]
            if r >= cutoff:
                continue
            radial = slope_along(values, inverse, r, w[i, species[p], 0])
            radial *= norms[0, 0] / max(r, TINY)
            for k in range(3):
                out[p, k] += radial * vector[p, k]


def add_pair_gradient(start, species, vector, distance, table, weights, out):
    add = _add_isotropic_gradient if len(weights[0, 0]) == 1 else _add_pair_gradient
    add(start, species, vector, distance, *_shape(table), weights, out)


@njit(**OPTIONS)
def _pair_derivatives(vector, distance, values, inverse, cutoff, norms, out):
    n_l = norms.shape[0]
    n_max = values.shape[2] // n_l
    h = np.empty(n_l * n_max)
    d = np.empty(n_l * n_max)
    scratch = harmonics_scratch(n_l, BLOCK)
    u, over_r, y, dy = scratch[0], scratch[1], scratch[4], scratch[5]
    for low in range(0, len(distance), BLOCK):
        high = min(low + BLOCK, len(distance))
        harmonics_slope(vector[low:high], distance[low:high], norms, scratch)
        for p in range(low, high):
            if distance[p] >= cutoff:
                out[p] = 0.0
                continue
            j = p - low
            read_radial_slope(values, inverse, distance[p], h, d)
            for order in range(n_l):
                for m in range(order * order, (order + 1) * (order + 1)):
                    along = 0.0
                    for k in range(3):
                        along += u[k, j] * dy[k, m, j]
                    for k in range(3):
                        radial = y[m, j] * u[k, j]
                        tangential = (dy[k, m, j] - along * u[k, j]) * over_r[j]
                        for n in range(n_max):
                            c = order * n_max + n
                            out[p, k, m, n] = d[c] * radial + h[c] * tangential


def pair_derivatives(vector, distance, table):
    n_l, n_max = table.values.shape[2:]
    out = np.empty((len(distance), 3, n_l * n_l, n_max))
    _pair_derivatives(vector, distance, *_shape(table), out)
    return out
