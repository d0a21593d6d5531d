"""The power spectrum of density coefficients, forward and backward."""

import numpy as np
from numba import njit

from otf.kernels.cpu.lanes import filled, load, size_of, store
from otf.kernels.cpu.pairs import OPTIONS

SQRT2 = np.sqrt(2.0)


@njit(**OPTIONS)
def _spectrum_full(c, weights, size, out):
    n_species, n_m, n_max = c.shape[1], c.shape[2], len(size)
    n_l, n_a, n_q = len(weights), n_species * n_max, out.shape[1]
    for i in range(len(c)):
        # Backward: a row of all b, written from b = a on, has what stands before it
        # at places that are written later.
        q = (i + 1) * n_q
        for order in range(n_l - 1, -1, -1):
            f = SQRT2 * weights[order]
            for a in range(n_a - 1, -1, -1):
                q -= n_a - a
                own, n = divmod(a, n_max)
                for other in range(n_species - 1, own - 1, -1):
                    row = filled(0.0, size)
                    for m in range(order * order, (order + 1) * (order + 1)):
                        at = ((i * n_species + other) * n_m + m) * n_max
                        row += c[i, own, m, n] * load(c, at, size)
                    store(out, q - a + other * n_max, f * row)
                out[i, q - i * n_q] /= SQRT2


def spectrum_full(c, weights):
    n_a = c.shape[1] * c.shape[3]
    out = np.empty((len(c), len(weights) * n_a * (n_a + 1) // 2))
    _spectrum_full(np.ascontiguousarray(c), weights, size_of(c.shape[3]), out)
    return out


@njit(**OPTIONS)
def _unfold(gradient, weight, at, square):
    """Write dU/dX of one order to a symmetric matrix; return where the next begins."""
    for a in range(len(square)):
        square[a, a] = 2.0 * weight * gradient[at]
        at += 1
        for b in range(a + 1, len(square)):
            square[a, b] = square[b, a] = SQRT2 * weight * gradient[at]
            at += 1
    return at


@njit(**OPTIONS)
def _adjoint_full(c, weights, gradient, size, out):
    n_species, n_m, n_max = c.shape[1], c.shape[2], len(size)
    n_a = n_species * n_max
    square = np.empty((n_a, n_a))
    for i in range(len(c)):
        q = 0
        for order in range(len(weights)):
            q = _unfold(gradient[i], weights[order], q, square)
            for m in range(order * order, (order + 1) * (order + 1)):
                for other in range(n_species):
                    row = filled(0.0, size)
                    for own in range(n_species):
                        for n in range(n_max):
                            at = (own * n_max + n) * n_a + other * n_max
                            row += c[i, own, m, n] * load(square, at, size)
                    store(out, ((i * n_species + other) * n_m + m) * n_max, row)


def adjoint_full(c, weights, gradient):
    out = np.empty(c.shape)
    c = np.ascontiguousarray(c)
    _adjoint_full(c, weights, gradient, size_of(c.shape[3]), out)
    return out


@njit(**OPTIONS)
def _jacobian_full(owner, c, weights, species, derivatives, size, out):
    n_species, n_m, n_max = c.shape[1], c.shape[2], len(size)
    n_l, n_a, n_q = len(weights), n_species * n_max, out.shape[1]
    for r in range(len(owner)):
        i = owner[r]
        q = (r + 1) * n_q  # backward, as the spectrum
        for order in range(n_l - 1, -1, -1):
            f = SQRT2 * weights[order]
            for a in range(n_a - 1, -1, -1):
                q -= n_a - a
                own, n = divmod(a, n_max)
                for other in range(n_species - 1, own - 1, -1):
                    row = filled(0.0, size)
                    for m in range(order * order, (order + 1) * (order + 1)):
                        if own == species:
                            at = ((i * n_species + other) * n_m + m) * n_max
                            row += derivatives[r, m, n] * load(c, at, size)
                        if other == species:
                            at = (r * n_m + m) * n_max
                            row += c[i, own, m, n] * load(derivatives, at, size)
                    store(out, q - a + other * n_max, f * row)
                out[r, q - r * n_q] /= SQRT2


def jacobian_full(owner, c, weights, species, derivatives):
    n_a = c.shape[1] * c.shape[3]
    out = np.empty((len(owner), len(weights) * n_a * (n_a + 1) // 2))
    c, derivatives = np.ascontiguousarray(c), np.ascontiguousarray(derivatives)
    _jacobian_full(owner, c, weights, species, derivatives, size_of(c.shape[3]), out)
    return out


@njit(**OPTIONS)
def _add_species(c, i, size, total):
    """Write the sum of c[i] (S, M, N) over species to total (M, N)."""
    n_species, n_m, n_max = c.shape[1], c.shape[2], len(size)
    for m in range(n_m):
        row = filled(0.0, size)
        for s in range(n_species):
            row += load(c, ((i * n_species + s) * n_m + m) * n_max, size)
        store(total, m * n_max, row)


@njit(**OPTIONS)
def _spectrum_reduced(c, weights, size, out):
    n_species, n_m, n_max = c.shape[1], c.shape[2], len(size)
    total = np.empty((n_m, n_max))
    q = 0
    for i in range(len(c)):
        _add_species(c, i, size, total)
        for order in range(len(weights)):
            for s in range(n_species):
                for n in range(n_max):
                    row = filled(0.0, size)
                    for m in range(order * order, (order + 1) * (order + 1)):
                        row += c[i, s, m, n] * load(total, m * n_max, size)
                    store(out, q, weights[order] * row)
                    q += n_max


def spectrum_reduced(c, weights):
    _, n_species, _, n_max = c.shape
    out = np.empty((len(c), len(weights) * n_species * n_max * n_max))
    _spectrum_reduced(np.ascontiguousarray(c), weights, size_of(n_max), out)
    return out


@njit(**OPTIONS)
def _adjoint_reduced(c, weights, gradient, size, out):
    n_species, n_m, n_max = c.shape[1], c.shape[2], len(size)
    total = np.empty((n_m, n_max))
    shared = np.empty((n_m, n_max))
    block = np.empty((n_max, n_max))
    mirror = np.empty((n_max, n_max))
    for i in range(len(c)):
        _add_species(c, i, size, total)
        shared[:] = 0.0
        q = 0
        for order in range(len(weights)):
            for s in range(n_species):
                for n in range(n_max):
                    for b in range(n_max):
                        block[n, b] = mirror[b, n] = weights[order] * gradient[i, q]
                        q += 1
                for m in range(order * order, (order + 1) * (order + 1)):
                    own = filled(0.0, size)
                    row = load(shared, m * n_max, size)
                    for n in range(n_max):
                        own += total[m, n] * load(mirror, n * n_max, size)
                        row += c[i, s, m, n] * load(block, n * n_max, size)
                    store(shared, m * n_max, row)
                    store(out, ((i * n_species + s) * n_m + m) * n_max, own)
        for s in range(n_species):
            for m in range(n_m):
                at = ((i * n_species + s) * n_m + m) * n_max
                row = load(out, at, size) + load(shared, m * n_max, size)
                store(out, at, row)


def adjoint_reduced(c, weights, gradient):
    out = np.empty(c.shape)
    c = np.ascontiguousarray(c)
    _adjoint_reduced(c, weights, gradient, size_of(c.shape[3]), out)
    return out
