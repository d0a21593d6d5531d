"""The pairs within a reach, and those of them that are near now."""

import numpy as np
import vesin
from numba import njit

from otf.kernels.cpu.pairs import OPTIONS


@njit(**OPTIONS)
def largest_move(now, then, deformation):
    d = deformation
    largest = 0.0
    for i in range(len(now)):
        x, y, z = then[i, 0], then[i, 1], then[i, 2]
        square = 0.0
        for k in range(3):
            moved = now[i, k] - (x * d[0, k] + y * d[1, k] + z * d[2, k])
            square += moved * moved
        if np.isnan(square):
            return square
        largest = max(largest, square)
    return largest


@njit(**OPTIONS)
def translations(shift, cell):
    out = np.empty_like(shift)
    for p in range(len(shift)):
        a, b, c = shift[p, 0], shift[p, 1], shift[p, 2]
        for k in range(3):
            out[p, k] = a * cell[0, k] + b * cell[1, k] + c * cell[2, k]
    return out


@njit(**OPTIONS)
def _within(
    low, start, neighbor, offset, positions, cutoff, first, near, vector, distance
):
    square = cutoff * cutoff
    count = 0
    for k in range(len(start) - 1):
        i = low + k
        x0, x1, x2 = positions[i, 0], positions[i, 1], positions[i, 2]
        for p in range(start[k], start[k + 1]):
            j = neighbor[p]
            v0 = positions[j, 0] - x0 + offset[p, 0]
            v1 = positions[j, 1] - x1 + offset[p, 1]
            v2 = positions[j, 2] - x2 + offset[p, 2]
            r2 = v0 * v0 + v1 * v1 + v2 * v2
            if r2 < square:
                near[count] = j
                vector[count, 0] = v0
                vector[count, 1] = v1
                vector[count, 2] = v2
                distance[count] = np.sqrt(r2)
                # the root may round up to the cutoff
                count += distance[count] < cutoff
        first[k + 1] = count
    return count


def within(low, start, neighbor, offset, positions, cutoff):
    most = start[-1] - start[0]
    first = np.zeros(len(start), dtype=np.int64)
    near = np.empty(most, dtype=np.int64)
    vector = np.empty((most, 3))
    distance = np.empty(most)
    n = _within(
        low, start, neighbor, offset, positions, cutoff, first, near, vector, distance
    )
    return first, near[:n], vector[:n], distance[:n]


def pairs_within(positions, cell, periodic, reach):
    # One list object and one thread per call: no state that outlives the call.
    finder = vesin.NeighborList(cutoff=reach, full_list=True, n_threads=1)
    i, j, shift = finder.compute(
        points=np.ascontiguousarray(positions),
        box=np.asarray(cell),
        periodic=np.asarray(periodic),
        quantities="ijS",
    )
    n, i, j = len(positions), i.astype(np.int64), j.astype(np.int64)
    shift = shift.astype(np.int64)
    lowest = shift.min(axis=0, initial=0)
    extent = shift.max(axis=0, initial=0) - lowest + 1
    image = np.ravel_multi_index(tuple((shift - lowest).T), tuple(extent))
    order = np.argsort((i * n + j) * int(extent.prod()) + image, kind="stable")
    start = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(np.bincount(i, minlength=n), out=start[1:])
    return start, j[order], shift[order].astype(np.float64)
