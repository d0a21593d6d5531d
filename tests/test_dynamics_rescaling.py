"""Stochastic velocity rescaling: the laws of the kinetic energy."""

from __future__ import annotations

import numpy as np
import pytest

from otf.dynamics.schedule import Target
from otf.dynamics.thermostats import rescaling
from otf.kernels.noise import normal
from otf.testing import blocking
from otf.units import KB

UNIT = Target(temperature=1.0 / KB)


def check_rescaling_of_one_momentum(factor):
    """One degree of freedom: the thermostat is an Ornstein-Uhlenbeck process [1].

    [1] Bussi, Donadio, Parrinello 2007, the remark below eq. A8.
    """
    kT, c = 1.3, 0.4
    for p in (-2.0, 0.05, 1.0):
        for R in (-3.0, -0.2, 0.0, 1.7):
            alpha = factor(0.5 * p**2, 0.5 * kT, c, np.array([R]))
            exact = np.sqrt(c) * p + np.sqrt((1.0 - c) * kT) * R * np.sign(p)
            assert alpha * p == pytest.approx(exact, rel=1e-12)


def test_rescaling_of_one_momentum_is_langevin():
    check_rescaling_of_one_momentum(rescaling)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda k, mean, c, R: abs(rescaling(k, mean, c, R)),
        lambda k, mean, c, R: rescaling(k, mean, c**2, R),
        lambda k, mean, c, R: rescaling(k, mean, c, np.append(R, R)),
    ],
    ids=["sign", "decay", "one noise too many"],
)
def test_check_of_one_momentum_rejects(mutant):
    with pytest.raises(AssertionError):
        check_rescaling_of_one_momentum(mutant)


def check_kinetic_energy_of_rescaling(factor):
    """Thermostat alone, Nf = 3: K ~ Gamma(3/2, kT), acf(tau) = 1/e."""
    n = 100_000
    numbers = normal(1, 0, 0, 3 * n).reshape(n, 3)
    kinetic = np.empty(n)
    k = 1.5
    for i in range(n):
        k *= factor(k, 1.5, np.exp(-1.0), numbers[i]) ** 2
        kinetic[i] = k
    # acf e^-i: the statistical inefficiency is (1 + 1/e)/(1 - 1/e) = 2.164. One noise
    # too many is 100 of these errors of the mean.
    error = np.sqrt(2.164 / n)
    assert abs(kinetic.mean() - 1.5) < 4.0 * error * np.sqrt(1.5)
    away = kinetic - 1.5
    # Gamma(3/2): fourth central moment 3 v^2 (1 + 2/shape) = 15.75; sd of away^2 3.674.
    assert abs((away**2).mean() - 1.5) < 4.0 * error * 3.674
    memory, error = blocking(away[1:] * away[:-1] / 1.5)
    assert error < 0.01
    assert abs(memory - np.exp(-1.0)) < 4.0 * error


def test_rescaling_samples_the_gamma_law():
    check_kinetic_energy_of_rescaling(rescaling)


def with_one_noise_too_many(k, mean, c, R):
    r = (1.0 - c) * mean / (3.0 * k)
    cross = 2.0 * R[0] * np.sqrt(c * r)
    return np.sqrt(c + r * ((R**2).sum() + R[1] ** 2) + cross)


def berendsen(k, mean, c, R):
    return np.sqrt(c + (1.0 - c) * mean / k)


def with_half_the_memory(k, mean, c, R):
    return rescaling(k, mean, c**2, R)


@pytest.mark.parametrize(
    "mutant", [with_one_noise_too_many, berendsen, with_half_the_memory]
)
def test_check_of_the_gamma_law_rejects(mutant):
    with pytest.raises(AssertionError):
        check_kinetic_energy_of_rescaling(mutant)
