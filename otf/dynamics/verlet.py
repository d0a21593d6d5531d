"""Velocity Verlet, and the parts of a step that all integrators share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from otf.dynamics.conservation import ledger
from otf.dynamics.constraints import constrained
from otf.dynamics.guard import check_displacement
from otf.errors import InputError
from otf.kernels import load

if TYPE_CHECKING:
    from otf.configuration import FloatArray
    from otf.dynamics.schedule import Target
    from otf.kernels.watch import Watch
    from otf.potential import Potential, Prediction
    from otf.state import State


@dataclass(frozen=True, kw_only=True)
class Motion:
    """The time step, what is held still, and how far an atom may move in a step.

    Attributes
    ----------
    timestep : internal time
    fix_centre_of_mass : whether the total momentum is kept zero along the directions in
        which no coordinate is fixed. Right for potentials without an external field:
        it takes off the net force of an inexact reference, which would heat the whole.
        False for atoms in external wells.
    largest_displacement : angstrom, the guard of one step
    watch : looks at the guard

    Raises
    ------
    InputError
        When the time step or the largest displacement is not positive.
    """

    timestep: float
    fix_centre_of_mass: bool = True
    largest_displacement: float = math.inf
    watch: Watch = field(default_factory=lambda: load("cpu").watch)

    def __post_init__(self) -> None:
        if not 0.0 < self.timestep < math.inf:
            raise InputError(f"the time step must be positive, got {self.timestep:g}")
        if not self.largest_displacement > 0.0:
            raise InputError(
                "the largest displacement in a step must be positive, "
                f"got {self.largest_displacement:g} A"
            )

    def constrained(self, state: State, momenta: FloatArray) -> FloatArray:
        """Return momenta (n, 3) without what is held still."""
        return constrained(
            momenta,
            state.masses,
            state.free,
            fix_centre_of_mass=self.fix_centre_of_mass,
        )

    def kicked(self, state: State, forces: FloatArray) -> FloatArray:
        """Return the momenta (n, 3) after half a time step of forces."""
        momenta = state.momenta + (0.5 * self.timestep) * forces
        return self.constrained(state, momenta)

    def arrive(
        self,
        state: State,
        positions: FloatArray,
        potential: Potential,
        *,
        known: FloatArray | float = 0.0,
    ) -> tuple[State, Prediction]:
        """Go to the new positions, ask for the forces there, make the last half kick.

        Parameters
        ----------
        state
            The configuration is still the old one, the momenta are those at mid-step.
        positions
            (n, 3) angstrom.
        potential
            Asked once.
        known
            (n, 3) eV/angstrom, forces at the new positions whose kicks were made.
        """
        old = state.configuration
        new = old.moved(positions)
        check_displacement(
            new, positions - old.positions, self.largest_displacement, self.watch
        )
        prediction = potential.predict([new], step=state.step + 1)[0]
        momenta = self.kicked(state, prediction.forces - known)
        work = state.learning_work
        if prediction.change is not None:
            velocities = momenta / state.masses[:, None]
            work += ledger(
                prediction.change, prediction.forces, velocities, self.timestep
            )
        arrived = replace(
            state,
            configuration=new,
            momenta=momenta,
            step=state.step + 1,
            time=state.time + self.timestep,
            learning_work=work,
        )
        return arrived, prediction


@dataclass(frozen=True)
class VelocityVerlet:
    """Newton's equations at constant energy.

    Notes
    -----
    p += dt/2 F(x); x += dt p/m; p += dt/2 F(x) [1]_.

    References
    ----------
    .. [1] W. C. Swope, H. C. Andersen, P. H. Berens, K. R. Wilson, J. Chem. Phys. 76,
       637 (1982), eq. 18-19, doi 10.1063/1.442716.
    """

    motion: Motion

    def step(
        self, state: State, last: Prediction, potential: Potential, target: Target
    ) -> tuple[State, Prediction]:
        """Make one step; the target is not looked at."""
        momenta = self.motion.kicked(state, last.forces)
        velocities = momenta / state.masses[:, None]
        positions = state.configuration.positions + self.motion.timestep * velocities
        return self.motion.arrive(replace(state, momenta=momenta), positions, potential)
