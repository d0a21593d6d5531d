"""What the surroundings do to a cell: their pressure against that of the atoms."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import expm

from otf.configuration import VOIGT
from otf.dynamics.cell import FIXED, CellFreedom
from otf.errors import InputError
from otf.potential import Untrusted

if TYPE_CHECKING:
    from types import ModuleType

    from otf.configuration import FloatArray
    from otf.dynamics.schedule import Pressure, Target
    from otf.potential import Prediction
    from otf.state import State


def full_stress(voigt: FloatArray) -> FloatArray:
    """Return (3, 3) of a stress (6,) in Voigt order."""
    out = np.empty((3, 3))
    for value, (a, b) in zip(voigt.tolist(), VOIGT, strict=True):
        out[a, b] = out[b, a] = value
    return out


def kinetic_tensor(state: State) -> FloatArray:
    """Return sum_i p_i p_i/m_i, (3, 3) eV; its trace is 2K."""
    velocities = state.momenta / state.masses[:, None]
    # By lists: the momenta may live on another device.
    return np.array((state.momenta.T @ velocities).tolist())


@dataclass(frozen=True, eq=False)
class Load:
    """The pressure of the surroundings as a potential of the cell.

    Attributes
    ----------
    cell : (3, 3) angstrom, the one that pressures which differ along x, y and z are
        meant for

    Notes
    -----
    With p the mean of the pressures and D the diagonal matrix of their differences from
    it, the energy is p V + tr(S G)/2 with G = h h^T and the tension
    S = V0 h0^-T D h0^-1 [1]_, so that work done along a closed path is zero.

    References
    ----------
    .. [1] M. Parrinello, A. Rahman, J. Appl. Phys. 52, 7182 (1981),
       doi 10.1063/1.328693.
    """

    cell: FloatArray

    def _tension(self, pressure: Pressure) -> FloatArray:
        mean = sum(pressure) / 3.0
        inverse = np.linalg.inv(self.cell)
        volume = abs(float(np.linalg.det(self.cell)))
        deviation = np.diag([p - mean for p in pressure])
        found: FloatArray = volume * inverse.T @ deviation @ inverse
        return found

    def energy(self, cell: FloatArray, pressure: Pressure) -> float:
        """Return the energy of the load in eV."""
        volume = abs(float(np.linalg.det(cell)))
        out = volume * sum(pressure) / 3.0
        if len(set(pressure)) > 1:
            tension = self._tension(pressure)
            out += 0.5 * float((tension * (cell @ cell.T)).sum())
        return out

    def work(self, cell: FloatArray, pressure: Pressure) -> FloatArray:
        """Return the derivative of the energy by strain, (3, 3) eV, symmetric."""
        volume = abs(float(np.linalg.det(cell)))
        out: FloatArray = volume * sum(pressure) / 3.0 * np.eye(3)
        if len(set(pressure)) > 1:
            out = out + cell.T @ self._tension(pressure) @ cell
        return out


@dataclass(frozen=True, kw_only=True, eq=False)
class CellMotion:
    """What of the cell moves, and what it works against.

    Attributes
    ----------
    freedom : of the strain
    load : of the surroundings
    largest_strain : the guard of one step
    xp : the module of the arrays of the atoms

    Raises
    ------
    InputError
        When the largest strain is not positive.
    """

    freedom: CellFreedom
    load: Load
    largest_strain: float = math.inf
    xp: ModuleType = np

    def __post_init__(self) -> None:
        if not self.largest_strain > 0.0:
            raise InputError(
                "the largest strain in a step must be positive, "
                f"got {self.largest_strain:g}"
            )

    def freedom_under(self, target: Target) -> CellFreedom:
        """Return the freedom in a step; there is none where no pressure is set."""
        return FIXED if target.pressure is None else self.freedom

    def pull(self, state: State, stress: FloatArray, target: Target) -> FloatArray:
        """Return the force on the strain along every generator, (k,) eV.

        Parameters
        ----------
        state
            Whose kinetic energy presses.
        stress
            (6,) eV/angstrom^3.
        target
            With the pressure of the surroundings.

        Notes
        -----
        -d(K + U + load)/dA = sum p p/m - V stress - d load/dA.
        """
        if target.pressure is None:
            return np.zeros(0)
        c = state.configuration
        inside = kinetic_tensor(state) - c.volume * full_stress(stress)
        return self.freedom.components(inside - self.load.work(c.cell, target.pressure))

    def load_energy(self, state: State, target: Target) -> float:
        """Return the energy of the load in eV; 0 where no pressure is set."""
        if target.pressure is None:
            return 0.0
        return self.load.energy(state.configuration.cell, target.pressure)

    def deformed(self, state: State, strain: FloatArray) -> tuple[State, FloatArray]:
        """Return the state after a strain A, (3, 3), and exp(A) for other positions.

        Raises
        ------
        Untrusted
            When the strain is larger than the guard allows, or no number.
        """
        largest = float(np.abs(strain).max())
        # "not <=": a strain that is not a number must not pass.
        if not largest <= self.largest_strain:
            raise Untrusted(
                state.configuration,
                f"the cell strains by {largest:.3g} in one step, the limit is "
                f"{self.largest_strain:.3g}: lower the time step, raise "
                "barostat_time_fs, or look at the stress",
            )
        grown = expm(strain)
        along = self.xp.asarray(grown)
        against = self.xp.asarray(np.linalg.inv(grown).T)
        c = state.configuration
        moved = replace(c, positions=c.positions @ along, cell=c.cell @ grown)
        momenta = state.momenta @ against
        return replace(state, configuration=moved, momenta=momenta), along


def stress_before(prediction: Prediction) -> FloatArray:
    """Return the stress (6,) on the surface that the step which arrived was made on."""
    change = prediction.change
    if change is None or change.stress_before is None:
        return prediction.stress
    return change.stress_before


def stress_after(prediction: Prediction) -> FloatArray:
    """Return the stress (6,) on the surface that the next step starts from."""
    change = prediction.change
    if change is None or change.stress_after is None:
        return prediction.stress
    return change.stress_after
