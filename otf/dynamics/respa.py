"""Two time steps: forces that are cheap often, the rest of them seldom (r-RESPA)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from otf.errors import InputError
from otf.potential import Memoryless

if TYPE_CHECKING:
    from otf.configuration import Configuration
    from otf.dynamics.sampler import Sampler
    from otf.dynamics.schedule import Target
    from otf.dynamics.verlet import Motion
    from otf.models.posterior import KernelPosterior
    from otf.potential import Potential, Prediction
    from otf.state import State


@dataclass(frozen=True, kw_only=True, eq=False)
class Respa:
    """Many short steps under the fast force between two kicks of the slow one.

    Attributes
    ----------
    motion : the long time step, what is held still, the guard of the whole step
    inner : an integrator at constant volume with the short time step
    fast : gives the fast force; a function of the configuration alone
    inner_steps : short steps in a long one

    Raises
    ------
    InputError
        When there is no short step, or so many of them are not the long one.

    Notes
    -----
    The slow force is what the potential says beyond the fast one. With the long time
    step H and n short ones of H/n,

    p += H/2 (F - F_fast)(x); n steps of ``inner`` with F_fast; p += H/2 (F - F_fast)(x)

    is reversible, and symplectic where ``inner`` is [1]_; its error is of order H^2. A
    thermostat is part of the short steps, its noise that of their count; energy is
    conserved with that of the whole potential at the ends of long steps. The trace of
    the map of an oscillator of angular frequency W under kicks of stiffness k, mass
    one, is 2 cos WH - (H k/W) sin WH: its size exceeds 2 just below H = pi/W, where the
    motion is unstable whatever n is.

    The potential is asked once in a long step, so labels and all decisions belong to
    these. On labels it is the slow force that is another.

    References
    ----------
    .. [1] M. Tuckerman, B. J. Berne, G. J. Martyna, J. Chem. Phys. 97, 1990 (1992),
       doi 10.1063/1.463137.
    """

    motion: Motion
    inner: Sampler
    fast: Potential
    inner_steps: int

    def __post_init__(self) -> None:
        if self.inner_steps < 1:
            raise InputError(
                f"a long step needs at least one short step, got {self.inner_steps}"
            )
        together = self.inner_steps * self.inner.motion.timestep
        if not math.isclose(together, self.motion.timestep, rel_tol=1e-12):
            raise InputError(
                f"{self.inner_steps} short steps of {self.inner.motion.timestep:g} are "
                f"no long step of {self.motion.timestep:g}"
            )

    def step(
        self, state: State, last: Prediction, potential: Potential, target: Target
    ) -> tuple[State, Prediction]:
        """Make one long step."""
        first = self.inner_steps * state.step
        fast = self.fast.predict([state.configuration], step=first)[0]
        momenta = self.motion.kicked(state, last.forces - fast.forces)
        inner = replace(state, momenta=momenta, step=first)
        for _ in range(self.inner_steps):
            inner, fast = self.inner.step(inner, fast, self.fast, target)
        there = replace(
            inner,
            configuration=state.configuration,
            step=state.step,
            time=state.time,
        )
        positions = inner.configuration.positions
        return self.motion.arrive(there, positions, potential, known=fast.forces)


class Remembered(Memoryless):
    """A potential that is not asked twice in a row for the same positions.

    The fast force at the end of a long step is that at the start of the next.

    Parameters
    ----------
    potential
        As above.
    """

    def __init__(self, potential: Memoryless) -> None:
        self._potential = potential
        self._last: tuple[Configuration, Prediction] | None = None

    def of(self, configuration: Configuration) -> Prediction:
        """Return the prediction, that of the last time where it is the same."""
        if self._last is None or not _same(self._last[0], configuration):
            self._last = configuration, self._potential.of(configuration)
        return self._last[1]


def _same(a: Configuration, b: Configuration) -> bool:
    return (
        np.array_equal(a.positions, b.positions)
        and np.array_equal(a.cell, b.cell)
        and np.array_equal(a.numbers, b.numbers)
    )


@dataclass(frozen=True, eq=False)
class ModelForces(Memoryless):
    """A finished model as a potential that is used and not judged.

    Attributes
    ----------
    model : knows all elements of the configurations
    """

    model: KernelPosterior

    def of(self, configuration: Configuration) -> Prediction:
        """Return what the model says."""
        return self.model.predict(configuration)
