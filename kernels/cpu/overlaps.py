"""Self terms of the power spectrum: pair functions by the addition theorem."""

import numpy as np
from numba import njit

from otf.kernels.cpu.lanes import size_of, store
from otf.kernels.cpu.pairs import (
    OPTIONS,
    direction,
    interval,
    read_slopes,
    read_values,
    slope_weights,
)


def _arguments(table):
    """Return the table, 1 / step, cutoff and the size of all its rows at a node."""
    nodes, n_max = len(table.values), table.values.shape[3]
    values = np.ascontiguousarray(table.values)
    return values, (nodes - 1) / table.cutoff, table.cutoff, size_of(n_max)


@njit(**OPTIONS)
def _read(values, inverse, r, size, h, d):
    """Write h_nl(r) and h_nl'(r) to h and d, (L + 1, N)."""
    k, t, weights = interval(values, inverse, r)
    slopes = slope_weights(t, inverse)
    n_max, width = len(size), h.size
    for at in range(0, width, n_max):
        place = 3 * k * width + at
        store(h, at, read_values(values, place, width, weights, size))
        store(d, at, read_slopes(values, place, width, slopes, size))


@njit(**OPTIONS)
def _overlap(start, species, distance, values, inverse, cutoff, size, out):
    n_l, n_max = values.shape[2], len(size)
    h, d = np.empty((n_l, n_max)), np.empty((n_l, n_max))
    for i in range(len(start) - 1):
        for p in range(start[i], start[i + 1]):
            if distance[p] >= cutoff:
                continue
            _read(values, inverse, distance[p], size, h, d)
            for order in range(n_l):
                f = (2 * order + 1) / (4 * np.pi)
                line = h[order]
                t = 0
                for a in range(n_max):
                    for b in range(a, n_max):
                        out[i, species[p], order, t] += f * line[a] * line[b]
                        t += 1


def overlap(start, species, distance, table, n_species):
    n_l, n_max = table.values.shape[2:]
    n = len(start) - 1
    out = np.zeros((n, n_species, n_l, n_max * (n_max + 1) // 2))
    _overlap(start, species, distance, *_arguments(table), out)
    return out


@njit(**OPTIONS)
def _add_overlap_gradient(
    start, species, vector, distance, values, inverse, cutoff, size, w, out
):
    n_l, n_max = values.shape[2], len(size)
    h, d = np.empty((n_l, n_max)), np.empty((n_l, n_max))
    u = np.empty(3)
    for i in range(len(start) - 1):
        for p in range(start[i], start[i + 1]):
            if distance[p] >= cutoff:
                continue
            direction(vector[p], distance[p], u)
            _read(values, inverse, distance[p], size, h, d)
            radial = 0.0
            for order in range(n_l):
                s = 0.0
                t = 0
                for a in range(n_max):
                    for b in range(a, n_max):
                        slope = d[order, a] * h[order, b] + h[order, a] * d[order, b]
                        s += w[i, species[p], order, t] * slope
                        t += 1
                radial += s * (2 * order + 1) / (4 * np.pi)
            for k in range(3):
                out[p, k] += radial * u[k]


def add_overlap_gradient(start, species, vector, distance, table, weights, out):
    arguments = _arguments(table)
    _add_overlap_gradient(start, species, vector, distance, *arguments, weights, out)


@njit(**OPTIONS)
def _overlap_derivatives(vector, distance, values, inverse, cutoff, size, out):
    n_l, n_max = values.shape[2], len(size)
    h, d = np.empty((n_l, n_max)), np.empty((n_l, n_max))
    u = np.empty(3)
    for p in range(len(distance)):
        if distance[p] >= cutoff:
            out[p] = 0.0
            continue
        direction(vector[p], distance[p], u)
        _read(values, inverse, distance[p], size, h, d)
        for order in range(n_l):
            f = (2 * order + 1) / (4 * np.pi)
            t = 0
            for a in range(n_max):
                for b in range(a, n_max):
                    slope = f * (d[order, a] * h[order, b] + h[order, a] * d[order, b])
                    for k in range(3):
                        out[p, k, order, t] = slope * u[k]
                    t += 1


def overlap_derivatives(vector, distance, table):
    n_l, n_max = table.values.shape[2:]
    out = np.empty((len(distance), 3, n_l, n_max * (n_max + 1) // 2))
    _overlap_derivatives(vector, distance, *_arguments(table), out)
    return out
