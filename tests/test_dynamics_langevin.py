"""Langevin dynamics: the exact covariance of BAOAB, the whole held still."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov

from otf.dynamics.sampler import evaluate
from otf.dynamics.schedule import Target
from otf.dynamics.thermostats import Langevin
from otf.dynamics.verlet import Motion
from otf.testing import HarmonicWells, at_rest
from otf.units import KB

UNIT = Target(temperature=1.0 / KB)


def affine_map(make_step, h, gamma):
    """Return M and C of one step of a unit oscillator at kT = 1 in x and p."""

    def image(x, p, noise):
        start = replace(at_rest([[x, 0.0, 0.0]]), momenta=np.array([[p, 0.0, 0.0]]))
        last = evaluate(HarmonicWells(), start)
        step = make_step(h, gamma, lambda seed, stream, step, n: noise[:n])
        end, _ = step(start, last, HarmonicWells(), UNIT)
        return np.array([end.configuration.positions[0, 0], end.momenta[0, 0]])

    silence, size = np.zeros(8), 6
    M = np.stack([image(1.0, 0.0, silence), image(0.0, 1.0, silence)], axis=1)
    B = np.stack([image(0.0, 0.0, unit) for unit in np.eye(size, 8)], axis=1)
    return M, B @ B.T


def langevin_step(h, gamma, noise):
    motion = Motion(timestep=h, fix_centre_of_mass=False)
    return Langevin(motion, gamma, noise=noise).step


def splitting(letters, *, spread=None):
    """Return a Langevin step of any splitting, or with a wrong size of the noise."""
    parts = {letter: 1.0 / letters.count(letter) for letter in "ABO"}

    def make_step(h, gamma, noise):
        def step(state, last, potential, target):
            x, p = state.configuration.positions, state.momenta
            numbers = noise(0, 0, 0, 6)
            for i, letter in enumerate(letters):
                share = parts[letter] * h
                if letter == "A":
                    x = x + share * p
                elif letter == "B":
                    p = p - share * x
                else:
                    c = np.exp(-gamma * share)
                    s = np.sqrt(1.0 - c**2) if spread is None else spread(c)
                    p = c * p + s * numbers[3 * (i > 2) : 3 * (i > 2) + 3]
            end = state.configuration.moved(x)
            return replace(state, configuration=end, momenta=p), None

        return step

    return make_step


def check_stationary_covariance(make_step, h, gamma):
    M, C = affine_map(make_step, h, gamma)
    covariance = solve_discrete_lyapunov(M, C)
    expected = [[1.0, 0.0], [0.0, 1.0 - h**2 / 4.0]]
    np.testing.assert_allclose(covariance, expected, atol=1e-10)
    # Only O shrinks the phase space: the friction enters once, with the whole step.
    assert np.linalg.det(M) == pytest.approx(np.exp(-gamma * h), rel=1e-12)


@pytest.mark.parametrize("gamma", [0.1, 1.0, 50.0])
@pytest.mark.parametrize("h", [0.5, 1.0, 1.9])
def test_langevin_has_the_exact_covariance_of_baoab(h, gamma):
    check_stationary_covariance(langevin_step, h, gamma)


@pytest.mark.parametrize(
    "mutant",
    [
        splitting("ABOBA"),
        splitting("OBABO"),
        splitting("OABAO"),
        splitting("BAOAB", spread=lambda c: 1.0 - c),
        splitting("BAOAB", spread=lambda c: np.sqrt(2.0 * (1.0 - c))),
        lambda h, gamma, noise: langevin_step(h, 0.5 * gamma, noise),
    ],
    ids=["ABOBA", "OBABO", "OABAO", "1 - c", "first order", "half the friction"],
)
def test_check_of_the_covariance_rejects(mutant):
    with pytest.raises(AssertionError):
        check_stationary_covariance(mutant, 0.5, 1.0)


def covariance_of_the_whole_held_still(make_step):
    """Return covariance of p after one O part from the exact law, and that law."""
    masses = np.array([1.0, 5.0, 2.0])
    law = np.diag(masses) - np.outer(masses, masses) / masses.sum()
    values, vectors = np.linalg.eigh(law)
    roots = vectors * np.sqrt(np.maximum(values, 0.0))
    still = at_rest(np.zeros((3, 3)), masses=masses)
    nothing = HarmonicWells(stiffness=0.0)

    def image(p, numbers):
        start = replace(still, momenta=np.outer(p, [1.0, 0.0, 0.0]))
        step = make_step(lambda seed, stream, step, n: numbers)
        return step(start, evaluate(nothing, start), nothing, UNIT)[0].momenta[:, 0]

    columns = [image(p, np.zeros(12)) for p in roots.T]
    columns += [image(np.zeros(3), unit) for unit in np.eye(12)]
    B = np.stack(columns, axis=1)
    return B @ B.T, law


UNEVEN = np.array([0.3, 2.0, 40.0])


def test_langevin_of_uneven_friction_keeps_maxwell_with_the_whole_held_still():
    found, law = covariance_of_the_whole_held_still(
        lambda noise: Langevin(Motion(timestep=0.5), UNEVEN, noise=noise).step
    )
    np.testing.assert_allclose(found, law, atol=1e-12)


def test_check_of_maxwell_rejects_noise_that_is_only_projected():
    def mutant(noise):
        def quiet(seed, stream, step, n):
            numbers = noise(seed, stream, step, n).copy()
            numbers[-3:] = 0.0
            return numbers

        return Langevin(Motion(timestep=0.5), UNEVEN, noise=quiet).step

    found, law = covariance_of_the_whole_held_still(mutant)
    assert np.abs(found - law).max() > 0.01
