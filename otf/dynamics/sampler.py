"""What the engine loop sees of an integrator, and the books every integrator keeps.

    prediction = evaluate(potential, state)
    while state.step < schedule.steps:
        target = schedule.target(state.step)
        state, prediction = sampler.step(state, prediction.forces, potential, target)

A step depends on nothing but its arguments. State and last forces in a checkpoint
therefore resume a run to the bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from otf.configuration import FloatArray
    from otf.dynamics.schedule import Target
    from otf.dynamics.verlet import Motion
    from otf.potential import ModelChange, Potential, Prediction
    from otf.state import State


class Sampler(Protocol):
    """An integrator of the equations of motion."""

    @property
    def motion(self) -> Motion:
        """Return the time step, what is held still and the guard."""
        ...

    def step(
        self, state: State, forces: FloatArray, potential: Potential, target: Target
    ) -> tuple[State, Prediction]:
        """Make one step.

        Parameters
        ----------
        state
            Where the step starts; not changed.
        forces
            (n, 3) eV/angstrom at the state: those of the last prediction.
        potential
            Asked once, for the configuration after the step, at ``state.step + 1``.
        target
            What the surroundings impose.

        Returns
        -------
        state : after the step, books included
        prediction : of its configuration

        Raises
        ------
        Untrusted
            When an atom moves too far, or by the potential.
        """
        ...


def evaluate(potential: Potential, state: State) -> Prediction:
    """Return the prediction of the state a run starts from."""
    return potential.predict([state.configuration], step=state.step)[0]


def ledger(
    change: ModelChange, forces: FloatArray, velocities: FloatArray, timestep: float
) -> float:
    """Return the work in eV that a change of model does on the conserved quantity.

    Parameters
    ----------
    change
        Energies and forces of the old and the new model.
    forces
        (n, 3) eV/angstrom, those of the reference, which move the atoms.
    velocities
        (n, 3) angstrom/internal time at the same positions.
    timestep
        Internal time.

    Notes
    -----
    dU = U_after - U_before + dt v.(F_ref - (F_before + F_after)/2). The step that
    arrives ends with a half kick dt/2 F_ref where the old surface would have given
    dt/2 F_before, the next one starts with dt/2 F_ref where the new surface would give
    dt/2 F_after; each difference changes the kinetic energy by dt/2 v.dF + O(dt^2).
    """
    strangeness = forces - 0.5 * (change.forces_before + change.forces_after)
    return (
        change.energy_after
        - change.energy_before
        + timestep * float((velocities * strangeness).sum())
    )


def conserved_energy(state: State, prediction: Prediction) -> float:
    """Return K + U + heat - learning work in eV, constant but for an O(dt^2) error."""
    return (
        state.kinetic_energy
        + prediction.model_energy
        + state.heat
        - state.learning_work
    )
