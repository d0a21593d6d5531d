"""Stochastic cell rescaling: a barostat without inertia."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from otf.dynamics.pressure import full_stress, stress_after, stress_before
from otf.errors import InputError
from otf.kernels.cpu.noise import normal
from otf.potential import Untrusted
from otf.units import KB

if TYPE_CHECKING:
    from otf.configuration import FloatArray
    from otf.dynamics.pressure import CellMotion
    from otf.dynamics.schedule import Target
    from otf.dynamics.thermostats import Noise
    from otf.dynamics.verlet import Motion
    from otf.potential import Potential, Prediction
    from otf.state import State

# Thermostats draw from the streams below 2^30, first velocities from those above 2^31.
CELL_STREAMS: Final = 2**30


class Thermostat(Protocol):
    """What warms the atoms in the middle of a step."""

    @property
    def motion(self) -> Motion:
        """Return the time step, what is held still and the guard."""
        ...

    def thermalised(self, state: State, target: Target) -> State:
        """Return the state with other momenta, the heat booked."""
        ...


def rescaled(
    volume: float, drift: float, diffusion: float, time: float, number: float
) -> float:
    """Return the volume after a step of stochastic cell rescaling.

    Parameters
    ----------
    volume
        angstrom^3 now.
    drift
        Of log V, in units of the diffusion: force on log V over kT.
    diffusion
        V D in angstrom^3/internal time, D the diffusion coefficient of log V.
    time
        How long.
    number
        Normal.

    Raises
    ------
    ValueError
        When the root of the volume would come out negative.

    Notes
    -----
    The noise of lambda = sqrt(V) does not depend on lambda [1]_:
    d lambda = V D (drift/(2 lambda) + 1/(4 lambda)) dt + sqrt(V D/2) dW. For a free
    volume V D = kT beta_T/tau and drift = V (P_int - P)/kT give that of the paper.

    References
    ----------
    .. [1] M. Bernetti, G. Bussi, J. Chem. Phys. 153, 114107 (2020),
       doi 10.1063/5.0020514.
    """
    root = math.sqrt(volume)
    root += diffusion * time * (0.5 * drift + 0.25) / root
    root += math.sqrt(0.5 * diffusion * time) * number
    if not root > 0.0:
        raise ValueError("the volume would vanish")
    return root * root


@dataclass(frozen=True, kw_only=True, eq=False)
class StochasticCellRescaling:
    """The cell follows the pressure and noise at once, without inertia.

    Attributes
    ----------
    thermostat : of the atoms, with the time step
    cell : what may deform
    relaxation_time : tau in internal time
    compressibility : beta_T, angstrom^3/eV; only beta_T/tau matters, and only for how
        fast the cell relaxes
    noise : the source of normal numbers

    Raises
    ------
    InputError
        When the relaxation time or the compressibility is not positive.

    Notes
    -----
    Half a kick, half a drift, the thermostat, the cell, half a drift, the forces, half
    a kick. Along the generators B_k of the strain the cell moves by

    da_k = D (f_k/kT + c_k) dt + sqrt(2 D) dW_k,   D = kT beta_T/(3 tau V)

    [1]_ [2]_, f_k being the force on the strain and c_k the growth of the measure of
    cells; that D falls with the volume cancels the pressure kT/V of the measure dV. The
    change of volume is made in sqrt(V), where its noise is constant. Positions go with
    the cell and momenta against it. What is sampled is V^N exp(-(U + P V)/kT) dV, and
    one power of V less where the centre of mass is held still.

    References
    ----------
    .. [1] M. Bernetti, G. Bussi, J. Chem. Phys. 153, 114107 (2020),
       doi 10.1063/5.0020514.
    .. [2] V. Del Tatto, P. Raiteri, M. Bernetti, G. Bussi, Appl. Sci. 12, 1139 (2022),
       doi 10.3390/app12031139.
    """

    thermostat: Thermostat
    cell: CellMotion
    relaxation_time: float
    compressibility: float
    noise: Noise = normal

    def __post_init__(self) -> None:
        if not self.relaxation_time > 0.0:
            raise InputError(
                "the relaxation time of the barostat must be positive, "
                f"got {self.relaxation_time:g}"
            )
        if not self.compressibility > 0.0:
            raise InputError(
                f"the compressibility must be positive, got {self.compressibility:g}"
            )

    @property
    def motion(self) -> Motion:
        """Return the time step, what is held still and the guard."""
        return self.thermostat.motion

    def step(
        self, state: State, last: Prediction, potential: Potential, target: Target
    ) -> tuple[State, Prediction]:
        """Make one step.

        Raises
        ------
        Untrusted
            As every sampler, and when the cell strains too much.
        """
        half, masses = 0.5 * self.motion.timestep, state.masses[:, None]
        kicked = replace(state, momenta=self.motion.kicked(state, last.forces))
        positions = state.configuration.positions + half * kicked.momenta / masses
        warmed = self.thermostat.thermalised(kicked, target)
        strain = self._strain(warmed, last.stress, target)
        moved, along = self.cell.deformed(warmed, strain)
        positions = positions @ along + half * moved.momenta / masses
        arrived, prediction = self.motion.arrive(moved, positions, potential)
        # What the cell took from the atoms: their kinetic energy exactly, of the
        # energy the mean of the work of the stress before and after.
        virials = (
            c.volume * float((full_stress(stress) * strain).sum())
            for c, stress in (
                (state.configuration, stress_after(last)),
                (arrived.configuration, stress_before(prediction)),
            )
        )
        taken = warmed.kinetic_energy - moved.kinetic_energy - 0.5 * sum(virials)
        return replace(arrived, heat=arrived.heat + taken), prediction

    def _strain(self, state: State, stress: FloatArray, target: Target) -> FloatArray:
        """Return A of this step, (3, 3)."""
        freedom = self.cell.freedom_under(target)
        k, volume = len(freedom.generators), state.configuration.volume
        kT = KB * target.temperature
        numbers = self.noise(state.seed, CELL_STREAMS + state.stream, state.step, k)
        # V D dt of a coordinate whose strain has length one.
        spread = kT * self.compressibility / (3.0 * self.relaxation_time)
        time = self.motion.timestep
        # kT f/kT = f also where the temperature is zero
        mobility = self.compressibility / (3.0 * self.relaxation_time * volume) * time
        force = self.cell.pull(state, stress, target) + kT * freedom.measure
        along = mobility * force + math.sqrt(2.0 * spread * time / volume) * numbers
        growth = freedom.traces[0] if k else 0.0
        if growth > 0.0 and kT > 0.0:
            try:
                new = rescaled(
                    volume,
                    float(force[0]) / (growth * kT),
                    growth**2 * spread,
                    time,
                    float(numbers[0]),
                )
            except ValueError as error:
                raise Untrusted(
                    state.configuration,
                    f"the pressure crushes the cell ({error}): raise barostat_time_fs, "
                    "or look at the stress",
                ) from None
            along[0] = math.log(new / volume) / growth
        return freedom.strain(np.asarray(along))
