"""Sums over pairs: forces and strain of one function, or rows of many."""

import numpy as np
from numba import njit

from otf.kernels.cpu.pairs import OPTIONS


@njit(**OPTIONS)
def _gather(start, neighbor, vector, gradient, forces, strain):
    for i in range(len(start) - 1):
        for p in range(start[i], start[i + 1]):
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


def gather(start, neighbor, vector, gradient):
    forces, strain = np.zeros((len(start) - 1, 3)), np.zeros(6)
    _gather(start, neighbor, vector, gradient, forces, strain)
    return forces, strain


@njit(**OPTIONS)
def _merge_rows(centre, neighbor, vector, d, targets, sums):
    # pairs are sorted by neighbour: images of one atom follow each other
    n_targets = 0
    for p in range(len(neighbor)):
        j = neighbor[p]
        if j != centre and (n_targets == 0 or targets[n_targets - 1] != j):
            targets[n_targets] = j
            n_targets += 1
    size = 3 * n_targets + 9
    sums[:size] = 0.0
    total = sums[3 * n_targets : 3 * n_targets + 3]
    strain = sums[3 * n_targets + 3 : size]
    slot = -1
    for p in range(len(neighbor)):
        j = neighbor[p]
        v0, v1, v2 = vector[p, 0], vector[p, 1], vector[p, 2]
        if j != centre:
            if slot < 0 or targets[slot] != j:
                slot += 1
            for a in range(3):
                for k in range(d.shape[2]):
                    sums[3 * slot + a, k] += d[p, a, k]
                    total[a, k] += d[p, a, k]
        for k in range(d.shape[2]):
            g0, g1, g2 = d[p, 0, k], d[p, 1, k], d[p, 2, k]
            strain[0, k] += g0 * v0
            strain[1, k] += g1 * v1
            strain[2, k] += g2 * v2
            strain[3, k] += 0.5 * (g1 * v2 + g2 * v1)
            strain[4, k] += 0.5 * (g0 * v2 + g2 * v0)
            strain[5, k] += 0.5 * (g0 * v1 + g1 * v0)
    return n_targets


def merge_rows(centre, neighbor, vector, derivatives):
    targets = np.empty(len(neighbor), dtype=np.int64)
    sums = np.empty((3 * len(neighbor) + 9, derivatives.shape[2]))
    n = _merge_rows(centre, neighbor, vector, derivatives, targets, sums)
    return targets[:n], sums[: 3 * n + 9]


@njit(**OPTIONS)
def _scatter_rows(centre, targets, product, rows, column):
    n_targets = len(targets)
    n_columns = product.shape[1]
    n_atoms = (rows.shape[0] - 6) // 3
    for t in range(n_targets):
        for a in range(3):
            to = rows[3 * targets[t] + a]
            for k in range(n_columns):
                to[column + k] -= product[3 * t + a, k]
    for a in range(3):
        to = rows[3 * centre + a]
        for k in range(n_columns):
            to[column + k] += product[3 * n_targets + a, k]
    for v in range(6):
        to = rows[3 * n_atoms + v]
        for k in range(n_columns):
            to[column + k] += product[3 * n_targets + 3 + v, k]


def scatter_rows(centre, targets, product, rows, column):
    _scatter_rows(centre, targets, product, rows, column)
