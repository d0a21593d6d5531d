"""Lennard-Jones pairs of any species, smooth at the cutoff."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_numbers, chemical_symbols

from otf.calculators.code import Code
from otf.calculators.geometry import centers, forces_and_virial
from otf.configuration import Configuration
from otf.errors import InputError
from otf.neighbors import NeighborList

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ase import Atoms

    from otf.configuration import FloatArray

    Table = Mapping[str, float]

ARGON_EPSILON: Table = {"Ar": 0.0104}
ARGON_SIGMA: Table = {"Ar": 3.40}


def shifted_force(r: FloatArray, cutoff: float) -> tuple[FloatArray, FloatArray]:
    """Return u - u_c - (r - r_c) u'_c and its slope, u = 4 (r^-12 - r^-6)."""
    energy, slope = lennard_jones(r)
    energy_c, slope_c = lennard_jones(np.array(cutoff))
    return energy - energy_c - (r - cutoff) * slope_c, slope - slope_c


def switched(r: FloatArray, cutoff: float) -> tuple[FloatArray, FloatArray]:
    """Return u S and its slope; S falls from 1 at 0.8 r_c to 0 at r_c, C2-smooth."""
    energy, slope = lennard_jones(r)
    width = 0.2 * cutoff
    x = np.clip((r - 0.8 * cutoff) / width, 0.0, 1.0)
    switch = 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x * x)
    fall = -30.0 * (x * (1.0 - x)) ** 2 / width
    return energy * switch, slope * switch + energy * fall


def lennard_jones(r: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return 4 (r^-12 - r^-6) and its slope, r in units of sigma."""
    s6 = r**-6
    return 4.0 * s6 * (s6 - 1.0), -24.0 * s6 * (2.0 * s6 - 1.0) / r


TAILS = {"shifted-force": shifted_force, "switched": switched}


class LennardJones(Calculator):  # type: ignore[misc] # ASE ships no types
    """Pair potential with Lorentz-Berthelot mixing, any cell, any periodicity.

    Parameters
    ----------
    epsilon_eV, sigma_A
        Well depth (eV) and diameter (angstrom) of every species; argon by default.
    cutoff_sigma
        Cutoff of a pair in units of its own sigma.
    tail
        ``shifted-force`` (energy and force reach zero) or ``switched`` (untouched up
        to 0.8 of the cutoff, then switched off with two continuous derivatives).
    """

    implemented_properties: Sequence[str] = (
        "energy",
        "free_energy",
        "forces",
        "stress",
    )

    def __init__(
        self,
        epsilon_eV: Table = ARGON_EPSILON,
        sigma_A: Table = ARGON_SIGMA,
        cutoff_sigma: float = 2.5,
        tail: str = "shifted-force",
    ) -> None:
        super().__init__()
        check_tables(epsilon_eV, sigma_A)
        if tail not in TAILS:
            raise InputError(
                f"tail must be one of {', '.join(TAILS)}, got {tail!r} "
                "(input file: [reference.arguments] tail)"
            )
        self.cutoff = float(cutoff_sigma)
        self.tail = TAILS[tail]
        self.epsilon = np.zeros(len(chemical_symbols))
        self.sigma = np.zeros(len(chemical_symbols))
        for symbol, value in epsilon_eV.items():
            self.epsilon[atomic_numbers[symbol]] = value
            self.sigma[atomic_numbers[symbol]] = sigma_A[symbol]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute energy, forces and, in a three-dimensional cell, stress."""
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms
        sigmas, depths = self.sigma[atoms.numbers], self.epsilon[atoms.numbers]
        neighbors = NeighborList(self.cutoff * float(sigmas.max()))
        pairs = neighbors.pairs(Configuration.from_atoms(atoms))
        first, second, r = centers(pairs), pairs.neighbor, pairs.distance
        sigma = 0.5 * (sigmas[first] + sigmas[second])
        # Every pair is listed from both of its ends.
        depth = 0.5 * np.sqrt(depths[first] * depths[second])
        depth[r > self.cutoff * sigma] = 0.0
        u, slope = self.tail(r / sigma, self.cutoff)
        gradients = (depth * slope / (sigma * r))[:, None] * pairs.vector
        forces, virial = forces_and_virial(pairs, gradients)
        energy = float(depth @ u)
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}
        if atoms.cell.rank == 3:
            self.results["stress"] = virial / atoms.cell.volume


def check_tables(epsilon: Table, sigma: Table) -> None:
    """Raise when the two tables do not name the same, known species.

    Raises
    ------
    InputError
        Names the key of the input file.
    """
    for key, table in (("epsilon_eV", epsilon), ("sigma_A", sigma)):
        for symbol, value in table.items():
            if symbol not in atomic_numbers:
                raise InputError(
                    f"{symbol!r} is no chemical symbol "
                    f"(input file: [reference.arguments] {key})"
                )
            if not value > 0.0:
                raise InputError(
                    f"{key} of {symbol} must be positive, got {value} "
                    f"(input file: [reference.arguments] {key})"
                )
    if odd := sorted(set(epsilon) ^ set(sigma)):
        raise InputError(
            f"epsilon_eV and sigma_A must name the same species, {', '.join(odd)} "
            "is in one of them only (input file: [reference.arguments])"
        )


def code(arguments: Mapping[str, object]) -> Code:
    """Return the registry entry; only species of the tables are possible."""
    filled = {"epsilon_eV": ARGON_EPSILON, "sigma_A": ARGON_SIGMA, **arguments}
    table = filled["epsilon_eV"]
    symbols = table if isinstance(table, dict) else {}
    return Code(
        name="lennard-jones",
        version="1",
        arguments={"cutoff_sigma": 2.5, "tail": "shifted-force", **filled},
        construct=LennardJones,
        elements=frozenset(atomic_numbers[s] for s in symbols if s in atomic_numbers),
    )
