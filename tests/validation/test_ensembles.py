"""Ensembles sampled by the integrators, against closed forms.

Every mean is asked to agree within 4 standard errors, and the standard error to lie
below a ceiling, without which a short run would pass anything. Every check is run on
planted mistakes too, and has to reject them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from otf.dynamics import nose_hoover, thermostats
from otf.dynamics.nose_hoover import NoseHooverChain, chain_step
from otf.dynamics.sampler import evaluate
from otf.dynamics.schedule import Target
from otf.dynamics.thermostats import Langevin, StochasticVelocityRescaling, rescaling
from otf.dynamics.velocities import with_random_velocities
from otf.dynamics.verlet import Motion
from otf.potential import Prediction
from otf.testing import HarmonicWells, at_rest, blocking
from otf.units import KB

pytestmark = pytest.mark.slow

UNIT = Target(temperature=1.0 / KB)


def assert_mean(samples, exact, ceiling):
    mean, error = blocking(np.asarray(samples))
    assert error < ceiling, f"standard error {error:.2g} is above {ceiling:.2g}"
    assert abs(mean - exact) < 4.0 * error, f"{mean:.5f} +- {error:.5f}, not {exact}"


def visit(step, state, potential, *, n_steps, discard, look):
    """Return what ``look`` sees of every state after the discarded ones."""
    prediction = evaluate(potential, state)
    seen = []
    for i in range(discard + n_steps):
        state, prediction = step(state, prediction, potential, UNIT)
        if i >= discard:
            seen.append(look(state))
    return np.array(seen)


class Springs:
    """Harmonic springs, U = sum_ij L_ij x_i.x_j/2 with sum_j L_ij = 0."""

    def __init__(self, laplacian):
        self.laplacian = laplacian

    def predict(self, configurations, *, step, use_labels=True):
        return [self._predict(configuration) for configuration in configurations]

    def _predict(self, configuration):
        forces = -self.laplacian @ configuration.positions
        energy = -0.5 * float((forces * configuration.positions).sum())
        return Prediction(energy, forces, np.zeros(6))


def crystal(*sides):
    """Return springs between the neighbours of a periodic simple cubic crystal."""
    n = int(np.prod(sides))
    sites = np.arange(n).reshape(sides)
    laplacian = np.zeros((n, n))
    for axis in range(len(sides)):
        for i, j in zip(sites.ravel(), np.roll(sites, 1, axis).ravel(), strict=True):
            laplacian[[i, j], [i, j]] += 1.0
            laplacian[[i, j], [j, i]] -= 1.0
    return Springs(laplacian)


def quiet(factor):
    """Return the noise with its size multiplied by what ``factor(n)`` says."""

    def noise(seed, stream, step, n):
        return factor(n) * thermostats.normal(seed, stream, step, n)

    return noise


# --- Langevin: a thousand oscillators at once ----------------------------------------


def check_oscillators(noise=thermostats.normal, friction=1.0):
    h = 1.0
    motion = Motion(timestep=h, fix_centre_of_mass=False)
    seen = visit(
        Langevin(motion, friction, noise=noise).step,
        with_random_velocities(at_rest(np.zeros((1000, 3)), seed=1), 1.0 / KB),
        HarmonicWells(),
        n_steps=2000,
        discard=100,
        look=lambda s: ((s.configuration.positions**2).mean(), (s.momenta**2).mean()),
    )
    assert_mean(seen[:, 0], 1.0, 3e-3)
    assert_mean(seen[:, 1], 1.0 - h**2 / 4.0, 3e-3)


@pytest.mark.parametrize("friction", [0.5, 1.0, 5.0])
def test_langevin_samples_the_harmonic_oscillator_exactly(friction):
    check_oscillators(friction=friction)


def test_check_of_the_oscillator_rejects_wrong_noise():
    with pytest.raises(AssertionError, match="not"):
        check_oscillators(noise=quiet(lambda n: 1.02))


def check_crystal(noise=thermostats.normal):
    n = 32
    potential = crystal(4, 4, 2)
    sampler = Langevin(Motion(timestep=0.3), 1.0, noise=noise)
    start = with_random_velocities(at_rest(np.zeros((n, 3)), seed=2), 1.0 / KB)
    energies = visit(
        sampler.step,
        start,
        potential,
        n_steps=40_000,
        discard=500,
        look=lambda s: evaluate(potential, s).energy,
    )
    n_free = 3 * n - 3
    assert_mean(energies / n_free, 0.5, 2e-3)
    away = energies - 0.5 * n_free
    assert_mean(away**2 / n_free, 0.5, 2e-2)


def test_langevin_shares_the_heat_among_all_modes_of_a_crystal():
    check_crystal()


def test_check_of_the_crystal_rejects_modes_without_noise():
    # No noise along z: two thirds of the modes are warm.
    with pytest.raises(AssertionError, match="not"):
        check_crystal(quiet(lambda n: np.tile([1.0, 1.0, 0.0], n // 3)))


# --- kinetic energy and the centre of mass -------------------------------------------


def langevin(fix):
    # BAOAB lowers the kinetic energy by <w^2> h^2/4: 0.15 % for the ten atoms below.
    return Langevin(Motion(timestep=0.02, fix_centre_of_mass=fix), 10.0)


def velocity_rescaling(fix):
    return StochasticVelocityRescaling(
        Motion(timestep=0.05, fix_centre_of_mass=fix), 0.1
    )


def chain(fix):
    # With a relaxation time of 0.5 the first hundreds of time units still remember the
    # start: the variance of the kinetic energy failed from 2 starts of 20.
    return NoseHooverChain(Motion(timestep=0.05, fix_centre_of_mass=fix), 0.2, 4)


class Quartic(Springs):
    """Springs and a fourth power of the same distances: no mode is alone."""

    def _predict(self, configuration):
        x = configuration.positions
        away = x[:, None] - x[None]
        squares = (away**2).sum(axis=2)
        forces = -((1.0 + squares)[:, :, None] * away).sum(axis=1)
        return Prediction(
            float((squares + 0.5 * squares**2).sum()) / 4.0, forces, np.zeros(6)
        )


def kinetic_energies(sampler, n, *, every, frames):
    state = with_random_velocities(
        at_rest(0.3 * np.eye(n, 3), seed=4),
        1.0 / KB,
        fix_centre_of_mass=sampler.motion.fix_centre_of_mass,
    )
    seen = visit(
        sampler.step,
        state,
        Quartic(np.zeros((n, n))),
        n_steps=every * frames,
        discard=500,
        look=lambda s: (s.kinetic_energy, np.abs(s.momenta.sum(axis=0)).max()),
    )
    return seen[::every, 0], seen[:, 1].max()


def check_gamma_law(kinetic, n_free):
    # Three degrees of freedom too many are 11 % of the mean; a thermostat that only
    # pulls at the temperature leaves a small part of the variance.
    mean = 0.5 * n_free
    assert_mean(kinetic / mean, 1.0, 0.01)
    assert_mean((kinetic - mean) ** 2 / mean, 1.0, 0.06)
    # The test of the whole law takes frames that do not remember each other; what
    # blocking adds to the error of such frames is the noise of its 64 blocks.
    _, error = blocking(kinetic)
    assert error < 1.4 * kinetic.std() / np.sqrt(len(kinetic))
    assert stats.kstest(kinetic, stats.gamma(mean).cdf).pvalue > 1e-4


@pytest.mark.parametrize(
    ("sampler", "every"),
    [(langevin(True), 20), (velocity_rescaling(True), 10), (chain(True), 30)],
    ids=["langevin", "rescaling", "nose_hoover"],
)
def test_kinetic_energy_has_the_gamma_law_of_3n_minus_3(sampler, every):
    kinetic, drift = kinetic_energies(sampler, 10, every=every, frames=2000)
    check_gamma_law(kinetic, 27)
    assert drift < 1e-12 * 10
    for wrong in (24, 30):
        with pytest.raises(AssertionError, match="not"):
            check_gamma_law(kinetic, wrong)


def test_kinetic_energy_has_the_gamma_law_of_3n_when_the_whole_may_move():
    kinetic, _ = kinetic_energies(langevin(False), 10, every=20, frames=2000)
    check_gamma_law(kinetic, 30)


def test_check_of_the_gamma_law_rejects_a_narrow_kinetic_energy(monkeypatch):
    def berendsen(kinetic, mean, decay, numbers):
        return np.sqrt(decay + (1.0 - decay) * mean / kinetic)

    monkeypatch.setattr(thermostats, "rescaling", berendsen)
    kinetic, _ = kinetic_energies(velocity_rescaling(True), 10, every=10, frames=2000)
    with pytest.raises(AssertionError, match="not"):
        check_gamma_law(kinetic, 27)


def check_four_atoms(sampler, steps=30_000):
    kinetic, drift = kinetic_energies(sampler, 4, every=1, frames=steps)
    assert drift < 1e-12 * 4
    assert_mean(kinetic / 4.0, 1.5 * (1.0 - 1.0 / 4.0), 0.01)


@pytest.mark.parametrize(
    "sampler",
    [langevin(True), velocity_rescaling(True)],
    ids=["langevin", "rescaling"],
)
def test_four_atoms_have_three_quarters_of_the_kinetic_energy(sampler):
    check_four_atoms(sampler)


def test_check_of_four_atoms_rejects_a_whole_that_moves():
    with pytest.raises(AssertionError):
        check_four_atoms(langevin(False), 3000)


def test_check_of_four_atoms_rejects_heat_for_3n(monkeypatch):
    right = thermostats.rescaling

    def forgetful(kinetic, mean, decay, numbers):
        return right(kinetic, mean * 12.0 / 9.0, decay, numbers)

    monkeypatch.setattr(thermostats, "rescaling", forgetful)
    with pytest.raises(AssertionError, match="not"):
        check_four_atoms(velocity_rescaling(True))


# --- stochastic velocity rescaling, the thermostat alone -----------------------------


def check_rescaling_alone(factor, monkeypatch):
    monkeypatch.setattr(thermostats, "rescaling", factor)
    motion = Motion(timestep=0.1, fix_centre_of_mass=False)
    kinetic = visit(
        StochasticVelocityRescaling(motion, 1.0).step,
        replace(at_rest(np.zeros((1, 3))), momenta=np.ones((1, 3))),
        HarmonicWells(stiffness=0.0),
        n_steps=60_000,
        discard=100,
        look=lambda s: s.kinetic_energy,
    )
    assert_mean(kinetic, 1.5, 0.03)
    away = kinetic - 1.5
    assert_mean(away**2, 1.5, 0.1)
    # acf over tau = 10 steps, in units of the exact variance.
    assert_mean(away[10:] * away[:-10] / 1.5, np.exp(-1.0), 0.05)


def test_rescaling_of_free_flight_has_the_law_and_memory_of_the_paper(monkeypatch):
    check_rescaling_alone(rescaling, monkeypatch)


def one_noise_too_many(kinetic, mean, decay, numbers):
    r = (1.0 - decay) * mean / (len(numbers) * kinetic)
    square = rescaling(kinetic, mean, decay, numbers) ** 2
    return np.sqrt(square + r * numbers[1] ** 2)


def half_the_memory(kinetic, mean, decay, numbers):
    return rescaling(kinetic, mean, decay**2, numbers)


@pytest.mark.parametrize("mutant", [one_noise_too_many, half_the_memory])
def test_check_of_the_paper_rejects(mutant, monkeypatch):
    with pytest.raises(AssertionError, match="not"):
        check_rescaling_alone(mutant, monkeypatch)


# --- Nose-Hoover chains on one oscillator --------------------------------------------


def oscillator_in_a_chain(length, free=(True, False, False)):
    """Return x of one oscillator with kT = Q = 1 over 5000 time units."""
    h = 0.1
    motion = Motion(timestep=h, fix_centre_of_mass=False)
    start = at_rest([[1.0, 0.4 * free[1], 0.2 * free[2]]])
    start = replace(start, momenta=np.array([[0.3, 0.0, -0.5]]) * free)
    return visit(
        NoseHooverChain(motion, relaxation_time=1.0, length=length).step,
        replace(start, free=np.array([free])),
        HarmonicWells(),
        n_steps=50_000,
        discard=0,
        look=lambda s: s.configuration.positions[0],
    )


def check_chain(x):
    assert abs((x**2).mean() - 1.0) < 0.06
    assert abs((x**4).mean() - 3.0) < 0.4


@pytest.mark.parametrize("length", [2, 3, 4])
def test_chains_sample_an_oscillator(length):
    check_chain(oscillator_in_a_chain(length)[:, 0])


def test_one_nose_hoover_thermostat_does_not_sample_an_oscillator():
    x = oscillator_in_a_chain(1)[:, 0]
    assert (x**2).mean() == pytest.approx(0.794, abs=0.01)
    assert (x**4).mean() == pytest.approx(0.973, abs=0.02)
    with pytest.raises(AssertionError):
        check_chain(x)


def check_three_dimensions():
    x = oscillator_in_a_chain(3, free=(True, True, True))
    assert abs((x**2).sum(axis=1).mean() - 3.0) < 0.2


def test_chains_hold_the_temperature_of_three_dimensions():
    check_three_dimensions()


def test_check_of_three_dimensions_rejects_degrees_on_the_wrong_link(monkeypatch):
    def wrong(kinetic, velocities, masses, links, time, order):
        return chain_step(kinetic, velocities, masses, links[::-1], time, order)

    monkeypatch.setattr(nose_hoover, "chain_step", wrong)
    with pytest.raises(AssertionError):
        check_three_dimensions()
