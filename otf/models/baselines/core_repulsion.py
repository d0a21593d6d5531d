"""Repulsion of the nuclei, where no label ever was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.configuration import VOIGT
from otf.models.baselines.interface import BaselineValues, NoBaseline
from otf.neighbors import NeighborList
from otf.units import BOHR, COULOMB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import Configuration, FloatArray, IntArray
    from otf.models.baselines.interface import Store
    from otf.potential import Arrays

# Universal screening function: phi(x) = sum c_k exp(-d_k x).
_SCREENING_C = np.array([0.18175, 0.50986, 0.28022, 0.02817])
_SCREENING_D = np.array([3.19980, 0.94229, 0.40290, 0.20162])


class CoreRepulsion:
    """Screened repulsion of the nuclei at distances no label ever visits.

    U = sum over pairs of Z Z' e^2/(4 pi eps0 r) phi(r/a) S(r),
    a = 0.46850 angstrom/(Z^0.23 + Z'^0.23), and S falls from 1 at half the outer
    distance to 0 at the outer distance, 0.75 of the sum of the covalent radii, with two
    continuous derivatives. Beyond it the repulsion is exactly zero.

    Parameters
    ----------
    radii
        Covalent radii in angstrom, indexed by atomic number.
    species
        Atomic numbers it will meet; they set the range of its neighbour list.

    References
    ----------
    J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in
    Solids, Pergamon 1985.
    """

    name = "core_repulsion"
    outer_share = 0.75
    inner_share = 0.5  # of the outer distance

    def __init__(self, radii: FloatArray, species: Sequence[int]) -> None:
        self.radii = np.array(radii, dtype=np.float64)
        self.species = tuple(sorted(int(z) for z in species))
        largest = max(float(self.radii[z]) for z in self.species)
        self.reach = 2.0 * self.outer_share * largest
        self._neighbors = NeighborList(self.reach)

    def to_arrays(self) -> Store:
        """Return radii and species."""
        return {"radii": self.radii, "species": np.array(self.species)}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> CoreRepulsion:
        """Return the repulsion that ``to_arrays`` took apart."""
        radii = np.array(arrays["radii"], np.float64)
        return cls(radii, [int(z) for z in arrays["species"]])

    def evaluate(self, configuration: Configuration) -> BaselineValues:
        """Return energies, forces and strain derivative."""
        pairs = self._neighbors.pairs(configuration)
        if not pairs.n_pairs:
            return NoBaseline().evaluate(configuration)
        numbers = configuration.numbers
        centre = np.repeat(np.arange(len(numbers)), np.diff(pairs.first))
        outer = self._outer(numbers[centre], numbers[pairs.neighbor])
        close = pairs.distance < outer
        if not close.any():
            return NoBaseline().evaluate(configuration)
        first, second = centre[close], pairs.neighbor[close]
        vector = pairs.vector[close]
        energy, pull = self.of_pairs(
            numbers[first], numbers[second], vector, pairs.distance[close]
        )
        n = configuration.n_atoms
        forces = np.zeros((n, 3))
        np.add.at(forces, first, pull)
        np.subtract.at(forces, second, pull)
        tensor = vector.T @ pull
        return BaselineValues(
            energies=_summed(first, energy, n),
            forces=forces,
            strain_derivative=np.array(
                [0.5 * (tensor[a, b] + tensor[b, a]) for a, b in VOIGT]
            ),
        )

    def of_pairs(
        self,
        first: IntArray,
        second: IntArray,
        vector: FloatArray,
        distance: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        """Return the halves of pairs that belong to their first atoms.

        Every pair is listed from both ends, hence the halves.
        """
        outer = self._outer(first, second)
        energy, slope = self._pair(first, second, distance, outer)
        return 0.5 * energy, (0.5 * slope / distance)[:, None] * vector

    def _outer(self, first: IntArray, second: IntArray) -> FloatArray:
        """Return the distances of pairs of elements beyond which there is nothing."""
        outer: FloatArray = self.outer_share * (self.radii[first] + self.radii[second])
        return outer

    def _pair(
        self,
        first: IntArray,
        second: IntArray,
        distance: FloatArray,
        outer: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        """Return pair energies (eV) and their derivatives by the distance."""
        z1, z2 = first.astype(np.float64), second.astype(np.float64)
        length = 0.8854 * BOHR / (z1**0.23 + z2**0.23)
        terms = _SCREENING_C * np.exp(-np.outer(distance / length, _SCREENING_D))
        phi = terms.sum(axis=1)
        phi_slope = -(terms @ _SCREENING_D) / length
        bare = COULOMB * z1 * z2 / distance
        inner = self.inner_share * outer
        x = np.clip((distance - inner) / (outer - inner), 0.0, 1.0)
        switch = 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2)
        switch_slope = -30.0 * x**2 * (1.0 - x) ** 2 / (outer - inner)
        energy = bare * phi * switch
        slope = bare * ((phi_slope - phi / distance) * switch + phi * switch_slope)
        return energy, slope


def _summed(index: IntArray, values: FloatArray, n: int) -> FloatArray:
    total = np.zeros(n)
    np.add.at(total, index, values)
    return total
