"""Initial velocities, constraints and degrees of freedom."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from otf.dynamics.constraints import (
    at_rest_as_a_whole,
    degrees_of_freedom,
    temperature,
)
from otf.dynamics.velocities import with_random_velocities, with_velocities
from otf.errors import InputError
from otf.kernels.noise import normal
from otf.testing import at_rest
from otf.units import KB

T = 450.0
MASSES = np.array([1.0, 12.0, 197.0, 16.0])


def four_atoms(free=None):
    state = at_rest(np.zeros((4, 3)), masses=MASSES, seed=5)
    return state if free is None else replace(state, free=np.array(free))


def first_atom_fixed():
    free = np.ones((4, 3), dtype=bool)
    free[0] = False
    return four_atoms(free)


def first_atom_in_a_plane():
    free = np.ones((4, 3), dtype=bool)
    free[0, 2] = False
    return four_atoms(free)


@pytest.mark.parametrize(
    ("state", "fix", "expected"),
    [
        (four_atoms(), True, 9),
        (four_atoms(), False, 12),
        (first_atom_fixed(), True, 9),
        (first_atom_fixed(), False, 9),
        (first_atom_in_a_plane(), True, 9),
        (first_atom_in_a_plane(), False, 11),
    ],
)
def test_degrees_of_freedom(state, fix, expected):
    assert degrees_of_freedom(state, fix_centre_of_mass=fix) == expected


@pytest.mark.parametrize("fix", [True, False])
@pytest.mark.parametrize(
    "state",
    [four_atoms(), first_atom_fixed(), first_atom_in_a_plane()],
    ids=["all free", "one fixed", "one in a plane"],
)
def test_kinetic_energy_of_random_velocities_is_chi_squared(state, fix):
    n_free = degrees_of_freedom(state, fix_centre_of_mass=fix)
    drawn = [
        with_random_velocities(replace(state, seed=seed), T, fix_centre_of_mass=fix)
        for seed in range(2000)
    ]
    kinetic = np.array([s.kinetic_energy for s in drawn])
    law = stats.gamma(0.5 * n_free, scale=KB * T)
    assert stats.kstest(kinetic, law.cdf).pvalue > 1e-4
    wrong = stats.gamma(0.5 * (n_free + 1), scale=KB * T)
    assert stats.kstest(kinetic, wrong.cdf).pvalue < 1e-4


def test_total_momentum_is_zero_where_nothing_is_fixed():
    total = with_random_velocities(first_atom_in_a_plane(), T).momenta.sum(axis=0)
    assert np.abs(total[:2]).max() < 1e-12 * 4
    assert abs(total[2]) > 0.01


def test_fixed_coordinates_get_no_momentum():
    assert with_random_velocities(first_atom_in_a_plane(), T).momenta[0, 2] == 0.0


def test_rescaled_velocities_have_exactly_the_temperature():
    state = with_random_velocities(four_atoms(), T, rescale=True)
    assert temperature(state, fix_centre_of_mass=True) == pytest.approx(T, rel=1e-14)


def test_velocities_do_not_reuse_the_noise_of_the_first_step():
    state = with_random_velocities(four_atoms(), T, fix_centre_of_mass=False)
    scale = np.sqrt(MASSES * KB * T)[:, None]
    first = normal(state.seed, state.stream, 0, 12).reshape(4, 3)
    assert np.abs(state.momenta / scale - first).min() > 1e-6


def test_velocities_of_a_file_lose_only_the_motion_of_the_whole():
    velocities = np.arange(12.0).reshape(4, 3) ** 2
    state = with_velocities(four_atoms(), velocities)
    centre = (MASSES[:, None] * velocities).sum(axis=0) / MASSES.sum()
    np.testing.assert_allclose(
        state.momenta / MASSES[:, None], velocities - centre, atol=1e-12
    )


def test_projection_of_momenta_is_idempotent_and_orthogonal_in_kinetic_energy():
    state = replace(four_atoms(), momenta=np.arange(12.0).reshape(4, 3))
    once = at_rest_as_a_whole(state, fix_centre_of_mass=True)
    twice = at_rest_as_a_whole(once, fix_centre_of_mass=True)
    np.testing.assert_allclose(twice.momenta, once.momenta, atol=1e-13)
    whole = replace(state, momenta=state.momenta - once.momenta)
    assert state.kinetic_energy == pytest.approx(
        once.kinetic_energy + whole.kinetic_energy, rel=1e-14
    )


def test_a_single_atom_has_no_temperature_of_its_own():
    state = with_random_velocities(at_rest(np.zeros((1, 3))), T, rescale=True)
    assert temperature(state, fix_centre_of_mass=True) == 0.0


@pytest.mark.parametrize("bad", [-1.0, float("nan")])
def test_an_impossible_temperature_is_refused(bad):
    with pytest.raises(InputError, match="0 K or above"):
        with_random_velocities(four_atoms(), bad)


@pytest.mark.parametrize("bad", [np.zeros((3, 3)), np.full((4, 3), np.nan)])
def test_impossible_velocities_are_refused(bad):
    with pytest.raises(InputError, match="must be finite and of shape"):
        with_velocities(four_atoms(), bad)
