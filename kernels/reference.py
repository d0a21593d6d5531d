"""The definition, in plain NumPy: slow and readable; tests compare to it.

Harmonics are derivatives of Legendre polynomials times powers of x + i y, without
recurrences; gradients are written out by the product rule, one pair at a time.
"""

from __future__ import annotations

from math import comb, factorial

import numpy as np
from numpy.polynomial import legendre

from otf.kernels.noise import normal

__all__ = [
    "add_forces",
    "add_overlap_gradient",
    "add_pair_gradient",
    "adjoint_full",
    "adjoint_reduced",
    "expand",
    "gather_from_mesh",
    "jacobian_full",
    "largest_move",
    "merge_rows",
    "normal",
    "overlap",
    "overlap_derivatives",
    "pair_derivatives",
    "pair_potential",
    "pairs_within",
    "row_squares",
    "scatter_rows",
    "softened",
    "softened_gradient",
    "spectrum_full",
    "spectrum_reduced",
    "spread_to_mesh",
    "translations",
    "triangle_product",
    "weighted_power",
    "within",
]

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def radial(r, table):
    """Return h_nl and h_nl' at a distance, (2, L + 1, N); zeros from the cutoff on.

    The quintic through value, slope and curvature of both ends of an interval.
    """
    values, cutoff = table
    if r >= cutoff:
        return np.zeros((2, *values.shape[2:]))
    step = cutoff / (len(values) - 1)
    k = min(int(r / step), len(values) - 2)
    ends = np.array([[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 2, 0, 0, 0]])
    powers = np.arange(6)
    other = np.array(
        [np.ones(6), powers, powers * (powers - 1)]
    )  # value, slope, curvature at 1
    coefficients = np.linalg.inv(np.concatenate([ends, other])) @ np.concatenate(
        [values[k], values[k + 1]]
    ).reshape(6, -1)
    t = r / step - k
    slopes = powers[1:] * t ** powers[:-1] / step
    both = np.array([t**powers @ coefficients, slopes @ coefficients[1:]])
    return both.reshape(2, *values.shape[2:])


def harmonics(vector, l_max):
    """Return Y_lm, (M,), and their gradient by the vector, (3, M)."""
    r = max(np.linalg.norm(vector), 1e-10)
    x, y, z = u = vector / r
    values, gradient = [], []
    for order in range(l_max + 1):
        polynomial = legendre.Legendre.basis(order)
        for m in range(-order, order + 1):
            a = abs(m)
            ratio = factorial(order - a) / factorial(order + a) * (2 if m else 1)
            norm = np.sqrt((2 * order + 1) / (4 * np.pi) * ratio)
            q = polynomial.deriv(a)
            power, lower = (x + 1j * y) ** a, a * (x + 1j * y) ** max(a - 1, 0)
            part = np.imag if m < 0 else np.real
            free = [
                q(z) * part(lower),
                q(z) * part(1j * lower),
                q.deriv()(z) * part(power),
            ]
            values.append(norm * q(z) * part(power))
            gradient.append(norm * (np.array(free) - u * (u @ free)) / r)
    return np.array(values), np.array(gradient).T


def _orders(table):
    """Return l of every combined index l^2 + l + m."""
    n_l = table.values.shape[2]
    return np.repeat(np.arange(n_l), 2 * np.arange(n_l) + 1)


def _centres(start):
    return np.repeat(np.arange(len(start) - 1), np.diff(start))


def expand(start, species, vector, distance, table, n_species):
    orders, n_max = _orders(table), table.values.shape[3]
    c = np.zeros((len(start) - 1, n_species, len(orders), n_max))
    for p, i in enumerate(_centres(start)):
        h, _ = radial(distance[p], table)
        y, _ = harmonics(vector[p], orders[-1])
        c[i, species[p]] += h[orders] * y[:, None]
    return c


def pair_derivatives(vector, distance, table):
    orders, n_max = _orders(table), table.values.shape[3]
    out = np.zeros((len(distance), 3, len(orders), n_max))
    for p, r in enumerate(distance):
        h, slope = radial(r, table)[:, orders]
        y, dy = harmonics(vector[p], orders[-1])
        u = vector[p] / max(r, 1e-10)
        out[p] = u[:, None, None] * y[:, None] * slope + dy[:, :, None] * h
    return out


def add_pair_gradient(start, species, vector, distance, table, weights, out):
    derivatives = pair_derivatives(vector, distance, table)
    out += np.einsum("pkmn,pmn->pk", derivatives, weights[_centres(start), species])


def overlap(start, species, distance, table, n_species):
    n_l, n_max = table.values.shape[2:]
    a, b = np.triu_indices(n_max)
    norm = (2 * np.arange(n_l)[:, None] + 1) / (4 * np.pi)
    out = np.zeros((len(start) - 1, n_species, n_l, len(a)))
    for p, i in enumerate(_centres(start)):
        h, _ = radial(distance[p], table)
        out[i, species[p]] += norm * h[:, a] * h[:, b]
    return out


def overlap_derivatives(vector, distance, table):
    n_l, n_max = table.values.shape[2:]
    a, b = np.triu_indices(n_max)
    norm = (2 * np.arange(n_l)[:, None] + 1) / (4 * np.pi)
    out = np.zeros((len(distance), 3, n_l, len(a)))
    for p, r in enumerate(distance):
        h, slope = radial(r, table)
        u = vector[p] / max(r, 1e-10)
        product_rule = slope[:, a] * h[:, b] + h[:, a] * slope[:, b]
        out[p] = u[:, None, None] * norm * product_rule
    return out


def add_overlap_gradient(start, species, vector, distance, table, weights, out):
    derivatives = overlap_derivatives(vector, distance, table)
    out += np.einsum("pklt,plt->pk", derivatives, weights[_centres(start), species])


def _flat(c):
    """Return c as (n, M, A) with the channels a = (J, n)."""
    return c.transpose(0, 2, 1, 3).reshape(len(c), c.shape[2], -1)


def _unflat(flat, c):
    n, n_species, n_m, n_max = c.shape
    return flat.reshape(n, n_m, n_species, n_max).transpose(0, 2, 1, 3)


def spectrum_full(c, weights):
    flat, features = _flat(c), []
    a, b = np.triu_indices(flat.shape[2])
    root = np.where(a == b, 1.0, np.sqrt(2.0))
    for order, weight in enumerate(weights):
        x = flat[:, order**2 : (order + 1) ** 2]
        features.append(weight * root * (x[:, :, a] * x[:, :, b]).sum(axis=1))
    return np.concatenate(features, axis=1)


def adjoint_full(c, weights, gradient):
    flat, out = _flat(c), np.zeros_like(_flat(c))
    n_a = flat.shape[2]
    a, b = np.triu_indices(n_a)
    root = np.where(a == b, 1.0, np.sqrt(2.0))
    parts = gradient.reshape(len(c), len(weights), -1)
    for order, weight in enumerate(weights):
        m = slice(order**2, (order + 1) ** 2)
        upper = np.zeros((len(c), n_a, n_a))
        upper[:, a, b] = weight * root * parts[:, order]
        out[:, m] = flat[:, m] @ (upper + upper.transpose(0, 2, 1))
    return _unflat(out, c)


def spectrum_reduced(c, weights):
    total, features = c.sum(axis=1), []
    for order, weight in enumerate(weights):
        m = slice(order**2, (order + 1) ** 2)
        x = np.einsum("ismn,imb->isnb", c[:, :, m], total[:, m])
        features.append(weight * x.reshape(len(c), -1))
    return np.concatenate(features, axis=1)


def adjoint_reduced(c, weights, gradient):
    total, out = c.sum(axis=1), np.zeros_like(c)
    n, n_species, _, n_max = c.shape
    parts = gradient.reshape(n, len(weights), n_species, n_max, n_max)
    for order, weight in enumerate(weights):
        m = slice(order**2, (order + 1) ** 2)
        g = weight * parts[:, order]
        out[:, :, m] = np.einsum("isnb,imb->ismn", g, total[:, m])
        out[:, :, m] += np.einsum("isnb,ismn->imb", g, c[:, :, m])[:, None]
    return out


def add_forces(low, start, neighbor, vector, gradient, forces, strain):
    centre = low + _centres(start)
    real = centre != neighbor
    np.add.at(forces, centre[real], gradient[real])
    np.add.at(forces, neighbor[real], -gradient[real])
    w = gradient.T @ vector
    strain += [(w[a, b] + w[b, a]) / 2 for a, b in VOIGT]


def merge_rows(centres, start, neighbor, vector, derivatives):
    nothing = np.empty((0, derivatives.shape[2]))
    first, targets, sums, strains = [0], [], [nothing], []
    for k, i in enumerate(centres):
        part = slice(start[k], start[k + 1])
        j, d = neighbor[part], derivatives[part]
        targets += np.unique(j[j != i]).tolist()
        sums += [d[j == t].sum(axis=0) for t in targets[first[-1] :]]
        w = np.einsum("pak,pb->abk", d, vector[part])
        strains.append(np.array([(w[a, b] + w[b, a]) / 2 for a, b in VOIGT]))
        first.append(len(targets))
    rows = np.concatenate([*sums, *strains])
    return np.array(first), np.array(targets, dtype=np.int64), rows


def scatter_rows(centres, first, targets, product, alpha, own, gamma, rows, column):
    columns = slice(column, column + product.shape[1])
    for k, i in enumerate(centres):
        x = alpha[k] * product + gamma[k] * own
        for t in range(first[k], first[k + 1]):
            j = targets[t]
            rows[3 * j : 3 * j + 3, columns] -= x[3 * t : 3 * t + 3]
            rows[3 * i : 3 * i + 3, columns] += x[3 * t : 3 * t + 3]
        strain = x[3 * len(targets) :]
        if len(strain):
            rows[-6:, columns] += strain[6 * k : 6 * k + 6]


def jacobian_full(owner, c, weights, species, derivatives):
    n_max = c.shape[3]
    d = np.zeros((len(derivatives), *c.shape[1:]))
    d[:, species] = derivatives
    flat, change, features = _flat(c)[owner], _flat(d), []
    a, b = np.triu_indices(n_max * c.shape[1])
    root = np.where(a == b, 1.0, np.sqrt(2.0))
    for order, weight in enumerate(weights):
        m = slice(order**2, (order + 1) ** 2)
        x, dx = flat[:, m], change[:, m]
        both = dx[:, :, a] * x[:, :, b] + x[:, :, a] * dx[:, :, b]
        features.append(weight * root * both.sum(axis=1))
    return np.concatenate(features, axis=1)


def pairs_within(positions, cell, periodic, reach):
    n, heights = len(positions), 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    extent = np.ptp(positions @ np.linalg.inv(cell), axis=0)
    most = np.where(periodic, np.ceil(extent + reach / heights), 0).astype(int)
    images = np.stack(np.meshgrid(*(np.arange(-k, k + 1) for k in most)), axis=-1)
    images = np.array(sorted(images.reshape(-1, 3).tolist()))
    # axes: centre, neighbour, image
    offset = (images @ cell)[None, None]
    vector = positions[None, :, None] - positions[:, None, None] + offset
    near = (vector**2).sum(axis=-1) < reach**2
    near &= ~(np.eye(n, dtype=bool)[:, :, None] & (images == 0).all(axis=1))
    centre, neighbor, image = np.nonzero(near)
    start = np.concatenate([[0], np.cumsum(np.bincount(centre, minlength=n))])
    return start, neighbor, images[image].astype(np.float64)


def largest_move(now, then, deformation):
    squares = ((now - then @ deformation) ** 2).sum(axis=1)
    return squares.max() if len(squares) else 0.0


def translations(shift, cell):
    # Written out: the last bits of a matrix product may depend on the other rows.
    a, b, c = (shift[:, k, None] * cell[k] for k in range(3))
    return a + b + c


def within(low, start, neighbor, offset, positions, cutoff):
    pairs = slice(start[0], start[-1])
    centre, neighbor = low + _centres(start), neighbor[pairs]
    vector = positions[neighbor] - positions[centre] + offset[pairs]
    distance = np.sqrt((vector**2).sum(axis=1))
    near = distance < cutoff
    counts = np.bincount(centre[near] - low, minlength=len(start) - 1)
    first = np.concatenate([[0], np.cumsum(counts)])
    return first, neighbor[near], vector[near], distance[near]


def softened(features, softening):
    square = (features**2).sum(axis=1)
    norm = np.sqrt(square + softening**2)
    return features / norm[:, None], square / norm**2


def softened_gradient(features, softening, slope, own):
    directions, _ = softened(features, softening)
    norm = np.sqrt((features**2).sum(axis=1) + softening**2)
    return (slope + own[:, None] * directions) / norm[:, None]


def weighted_power(k, weights, exponent):
    out = (weights * k**exponent).sum(axis=1)
    k[:] = exponent * weights * k ** (exponent - 1)
    return out


def row_squares(rows):
    return (rows.astype(np.float64) ** 2).sum(axis=1)


def triangle_product(rows, matrix, lower):
    return rows @ (np.tril(matrix) if lower else np.triu(matrix)).T


def pair_potential(start, neighbor, kind, vector, distance, table):
    bare, smooth, cutoff = table
    n = len(start) - 1
    energies, forces, strain = np.zeros(n), np.zeros((n, 3)), np.zeros((3, 3))
    powers = np.arange(6)
    step = cutoff / smooth.shape[2]
    for i in range(n):
        for p in range(start[i], start[i + 1]):
            r = distance[p]
            if r >= cutoff:
                continue
            a, b = kind[i], kind[neighbor[p]]
            k = min(int(r / step), smooth.shape[2] - 1)
            t = r / step - k
            u = bare[a, b] / r + smooth[a, b, k] @ t**powers
            slope = -bare[a, b] / r**2
            slope += smooth[a, b, k, 1:] @ (powers[1:] * t ** powers[:-1]) / step
            pull = slope * vector[p] / r
            energies[i] += 0.5 * u
            forces[i] += pull
            strain += 0.5 * np.outer(vector[p], pull)
    return energies, forces, np.array([strain[a, b] for a, b in VOIGT])


def b_spline(u, order):
    """Return M_order(u), the density of a sum of that many uniform numbers in 0..1."""
    terms = [
        (-1) ** k * comb(order, k) * np.maximum(u - k, 0.0) ** (order - 1)
        for k in range(order + 1)
    ]
    # The sum of all terms is 0 from u = order on, up to rounding.
    return np.where(u < order, sum(terms) / factorial(order - 1), 0.0)


def mesh_weights(fractional, shape, order):
    """Return M(u - m), and its slope by s, at all mesh points of every axis."""
    values, slopes = [], []
    for s, n in zip(fractional, shape, strict=True):
        u = (s * n - np.arange(n)) % n
        # A cell narrower than the spline holds several images of it.
        images = [u + k * n for k in range(order // n + 1)]
        values.append(sum(b_spline(x, order) for x in images))
        rise = [b_spline(x, order - 1) - b_spline(x - 1.0, order - 1) for x in images]
        slopes.append(n * sum(rise))
    return values, slopes


def spread_to_mesh(fractional, charges, shape, order):
    mesh = np.zeros(shape)
    for s, q in zip(fractional, charges, strict=True):
        values, _ = mesh_weights(s, shape, order)
        mesh += q * np.einsum("a,b,c->abc", *values)
    return mesh


def gather_from_mesh(fractional, mesh, order):
    out = np.empty((len(fractional), 4))
    for i, s in enumerate(fractional):
        v, d = mesh_weights(s, mesh.shape, order)
        sides = [v, [d[0], v[1], v[2]], [v[0], d[1], v[2]], [v[0], v[1], d[2]]]
        out[i] = [np.einsum("abc,a,b,c->", mesh, *side) for side in sides]
    return out[:, 0], out[:, 1:]
