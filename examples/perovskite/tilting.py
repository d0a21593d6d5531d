"""A model perovskite CsPbI3 whose octahedra tilt: a reference of a few microseconds.

The crystal is made for its transition, not for caesium lead iodide, whose masses and
distances it has:

- B-X bonds and X-X edges (both Morse) make stiff octahedra;
- the B-X-B bridge of two octahedra prefers to be bent: with s = 1 + cos of its angle
  its energy is a s (s/2 s_0 - 1), a double well in the tilt;
- X-X repulsion (exponential), strongest where neighbouring layers tilt in phase, so
  that they tilt in antiphase;
- A-X pairs (Morse) hold A in its cage.

Tilts about x and y shorten the crystal along z: stretched along z and held there, it
tilts about z alone, one way or the other.

Bonds fade out between INNER and OUTER, pairs end with energy and force at CUTOFF.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from numba import njit

from otf.configuration import Configuration
from otf.errors import InputError
from otf.neighbors import NeighborList

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import FloatArray

A, B, X = 0, 1, 2
SPECIES: Final = {55: A, 82: B, 53: X}
INNER, OUTER = 4.2, 5.2  # angstrom, of a bond B-X in an angle
CUTOFF = 7.0  # angstrom, of pairs
EDGES = (6.14, 6.14, 6.34)  # angstrom, of one octahedron: near rest, and stretched


class Strengths(NamedTuple):
    """Numbers of the model; eV, angstrom."""

    bond_depth: float = 3.0
    bond_decay: float = 1.5
    bond_length: float = 3.1
    edge_depth: float = 0.07
    edge_decay: float = 1.5
    edge_length: float = 4.38
    bend: float = 0.8
    bend_at_rest: float = 0.025
    shell: float = 0.07
    shell_radius: float = 5.75
    shell_width: float = 1.15
    cage_depth: float = 0.15
    cage_decay: float = 1.0
    cage_length: float = 4.2


def crystal(
    tilt_deg: float, *, edges: Sequence[float] = EDGES, in_phase: bool = False
) -> Atoms:
    """Return 40 atoms whose octahedra tilt about z, layers in antiphase or in phase."""
    a = np.asarray(edges, dtype=np.float64)
    shift = 0.5 * np.tan(np.radians(tilt_deg))  # of a corner, in edges
    symbols: list[str] = []
    places: list[FloatArray] = []
    for site in np.ndindex(2, 2, 2):
        sign = (-1) ** (sum(site[:2]) if in_phase else sum(site))
        corners = [(0.5, sign * shift, 0.0), (-sign * shift, 0.5, 0.0), (0.0, 0.0, 0.5)]
        own = np.array([(0.5, 0.5, 0.5), (0.0, 0.0, 0.0), *corners])
        symbols += ["Cs", "Pb", "I", "I", "I"]
        places.append((site + own) * a)
    return Atoms(symbols, positions=np.concatenate(places), cell=2.0 * a, pbc=True)


@njit(cache=True)
def morse(r, depth, decay, length):
    """Return energy and slope, eV and eV/angstrom."""
    x = np.exp(-decay * (r - length))
    return depth * x * (x - 2.0), -2.0 * depth * decay * x * (x - 1.0)


@njit(cache=True)
def pair(a, b, r, t):
    """Return energy and slope of two species, not yet cut off."""
    if a > b:
        a, b = b, a
    if a == B and b == X:
        return morse(r, t.bond_depth, t.bond_decay, t.bond_length)
    if a == X:
        e, slope = morse(r, t.edge_depth, t.edge_decay, t.edge_length)
        x = (r - t.shell_radius) / t.shell_width
        y = max(0.0, 1.0 - x * x)
        return e + t.shell * y**3, slope - 6.0 * t.shell * x * y * y / t.shell_width
    if b == X:
        return morse(r, t.cage_depth, t.cage_decay, t.cage_length)
    return 0.0, 0.0


@njit(cache=True)
def fading(r):
    """Return 1 below INNER, 0 beyond OUTER, smooth to second order; and the slope."""
    if r <= INNER:
        return 1.0, 0.0
    if r >= OUTER:
        return 0.0, 0.0
    x = (r - INNER) / (OUTER - INNER)
    return (
        1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x * x),
        -30.0 * (x * (1.0 - x)) ** 2 / (OUTER - INNER),
    )


@njit(cache=True)
def add_pairs(first, neighbor, vector, distance, kinds, t, gradients):
    """Return the pair energy; add its gradients by the pair vectors."""
    energy = 0.0
    for i in range(len(first) - 1):
        for p in range(first[i], first[i + 1]):
            a, b, r = kinds[i], kinds[neighbor[p]], distance[p]
            if a != X and b != X:
                continue
            end, end_slope = pair(a, b, CUTOFF, t)
            e, slope = pair(a, b, r, t)
            # Every pair is listed from both of its ends.
            energy += 0.5 * (e - end - (r - CUTOFF) * end_slope)
            for k in range(3):
                gradients[p, k] += 0.5 * (slope - end_slope) * vector[p, k] / r
    return energy


@njit(cache=True)
def add_bridges(first, neighbor, vector, distance, kinds, t, gradients):
    """Return the energy of the bridges B-X-B; add its gradients."""
    energy = 0.0
    for i in range(len(first) - 1):
        if kinds[i] != X:
            continue
        for p in range(first[i], first[i + 1]):
            if kinds[neighbor[p]] != B or distance[p] >= OUTER:
                continue
            for q in range(first[i], p):
                if kinds[neighbor[q]] != B or distance[q] >= OUTER:
                    continue
                r, s = distance[p], distance[q]
                c = 0.0
                for k in range(3):
                    c += vector[p, k] * vector[q, k]
                c /= r * s
                e = t.bend * (1.0 + c) * (0.5 * (1.0 + c) / t.bend_at_rest - 1.0)
                slope = t.bend * ((1.0 + c) / t.bend_at_rest - 1.0)
                f, f_slope = fading(r)
                g, g_slope = fading(s)
                energy += e * f * g
                slope *= f * g
                for k in range(3):
                    u, v = vector[p, k] / r, vector[q, k] / s
                    gradients[p, k] += slope * (v - c * u) / r + e * g * f_slope * u
                    gradients[q, k] += slope * (u - c * v) / s + e * f * g_slope * v
    return energy


@njit(cache=True)
def collect(first, neighbor, vector, gradients, forces, virial):
    """Add up forces (n, 3) and the virial (6,), Voigt order, of pair gradients."""
    for i in range(len(first) - 1):
        for p in range(first[i], first[i + 1]):
            x, y, z = vector[p]
            a, b, c = gradients[p]
            for k in range(3):
                forces[i, k] += gradients[p, k]
                forces[neighbor[p], k] -= gradients[p, k]
            virial[0] += x * a
            virial[1] += y * b
            virial[2] += z * c
            virial[3] += 0.5 * (y * c + z * b)
            virial[4] += 0.5 * (x * c + z * a)
            virial[5] += 0.5 * (x * b + y * a)


class TiltingPerovskite(Calculator):
    """Energy, forces and stress of Cs, Pb and I in a perovskite of three dimensions."""

    implemented_properties: Sequence[str] = (
        "energy",
        "free_energy",
        "forces",
        "stress",
    )

    def __init__(self, **strengths: float) -> None:
        super().__init__()
        self.strengths = Strengths(**strengths)
        self.neighbors = NeighborList(CUTOFF)

    def evaluate(self, c: Configuration) -> tuple[float, FloatArray, FloatArray]:
        """Return energy (eV), forces (n, 3) in eV/angstrom and virial (6,) in eV."""
        if strange := set(c.numbers.tolist()) - set(SPECIES):
            msg = f"the model perovskite has Cs, Pb and I only, got Z = {min(strange)}"
            raise InputError(msg)
        kinds = np.select([c.numbers == z for z in SPECIES], list(SPECIES.values()))
        pairs = self.neighbors.pairs(c)
        listed = pairs.first, pairs.neighbor, pairs.vector
        gradients = np.zeros_like(pairs.vector)
        known = (*listed, pairs.distance, kinds, self.strengths, gradients)
        energy = add_pairs(*known) + add_bridges(*known)
        forces, virial = np.zeros((c.n_atoms, 3)), np.zeros(6)
        collect(*listed, gradients, forces, virial)
        return energy, forces, virial

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute everything."""
        super().calculate(atoms, properties, system_changes)
        energy, forces, virial = self.evaluate(Configuration.from_atoms(self.atoms))
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": forces,
            "stress": virial / self.atoms.cell.volume,
        }
