"""Nose-Hoover chains: a deterministic thermostat with a conserved quantity."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from otf.dynamics.thermostats import thermal_degrees
from otf.dynamics.verlet import Motion, VelocityVerlet
from otf.errors import InputError
from otf.units import KB

if TYPE_CHECKING:
    from otf.configuration import FloatArray
    from otf.dynamics.schedule import Target
    from otf.potential import Potential, Prediction
    from otf.state import State


def _weights(*outer: float) -> tuple[float, ...]:
    """Return a symmetric sequence of sub-steps that sums to one."""
    return (*outer, 1.0 - 2.0 * sum(outer), *reversed(outer))


SUZUKI_YOSHIDA: Final[dict[int, tuple[float, ...]]] = {
    4: _weights(1.0 / (2.0 - 2.0 ** (1.0 / 3.0))),
    6: _weights(0.784513610477560, 0.235573213359357, -1.17767998417887),
}
"""Sub-steps by order: H. Yoshida, Phys. Lett. A 150, 262 (1990), eq. 2.11 and table 1,
solution A, doi 10.1016/0375-9601(90)90092-3."""


@dataclass(frozen=True)
class NoseHooverChain:
    """A chain of thermostats, each holding the temperature of the one before.

    Attributes
    ----------
    motion : time step, constraints, guard
    relaxation_time : tau in internal time; the masses are Q_1 = Nf kT tau^2 and
        Q_k = kT tau^2, and follow the target when it is ramped
    length : number of thermostats M; 3 to 5 is usual, 1 is not ergodic
    order : of the Suzuki-Yoshida splitting of the chain, 4 or 6

    Raises
    ------
    InputError
        When the relaxation time or the length is not positive, or the order is unknown.

    Notes
    -----
    Half a step of the chain, velocity Verlet, half a step of the chain [1]_.
    ``State.thermostat`` is (2, M): velocities v_k and masses Q_k. The heat is what the
    chain holds, sum_k Q_k v_k^2/2 + kT (Nf xi_1 + xi_2 + ... + xi_M), booked by its
    increments, so that it stays right when kT is ramped.

    References
    ----------
    .. [1] G. J. Martyna, M. E. Tuckerman, D. J. Tobias, M. L. Klein, Mol. Phys. 87,
       1117 (1996), doi 10.1080/00268979600100761.
    """

    motion: Motion
    relaxation_time: float
    length: int = 3
    order: int = 4

    def __post_init__(self) -> None:
        if not self.relaxation_time > 0.0:
            raise InputError(
                "the relaxation time of the thermostat must be positive, "
                f"got {self.relaxation_time:g}"
            )
        require_chain(self.length, self.order)

    def step(
        self, state: State, last: Prediction, potential: Potential, target: Target
    ) -> tuple[State, Prediction]:
        """Make one step.

        Raises
        ------
        InputError
            When the target is 0 K, which no chain can hold.
        """
        kT = KB * target.temperature
        if kT <= 0.0:
            raise InputError("a Nose-Hoover chain needs a temperature above 0 K")
        state = self._chained(state, kT)
        verlet = VelocityVerlet(self.motion)
        moved, prediction = verlet.step(state, last, potential, target)
        return self._chained(moved, kT), prediction

    def _chained(self, state: State, kT: float) -> State:
        """Return the state after half a time step of the chain."""
        n_free = thermal_degrees(
            state, fix_centre_of_mass=self.motion.fix_centre_of_mass
        )
        links = np.full(self.length, kT)
        links[0] *= n_free
        masses = links * self.relaxation_time**2
        fresh = state.thermostat.shape != (2, self.length)
        velocities = np.zeros(self.length) if fresh else state.thermostat[0]
        kinetic = float(state.kinetic_energy)
        scale, velocities, heat = chain_step(
            kinetic, velocities, masses, links, 0.5 * self.motion.timestep, self.order
        )
        return replace(
            state,
            momenta=scale * state.momenta,
            thermostat=np.stack((velocities, masses)),
            heat=state.heat + heat,
        )


def require_chain(length: int, order: int) -> None:
    """Refuse a chain that cannot be.

    Raises
    ------
    InputError
        When it has no link, or its splitting no order we know.
    """
    if length < 1:
        raise InputError(
            f"a Nose-Hoover chain needs a length of 1 or more, got {length}"
        )
    if order not in SUZUKI_YOSHIDA:
        raise InputError(
            f"the order of a Nose-Hoover chain must be 4 or 6, got {order}"
        )


def chain_step(
    kinetic: float,
    velocities: FloatArray,
    masses: FloatArray,
    links: FloatArray,
    time: float,
    order: int,
) -> tuple[float, FloatArray, float]:
    """Propagate chain and momenta at fixed positions.

    Parameters
    ----------
    kinetic
        Kinetic energy of the atoms in eV.
    velocities, masses
        (M,) of the chain: v_k in 1/internal time, Q_k in eV internal time^2.
    links
        (M,) eV, what drives each link to: Nf kT, kT, ..., kT.
    time
        How long, in internal time.
    order
        Of the splitting.

    Returns
    -------
    scale : what the momenta of the atoms are multiplied by
    velocities : (M,) new
    heat : eV that the chain took up

    Notes
    -----
    v_k' = G_k - v_k v_{k+1}, G_1 = (2K - Nf kT)/Q_1,
    G_k = (Q_{k-1} v_{k-1}^2 - kT)/Q_k, xi_k' = v_k, p' = -v_1 p.
    """
    v = [float(x) for x in velocities]
    Q = [float(x) for x in masses]
    L = [float(x) for x in links]
    last = len(v) - 1
    before = sum(q * x * x for q, x in zip(Q, v, strict=True))
    twice = 2.0 * kinetic
    scale, work = 1.0, 0.0

    def kick(k: int, h: float) -> None:
        source = twice if k == 0 else Q[k - 1] * v[k - 1] ** 2
        damping = 1.0 if k == last else math.exp(-0.25 * h * v[k + 1])
        v[k] = (v[k] * damping + 0.5 * h * (source - L[k]) / Q[k]) * damping

    for weight in SUZUKI_YOSHIDA[order]:
        h = weight * time
        for k in range(last, -1, -1):
            kick(k, h)
        factor = math.exp(-h * v[0])
        scale *= factor
        twice *= factor * factor
        work += h * sum(x * y for x, y in zip(L, v, strict=True))
        for k in range(last + 1):
            kick(k, h)
    after = sum(q * x * x for q, x in zip(Q, v, strict=True))
    return scale, np.array(v), 0.5 * (after - before) + work
