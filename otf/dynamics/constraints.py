"""What is held still, fixed coordinates and the centre of mass; the temperature.

Along a direction in which no coordinate is fixed the total momentum is conserved by
every potential that does not know where the origin is. ``fix_centre_of_mass`` then
keeps it zero and takes one degree of freedom off; elsewhere it has no effect.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from otf.units import KB

if TYPE_CHECKING:
    from otf.configuration import BoolArray, FloatArray
    from otf.state import State


def held_directions(free: BoolArray, *, fix_centre_of_mass: bool) -> FloatArray:
    """Return (3,), 1 along which the centre of mass is held still and 0 elsewhere."""
    held: FloatArray = free.min(axis=0) * float(fix_centre_of_mass)
    return held


def constrained(
    momenta: FloatArray,
    masses: FloatArray,
    free: BoolArray,
    *,
    fix_centre_of_mass: bool,
) -> FloatArray:
    """Return the momenta (n, 3) without those of fixed coordinates and of the whole.

    Notes
    -----
    p_i -> p_i - (m_i/M) sum_j p_j is the projection that is orthogonal in the metric of
    the kinetic energy: of Maxwell's distribution it makes Maxwell's distribution of the
    momenta that are left.
    """
    held = held_directions(free, fix_centre_of_mass=fix_centre_of_mass)
    drift = held * momenta.sum(axis=0) / masses.sum()
    kept: FloatArray = free * (momenta - masses[:, None] * drift)
    return kept


def degrees_of_freedom(state: State, *, fix_centre_of_mass: bool) -> int:
    """Return the number of independent momenta.

    Notes
    -----
    3N, minus the fixed coordinates, minus one for every direction along which the
    centre of mass is held still. The rotation of an isolated cluster counts.
    """
    free, fixed, number = _counted[0]
    if free is not state.free or fixed is not fix_centre_of_mass:
        held = held_directions(state.free, fix_centre_of_mass=fix_centre_of_mass)
        number = int(state.free.sum()) - int(held.sum())
        _counted[0] = state.free, fix_centre_of_mass, number
    return number


# The answer to the last question: to count on a GPU is to wait for all it does.
_counted: list[tuple[BoolArray | None, bool, int]] = [(None, False, 0)]


def temperature(state: State, *, fix_centre_of_mass: bool) -> float:
    """Return 2K/(Nf kB) in K; 0 when nothing can move."""
    n_free = degrees_of_freedom(state, fix_centre_of_mass=fix_centre_of_mass)
    return 2.0 * state.kinetic_energy / (n_free * KB) if n_free else 0.0


def at_rest_as_a_whole(state: State, *, fix_centre_of_mass: bool) -> State:
    """Return the state with momenta that fulfil the constraints."""
    momenta = constrained(
        state.momenta, state.masses, state.free, fix_centre_of_mass=fix_centre_of_mass
    )
    return replace(state, momenta=momenta)
