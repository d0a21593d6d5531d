"""The neighbour density in radial functions and harmonics, and its derivatives."""

import numpy as np
from numba import njit

from otf.kernels.cpu.pairs import (
    OPTIONS,
    direction,
    harmonic_norms,
    harmonics,
    harmonics_slope,
    read_radial,
    read_radial_slope,
)


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
    q = np.zeros((n_l + 1, n_l + 1))
    y = np.empty(n_l * n_l)
    u = np.empty(3)
    for i in range(len(start) - 1):
        for p in range(start[i], start[i + 1]):
            r = distance[p]
            if r >= cutoff:
                continue
            direction(vector[p], r, u)
            read_radial(values, inverse, r, h)
            harmonics(u, norms, q, y)
            out = c[i, species[p]]
            for order in range(n_l):
                for m in range(order * order, (order + 1) * (order + 1)):
                    for n in range(n_max):
                        out[m, n] += y[m] * h[order * n_max + n]


def expand(start, species, vector, distance, table, n_species):
    n_l, n_max = table.values.shape[2:]
    c = np.zeros((len(start) - 1, n_species, n_l * n_l, n_max))
    _expand(start, species, vector, distance, *_shape(table), c)
    return c


@njit(**OPTIONS)
def _pair_gradient(
    start, species, vector, distance, values, inverse, cutoff, norms, w, out
):
    n_l = norms.shape[0]
    n_max = values.shape[2] // n_l
    h = np.empty(n_l * n_max)
    d = np.empty(n_l * n_max)
    q = np.zeros((n_l + 1, n_l + 1))
    y = np.empty(n_l * n_l)
    dy = np.zeros((3, n_l * n_l))
    u = np.empty(3)
    for i in range(len(start) - 1):
        for p in range(start[i], start[i + 1]):
            r = distance[p]
            if r >= cutoff:
                continue
            over_r = direction(vector[p], r, u)
            read_radial_slope(values, inverse, r, h, d)
            harmonics_slope(u, norms, q, y, dy)
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
                    radial += t * y[m]
                    x0 += s * dy[0, m]
                    x1 += s * dy[1, m]
                    x2 += s * dy[2, m]
            along = x0 * u[0] + x1 * u[1] + x2 * u[2]
            radial -= along * over_r
            out[p, 0] = radial * u[0] + x0 * over_r
            out[p, 1] = radial * u[1] + x1 * over_r
            out[p, 2] = radial * u[2] + x2 * over_r


def pair_gradient(start, species, vector, distance, table, weights):
    out = np.zeros((len(distance), 3))
    _pair_gradient(start, species, vector, distance, *_shape(table), weights, out)
    return out


@njit(**OPTIONS)
def _pair_derivatives(vector, distance, values, inverse, cutoff, norms, out):
    n_l = norms.shape[0]
    n_max = values.shape[2] // n_l
    h = np.empty(n_l * n_max)
    d = np.empty(n_l * n_max)
    q = np.zeros((n_l + 1, n_l + 1))
    y = np.empty(n_l * n_l)
    dy = np.zeros((3, n_l * n_l))
    u = np.empty(3)
    for p in range(len(distance)):
        r = distance[p]
        if r >= cutoff:
            out[p] = 0.0
            continue
        over_r = direction(vector[p], r, u)
        read_radial_slope(values, inverse, r, h, d)
        harmonics_slope(u, norms, q, y, dy)
        for order in range(n_l):
            for m in range(order * order, (order + 1) * (order + 1)):
                along = u[0] * dy[0, m] + u[1] * dy[1, m] + u[2] * dy[2, m]
                for k in range(3):
                    radial = y[m] * u[k]
                    tangential = (dy[k, m] - along * u[k]) * over_r
                    for n in range(n_max):
                        c = order * n_max + n
                        out[p, k, m, n] = d[c] * radial + h[c] * tangential


def pair_derivatives(vector, distance, table):
    n_l, n_max = table.values.shape[2:]
    out = np.empty((len(distance), 3, n_l * n_l, n_max))
    _pair_derivatives(vector, distance, *_shape(table), out)
    return out
