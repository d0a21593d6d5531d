"""Energies, forces and strain derivative of a pair potential read from a table."""

import numpy as np
from numba import njit

from otf.kernels.cpu.pairs import OPTIONS


@njit(**OPTIONS)
def _pair_potential(
    start, neighbor, kind, vector, distance, bare, smooth, cutoff, energies, forces
):
    intervals = smooth.shape[2]
    inverse_step = intervals / cutoff
    xx = yy = zz = yz = xz = xy = 0.0
    for i in range(len(start) - 1):
        a = kind[i]
        for p in range(start[i], start[i + 1]):
            j, r = neighbor[p], distance[p]
            # Every pair is computed from one end, an atom's own images from both.
            if j < i or r >= cutoff:
                continue
            b = kind[j]
            place = r * inverse_step
            k = min(int(place), intervals - 1)
            t = place - k
            c = smooth[a, b, k]
            inverse = 1.0 / r
            core = bare[a, b] * inverse
            u = core + (
                c[0] + t * (c[1] + t * (c[2] + t * (c[3] + t * (c[4] + t * c[5]))))
            )
            rise = c[1] + t * (
                2.0 * c[2] + t * (3.0 * c[3] + t * (4.0 * c[4] + t * 5.0 * c[5]))
            )
            pull = (rise * inverse_step - core * inverse) * inverse
            energies[i] += 0.5 * u
            if j == i:
                pull *= 0.5
            else:
                energies[j] += 0.5 * u
            v0, v1, v2 = vector[p, 0], vector[p, 1], vector[p, 2]
            f0, f1, f2 = pull * v0, pull * v1, pull * v2
            forces[i, 0] += f0
            forces[i, 1] += f1
            forces[i, 2] += f2
            forces[j, 0] -= f0
            forces[j, 1] -= f1
            forces[j, 2] -= f2
            xx += f0 * v0
            yy += f1 * v1
            zz += f2 * v2
            yz += f1 * v2
            xz += f0 * v2
            xy += f0 * v1
    return xx, yy, zz, yz, xz, xy


def pair_potential(start, neighbor, kind, vector, distance, table):
    n = len(start) - 1
    energies, forces = np.zeros(n), np.zeros((n, 3))
    strain = _pair_potential(
        start, neighbor, kind, vector, distance, *table, energies, forces
    )
    return energies, forces, np.array(strain)
