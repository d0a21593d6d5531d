"""The neighbour density in radial functions and harmonics, and its derivatives.

The gradient of h(r) Y along the pair is h' Y u - h (u x Lambda Y)/r with Lambda = r x
grad, which turns harmonics of one order into each other. Its transpose is applied to
the weights of a centre once, and a pair needs no derivatives of harmonics.
"""

import numpy as np
from numba import njit

from otf.kernels.cpu.lanes import filled, load, size_of, store, total
from otf.kernels.cpu.pairs import (
    OPTIONS,
    TINY,
    harmonics,
    harmonics_scratch,
    interval,
    most_pairs,
    read_slopes,
    read_values,
    slope_weights,
    turned,
)
from otf.kernels.norms import harmonic_norms

# Pairs whose harmonics are computed together where they are not those of one centre.
BLOCK = size_of(32)


def _arguments(table):
    """Return the table, 1 / step, cutoff, the norms of harmonics, the size of rows."""
    nodes, _, n_l, n_max = table.values.shape
    inverse = (nodes - 1) / table.cutoff
    values = np.ascontiguousarray(table.values)
    return values, inverse, table.cutoff, harmonic_norms(n_l - 1), size_of(n_max)


@njit(**OPTIONS)
def _near_scratch(n_species, most):
    """Return memory for the near pairs of a centre.

    Returns
    -------
    first : (S + 1,) where those of every species begin
    place, vector, distance : of every pair, sorted by species
    """
    return (
        np.empty(n_species + 1, dtype=np.int64),
        np.empty(most, dtype=np.int64),
        np.empty((most, 3)),
        np.empty(most),
    )


@njit(**OPTIONS)
def _sort_near(low, high, species, vector, distance, cutoff, near):
    """Write the pairs that are within the cutoff, and return their number."""
    first, place, near_vector, near_distance = near
    count = 0
    for s in range(len(first) - 1):
        first[s] = count
        for p in range(low, high):
            if species[p] == s and distance[p] < cutoff:
                place[count] = p
                near_distance[count] = distance[p]
                for k in range(3):
                    near_vector[count, k] = vector[p, k]
                count += 1
    first[len(first) - 1] = count
    return count


@njit(**OPTIONS)
def _expand(start, species, vector, distance, values, inverse, cutoff, norms, size, c):
    n_l, n_max, n_species = norms.shape[0], len(size), c.shape[1]
    width = n_l * n_max
    most = most_pairs(start)
    scratch = harmonics_scratch(n_l, most)
    near = _near_scratch(n_species, most)
    first, _, near_vector, near_distance = near
    y = scratch[4]
    h = np.empty((most, width))
    for i in range(len(start) - 1):
        n = _sort_near(start[i], start[i + 1], species, vector, distance, cutoff, near)
        harmonics(near_vector[:n], near_distance[:n], norms, scratch)
        for p in range(n):
            k, _, weights = interval(values, inverse, near_distance[p])
            for order in range(n_l):
                at = order * n_max
                row = read_values(values, 3 * k * width + at, width, weights, size)
                store(h, p * width + at, row)
        for s in range(n_species):
            low, high = first[s], first[s + 1]
            to = (i * n_species + s) * n_l * width
            for order in range(n_l):
                at = order * n_max
                m = order * order
                a = filled(0.0, size)
                for p in range(low, high):
                    a += y[m, p] * load(h, p * width + at, size)
                store(c, to + m * n_max, a)
                # Two sums at once need not wait for each other.
                for m in range(order * order + 1, (order + 1) * (order + 1), 2):
                    a = filled(0.0, size)
                    b = filled(0.0, size)
                    for p in range(low, high):
                        row = load(h, p * width + at, size)
                        a += y[m, p] * row
                        b += y[m + 1, p] * row
                    store(c, to + m * n_max, a)
                    store(c, to + (m + 1) * n_max, b)


@njit(**OPTIONS)
def _expand_isotropic(
    start, species, vector, distance, values, inverse, cutoff, norms, size, c
):
    """Expand where l = 0 alone is there: no directions are needed."""
    n_max, n_species = len(size), c.shape[1]
    for i in range(len(start) - 1):
        for p in range(start[i], start[i + 1]):
            if distance[p] >= cutoff:
                continue
            k, _, weights = interval(values, inverse, distance[p])
            row = read_values(values, 3 * k * n_max, n_max, weights, size)
            to = (i * n_species + species[p]) * n_max
            store(c, to, load(c, to, size) + norms[0, 0] * row)


def expand(start, species, vector, distance, table, n_species):
    n_l, n_max = table.values.shape[2:]
    c = np.zeros((len(start) - 1, n_species, n_l * n_l, n_max))
    kernel = _expand_isotropic if n_l == 1 else _expand
    kernel(start, species, vector, distance, *_arguments(table), c)
    return c


@njit(**OPTIONS)
def _add_pair_gradient(
    start, species, vector, distance, values, inverse, cutoff, norms, size, w, out
):
    n_l, n_max, n_species = norms.shape[0], len(size), w.shape[1]
    width = n_l * n_max
    most = most_pairs(start)
    scratch = harmonics_scratch(n_l, most)
    near = _near_scratch(n_species, most)
    first, place, near_vector, near_distance = near
    u, over_r, y = scratch[0], scratch[1], scratch[4]
    turns = np.empty((n_l * n_l, 4 * n_max))
    zero = filled(0.0, size)
    for i in range(len(start) - 1):
        n = _sort_near(start[i], start[i + 1], species, vector, distance, cutoff, near)
        harmonics(near_vector[:n], near_distance[:n], norms, scratch)
        for s in range(n_species):
            if first[s] == first[s + 1]:
                continue
            turned(w, (i * n_species + s) * n_l * width, n_l, turns, size)
            for p in range(first[s], first[s + 1]):
                k, t, weights = interval(values, inverse, near_distance[p])
                slopes = slope_weights(t, inverse)
                radial, x0, x1, x2 = zero, zero, zero, zero
                m = 0
                for order in range(n_l):
                    at = 3 * k * width + order * n_max
                    h = read_values(values, at, width, weights, size)
                    d = read_slopes(values, at, width, slopes, size)
                    a, b0, b1, b2 = zero, zero, zero, zero
                    for _ in range(2 * order + 1):
                        f = y[m, p]
                        at = 4 * n_max * m
                        a += f * load(turns, at, size)
                        b0 += f * load(turns, at + n_max, size)
                        b1 += f * load(turns, at + 2 * n_max, size)
                        b2 += f * load(turns, at + 3 * n_max, size)
                        m += 1
                    radial += d * a
                    x0 += h * b0
                    x1 += h * b1
                    x2 += h * b2
                along = total(radial)
                t0, t1, t2 = total(x0), total(x1), total(x2)
                u0, u1, u2, f = u[0, p], u[1, p], u[2, p], over_r[p]
                to = out[place[p]]
                to[0] += along * u0 - f * (u1 * t2 - u2 * t1)
                to[1] += along * u1 - f * (u2 * t0 - u0 * t2)
                to[2] += along * u2 - f * (u0 * t1 - u1 * t0)


@njit(**OPTIONS)
def _add_isotropic_gradient(
    start, species, vector, distance, values, inverse, cutoff, norms, size, w, out
):
    """Add the gradient where l = 0 alone is there: it is along the pair."""
    n_max, n_species = len(size), w.shape[1]
    for i in range(len(start) - 1):
        for p in range(start[i], start[i + 1]):
            r = distance[p]
            if r >= cutoff:
                continue
            k, t, _ = interval(values, inverse, r)
            slopes = slope_weights(t, inverse)
            d = read_slopes(values, 3 * k * n_max, n_max, slopes, size)
            radial = total(d * load(w, (i * n_species + species[p]) * n_max, size))
            radial *= norms[0, 0] / max(r, TINY)
            for k in range(3):
                out[p, k] += radial * vector[p, k]


def add_pair_gradient(start, species, vector, distance, table, weights, out):
    isotropic = table.values.shape[2] == 1
    kernel = _add_isotropic_gradient if isotropic else _add_pair_gradient
    weights = np.ascontiguousarray(weights)
    kernel(start, species, vector, distance, *_arguments(table), weights, out)


@njit(**OPTIONS)
def _pair_derivatives(
    vector, distance, values, inverse, cutoff, norms, size, block, out
):
    n_l, n_max, n_block = norms.shape[0], len(size), len(block)
    n_m, width = n_l * n_l, n_l * n_max
    scratch = harmonics_scratch(n_l, n_block)
    u, over_r, y = scratch[0], scratch[1], scratch[4]
    turns = np.empty((n_m, 4, n_block))
    for low in range(0, len(distance), n_block):
        high = min(low + n_block, len(distance))
        harmonics(vector[low:high], distance[low:high], norms, scratch)
        turned(y, 0, n_l, turns, block)
        for p in range(low, high):
            if distance[p] >= cutoff:
                out[p] = 0.0
                continue
            j = p - low
            u0, u1, u2, f = u[0, j], u[1, j], u[2, j], over_r[j]
            k, t, weights = interval(values, inverse, distance[p])
            slopes = slope_weights(t, inverse)
            for order in range(n_l):
                at = 3 * k * width + order * n_max
                h = f * read_values(values, at, width, weights, size)
                d = read_slopes(values, at, width, slopes, size)
                for m in range(order * order, (order + 1) * (order + 1)):
                    # what is turned is Lambda^T Y = -Lambda Y
                    t0, t1, t2 = turns[m, 1, j], turns[m, 2, j], turns[m, 3, j]
                    d_y = y[m, j] * d
                    to = (3 * p * n_m + m) * n_max
                    store(out, to, u0 * d_y + (u1 * t2 - u2 * t1) * h)
                    to += n_m * n_max
                    store(out, to, u1 * d_y + (u2 * t0 - u0 * t2) * h)
                    to += n_m * n_max
                    store(out, to, u2 * d_y + (u0 * t1 - u1 * t0) * h)


def pair_derivatives(vector, distance, table):
    n_l, n_max = table.values.shape[2:]
    out = np.empty((len(distance), 3, n_l * n_l, n_max))
    _pair_derivatives(vector, distance, *_arguments(table), BLOCK, out)
    return out
