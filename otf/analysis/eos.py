"""Equations of state, enthalpies under pressure, transition pressures.

References
----------
.. [1] F. Birch, Finite elastic strain of cubic crystals, Phys. Rev. 71, 809 (1947),
   doi 10.1103/PhysRev.71.809.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from ase.eos import birchmurnaghan
from scipy.optimize import brentq, curve_fit

from otf.analysis.averages import Mean
from otf.analysis.relaxing import relax_cell, relax_shape
from otf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ase import Atoms

    from otf.configuration import FloatArray

FEWEST: Final = 5  # energies for four parameters and an error
FMAX: Final = 1e-4  # eV/angstrom
FARTHEST: Final = (0.3, 3.0)  # volumes in units of V_0 between which pressures are met
PATH: Final = 400  # volumes at which a pressure is bracketed
GRID: Final = 100  # pressures at which enthalpies are compared


@dataclass(frozen=True, eq=False)
class EquationOfState:
    """Birch and Murnaghan's third-order equation of one phase [1]_, for one atom.

    Attributes
    ----------
    parameters : (4,) E_0 eV, B_0 eV/angstrom^3, B_0' and V_0 angstrom^3
    covariance : (4, 4) of the fit; NaN where it is not determined
    volumes, energies : (k,) that were fitted, angstrom^3 and eV
    rms : of the residuals, eV
    """

    parameters: FloatArray
    covariance: FloatArray
    volumes: FloatArray
    energies: FloatArray
    rms: float

    def parameter(self, k: int) -> Mean:
        """Return a parameter with its standard error."""
        error = math.sqrt(self.covariance[k, k])
        return Mean(float(self.parameters[k]), error, float(len(self.volumes)))

    def energy(self, volume: FloatArray) -> FloatArray:
        """Return energies at volumes (k,)."""
        return np.asarray(birchmurnaghan(volume, *self.parameters), dtype=np.float64)

    def pressure(self, volume: FloatArray) -> FloatArray:
        """Return -dE/dV at volumes (k,), eV/angstrom^3."""
        _, b, slope, v0 = self.parameters
        x = (v0 / np.asarray(volume)) ** (1.0 / 3.0)
        shape = 1.0 + 0.75 * (slope - 4.0) * (x**2 - 1.0)
        return np.asarray(1.5 * b * (x**7 - x**5) * shape, dtype=np.float64)

    def volume_at(self, pressure: float) -> float:
        """Return the volume under a pressure, angstrom^3.

        Raises
        ------
        InputError
            When the equation does not reach it.
        """
        low, high = (f * float(self.parameters[3]) for f in FARTHEST)
        # From the volume at rest outward: far away the equation may turn round.
        edge = low if pressure > 0.0 else high
        path = np.linspace(float(self.parameters[3]), edge, PATH)
        beyond = (self.pressure(path) - pressure) * np.sign(pressure or 1.0) >= 0.0
        if not beyond.any():
            msg = "the equation of state does not reach this pressure"
            raise InputError(msg)
        k = int(np.argmax(beyond))
        if k == 0:
            return float(path[0])

        def excess(volume: float) -> float:
            return float(self.pressure(np.array(volume)) - pressure)

        return float(brentq(excess, path[k - 1], path[k]))

    def enthalpy(self, pressure: float) -> float:
        """Return E + p V under a pressure, eV."""
        volume = self.volume_at(pressure)
        return float(self.energy(np.array(volume))) + pressure * volume

    def enthalpy_error(self, pressure: float) -> float:
        """Return the standard error of the enthalpy, eV.

        The volume is at a minimum of E + p V, so only E moves with the parameters.
        """
        volume = np.array(self.volume_at(pressure))
        gradient = np.empty(4)
        for k in range(4):
            step = 1e-6 * max(abs(float(self.parameters[k])), 1e-3)
            moved = self.parameters.copy()
            moved[k] += step
            other = replace(self, parameters=moved)
            gradient[k] = (other.energy(volume) - self.energy(volume)) / step
        return math.sqrt(max(float(gradient @ self.covariance @ gradient), 0.0))


def fit_equation(volumes: FloatArray, energies: FloatArray) -> EquationOfState:
    """Fit energies (k,) eV per atom at volumes (k,) angstrom^3 per atom.

    Raises
    ------
    InputError
        When there are fewer than five different volumes, or no minimum is in sight.

    Notes
    -----
    Errors are those that the scatter about the curve implies. A smooth curve that is
    not Birch and Murnaghan's scatters too, so they grow with the range.
    """
    if len(np.unique(np.round(volumes, 6))) < FEWEST:
        msg = (
            f"an equation of state needs energies at {FEWEST} different volumes at "
            f"least, got {len(np.unique(np.round(volumes, 6)))}"
        )
        raise InputError(msg)
    curvature, slope, _ = np.polyfit(volumes, energies, 2)
    if curvature <= 0.0:
        msg = (
            "energies have no minimum along the volumes: they are not those of one "
            "phase under pressure"
        )
        raise InputError(msg)
    center = -slope / (2.0 * curvature)
    center = float(np.clip(center, 0.5 * volumes.min(), 2.0 * volumes.max()))
    start = [float(energies.min()), 2.0 * curvature * center, 4.0, center]
    try:
        found, covariance = curve_fit(birchmurnaghan, volumes, energies, p0=start)
    except RuntimeError as error:
        msg = (
            "no equation of state fits these energies: take volumes nearer to the "
            "lowest energy, and look whether they belong to one phase"
        )
        raise InputError(msg) from error
    residuals = energies - birchmurnaghan(volumes, *found)
    return EquationOfState(
        np.asarray(found, dtype=np.float64),
        np.asarray(covariance, dtype=np.float64),
        volumes,
        energies,
        float(np.sqrt((residuals**2).mean())),
    )


def energies_of_volumes(
    atoms: Atoms, *, relative: Sequence[float], shape: bool = True
) -> tuple[FloatArray, FloatArray]:
    """Return volumes and energies (k,) of one atom, of a crystal under pressure.

    Parameters
    ----------
    atoms
        With a calculator; a copy is relaxed to zero pressure first.
    relative
        Volumes in units of that at rest.
    shape
        Whether atoms and the shape of the cell relax at every volume.

    Raises
    ------
    OTFError
        When a structure does not relax.
    """
    crystal = atoms.copy()
    crystal.calc = atoms.calc
    relax_cell(crystal, fmax=FMAX)
    rest = crystal.get_volume()
    found: dict[float, float] = {}
    # From rest to either side, so that each starts from its relaxed neighbour.
    for side in (
        sorted(r for r in relative if r >= 1.0),
        sorted((r for r in relative if r < 1.0), reverse=True),
    ):
        moving = crystal.copy()
        moving.calc = crystal.calc
        for fraction in side:
            scale = (fraction * rest / moving.get_volume()) ** (1.0 / 3.0)
            moving.set_cell(scale * moving.cell[:], scale_atoms=True)
            if shape:
                relax_shape(moving, fmax=FMAX)
            found[fraction] = moving.get_potential_energy()
    order = sorted(found)
    n = len(crystal)
    return (
        np.array([fraction * rest / n for fraction in order]),
        np.array([found[fraction] / n for fraction in order]),
    )


@dataclass(frozen=True)
class Transition:
    """Where two phases have the same enthalpy.

    Attributes
    ----------
    below, above : names of the phases that are stable at lower and higher pressure
    pressure : eV/angstrom^3, with its error
    volumes : of an atom in each, angstrom^3
    is_within : whether both volumes lie among those that were fitted
    """

    below: str
    above: str
    pressure: Mean
    volumes: tuple[float, float]
    is_within: bool


def transitions(
    phases: Mapping[str, EquationOfState], *, lowest: float, highest: float
) -> list[Transition]:
    """Return the transitions between the stable phases, by rising pressure.

    Parameters
    ----------
    phases
        Equations of state by name.
    lowest, highest
        Pressures between which is looked, eV/angstrom^3.

    Notes
    -----
    Errors: var(p) = (var H_1 + var H_2) / (V_1 - V_2)^2.
    """
    names = list(phases)
    grid = np.linspace(lowest, highest, GRID)
    heights = np.array([[phases[n].enthalpy(float(p)) for p in grid] for n in names])
    best = heights.argmin(axis=0)
    out = []
    for (k, one), (_, other) in pairwise(enumerate(best)):
        if one == other:
            continue
        a, b = phases[names[one]], phases[names[other]]

        def difference(
            p: float, a: EquationOfState = a, b: EquationOfState = b
        ) -> float:
            return a.enthalpy(p) - b.enthalpy(p)

        pressure = float(brentq(difference, grid[k], grid[k + 1]))
        volumes = a.volume_at(pressure), b.volume_at(pressure)
        error = math.hypot(a.enthalpy_error(pressure), b.enthalpy_error(pressure))
        within = all(
            e.volumes.min() <= v <= e.volumes.max()
            for e, v in zip((a, b), volumes, strict=True)
        )
        out.append(
            Transition(
                names[one],
                names[other],
                Mean(pressure, error / abs(volumes[0] - volumes[1]), 1.0),
                volumes,
                within,
            )
        )
    return out
