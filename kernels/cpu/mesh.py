"""Charges onto a periodic mesh by B-splines, and a potential back from it."""

import numpy as np
from numba import njit

from otf.kernels.cpu.pairs import OPTIONS


@njit(**OPTIONS)
def _spline(t, order, value, slope):
    """Write M_order(t + j) and its slope by t, j = 0 .. order - 1, 0 <= t < 1."""
    value[0], value[1] = t, 1.0 - t
    for k in range(3, order + 1):
        if k == order:
            slope[0] = value[0]
            for j in range(1, k - 1):
                slope[j] = value[j] - value[j - 1]
            slope[k - 1] = -value[k - 2]
        share = 1.0 / (k - 1)
        value[k - 1] = share * (1.0 - t) * value[k - 2]
        for j in range(k - 2, 0, -1):
            value[j] = share * ((t + j) * value[j] + (k - t - j) * value[j - 1])
        value[0] = share * t * value[0]


@njit(**OPTIONS)
def _place(fractional, shape, order, value, slope, index):
    """Write the weights of one position along the three axes, and its mesh points."""
    for axis in range(3):
        n = shape[axis]
        u = (fractional[axis] - np.floor(fractional[axis])) * n
        first = int(np.floor(u))
        _spline(u - first, order, value[axis], slope[axis])
        for j in range(order):
            index[axis, j] = (first - j) % n


@njit(**OPTIONS)
def _spread(fractional, charges, shape, order, mesh):
    value, slope = np.empty((3, order)), np.empty((3, order))
    index = np.empty((3, order), dtype=np.int64)
    for i in range(len(charges)):
        _place(fractional[i], shape, order, value, slope, index)
        for a in range(order):
            x = charges[i] * value[0, a]
            for b in range(order):
                xy = x * value[1, b]
                row = mesh[index[0, a], index[1, b]]
                for c in range(order):
                    row[index[2, c]] += xy * value[2, c]


@njit(**OPTIONS)
def _gather(fractional, mesh, order, values, slopes):
    value, slope = np.empty((3, order)), np.empty((3, order))
    index = np.empty((3, order), dtype=np.int64)
    for i in range(len(fractional)):
        _place(fractional[i], mesh.shape, order, value, slope, index)
        v = s0 = s1 = s2 = 0.0
        for a in range(order):
            for b in range(order):
                row = mesh[index[0, a], index[1, b]]
                line = rise = 0.0
                for c in range(order):
                    here = row[index[2, c]]
                    line += here * value[2, c]
                    rise += here * slope[2, c]
                v += value[0, a] * value[1, b] * line
                s0 += slope[0, a] * value[1, b] * line
                s1 += value[0, a] * slope[1, b] * line
                s2 += value[0, a] * value[1, b] * rise
        values[i] = v
        slopes[i, 0] = s0 * mesh.shape[0]
        slopes[i, 1] = s1 * mesh.shape[1]
        slopes[i, 2] = s2 * mesh.shape[2]


def spread_to_mesh(fractional, charges, shape, order):
    mesh = np.zeros(shape)
    _spread(fractional, charges, mesh.shape, order, mesh)
    return mesh


def gather_from_mesh(fractional, mesh, order):
    values, slopes = np.empty(len(fractional)), np.empty((len(fractional), 3))
    _gather(fractional, mesh, order, values, slopes)
    return values, slopes
