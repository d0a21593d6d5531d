"""Velocities to start from: Maxwell-Boltzmann, or those of a file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from otf.dynamics.constraints import at_rest_as_a_whole, temperature
from otf.errors import InputError
from otf.kernels.cpu.noise import normal
from otf.units import KB

if TYPE_CHECKING:
    from otf.configuration import FloatArray
    from otf.state import State

# Integrators draw from the streams below 2^31; the first step must not see again the
# numbers that made the velocities.
VELOCITY_STREAMS = 2**31


def with_random_velocities(
    state: State,
    temperature_target: float,
    *,
    fix_centre_of_mass: bool = True,
    rescale: bool = False,
) -> State:
    """Return the state with momenta of Maxwell-Boltzmann at a temperature in K.

    Parameters
    ----------
    state
        Its seed, stream and step determine the numbers.
    temperature_target
        K, not negative.
    fix_centre_of_mass
        Whether the total momentum is zero (where no coordinate is fixed).
    rescale
        Whether the momenta are scaled to exactly the target. False samples the
        canonical distribution: the temperature fluctuates by sqrt(2/Nf) of itself.

    Raises
    ------
    InputError
        When the temperature is negative or not finite.
    """
    if not 0.0 <= temperature_target < np.inf:
        raise InputError(
            "the initial temperature must be 0 K or above, "
            f"got {temperature_target:g} K"
        )
    numbers = normal(
        state.seed, VELOCITY_STREAMS + state.stream, state.step, state.momenta.size
    )
    scale = np.sqrt(state.masses * (KB * temperature_target))[:, None]
    state = at_rest_as_a_whole(
        replace(state, momenta=scale * numbers.reshape(state.momenta.shape)),
        fix_centre_of_mass=fix_centre_of_mass,
    )
    found = temperature(state, fix_centre_of_mass=fix_centre_of_mass)
    if not rescale or found == 0.0:
        return state
    return replace(state, momenta=state.momenta * np.sqrt(temperature_target / found))


def with_velocities(
    state: State, velocities: FloatArray, *, fix_centre_of_mass: bool = True
) -> State:
    """Return the state with given velocities, (n, 3) angstrom/internal time.

    Fixed coordinates get none, and the motion of the whole is taken off.

    Raises
    ------
    InputError
        When there is not one finite velocity per atom.
    """
    if velocities.shape != state.momenta.shape or not np.isfinite(velocities).all():
        raise InputError(
            f"velocities must be finite and of shape {state.momenta.shape}, "
            f"got shape {velocities.shape}: "
            "mend the structure file or draw them at random"
        )
    return at_rest_as_a_whole(
        replace(state, momenta=state.masses[:, None] * velocities),
        fix_centre_of_mass=fix_centre_of_mass,
    )
