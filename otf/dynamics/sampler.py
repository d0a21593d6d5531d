"""What the engine loop sees of an integrator.

    prediction = evaluate(potential, state)
    while state.step < schedule.steps:
        target = schedule.target(state.step)
        state, prediction = sampler.step(state, prediction, potential, target)

A step depends on nothing but its arguments. State and last prediction in a checkpoint
therefore resume a run to the bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from otf.dynamics.schedule import Target
    from otf.dynamics.verlet import Motion
    from otf.potential import Potential, Prediction
    from otf.state import State


class Sampler(Protocol):
    """An integrator of the equations of motion."""

    @property
    def motion(self) -> Motion:
        """Return the time step, what is held still and the guard."""
        ...

    def step(
        self, state: State, last: Prediction, potential: Potential, target: Target
    ) -> tuple[State, Prediction]:
        """Make one step.

        Parameters
        ----------
        state
            Where the step starts; not changed.
        last
            The last prediction, whose forces and stress are those at the state.
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
