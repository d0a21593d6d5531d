"""Silicon of Stillinger and Weber: a reference that costs a millisecond."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from otf.calculators.code import Code
from otf.calculators.geometry import centers, forces_and_virial
from otf.configuration import Configuration
from otf.neighbors import NeighborList

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ase import Atoms

    from otf.configuration import FloatArray, IntArray
    from otf.neighbors import Pairs

# Table I of the paper, in units of epsilon and sigma.
A: Final = 7.049556277
B: Final = 0.6022245584
RANGE: Final = 1.80
LAMBDA: Final = 21.0
GAMMA: Final = 1.20
# Energy and forces of a pair this close to the range carry exp(-500).
MARGIN: Final = 2e-3


class StillingerWeber(Calculator):  # type: ignore[misc] # ASE ships no types
    """Two- and three-body potential of silicon, any cell, any periodicity.

    Parameters
    ----------
    epsilon_eV
        Energy unit. The default makes the diamond lattice 4.3366 eV/atom deep; scaled
        to the measured cohesive energy it would be 2.315.
    sigma_A
        Length unit, angstrom.

    References
    ----------
    .. [1] F. H. Stillinger, T. A. Weber, Computer simulation of local order in
       condensed phases of silicon, Phys. Rev. B 31, 5262 (1985), eqs 2.2-2.6 and
       Table I, https://doi.org/10.1103/PhysRevB.31.5262
    """

    implemented_properties: Sequence[str] = (
        "energy",
        "free_energy",
        "forces",
        "stress",
    )

    def __init__(self, epsilon_eV: float = 2.1683, sigma_A: float = 2.0951) -> None:
        super().__init__()
        self.epsilon, self.sigma = float(epsilon_eV), float(sigma_A)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute energy, forces and, in a three-dimensional cell, stress."""
        super().calculate(atoms, properties, system_changes)
        energy, forces, virial = self.evaluate(Configuration.from_atoms(self.atoms))
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}
        if self.atoms.cell.rank == 3:
            self.results["stress"] = virial / self.atoms.cell.volume

    def evaluate(
        self, configuration: Configuration
    ) -> tuple[float, FloatArray, FloatArray]:
        """Return energy (eV), forces (n, 3) in eV/angstrom and virial (6,) in eV."""
        pairs = NeighborList((RANGE - MARGIN) * self.sigma).pairs(configuration)
        units = pairs.vector / pairs.distance[:, None]
        pair_energy, pair_slope = self._two_body(pairs.distance)
        # Every pair is listed from both of its ends.
        gradients = 0.5 * pair_slope[:, None] * units
        triplet_energy = self._add_three_body(pairs, units, gradients)
        forces, virial = forces_and_virial(pairs, gradients)
        return 0.5 * float(pair_energy.sum()) + triplet_energy, forces, virial

    def _two_body(self, r: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return f2 (eV) and its derivative (eV/angstrom), eq. 2.3."""
        x = 1.0 / (r / self.sigma - RANGE)
        decay = A * self.epsilon * np.exp(x)
        repulsion = B * (self.sigma / r) ** 4
        energy = (repulsion - 1.0) * decay
        slope = -4.0 * repulsion / r * decay - energy * x * x / self.sigma
        return energy, slope

    def _add_three_body(
        self, pairs: Pairs, units: FloatArray, gradients: FloatArray
    ) -> float:
        """Return the angular energy (eV), eq. 2.5; its gradients are added in place."""
        r = pairs.distance
        p, q = pairs_of_pairs(pairs)
        x = 1.0 / (r / self.sigma - RANGE)
        decay = np.exp(GAMMA * x)
        log_slope = -GAMMA * x * x / self.sigma  # d ln(decay)/dr
        cosine = np.einsum("tk,tk->t", units[p], units[q])
        bend = cosine + 1.0 / 3.0
        amplitude = LAMBDA * self.epsilon * decay[p] * decay[q] * bend
        energy = amplitude * bend
        for one, other in ((p, q), (q, p)):
            radial = energy * log_slope[one] - 2.0 * amplitude * cosine / r[one]
            tangential = 2.0 * amplitude / r[one]
            for k in range(3):
                slope = radial * units[one, k] + tangential * units[other, k]
                gradients[:, k] += np.bincount(one, slope, len(r))
        return float(energy.sum())


def pairs_of_pairs(pairs: Pairs) -> tuple[IntArray, IntArray]:
    """Return (t,) and (t,) the pairs p < q that start from the same atom."""
    first = centers(pairs)
    partners = np.diff(pairs.first)[first]  # q has this many choices for each p
    p = np.repeat(np.arange(pairs.n_pairs), partners)
    rank = np.arange(len(p)) - np.repeat(np.cumsum(partners) - partners, partners)
    q = pairs.first[first[p]] + rank
    once = p < q
    return p[once], q[once]


def code(arguments: Mapping[str, object]) -> Code:
    """Return the registry entry."""
    return Code(
        name="stillinger-weber",
        version="1985",
        arguments={"epsilon_eV": 2.1683, "sigma_A": 2.0951, **arguments},
        construct=StillingerWeber,
        elements=frozenset({14}),
    )
