"""A bound on speed: what a kernel model with a three-body descriptor cannot do without.

Energy, forces and virial of one species: pairs within a skin, radial tables (8
functions for each of the angular momenta 0 to 4), solid harmonics, the normalised power
spectrum, two matrix products with the references, integer powers, and the way back.
There are no species, settings, checks or uncertainties; the sizes are known when the
loops are compiled, and sums may be reordered. What a model takes beyond this is the
price of all the rest. The weights are random, so energies and forces mean nothing, but
the forces are those of the energy (`force_error`).

Used by speed.py; alone it checks its forces and prints the time of its parts:

    OMP_NUM_THREADS=1 python floor.py
"""

from __future__ import annotations

import time
from math import factorial, sqrt

import numpy as np
import vesin
from ase.build import bulk
from numba import njit

from otf.configuration import Configuration

CUTOFF, SKIN = 5.0, 1.0  # angstrom
N, L, ZETA = 8, 4, 4
M = (L + 1) ** 2
Q = (L + 1) * N * (N + 1) // 2
NODES, NEAREST = 2000, 0.5  # of the radial tables; angstrom
BLOCK = 256  # atoms of one matrix product
FAST = {"fastmath": True, "error_model": "numpy", "cache": False}
SQRT2 = sqrt(2.0)


def radial_tables():
    """Return h_nl(r)/r^l on equidistant nodes, (nodes, L + 1, N), and their slopes."""
    r = np.linspace(NEAREST, CUTOFF, NODES)
    smooth = 0.5 * (1 + np.cos(np.pi * r / CUTOFF))
    centres = np.linspace(0.8, CUTOFF - 0.7, N)
    value = np.empty((NODES, L + 1, N))
    for order in range(L + 1):
        width = 0.45 + 0.02 * order
        waves = np.exp(-((r[:, None] - centres) ** 2) / (2 * width**2))
        value[:, order] = waves * (smooth / r**order)[:, None]
    return value, np.gradient(value, r, axis=0)


def harmonic_norms():
    """Return the factors of the real solid harmonics, (M,)."""
    norms = np.zeros(M)
    for order in range(L + 1):
        for m in range(order + 1):
            share = factorial(order - m) / factorial(order + m) * (2 if m else 1)
            middle = order * order + order
            norms[middle + m] = norms[middle - m] = sqrt(share)
    return norms


VALUE, SLOPE = radial_tables()
NORMS = harmonic_norms()
SPACING = (CUTOFF - NEAREST) / (NODES - 1)


@njit(**FAST)
def near_pairs(start, neighbor, offset, positions):
    """Return first, neighbor, vector and distance of the near candidates."""
    first = np.zeros(len(start), np.int64)
    near = np.empty(len(neighbor), np.int64)
    vector = np.empty((len(neighbor), 3))
    distance = np.empty(len(neighbor))
    p = 0
    for i in range(len(start) - 1):
        for k in range(start[i], start[i + 1]):
            j = neighbor[k]
            x = positions[j, 0] + offset[k, 0] - positions[i, 0]
            y = positions[j, 1] + offset[k, 1] - positions[i, 1]
            z = positions[j, 2] + offset[k, 2] - positions[i, 2]
            square = x * x + y * y + z * z
            if square < CUTOFF * CUTOFF:
                near[p] = j
                vector[p, 0] = x
                vector[p, 1] = y
                vector[p, 2] = z
                distance[p] = np.sqrt(square)
                p += 1
        first[i + 1] = p
    return first, near[:p], vector[:p], distance[:p]


@njit(inline="always", **FAST)
def read_radial(r, h, d):
    """Write values h and slopes d, (L + 1, N), by cubic Hermite interpolation."""
    u = (r - NEAREST) / SPACING
    k = min(max(int(u), 0), NODES - 2)
    t = u - k
    s = 1.0 - t
    a0, a1 = (1 + 2 * t) * s * s, t * s * s * SPACING
    b0, b1 = t * t * (3 - 2 * t), -t * t * s * SPACING
    da, da1, db1 = 6 * t * (t - 1) / SPACING, s * (1 - 3 * t), t * (3 * t - 2)
    for order in range(L + 1):
        for n in range(N):
            left, right = VALUE[k, order, n], VALUE[k + 1, order, n]
            rise, fall = SLOPE[k, order, n], SLOPE[k + 1, order, n]
            h[order, n] = a0 * left + a1 * rise + b0 * right + b1 * fall
            d[order, n] = da * (left - right) + da1 * rise + db1 * fall


@njit(inline="always", **FAST)
def solid_harmonics(x, y, z, q, c, s, out):
    """Write the M real solid harmonics; q, c, s are scratch of read and gradient."""
    square = x * x + y * y + z * z
    c[0], s[0], q[0, 0] = 1.0, 0.0, 1.0
    for m in range(1, L + 1):
        c[m] = x * c[m - 1] - y * s[m - 1]
        s[m] = y * c[m - 1] + x * s[m - 1]
        q[m, m] = (2 * m - 1) * q[m - 1, m - 1]
    for m in range(L):
        q[m + 1, m] = (2 * m + 1) * z * q[m, m]
        for order in range(m + 2, L + 1):
            q[order, m] = (
                (2 * order - 1) * z * q[order - 1, m]
                - (order + m - 1) * square * q[order - 2, m]
            ) * (1.0 / (order - m))
    for order in range(L + 1):
        middle = order * order + order
        for m in range(order + 1):
            f = NORMS[middle + m] * q[order, m]
            out[middle + m] = f * c[m]
            if m:
                out[middle - m] = f * s[m]


@njit(inline="always", **FAST)
def solid_gradient(x, y, q, c, s, out):
    """Write the gradient (3, M), from the scratch ``solid_harmonics`` has filled."""
    for order in range(L + 1):
        middle = order * order + order
        for m in range(order + 1):
            f = NORMS[middle + m]
            along = f * q[order, m]
            side = -f * q[order - 1, m + 1] if order - 1 >= m + 1 else 0.0
            up = f * (order + m) * q[order - 1, m] if order - 1 >= m else 0.0
            cosine = m * c[m - 1] if m else 0.0
            sine = m * s[m - 1] if m else 0.0
            out[0, middle + m] = x * side * c[m] + along * cosine
            out[1, middle + m] = y * side * c[m] - along * sine
            out[2, middle + m] = up * c[m]
            if m:
                out[0, middle - m] = x * side * s[m] + along * sine
                out[1, middle - m] = y * side * s[m] + along * cosine
                out[2, middle - m] = up * s[m]


@njit(inline="always", **FAST)
def power_spectrum(own, out):
    """Write the spectrum (Q,) of coefficients (M, N), normalised; return its length."""
    k, square = 0, 0.0
    for order in range(L + 1):
        for n in range(N):
            for other in range(n, N):
                v = 0.0
                for a in range(order * order, (order + 1) ** 2):
                    v += own[a, n] * own[a, other]
                if other > n:
                    v *= SQRT2
                out[k] = v
                square += v * v
                k += 1
    length = np.sqrt(square)
    for k in range(Q):
        out[k] /= length
    return length


@njit(**FAST)
def forward(first, vector, distance, coefficients, spectrum, length):
    """Write coefficients (n, M, N), spectra (n, Q) and their lengths (n,)."""
    q, c, s = np.zeros((L + 1, L + 1)), np.zeros(L + 1), np.zeros(L + 1)
    harmonics = np.zeros(M)
    h, d = np.zeros((L + 1, N)), np.zeros((L + 1, N))
    for i in range(len(first) - 1):
        own = coefficients[i]
        own[:] = 0.0
        for p in range(first[i], first[i + 1]):
            x, y, z = vector[p, 0], vector[p, 1], vector[p, 2]
            read_radial(distance[p], h, d)
            solid_harmonics(x, y, z, q, c, s, harmonics)
            for order in range(L + 1):
                for a in range(order * order, (order + 1) ** 2):
                    angular = harmonics[a]
                    for n in range(N):
                        own[a, n] += angular * h[order, n]
        length[i] = power_spectrum(own, spectrum[i])


@njit(**FAST)
def integer_powers(k, weights):
    """Return sum_iB w_B k_iB^zeta, and leave its derivative in k, (b, m)."""
    energy = 0.0
    for i in range(k.shape[0]):
        for m in range(k.shape[1]):
            once = k[i, m]
            slope = weights[m] * once * once * once
            energy += slope * once
            k[i, m] = ZETA * slope
    return energy


@njit(**FAST)
def coefficient_slope(own, spectrum, length, gradient, mixed, out):
    """Write dU/dc of one atom, (M, N), from dU/dp (Q,) of the normalised spectrum."""
    along = 0.0
    for k in range(Q):
        along += gradient[k] * spectrum[k]
    k = 0
    for order in range(L + 1):
        for n in range(N):
            for other in range(n, N):
                v = (gradient[k] - along * spectrum[k]) / length
                k += 1
                v *= SQRT2 if other > n else 2.0
                mixed[n, other] = v
                mixed[other, n] = v
        for a in range(order * order, (order + 1) ** 2):
            for n in range(N):
                out[a, n] = 0.0
            for other in range(N):
                w = own[a, other]
                for n in range(N):
                    out[a, n] += mixed[other, n] * w


@njit(**FAST)
def backward(pairs, coefficients, spectrum, length, gradient):
    """Return forces (n, 3) and virial (3, 3)."""
    first, neighbor, vector, distance = pairs
    forces, virial = np.zeros((len(first) - 1, 3)), np.zeros((3, 3))
    q, c, s = np.zeros((L + 1, L + 1)), np.zeros(L + 1), np.zeros(L + 1)
    harmonics, slopes = np.zeros(M), np.zeros((3, M))
    h, d = np.zeros((L + 1, N)), np.zeros((L + 1, N))
    pull, mixed = np.zeros((M, N)), np.zeros((N, N))
    f = np.zeros(3)
    for i in range(len(first) - 1):
        coefficient_slope(
            coefficients[i], spectrum[i], length[i], gradient[i], mixed, pull
        )
        for p in range(first[i], first[i + 1]):
            x, y, z = vector[p, 0], vector[p, 1], vector[p, 2]
            read_radial(distance[p], h, d)
            solid_harmonics(x, y, z, q, c, s, harmonics)
            solid_gradient(x, y, q, c, s, slopes)
            radial, fx, fy, fz = 0.0, 0.0, 0.0, 0.0
            for order in range(L + 1):
                for a in range(order * order, (order + 1) ** 2):
                    u, w = 0.0, 0.0
                    for n in range(N):
                        u += pull[a, n] * h[order, n]
                        w += pull[a, n] * d[order, n]
                    radial += w * harmonics[a]
                    fx += u * slopes[0, a]
                    fy += u * slopes[1, a]
                    fz += u * slopes[2, a]
            radial /= distance[p]
            f[0], f[1], f[2] = fx + radial * x, fy + radial * y, fz + radial * z
            j = neighbor[p]
            for a in range(3):
                forces[i, a] += f[a]
                forces[j, a] -= f[a]
                for b in range(3):
                    virial[a, b] += vector[p, a] * f[b]
    return forces, virial


class Floor:
    """The bare model, with references and random weights.

    Parameters
    ----------
    structures : whose environments become the references
    n_references : drawn from all of them
    """

    def __init__(self, structures, n_references: int, *, seed: int = 0) -> None:
        self._made_for = None
        rng = np.random.default_rng(seed)
        pool = np.concatenate(
            [self.describe(self.pairs(structure))[1] for structure in structures]
        )
        chosen = rng.choice(len(pool), n_references, replace=False)
        self.references = np.ascontiguousarray(pool[chosen])
        self.transposed = np.ascontiguousarray(self.references.T)
        self.weights = rng.normal(scale=0.01, size=n_references)
        self._kernel = np.empty((BLOCK, n_references))  # fresh pages cost time

    def predict(self, configuration: Configuration):
        """Return energy, forces (n, 3) and virial (3, 3)."""
        pairs = self.pairs(configuration)
        coefficients, spectrum, length = self.describe(pairs)
        energy, gradient = self.contract(spectrum)
        forces, virial = backward(pairs, coefficients, spectrum, length, gradient)
        return energy, forces, virial

    def pairs(self, configuration: Configuration):
        """Return the near pairs; candidates are found when atoms have moved far."""
        positions, cell = configuration.positions, configuration.cell
        old = self._made_for
        if (
            old is None
            or old.n_atoms != configuration.n_atoms
            or not np.array_equal(old.cell, cell)
            or np.max(np.sum((positions - old.positions) ** 2, axis=1)) > SKIN**2 / 4
        ):
            finder = vesin.NeighborList(
                cutoff=CUTOFF + SKIN, full_list=True, n_threads=1
            )
            i, j, shift = finder.compute(
                positions, cell, periodic=configuration.pbc, quantities="ijS"
            )
            order = np.argsort(i, kind="stable")
            start = np.zeros(configuration.n_atoms + 1, np.int64)
            np.cumsum(np.bincount(i, minlength=configuration.n_atoms), out=start[1:])
            self._candidates = start, j[order].astype(np.int64), shift[order] @ cell
            self._made_for = configuration
        return near_pairs(*self._candidates, positions)

    def describe(self, pairs):
        """Return coefficients, normalised spectra and their lengths."""
        first, _, vector, distance = pairs
        n = len(first) - 1
        out = np.empty((n, M, N)), np.empty((n, Q)), np.empty(n)
        forward(first, vector, distance, *out)
        return out

    def contract(self, spectrum):
        """Return the energy and dU/dp, (n, Q): two products and integer powers."""
        gradient, energy = np.empty_like(spectrum), 0.0
        for begin in range(0, len(spectrum), BLOCK):
            part = spectrum[begin : begin + BLOCK]
            k = np.matmul(part, self.transposed, out=self._kernel[: len(part)])
            energy += integer_powers(k, self.weights)
            np.matmul(k, self.references, out=gradient[begin : begin + BLOCK])
        return energy, gradient

    def parts(self, configuration: Configuration) -> dict[str, float]:
        """Return the processor seconds of each part of a prediction."""
        clock = [time.process_time()]
        pairs = self.pairs(configuration)
        clock.append(time.process_time())
        described = self.describe(pairs)
        clock.append(time.process_time())
        _, gradient = self.contract(described[1])
        clock.append(time.process_time())
        backward(pairs, *described, gradient)
        clock.append(time.process_time())
        names = ("pairs", "forward", "products and powers", "backward")
        return dict(zip(names, np.diff(clock), strict=True))


def force_error(floor: Floor, configuration: Configuration) -> float:
    """Return the largest deviation from central differences over the largest force."""
    h = 1e-4  # angstrom
    forces = floor.predict(configuration)[1]
    worst = 0.0
    for atom, axis in ((0, 0), (5, 1), (9, 2)):
        energies = []
        for sign in (1, -1):
            positions = configuration.positions.copy()
            positions[atom, axis] += sign * h
            energies.append(floor.predict(configuration.moved(positions))[0])
        slope = (energies[1] - energies[0]) / (2 * h)
        worst = max(worst, abs(slope - forces[atom, axis]))
    return worst / np.abs(forces).max()


def rattled_silicon(copies: int, *, seed: int) -> Configuration:
    """Return 8 copies^3 atoms of diamond, displaced by 0.1 angstrom."""
    atoms = bulk("Si", "diamond", a=5.43, cubic=True).repeat(copies)
    atoms.rattle(0.1, seed=seed)
    return Configuration.from_atoms(atoms)


def main() -> None:
    """Check the forces and print the time of the parts."""
    crystal = rattled_silicon(4, seed=1)
    structures = [rattled_silicon(4, seed=seed) for seed in range(2, 8)]
    for n_references in (1000, 3000):
        floor = Floor(structures, n_references)
        error = force_error(floor, crystal)
        print(f"{n_references} references, force error {error:.1e}")
        rng = np.random.default_rng(0)
        rows, positions = [], crystal.positions
        for _ in range(20):
            positions = positions + rng.normal(scale=0.01, size=positions.shape)
            rows.append(floor.parts(crystal.moved(positions)))
        for name in rows[0]:
            microseconds = 1e6 / crystal.n_atoms * np.array([row[name] for row in rows])
            print(f"  {name:<20} {np.median(microseconds):6.2f} us/atom")


if __name__ == "__main__":
    main()
