"""Langevin dynamics and stochastic velocity rescaling: thermostats with noise.

Noise is a function of (seed, stream, step), numbers of the state the step starts from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from otf.configuration import FloatArray
from otf.dynamics.constraints import degrees_of_freedom, held_directions
from otf.dynamics.verlet import Motion, VelocityVerlet
from otf.errors import InputError
from otf.kernels.cpu.noise import normal
from otf.units import KB

if TYPE_CHECKING:
    from types import ModuleType

    from otf.dynamics.schedule import Target
    from otf.potential import Potential, Prediction
    from otf.state import State

Noise = Callable[[int, int, int, int], FloatArray]


def thermal_degrees(state: State, *, fix_centre_of_mass: bool) -> int:
    """Return the number of degrees of freedom a thermostat shares its heat among.

    Raises
    ------
    InputError
        When there is none.
    """
    n_free = degrees_of_freedom(state, fix_centre_of_mass=fix_centre_of_mass)
    if n_free < 1:
        raise InputError(
            "no atom can move, so that there is no temperature to hold: "
            "free some atoms, or for a single atom let the centre of mass move"
        )
    return n_free


@dataclass(frozen=True, eq=False)
class Langevin:
    """Friction and noise on every atom, split as BAOAB.

    Attributes
    ----------
    motion : time step, constraints, guard
    friction : 1/internal time, one number or (n,), one per atom
    noise : the source of normal numbers
    xp : the module of the arrays

    Raises
    ------
    InputError
        When a friction is negative.

    Notes
    -----
    B: half a kick; A: half a drift; O: p -> c p + sqrt((1 - c^2) m kT) R with
    c = exp(-gamma dt), exact; A; B. The configurations of a harmonic oscillator are
    distributed exactly for any stable step [1]_.

    With the centre of mass held still, O acts on the whole as well: its momentum is
    drawn from Maxwell's distribution before and taken off after. The zero-momentum
    Maxwell distribution, of 3N - 3 degrees of freedom, is then kept exactly, also where
    atoms have different frictions: there a projection of the noise is not enough.

    References
    ----------
    .. [1] B. Leimkuhler, C. Matthews, J. Chem. Phys. 138, 174102 (2013),
       doi 10.1063/1.4802990.
    """

    motion: Motion
    friction: float | FloatArray
    noise: Noise = normal
    xp: ModuleType = np

    def __post_init__(self) -> None:
        if not bool((self.xp.asarray(self.friction) >= 0.0).all()):
            raise InputError(
                "the friction of a Langevin thermostat must not be negative"
            )

    def step(
        self, state: State, last: Prediction, potential: Potential, target: Target
    ) -> tuple[State, Prediction]:
        """Make one step."""
        half = 0.5 * self.motion.timestep
        masses = state.masses[:, None]
        kicked = replace(state, momenta=self.motion.kicked(state, last.forces))
        positions = state.configuration.positions + half * kicked.momenta / masses
        warmed = self.thermalised(kicked, target)
        positions = positions + half * warmed.momenta / masses
        return self.motion.arrive(warmed, positions, potential)

    def thermalised(self, state: State, target: Target) -> State:
        """Return the state after the O part of a step, its heat booked."""
        n = len(state.masses)
        kT = KB * target.temperature
        masses = state.masses[:, None]
        numbers = self.noise(state.seed, state.stream, state.step, 3 * n + 3)
        numbers = numbers.reshape(n + 1, 3)
        held = held_directions(
            state.free, fix_centre_of_mass=self.motion.fix_centre_of_mass
        )
        drift = held * numbers[n] * self.xp.sqrt(kT / state.masses.sum())
        exponent = (self.xp.zeros(n) + self.friction)[:, None] * self.motion.timestep
        decay = self.xp.exp(-exponent)
        # 1 - c^2 by expm1: a weak friction must not lose its noise to round-off.
        spread = self.xp.sqrt(-self.xp.expm1(-2.0 * exponent) * masses * kT)
        momenta = decay * (state.momenta + masses * drift) + spread * numbers[:n]
        warmed = replace(state, momenta=self.motion.constrained(state, momenta))
        heat = state.heat + state.kinetic_energy - warmed.kinetic_energy
        return replace(warmed, heat=heat)


def rescaling(kinetic: float, mean: float, decay: float, numbers: FloatArray) -> float:
    """Return the factor by which stochastic rescaling multiplies all momenta.

    Parameters
    ----------
    kinetic
        Kinetic energy now, positive.
    mean
        Nf kT/2, its canonical mean.
    decay
        c = exp(-dt/tau).
    numbers
        (Nf,) independent normal numbers R.

    Notes
    -----
    alpha^2 = c + r sum_i R_i^2 + 2 R_1 sqrt(c r), r = (1 - c) mean/(Nf kinetic); alpha
    has the sign of R_1 + sqrt(c/r) [1]_. Written as
    alpha^2 = (sqrt(c) + R_1 sqrt(r))^2 + r sum_{i>1} R_i^2 it cannot come out negative,
    and the sign is that of the bracket.

    References
    ----------
    .. [1] G. Bussi, D. Donadio, M. Parrinello, J. Chem. Phys. 126, 014101 (2007),
       eq. A7-A8, doi 10.1063/1.2408420.
    """
    r = (1.0 - decay) * mean / (len(numbers) * kinetic)
    along = math.sqrt(decay) + float(numbers[0]) * math.sqrt(r)
    square = along**2 + r * float((numbers[1:] ** 2).sum())
    return math.copysign(math.sqrt(square), along)


@dataclass(frozen=True, eq=False)
class StochasticVelocityRescaling:
    """Velocity Verlet, then all momenta scaled so that K is canonical.

    Attributes
    ----------
    motion : time step, constraints, guard
    relaxation_time : tau in internal time
    noise : the source of normal numbers

    Raises
    ------
    InputError
        When the relaxation time is not positive, or atoms at rest are to be scaled.

    Notes
    -----
    See ``rescaling``. It thermalises the kinetic energy alone and leaves it to the
    forces to share the heat: use Langevin for harmonic or isolated systems.
    """

    motion: Motion
    relaxation_time: float
    noise: Noise = normal

    def __post_init__(self) -> None:
        if not self.relaxation_time > 0.0:
            raise InputError(
                "the relaxation time of the thermostat must be positive, "
                f"got {self.relaxation_time:g}"
            )

    def step(
        self, state: State, last: Prediction, potential: Potential, target: Target
    ) -> tuple[State, Prediction]:
        """Make one step."""
        verlet = VelocityVerlet(self.motion)
        moved, prediction = verlet.step(state, last, potential, target)
        # The numbers are those of the step that was made.
        scaled = self.thermalised(replace(moved, step=state.step), target)
        return replace(scaled, step=moved.step), prediction

    def thermalised(self, state: State, target: Target) -> State:
        """Return the state with its momenta scaled, the heat booked.

        Raises
        ------
        InputError
            When the atoms are at rest, or none can move.
        """
        n_free = thermal_degrees(
            state, fix_centre_of_mass=self.motion.fix_centre_of_mass
        )
        kinetic = float(state.kinetic_energy)
        if kinetic == 0.0:
            raise InputError(
                "stochastic velocity rescaling cannot start from atoms at rest: "
                "give initial velocities or use the Langevin thermostat"
            )
        numbers = self.noise(state.seed, state.stream, state.step, n_free)
        mean = 0.5 * n_free * KB * target.temperature
        decay = math.exp(-self.motion.timestep / self.relaxation_time)
        momenta = state.momenta * rescaling(kinetic, mean, decay, numbers)
        scaled = replace(state, momenta=momenta)
        heat = state.heat + kinetic - scaled.kinetic_energy
        return replace(scaled, heat=heat)
