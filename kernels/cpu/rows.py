"""Sums over pairs: forces and strain of one function, or rows of many."""

import numpy as np
from numba import njit

from otf.kernels.cpu.pairs import OPTIONS


@njit(**OPTIONS)
def add_forces(low, start, neighbor, vector, gradient, forces, strain):
    for k in range(len(start) - 1):
        i = low + k
        for p in range(start[k], start[k + 1]):
            j = neighbor[p]
            g0, g1, g2 = gradient[p, 0], gradient[p, 1], gradient[p, 2]
            v0, v1, v2 = vector[p, 0], vector[p, 1], vector[p, 2]
            if i != j:
                forces[i, 0] += g0
                forces[i, 1] += g1
                forces[i, 2] += g2
                forces[j, 0] -= g0
                forces[j, 1] -= g1
                forces[j, 2] -= g2
            strain[0] += g0 * v0
            strain[1] += g1 * v1
            strain[2] += g2 * v2
            strain[3] += 0.5 * (g1 * v2 + g2 * v1)
            strain[4] += 0.5 * (g0 * v2 + g2 * v0)
            strain[5] += 0.5 * (g0 * v1 + g1 * v0)


@njit(**OPTIONS)
def _merge_rows(centres, start, neighbor, vector, d, first, targets, sums):
    # pairs of a centre are sorted by neighbour: images of one atom follow each other
    count = 0
    n_columns = d.shape[2]
    for i in range(len(centres)):
        begin = count
        for p in range(start[i], start[i + 1]):
            j = neighbor[p]
            if j != centres[i]:
                if count == begin or targets[count - 1] != j:
                    targets[count] = j
                    sums[3 * count : 3 * count + 3] = 0.0
                    count += 1
                for a in range(3):
                    to = sums[3 * (count - 1) + a]
                    for k in range(n_columns):
                        to[k] += d[p, a, k]
        first[i + 1] = count
    for i in range(len(centres)):
        strain = sums[3 * count + 6 * i : 3 * count + 6 * (i + 1)]
        strain[:] = 0.0
        for p in range(start[i], start[i + 1]):
            v0, v1, v2 = vector[p, 0], vector[p, 1], vector[p, 2]
            for k in range(n_columns):
                g0, g1, g2 = d[p, 0, k], d[p, 1, k], d[p, 2, k]
                strain[0, k] += g0 * v0
                strain[1, k] += g1 * v1
                strain[2, k] += g2 * v2
                strain[3, k] += 0.5 * (g1 * v2 + g2 * v1)
                strain[4, k] += 0.5 * (g0 * v2 + g2 * v0)
                strain[5, k] += 0.5 * (g0 * v1 + g1 * v0)
    return 3 * count + 6 * len(centres)


def merge_rows(centres, start, neighbor, vector, derivatives):
    first = np.zeros(len(centres) + 1, dtype=np.int64)
    targets = np.empty(len(neighbor), dtype=np.int64)
    most = 3 * len(neighbor) + 6 * len(centres)
    sums = np.empty((most, derivatives.shape[2]))
    n = _merge_rows(centres, start, neighbor, vector, derivatives, first, targets, sums)
    return first, targets[: first[-1]], sums[:n]


@njit(**OPTIONS)
def _scatter_rows(centres, first, targets, product, alpha, own, gamma, rows, column):
    n_columns = product.shape[1]
    columns = slice(column, column + n_columns)
    centre = np.empty((3, n_columns))
    n_targets = first[len(centres)]
    with_strain = len(product) > 3 * n_targets
    for i in range(len(centres)):
        f, g = alpha[i], gamma[i]
        centre[:] = 0.0
        for t in range(first[i], first[i + 1]):
            for a in range(3):
                there, here = rows[3 * targets[t] + a, columns], centre[a]
                p, o = product[3 * t + a], own[3 * t + a, 0]
                for k in range(n_columns):
                    x = f[k] * p[k] + g[k] * o
                    there[k] -= x
                    here[k] += x
        for a in range(3):
            here = rows[3 * centres[i] + a, columns]
            for k in range(n_columns):
                here[k] += centre[a, k]
        for v in range(6 if with_strain else 0):
            to = rows[len(rows) - 6 + v, columns]
            row = 3 * n_targets + 6 * i + v
            p, o = product[row], own[row, 0]
            for k in range(n_columns):
                to[k] += f[k] * p[k] + g[k] * o


def scatter_rows(centres, first, targets, product, alpha, own, gamma, rows, column):
    _scatter_rows(centres, first, targets, product, alpha, own, gamma, rows, column)
