"""The repulsion of the cores: right where atoms overlap, absent elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from otf.configuration import Configuration
from otf.models.baselines.alone import BaselinePotential
from otf.models.baselines.core_repulsion import CoreRepulsion
from otf.models.baselines.interface import CompositeBaseline, NoBaseline
from otf.testing import check_forces

RADII = np.zeros(20)
RADII[1], RADII[14] = 0.31, 1.11
OUTER = 0.75 * 2 * 1.11


def silicon():
    return CoreRepulsion(RADII, [1, 14])


def dimer(distance, numbers=(14, 14)):
    return Configuration(
        numbers=np.array(numbers),
        positions=np.array([[0.0, 0.0, 0.0], [0.0, 0.0, distance]]),
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, dtype=bool),
    )


def dense(seed=0):
    """Atoms that overlap, in a skewed cell smaller than twice their range."""
    rng = np.random.default_rng(seed)
    cell = np.array([[2.2, 0.0, 0.0], [0.4, 2.1, 0.0], [-0.3, 0.5, 2.3]])
    grid = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    return Configuration(
        numbers=np.array([14, 14, 1, 14]),
        positions=grid @ cell + rng.normal(scale=0.1, size=(4, 3)),
        cell=cell,
        pbc=np.ones(3, dtype=bool),
    )


def energy(distance, numbers=(14, 14)):
    return silicon().evaluate(dimer(distance, numbers)).energies.sum()


def test_close_cores_repel_as_the_universal_potential():
    # Z^2 e^2/r phi(r/a), a = 0.8854 a_0/(2 * 14^0.23), with a = 0.12766 angstrom.
    r, a = 0.3, 0.8854 * 0.529177210903 / (2 * 14**0.23)
    x = r / a
    phi = (
        0.18175 * np.exp(-3.1998 * x)
        + 0.50986 * np.exp(-0.94229 * x)
        + 0.28022 * np.exp(-0.4029 * x)
        + 0.02817 * np.exp(-0.20162 * x)
    )
    assert energy(r) == pytest.approx(14.399645 * 196 / r * phi, rel=1e-6)


def test_repulsion_is_exactly_zero_at_bonding_distances():
    assert energy(OUTER) == 0.0
    assert energy(2.2) == 0.0
    assert energy(0.75 * 0.62, (1, 1)) == 0.0
    assert energy(0.75 * 0.62 - 0.05, (1, 1)) > 0.0


@pytest.mark.parametrize("where", [OUTER, 0.5 * OUTER])
def test_switch_has_two_continuous_derivatives(where):
    def jump(h):
        def second(r):
            return (energy(r + h) - 2 * energy(r) + energy(r - h)) / h**2

        return abs(second(where + 2 * h) - second(where - 2 * h))

    # Of a continuous second derivative the difference shrinks with the distance.
    assert jump(1e-3) < 0.3 * jump(4e-3)


def test_forces_and_stress_are_derivatives_of_the_energy():
    check_forces(BaselinePotential(silicon()), dense(), tolerance=1e-7)


def test_energies_of_atoms_sum_over_images():
    c = dense()
    doubled = replace(
        c,
        numbers=np.tile(c.numbers, 2),
        positions=np.vstack([c.positions, c.positions + c.cell[0]]),
        cell=c.cell * np.array([[2.0], [1.0], [1.0]]),
    )
    one, two = silicon().evaluate(c), silicon().evaluate(doubled)
    np.testing.assert_allclose(two.energies, np.tile(one.energies, 2), rtol=1e-12)
    np.testing.assert_allclose(
        two.strain_derivative, 2 * one.strain_derivative, rtol=1e-12
    )


def test_composite_is_the_sum_of_its_parts():
    c = dense()
    one = silicon().evaluate(c)
    both = CompositeBaseline([silicon(), NoBaseline(), silicon()]).evaluate(c)
    np.testing.assert_allclose(both.energies, 2 * one.energies)
    np.testing.assert_allclose(both.forces, 2 * one.forces)
    np.testing.assert_allclose(both.strain_derivative, 2 * one.strain_derivative)
