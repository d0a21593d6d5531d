"""Two time steps: resonance, order, reversibility, thermostats, books."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from otf.dynamics.conservation import conserved_energy
from otf.dynamics.registry import INTEGRATORS
from otf.dynamics.respa import Remembered, Respa
from otf.dynamics.sampler import evaluate
from otf.dynamics.schedule import Target
from otf.dynamics.thermostats import Langevin
from otf.dynamics.velocities import with_random_velocities
from otf.dynamics.verlet import Motion, VelocityVerlet
from otf.errors import InputError
from otf.potential import ModelChange, Prediction, Untrusted
from otf.testing import HarmonicWells, LennardJones, at_rest
from otf.units import KB

WARM = Target(0.1 / KB)
OPTIONS = {
    "verlet": {},
    "langevin": {"friction": 0.5},
    "nose_hoover": {"relaxation_time": 0.3},
    "rescaling": {"relaxation_time": 0.3},
}
EVERY_INTEGRATOR = pytest.mark.parametrize("name", sorted(INTEGRATORS))


@dataclass(frozen=True)
class Sum:
    """Two potentials at once."""

    parts: tuple

    def predict(self, configurations, *, step, use_labels=True):
        (c,) = configurations
        found = [part.predict([c], step=step)[0] for part in self.parts]
        energy = sum(one.energy for one in found)
        return [Prediction(energy, sum(one.forces for one in found), np.zeros(6))]


# A molecule whose bonds are stiff, in a trap that is soft.
FAST, SLOW = LennardJones(), HarmonicWells(stiffness=2.0)
WHOLE = Sum((FAST, SLOW))


def respa(timestep, n, fast=FAST, *, name="verlet", **motion):
    long = Motion(timestep=timestep, **motion)
    short = replace(long, timestep=timestep / n)
    inner = INTEGRATORS[name](short, **OPTIONS[name])
    return Respa(motion=long, inner=inner, fast=fast, inner_steps=n)


class SlowAtEveryShortStep(Respa):
    """The slow force is kicked with in the short steps: one time step, and dear."""

    def step(self, state, last, potential, target):
        n = self.inner_steps
        for _ in range(n):
            state, last = self.inner.step(state, last, potential, target)
        return state, last


class WholeKicks(Respa):
    """The slow force is kicked with for a whole long step at both ends."""

    def step(self, state, last, potential, target):
        (fast,) = self.fast.predict([state.configuration], step=0)
        twice = replace(last, forces=2.0 * last.forces - fast.forces)
        state, found = super().step(state, twice, potential, target)
        (fast,) = self.fast.predict([state.configuration], step=0)
        more = 0.5 * self.motion.timestep * (found.forces - fast.forces)
        return replace(state, momenta=state.momenta + more), found


class KickAtTheStart(Respa):
    """The slow force acts once, before the short steps: of first order."""

    def step(self, state, last, potential, target):
        (fast,) = self.fast.predict([state.configuration], step=0)
        push = self.motion.timestep * (last.forces - fast.forces)
        moved = replace(state, momenta=state.momenta + push)
        for _ in range(self.inner_steps):
            moved, fast = self.inner.step(moved, fast, self.fast, target)
        moved = replace(moved, step=state.step + 1)
        return moved, evaluate(potential, moved)


def mistaken(kind, *arguments, **options):
    right = respa(*arguments, **options)
    return kind(**{name: getattr(right, name) for name in right.__annotations__})


def make(kind):
    return lambda *arguments, **options: mistaken(kind, *arguments, **options)


# ------------------------------------------------------------------------- resonance
def first_unstable(make_sampler):
    """Return the first long step whose map of an oscillator has a trace beyond 2.

    The fast force is that of angular frequency 10, the slow one of 1.
    """
    fast, whole = HarmonicWells(stiffness=100.0), HarmonicWells(stiffness=101.0)

    def image(H, x, p):
        start = replace(at_rest([[x, 0.0, 0.0]]), momenta=np.array([[p, 0.0, 0.0]]))
        sampler = make_sampler(H, 60, fast, fix_centre_of_mass=False)
        end, _ = sampler.step(start, evaluate(whole, start), whole, WARM)
        return end.configuration.positions[0, 0], end.momenta[0, 0]

    for H in np.arange(0.300, 0.330, 1e-3):
        if abs(image(H, 1.0, 0.0)[0] + image(H, 0.0, 1.0)[1]) > 2.0:
            return float(H)
    return float("inf")


def check_resonance(make_sampler):
    # pi/(W + 1/W) and pi/W of the exact fast motion, and the width of the scan.
    assert 0.3111 <= first_unstable(make_sampler) <= 0.3141


def test_kicks_are_in_resonance_with_half_the_fastest_period():
    check_resonance(respa)


@pytest.mark.parametrize("kind", [SlowAtEveryShortStep, WholeKicks])
def test_check_of_the_resonance_rejects(kind):
    with pytest.raises(AssertionError):
        check_resonance(make(kind))


# ------------------------------------------------- order, reversibility, one short step
def cluster(seed=3):
    """Return 8 Lennard-Jones atoms on a cube, of different masses, warm."""
    corners = np.array([[i & 1, i >> 1 & 1, i >> 2] for i in range(8)], dtype=float)
    at = 1.12 * (corners - 0.5)
    state = at_rest(at, masses=1.0 + np.arange(8) / 4.0, seed=seed)
    return with_random_velocities(state, WARM.temperature)


def run(sampler, state, n_steps, *, potential=WHOLE, last=None):
    """Return the last state, its prediction and the conserved energy along the way."""
    prediction = evaluate(potential, state) if last is None else last
    conserved = [conserved_energy(state, prediction)]
    for _ in range(n_steps):
        state, prediction = sampler.step(state, prediction, potential, WARM)
        conserved.append(conserved_energy(state, prediction))
    return state, prediction, np.array(conserved)


def check_second_order(make_sampler):
    widths = []
    for H in (0.02, 0.01):
        # Short enough for the two paths to stay together.
        _, _, energies = run(make_sampler(H, 4), cluster(), round(4.0 / H))
        widths.append(energies.std())
    assert 3.8 < widths[0] / widths[1] < 4.2


def test_energy_error_falls_with_the_square_of_the_long_step():
    check_second_order(respa)


@pytest.mark.parametrize("kind", [WholeKicks, KickAtTheStart])
def test_check_of_the_order_rejects(kind):
    with pytest.raises(AssertionError):
        check_second_order(make(kind))


def check_reversible(make_sampler):
    sampler, start = make_sampler(0.02, 4), cluster()
    there, _, _ = run(sampler, start, 200)
    back, _, _ = run(sampler, replace(there, momenta=-there.momenta), 200)
    np.testing.assert_allclose(
        back.configuration.positions, start.configuration.positions, atol=1e-9
    )
    np.testing.assert_allclose(back.momenta, -start.momenta, atol=1e-9)


def test_long_steps_run_backwards_to_their_start():
    check_reversible(respa)


def test_check_of_reversibility_rejects():
    with pytest.raises(AssertionError):
        check_reversible(make(KickAtTheStart))


# Other thermostats come before the kicks of the slow force, not before all.
@pytest.mark.parametrize("name", ["verlet", "langevin"])
def test_one_short_step_in_a_long_one_is_the_plain_integrator(name):
    plain = INTEGRATORS[name](Motion(timestep=0.01), **OPTIONS[name])
    expected, _, _ = run(plain, cluster(), 50)
    found, _, _ = run(respa(0.01, 1, name=name), cluster(), 50)
    np.testing.assert_allclose(
        found.configuration.positions, expected.configuration.positions, atol=1e-12
    )
    np.testing.assert_allclose(found.momenta, expected.momenta, atol=1e-12)
    assert found.heat == pytest.approx(expected.heat, abs=1e-12)
    assert (found.step, found.time) == (expected.step, expected.time)


@EVERY_INTEGRATOR
def test_without_a_slow_force_only_the_short_steps_are_left(name):
    plain = INTEGRATORS[name](Motion(timestep=0.005), **OPTIONS[name])
    expected, _, _ = run(plain, cluster(), 80, potential=FAST)
    found, _, _ = run(respa(0.02, 4, name=name), cluster(), 20, potential=FAST)
    np.testing.assert_allclose(
        found.configuration.positions, expected.configuration.positions, atol=1e-12
    )
    assert found.step == 20
    assert found.time == pytest.approx(expected.time, rel=1e-14)


def test_a_slow_force_needs_few_calls():
    calls = []

    class Counted(Sum):
        def predict(self, configurations, *, step, use_labels=True):
            calls.append(step)
            return super().predict(configurations, step=step)

    run(respa(0.02, 5), cluster(), 4, potential=Counted((FAST, SLOW)))
    assert calls == [0, 1, 2, 3, 4]


# ------------------------------------------------------------------------ thermostats
@EVERY_INTEGRATOR
def test_a_resumed_run_is_the_same_to_the_bit(name):
    def everything(state):
        arrays = (state.configuration.positions, state.momenta, state.thermostat)
        return [
            *(a.tolist() for a in arrays),
            (state.step, state.time, state.heat, state.learning_work),
        ]

    whole, _, _ = run(respa(0.02, 3, Remembered(FAST), name=name), cluster(), 20)
    first = respa(0.02, 3, Remembered(FAST), name=name)
    half, last, _ = run(first, cluster(), 7)
    second = respa(0.02, 3, Remembered(FAST), name=name)
    resumed, _, _ = run(second, half, 13, last=last)
    assert everything(resumed) == everything(whole)


@EVERY_INTEGRATOR
def test_conserved_energy_holds_with_a_thermostat_in_the_short_steps(name):
    state, _, energies = run(respa(0.02, 4, name=name), cluster(), 500)
    if name == "verlet":
        assert state.heat == 0.0
    else:
        assert abs(state.heat) > 1.0
    assert np.abs(energies - energies[0]).max() < 0.03


@EVERY_INTEGRATOR
def test_what_is_held_stays(name):
    free = np.ones((8, 3), dtype=bool)
    free[0], free[1, 2] = False, False
    start = replace(cluster(), free=free)
    end, _, _ = run(respa(0.02, 4, name=name), start, 50)
    still = end.configuration.positions == start.configuration.positions
    assert (still == ~free).all()
    whole, _, _ = run(respa(0.02, 4, name=name), cluster(), 50)
    assert np.abs(whole.momenta.sum(axis=0)).max() < 1e-12


def test_every_short_step_has_noise_of_its_own():
    asked = []

    def noise(seed, stream, step, n):
        asked.append((seed, stream, step))
        return np.zeros(n)

    short = Motion(timestep=0.005)
    sampler = Respa(
        motion=Motion(timestep=0.02),
        inner=Langevin(short, 0.5, noise),
        fast=FAST,
        inner_steps=4,
    )
    run(sampler, cluster(), 3)
    assert asked == [(3, 0, k) for k in range(12)]


def covariance(make_sampler, H, n):
    """Return the stationary <x^2> of an oscillator at kT = 1, its stiffness 4 + 1.

    From the one-step map M and the noise it adds, C: X = M X M^T + C.
    """
    from scipy.linalg import solve_discrete_lyapunov

    fast, whole = HarmonicWells(stiffness=4.0), HarmonicWells(stiffness=5.0)

    def image(x, p, place):
        def noise(seed, stream, step, size):
            numbers = np.zeros(size)
            numbers[0] = float(step == place)
            return numbers

        motion = Motion(timestep=H, fix_centre_of_mass=False)
        short = replace(motion, timestep=H / n)
        inner = Langevin(short, 0.7, noise)
        sampler = make_sampler(motion=motion, inner=inner, fast=fast, inner_steps=n)
        start = replace(at_rest([[x, 0.0, 0.0]]), momenta=np.array([[p, 0.0, 0.0]]))
        unit = Target(1.0 / KB)
        end, _ = sampler.step(start, evaluate(whole, start), whole, unit)
        return np.array([end.configuration.positions[0, 0], end.momenta[0, 0]])

    M = np.stack([image(1.0, 0.0, -1), image(0.0, 1.0, -1)], axis=1)
    B = np.stack([image(0.0, 0.0, k) for k in range(n)], axis=1)
    return solve_discrete_lyapunov(M, B @ B.T)[0, 0]


def test_positions_of_an_oscillator_are_exact_with_one_short_step():
    assert covariance(Respa, 0.4, 1) == pytest.approx(0.2, rel=1e-12)


def test_positions_of_an_oscillator_have_an_error_of_second_order():
    coarse, fine = (covariance(Respa, H, 4) - 0.2 for H in (0.1, 0.05))
    assert 3.9 < coarse / fine < 4.1


# --------------------------------------------------------------------------- learning
class Relearning(HarmonicWells):
    """Wells that become stiffer at one step, labelled with other forces."""

    def predict(self, configurations, *, step, use_labels=True):
        x = configurations[0].positions
        soft, hard = 0.5 * (x**2).sum(), (x**2).sum()
        if step < 50:
            return [Prediction(soft, -x, np.zeros(6))]
        if step > 50:
            return [Prediction(hard, -2.0 * x, np.zeros(6))]
        change = ModelChange(soft, hard, -x, -2.0 * x)
        return [Prediction(1.1 * hard, -2.5 * x, np.zeros(6), 1, True, change)]


def test_conserved_energy_survives_a_change_of_the_model():
    drifts = []
    for H in (0.02, 0.01):
        fast = HarmonicWells(stiffness=0.6)
        sampler = respa(H, 3, fast, fix_centre_of_mass=False)
        start = replace(at_rest([[1.0, 0.2, 0.0]]), momenta=np.array([[0.5, 0.0, 1.0]]))
        state, _, energies = run(sampler, start, 100, potential=Relearning())
        assert abs(state.learning_work) > 0.1
        drifts.append(abs(energies[60:].mean() - energies[:50].mean()))
    assert drifts[1] < 1e-3
    assert drifts[0] / drifts[1] > 2.0


# --------------------------------------------------------------------------- refusals
def test_an_atom_that_flies_in_a_short_step_is_reported():
    sampler = respa(0.02, 4, largest_displacement=1e-3)
    with pytest.raises(Untrusted, match="in one step"):
        run(sampler, cluster(), 50)


def test_an_atom_that_flies_in_a_long_step_is_reported():
    right = respa(0.02, 100)
    motion = replace(right.motion, largest_displacement=2e-3)
    sampler = replace(right, motion=motion)
    with pytest.raises(Untrusted, match="in one step"):
        run(sampler, cluster(), 50)


def test_steps_that_do_not_fit_are_refused():
    verlet = VelocityVerlet(Motion(timestep=0.005))
    long = Motion(timestep=0.02)
    with pytest.raises(InputError, match="at least one short step"):
        Respa(motion=long, inner=verlet, fast=FAST, inner_steps=0)
    with pytest.raises(InputError, match="are no long step"):
        Respa(motion=long, inner=verlet, fast=FAST, inner_steps=5)


def test_a_remembered_potential_is_asked_once_for_a_place():
    class Counted(LennardJones):
        n = 0

        def of(self, configuration):
            Counted.n += 1
            return super().of(configuration)

    run(respa(0.02, 4, Remembered(Counted())), cluster(), 10)
    assert Counted.n == 41
