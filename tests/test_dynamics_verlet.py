"""Velocity Verlet: invariants, order, reversibility, guard."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from otf.dynamics.conservation import conserved_energy
from otf.dynamics.guard import check_displacement
from otf.dynamics.sampler import evaluate
from otf.dynamics.schedule import Target
from otf.dynamics.velocities import with_random_velocities
from otf.dynamics.verlet import Motion, VelocityVerlet
from otf.errors import InputError
from otf.kernels.watch import Watch
from otf.potential import Prediction, Untrusted
from otf.testing import HarmonicWells, LennardJones, at_rest
from otf.units import KB

NOWHERE = Target(temperature=0.0)
WELLS = HarmonicWells()


def free_verlet(timestep):
    return VelocityVerlet(Motion(timestep=timestep, fix_centre_of_mass=False)).step


class EulerMutant:
    """Full kick, then drift: of first order in H."""

    def __init__(self, timestep):
        self.timestep = timestep

    def __call__(self, state, last, potential, target):
        momenta = state.momenta + self.timestep * last.forces
        velocities = momenta / state.masses[:, None]
        new = state.configuration.moved(
            state.configuration.positions + self.timestep * velocities
        )
        prediction = potential.predict([new], step=state.step + 1)[0]
        moved = replace(state, configuration=new, momenta=momenta, step=state.step + 1)
        return moved, prediction


class StaleForceMutant:
    """The second half kick uses the forces of the start."""

    def __init__(self, timestep):
        self.half = 0.5 * timestep
        self.verlet = free_verlet(timestep)

    def __call__(self, state, last, potential, target):
        moved, prediction = self.verlet(state, last, potential, target)
        stale = moved.momenta + self.half * (last.forces - prediction.forces)
        return replace(moved, momenta=stale), prediction


def run(step, state, potential, n_steps):
    """Return the states and predictions of a trajectory, the start included."""
    prediction = evaluate(potential, state)
    trajectory = [(state, prediction)]
    for _ in range(n_steps):
        state, prediction = step(state, prediction, potential, NOWHERE)
        trajectory.append((state, prediction))
    return trajectory


def icosahedron(kT=0.05):
    """Return 13 warm Lennard-Jones atoms of unit mass near their ground state."""
    golden = 0.5 * (1.0 + 5.0**0.5)
    corners = [(0.0, a, b * golden) for a in (-1, 1) for b in (-1, 1)]
    shells = [np.roll(corners, shift, axis=1) for shift in range(3)]
    positions = np.concatenate([np.zeros((1, 3)), *shells])
    radius = 1.0816 / np.hypot(1.0, golden)
    return with_random_velocities(at_rest(radius * positions, seed=11), kT / KB)


def check_harmonic_invariant(make_step):
    h, n_steps = 0.3, 20_000
    state = replace(at_rest([[1.0, 0.0, 0.0]]), momenta=np.array([[0.0, 0.7, 0.0]]))
    step = make_step(h)
    prediction = evaluate(WELLS, state)
    x, p = np.empty((n_steps, 3)), np.empty((n_steps, 3))
    for i in range(n_steps):
        x[i], p[i] = state.configuration.positions[0], state.momenta[0]
        state, prediction = step(state, prediction, WELLS, NOWHERE)
    invariant = p**2 + x**2 * (1.0 - h**2 / 4.0)
    np.testing.assert_allclose(invariant - invariant[0], 0.0, atol=1e-12)
    energy = 0.5 * (p[:, 0] ** 2 + x[:, 0] ** 2)
    assert energy.max() <= 0.5 + 1e-12
    assert energy.min() >= 0.5 * (1.0 - h**2 / 4.0) - 1e-12
    phase = np.arange(n_steps) * np.arccos(1.0 - h**2 / 2.0)
    # arccos loses eps/h^2 a step near 1: 5e-11 after all of them.
    np.testing.assert_allclose(x[:, 0], np.cos(phase), atol=1e-9)


def test_harmonic_oscillator_conserves_the_shadow_energy():
    check_harmonic_invariant(free_verlet)


@pytest.mark.parametrize("mutant", [EulerMutant, StaleForceMutant])
def test_check_of_the_shadow_energy_rejects(mutant):
    with pytest.raises((AssertionError, FloatingPointError)), np.errstate(all="raise"):
        check_harmonic_invariant(mutant)


@pytest.mark.parametrize(("h", "is_stable"), [(1.99, True), (2.01, False)])
def test_harmonic_oscillator_is_stable_up_to_two_over_frequency(h, is_stable):
    state = at_rest([[1.0, 0.0, 0.0]])
    end, _ = run(free_verlet(h), state, WELLS, 200)[-1]
    assert bool(np.abs(end.configuration.positions).max() < 100.0) is is_stable


class WrongForces(LennardJones):
    """Forces that are not minus the gradient: one percent too large."""

    def of(self, configuration):
        right = super().of(configuration)
        return Prediction(right.energy, 1.01 * right.forces, right.stress)


def check_second_order(make_step, potential):
    rms = []
    for h in (0.01, 0.005):
        trajectory = run(make_step(h), icosahedron(), potential, round(8.0 / h))
        energies = np.array([conserved_energy(*frame) for frame in trajectory])
        rms.append((energies - energies.mean()).std())
    assert 3.8 < rms[0] / rms[1] < 4.2


def test_nve_energy_error_falls_with_the_square_of_the_time_step():
    check_second_order(free_verlet, LennardJones())


@pytest.mark.parametrize(
    ("make_step", "potential"),
    [
        (EulerMutant, LennardJones()),
        (StaleForceMutant, LennardJones()),
        (free_verlet, WrongForces()),
    ],
    ids=["euler", "stale force", "no gradient"],
)
def test_check_of_the_order_rejects(make_step, potential):
    with pytest.raises(AssertionError):
        check_second_order(make_step, potential)


def check_reversible(make_step):
    start = icosahedron()
    potential, step = LennardJones(), make_step(0.005)
    there, _ = run(step, start, potential, 400)[-1]
    back, _ = run(step, replace(there, momenta=-there.momenta), potential, 400)[-1]
    np.testing.assert_allclose(
        back.configuration.positions, start.configuration.positions, atol=1e-9
    )
    np.testing.assert_allclose(back.momenta, -start.momenta, atol=1e-9)


def test_newtons_equations_run_backwards_to_their_start():
    check_reversible(lambda h: VelocityVerlet(Motion(timestep=h)).step)


@pytest.mark.parametrize("mutant", [EulerMutant, StaleForceMutant])
def test_check_of_reversibility_rejects(mutant):
    with pytest.raises(AssertionError):
        check_reversible(mutant)


def test_a_step_does_not_touch_the_state_it_starts_from():
    state = icosahedron()
    positions, momenta = state.configuration.positions.copy(), state.momenta.copy()
    run(free_verlet(0.01), state, LennardJones(), 1)
    assert (state.configuration.positions == positions).all()
    assert (state.momenta == momenta).all()
    assert (state.step, state.time) == (0, 0.0)


def test_the_potential_is_asked_once_at_the_clock_of_the_new_state():
    clocks = []

    class Clock(LennardJones):
        def predict(self, configurations, *, step, use_labels=True):
            clocks.append((len(configurations), step, use_labels))
            return super().predict(configurations, step=step)

    end, _ = run(free_verlet(0.01), icosahedron(), Clock(), 3)[-1]
    assert clocks == [(1, step, True) for step in range(4)]
    assert (end.step, end.time) == (3, pytest.approx(0.03))


def test_net_force_of_an_inexact_reference_does_not_move_the_whole():
    class Pushed(LennardJones):
        def of(self, configuration):
            right = super().of(configuration)
            return Prediction(right.energy, right.forces + 0.1, right.stress)

    step = VelocityVerlet(Motion(timestep=0.005)).step
    trajectory = run(step, icosahedron(), Pushed(), 200)
    total = np.array([state.momenta.sum(axis=0) for state, _ in trajectory])
    assert np.abs(total).max() < 1e-12 * 13
    energies = [conserved_energy(*frame) for frame in trajectory]
    assert np.ptp(energies) < 1e-2


def test_an_atom_that_flies_is_reported_before_the_potential_is_asked():
    state = replace(
        at_rest(np.zeros((2, 3))), momenta=np.array([[0, 0, 0], [3.0, 0, 4]])
    )
    motion = Motion(timestep=0.1, fix_centre_of_mass=False, largest_displacement=0.49)
    still = Prediction(0.0, np.zeros((2, 3)), np.zeros(6))
    with pytest.raises(
        Untrusted, match=r"^atom 1 moves by 0.5 A in one step"
    ) as caught:
        VelocityVerlet(motion).step(state, still, None, NOWHERE)
    np.testing.assert_allclose(caught.value.configuration.positions[1], [0.3, 0, 0.4])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_displacement_that_is_no_number_is_reported_without_a_limit(bad):
    displacements = np.array([[0.0, 0.0, 0.0], [bad, 0.0, 0.0]])
    with pytest.raises(Untrusted, match=r"^atom 1 moves by"):
        check_displacement(
            at_rest(displacements).configuration, displacements, np.inf, Watch(np)
        )


@pytest.mark.parametrize(
    "options", [{"timestep": 0.0}, {"timestep": 1.0, "largest_displacement": 0.0}]
)
def test_impossible_motion_is_refused(options):
    with pytest.raises(InputError, match=r"must be positive, got 0( A)?$"):
        Motion(**options)
