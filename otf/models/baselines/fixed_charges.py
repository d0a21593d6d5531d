"""Electrostatics of fixed charges, one for each element: points or Gaussians."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.configuration import VOIGT
from otf.errors import InputError
from otf.models.baselines.ewald import (
    FADE,
    Splitting,
    balanced_cutoff,
    reach,
    reciprocal_sum,
    splitting,
)
from otf.models.baselines.interface import BaselineValues
from otf.models.baselines.jets import erf_over_r, fade, power
from otf.models.baselines.pairwise import PairSum, pair_table
from otf.models.baselines.particle_mesh import mesh_cutoff, mesh_sum, order_for
from otf.units import COULOMB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otf.configuration import Configuration, FloatArray, IntArray
    from otf.models.baselines.interface import Store
    from otf.models.baselines.jets import Jet
    from otf.potential import Arrays

ACCURACY = 1e-6
# Automatic real cutoffs are multiples of this, so that the splitting does not follow
# every fluctuation of the cell.
_GRID = 0.5  # angstrom
# Atoms from which a mesh is faster than wave vectors one by one.
MESH_FROM = 300
_NEUTRAL = 1e-5  # of the sum of all |q|: charges such as 0.33333 are rounded
_ROWS = 256  # of a direct sum at a time


class FixedCharges:
    """Coulomb energy of charges that move with their atoms.

    Cells that are periodic in three directions are summed as of Ewald, large ones on a
    mesh, with the boundary condition of a surrounding conductor; molecules directly.

    Parameters
    ----------
    charges
        e by atomic number.
    widths
        angstrom by atomic number, w of a Gaussian charge of density exp(-r^2/w^2); 0,
        a point, for elements that are not named. Two charges then interact by
        erf(r/sqrt(w^2 + w'^2))/r, which stays finite where atoms meet, and as points
        at larger distances.
    accuracy
        Share of a term at which both sums of a periodic cell end.
    cutoff
        angstrom, of the sum in real space; chosen for speed when None.

    Notes
    -----
    The energy of a Gaussian charge with itself is a constant and left out.

    References
    ----------
    P. P. Ewald, Ann. Phys. 369, 253 (1921), doi 10.1002/andp.19213690304.
    """

    name = "fixed_charges"

    def __init__(
        self,
        charges: Mapping[int, float],
        widths: Mapping[int, float] | None = None,
        *,
        accuracy: float = ACCURACY,
        cutoff: float | None = None,
    ) -> None:
        self.species = tuple(sorted(int(z) for z in charges))
        self.charges = np.array([float(charges[z]) for z in self.species])
        self.widths = np.array(
            [float((widths or {}).get(z, 0.0)) for z in self.species]
        )
        self.accuracy = float(accuracy)
        self.cutoff = None if cutoff is None else float(cutoff)
        self._sums: dict[Splitting, PairSum] = {}

    def evaluate(self, configuration: Configuration) -> BaselineValues:
        """Return energies, forces and strain derivative.

        Raises
        ------
        InputError
            When the charges do not cancel, an element has none, or the structure is
            periodic in one or two directions only.
        """
        charges = self.charges[self._kind(configuration)]
        periodic = np.asarray(configuration.pbc, dtype=bool)
        if periodic.any() and not periodic.all():
            raise InputError(
                "fixed charges need a structure that is periodic in all three "
                "directions or in none, got pbc = "
                f"{' '.join('FT'[p] for p in periodic.astype(int))}: give a slab a "
                "periodic cell with vacuum (input file: [baseline.electrostatics])"
            )
        self._require_sum(configuration, charges)
        if not periodic.any():
            return self._direct(configuration, charges)
        split = self.split(configuration)
        near = self._short_range(split).evaluate(configuration)
        geometry = configuration.positions, charges, configuration.cell, split
        if _is_large(configuration):
            far = mesh_sum(*geometry, order_for(self.accuracy))
        else:
            far = reciprocal_sum(*geometry)
        return BaselineValues(
            near.energies + far.energies,
            near.forces + far.forces,
            near.strain_derivative + far.strain_derivative,
        )

    def split(self, configuration: Configuration) -> Splitting:
        """Return how the sum over a periodic cell is divided."""
        cutoff = self.cutoff
        if cutoff is None:
            fastest = mesh_cutoff if _is_large(configuration) else balanced_cutoff
            best = fastest(configuration.n_atoms, configuration.volume, self.accuracy)
            cutoff = max(_GRID, _GRID * round(best / _GRID))
        # What tells a wide Gaussian from a point belongs to real space as well.
        widest = float(np.sqrt(2.0) * self.widths.max())
        return splitting(max(cutoff, reach(self.accuracy) * widest), self.accuracy)

    def to_arrays(self) -> Store:
        """Return charges, widths, accuracy and cutoff (0 for none)."""
        return {
            "species": np.array(self.species),
            "charges": self.charges,
            "widths": self.widths,
            "accuracy": np.array(self.accuracy),
            "cutoff": np.array(self.cutoff or 0.0),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> FixedCharges:
        """Return the baseline that ``to_arrays`` took apart."""
        species = [int(z) for z in arrays["species"]]
        charges, widths = (
            dict(zip(species, np.array(arrays[key], np.float64).tolist(), strict=True))
            for key in ("charges", "widths")
        )
        return cls(
            charges,
            widths,
            accuracy=float(arrays["accuracy"]),
            cutoff=float(arrays["cutoff"]) or None,
        )

    def _kind(self, configuration: Configuration) -> IntArray:
        kind = np.searchsorted(self.species, configuration.numbers)
        kind = np.minimum(kind, len(self.species) - 1)
        unknown = np.array(self.species)[kind] != configuration.numbers
        if unknown.any():
            raise InputError(
                f"there is no charge for atomic number "
                f"{int(configuration.numbers[unknown].min())}: add it "
                "(input file: [baseline.electrostatics] charges_e)"
            )
        return kind

    def _require_sum(self, configuration: Configuration, charges: FloatArray) -> None:
        total, expected = float(charges.sum()), 0.0
        if not np.any(configuration.pbc):
            expected = configuration.charge or 0.0
        if abs(total - expected) > _NEUTRAL * max(1.0, float(np.abs(charges).sum())):
            raise InputError(
                f"the fixed charges of a structure of {configuration.n_atoms} atoms "
                f"sum to {total:+.4g} e, expected {expected:+g}: change them until "
                "they cancel (input file: [baseline.electrostatics] charges_e)"
            )

    def _short_range(self, split: Splitting) -> PairSum:
        """Return what the reciprocal sum lacks, the charges less smooth ones."""
        if split not in self._sums:
            inverse = self._inverse_widths()
            strength = COULOMB * np.outer(self.charges, self.charges)
            table = pair_table(
                len(self.species),
                split.cutoff,
                lambda a, b, r: _missing(r, inverse[a, b], split).scaled(
                    strength[a, b]
                ),
                np.where(np.isfinite(inverse), 0.0, strength),
            )
            self._sums[split] = PairSum(self.species, table)
        return self._sums[split]

    def _inverse_widths(self) -> FloatArray:
        """Return b (S, S) of erf(b r)/r, infinite between points."""
        squares = self.widths**2
        with np.errstate(divide="ignore"):
            return np.asarray(1.0 / np.sqrt(squares[:, None] + squares[None, :]))

    def _direct(
        self, configuration: Configuration, charges: FloatArray
    ) -> BaselineValues:
        """Return the sum over all pairs of a molecule."""
        x, n = configuration.positions, configuration.n_atoms
        inverse = self._inverse_widths()
        kind = self._kind(configuration)
        energies, forces = np.zeros(n), np.zeros((n, 3))
        for first in range(0, n, _ROWS):
            rows = np.arange(first, min(first + _ROWS, n))
            away = x[None, :, :] - x[rows, None, :]
            r = np.sqrt(np.einsum("ijd,ijd->ij", away, away))
            r[np.arange(len(rows)), rows] = np.inf
            b = inverse[kind[rows]][:, kind]
            strength = COULOMB * charges[rows, None] * charges
            value, slope = _coulomb(r, b)
            energies[rows] = 0.5 * (strength * value).sum(axis=1)
            forces[rows] = np.einsum("ij,ijd->id", strength * slope / r, away)
        tensor = -x.T @ forces
        strain = np.array([0.5 * (tensor[a, b] + tensor[b, a]) for a, b in VOIGT])
        return BaselineValues(energies, forces, strain)


def _is_large(configuration: Configuration) -> bool:
    return configuration.n_atoms >= MESH_FROM


def _missing(r: FloatArray, inverse: float, split: Splitting) -> Jet:
    """Return a pair of unit charges less a pair of smooth ones, ended at the cutoff.

    Of points, for which ``inverse`` is infinite, without 1/r: it is not tabulated.
    """
    tail = fade(r, FADE * split.cutoff, split.cutoff)
    smooth = tail.times(erf_over_r(r, split.alpha)).scaled(-1.0)
    if np.isfinite(inverse):
        return smooth.plus(tail.times(erf_over_r(r, inverse)))
    # Not tabulated, it has to end all the same; near 0 it has not begun to.
    outer = power(np.maximum(r, 0.5 * split.cutoff), -1)
    return smooth.plus(tail._replace(value=tail.value - 1.0).times(outer))


def _coulomb(r: FloatArray, inverse: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return erf(b r)/r and its slope, or those of 1/r where b is infinite."""
    value, slope = 1.0 / r, -1.0 / r**2
    wide = np.isfinite(inverse)
    jet = erf_over_r(r[wide], inverse[wide])
    value[wide], slope[wide] = jet.value, jet.slope
    return value, slope
