"""Self terms of the power spectrum: pair functions by the addition theorem."""

import numpy as np
from numba import njit

from otf.kernels.cpu.pairs import OPTIONS, direction, read_radial, read_radial_slope


def _shape(table):
    """Return the flat table, 1 / step, cutoff and the number of orders l."""
    nodes, _, n_l, n_max = table.values.shape
    flat = table.values.reshape(nodes, 3, n_l * n_max)
    return flat, (nodes - 1) / table.cutoff, table.cutoff, n_l


@njit(**OPTIONS)
def _overlap(start, species, distance, values, inverse, cutoff, n_l, out):
    n_max = values.shape[2] // n_l
    h = np.empty(n_l * n_max)
    for i in range(len(start) - 1):
        for p in range(start[i], start[i + 1]):
            if distance[p] >= cutoff:
                continue
            read_radial(values, inverse, distance[p], h)
            for order in range(n_l):
                f = (2 * order + 1) / (4 * np.pi)
                line = h[order * n_max : (order + 1) * n_max]
                t = 0
                for a in range(n_max):
                    for b in range(a, n_max):
                        out[i, species[p], order, t] += f * line[a] * line[b]
                        t += 1


def overlap(start, species, distance, table, n_species):
    n_l, n_max = table.values.shape[2:]
    n = len(start) - 1
    out = np.zeros((n, n_species, n_l, n_max * (n_max + 1) // 2))
    _overlap(start, species, distance, *_shape(table), out)
    return out


@njit(**OPTIONS)
def _add_overlap_gradient(
    start, species, vector, distance, values, inverse, cutoff, n_l, w, out
):
    n_max = values.shape[2] // n_l
    h = np.empty(n_l * n_max)
    d = np.empty(n_l * n_max)
    u = np.empty(3)
    for i in range(len(start) - 1):
        for p in range(start[i], start[i + 1]):
            if distance[p] >= cutoff:
                continue
            direction(vector[p], distance[p], u)
            read_radial_slope(values, inverse, distance[p], h, d)
            radial = 0.0
            for order in range(n_l):
                o = order * n_max
                s = 0.0
                t = 0
                for a in range(n_max):
                    for b in range(a, n_max):
                        slope = d[o + a] * h[o + b] + h[o + a] * d[o + b]
                        s += w[i, species[p], order, t] * slope
                        t += 1
                radial += s * (2 * order + 1) / (4 * np.pi)
            for k in range(3):
                out[p, k] += radial * u[k]


def add_overlap_gradient(start, species, vector, distance, table, weights, out):
    shape = _shape(table)
    _add_overlap_gradient(start, species, vector, distance, *shape, weights, out)


@njit(**OPTIONS)
def _overlap_derivatives(vector, distance, values, inverse, cutoff, n_l, out):
    n_max = values.shape[2] // n_l
    h = np.empty(n_l * n_max)
    d = np.empty(n_l * n_max)
    u = np.empty(3)
    for p in range(len(distance)):
        if distance[p] >= cutoff:
            out[p] = 0.0
            continue
        direction(vector[p], distance[p], u)
        read_radial_slope(values, inverse, distance[p], h, d)
        for order in range(n_l):
            f = (2 * order + 1) / (4 * np.pi)
            o = order * n_max
            t = 0
            for a in range(n_max):
                for b in range(a, n_max):
                    slope = f * (d[o + a] * h[o + b] + h[o + a] * d[o + b])
                    for k in range(3):
                        out[p, k, order, t] = slope * u[k]
                    t += 1


def overlap_derivatives(vector, distance, table):
    n_l, n_max = table.values.shape[2:]
    out = np.empty((len(distance), 3, n_l, n_max * (n_max + 1) // 2))
    _overlap_derivatives(vector, distance, *_shape(table), out)
    return out
