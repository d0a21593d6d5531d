"""The dispersion correction D2: damped -C6/r^6 between all pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.errors import InputError
from otf.models.baselines.jets import fade, fermi, power
from otf.models.baselines.pairwise import PairSum, pair_table
from otf.units import JOULE_PER_MOL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from otf.configuration import Configuration, FloatArray
    from otf.models.baselines.interface import BaselineValues, Store
    from otf.models.baselines.jets import Jet
    from otf.potential import Arrays

# Grimme 2006, Table 1: C6 in J nm^6/mol and R0 in angstrom from H (1) to Xe (54). All
# 3d metals share their values, and all 4d metals.
_C6 = (
    *(0.14, 0.08, 1.61, 1.61, 3.13, 1.75, 1.23, 0.70, 0.75, 0.63),
    *(5.71, 5.71, 10.79, 9.23, 7.84, 5.57, 5.07, 4.61, 10.80, 10.80),
    *(10.80,) * 10,
    *(16.99, 17.10, 16.37, 12.64, 12.47, 12.01, 24.67, 24.67),
    *(24.67,) * 10,
    *(37.32, 38.71, 38.44, 31.74, 31.50, 29.99),
)
_RADII = (
    *(1.001, 1.012, 0.825, 1.408, 1.485, 1.452, 1.397, 1.342, 1.287, 1.243),
    *(1.144, 1.364, 1.639, 1.716, 1.705, 1.683, 1.639, 1.595, 1.485, 1.474),
    *(1.562,) * 10,
    *(1.650, 1.727, 1.760, 1.771, 1.749, 1.727, 1.628, 1.606),
    *(1.639,) * 10,
    *(1.672, 1.804, 1.881, 1.892, 1.892, 1.881),
)
_NM6 = 1e6  # angstrom^6
# s6 of the functionals in that paper.
SCALE: Mapping[str, float] = {
    "b3lyp": 1.05,
    "b97-d": 1.25,
    "blyp": 1.2,
    "bp86": 1.05,
    "pbe": 0.75,
    "tpss": 1.0,
}
DAMPING = 20.0
CUTOFF = 20.0
_FADE = 0.8  # of the cutoff, where the energy begins to end
# Shares of R0 between which the energy is switched on. The published damping is about
# 1e-7 there, but has no limit at 0.
_BEGINS, _BEGUN = 0.2, 0.3


def published(species: Iterable[int]) -> tuple[dict[int, float], dict[int, float]]:
    """Return the published C6 (eV angstrom^6) and R0 (angstrom) by atomic number.

    Elements beyond Xe have none and are left out.
    """
    known = [z for z in species if 1 <= z <= len(_C6)]
    return (
        {z: _C6[z - 1] * JOULE_PER_MOL * _NM6 for z in known},
        {z: _RADII[z - 1] for z in known},
    )


def scale_of(functional: str) -> float:
    """Return the published s6 of a functional.

    Raises
    ------
    InputError
        When there is none.
    """
    found = SCALE.get(functional.lower())
    if found is None:
        raise InputError(
            f"D2 has no parameters for {functional!r}, it knows {', '.join(SCALE)}: "
            "give parameters = { s6 = ... } (input file: [baseline.dispersion] "
            "functional)"
        )
    return found


class DispersionD2:
    """Dispersion energy of pairs, the same in every environment.

    U = -s6 sum over pairs of C6 f(r)/r^6, f = 1/(1 + exp(-d (r/R0 - 1))), with
    C6 = sqrt(C6_i C6_j) and R0 = R0_i + R0_j. It ends at the cutoff with two continuous
    derivatives, from 0.8 of it on, and is absent below 0.2 of R0, where the published
    form has no limit.

    Parameters
    ----------
    coefficients
        C6 in eV angstrom^6 by atomic number.
    radii
        R0 in angstrom by atomic number.
    scale
        s6, of the functional.
    damping
        d.
    cutoff
        angstrom.

    Raises
    ------
    InputError
        When an element has a coefficient but no radius, or the other way round.

    References
    ----------
    S. Grimme, J. Comput. Chem. 27, 1787 (2006), doi 10.1002/jcc.20495.
    """

    name = "dispersion_d2"

    def __init__(
        self,
        coefficients: Mapping[int, float],
        radii: Mapping[int, float],
        *,
        scale: float,
        damping: float = DAMPING,
        cutoff: float = CUTOFF,
    ) -> None:
        if set(coefficients) != set(radii):
            lone = min(set(coefficients) ^ set(radii))
            raise InputError(
                f"D2 needs C6 and R0 of every element, and has one of them for atomic "
                f"number {lone} (input file: [baseline.dispersion] c6_eV_A6, radii_A)"
            )
        self.species = tuple(sorted(int(z) for z in coefficients))
        self.coefficients = np.array([float(coefficients[z]) for z in self.species])
        self.radii = np.array([float(radii[z]) for z in self.species])
        self.scale, self.damping = float(scale), float(damping)
        self.cutoff = float(cutoff)
        self._sum = PairSum(
            self.species, pair_table(len(self.species), self.cutoff, self._pair)
        )

    def evaluate(self, configuration: Configuration) -> BaselineValues:
        """Return energies, forces and strain derivative."""
        return self._sum.evaluate(configuration)

    def to_arrays(self) -> Store:
        """Return coefficients, radii and numbers."""
        return {
            "species": np.array(self.species),
            "coefficients": self.coefficients,
            "radii": self.radii,
            "scale": np.array(self.scale),
            "damping": np.array(self.damping),
            "cutoff": np.array(self.cutoff),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> DispersionD2:
        """Return the baseline that ``to_arrays`` took apart."""
        species = [int(z) for z in arrays["species"]]
        coefficients, radii = (
            dict(zip(species, np.array(arrays[key], np.float64).tolist(), strict=True))
            for key in ("coefficients", "radii")
        )
        scale, damping, cutoff = (
            float(arrays[key]) for key in ("scale", "damping", "cutoff")
        )
        return cls(coefficients, radii, scale=scale, damping=damping, cutoff=cutoff)

    def _pair(self, a: int, b: int, r: FloatArray) -> Jet:
        """Return the energy of a pair in eV."""
        radius = self.radii[a] + self.radii[b]
        strength = self.scale * np.sqrt(self.coefficients[a] * self.coefficients[b])
        begins, begun = _BEGINS * radius, _BEGUN * radius
        apart = np.maximum(r, begins)
        on = fade(r, begins, begun).scaled(-1.0)
        return (
            power(apart, -6)
            .times(fermi(apart, radius, self.damping))
            .times(on._replace(value=1.0 + on.value))
            .times(fade(r, _FADE * self.cutoff, self.cutoff))
            .scaled(-float(strength))
        )
