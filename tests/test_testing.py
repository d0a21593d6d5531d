"""The shipped checks do their work."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from otf.configuration import VOIGT
from otf.potential import Prediction
from otf.testing import HarmonicWells, LennardJones, at_rest, blocking, check_forces

METRIC = np.array([[1.0, 0.3, -0.2], [0.3, 2.0, 0.5], [-0.2, 0.5, 0.7]])


class Elastic(HarmonicWells):
    """U = sum_ij A_ij h_i.h_j/2 of the cell vectors h: dU/dstrain = h^T A h."""

    error = 0.0

    def of(self, configuration):
        h = configuration.cell
        W = h.T @ METRIC @ h
        stress = np.array([W[a, b] for a, b in VOIGT]) / configuration.volume
        stress[3] *= 1.0 + self.error
        energy = 0.5 * float(np.trace(METRIC @ h @ h.T))
        forces = np.zeros_like(configuration.positions)
        return Prediction(energy, forces, stress)


class Sheared(Elastic):
    error = 1e-5


def cluster():
    positions = np.array([[0, 0, 0], [1.1, 0, 0], [0.3, 1.2, 0.1], [0.2, 0.4, 1.3]])
    return at_rest(positions).configuration


def crystal():
    cell = np.array([[3.0, 0.0, 0.0], [0.4, 3.2, 0.0], [-0.3, 0.5, 2.8]])
    return replace(cluster(), cell=cell, pbc=np.ones(3, dtype=bool))


def test_right_forces_pass():
    check_forces(LennardJones(), cluster(), with_stress=False, tolerance=1e-8)


def test_wrong_forces_are_found_and_named():
    class Wrong(LennardJones):
        def of(self, configuration):
            right = super().of(configuration)
            forces = right.forces.copy()
            forces[2, 1] += 1e-5 * np.abs(forces).max()
            return Prediction(right.energy, forces, right.stress)

    with pytest.raises(AssertionError, match=re.escape("force[2, 1] is")):
        check_forces(Wrong(), cluster(), with_stress=False)
    check_forces(Wrong(), cluster(), with_stress=False, atoms=[3, 0])


def test_forces_that_are_no_numbers_are_found():
    class Broken(LennardJones):
        def of(self, configuration):
            return Prediction(0.0, np.full((4, 3), np.nan), np.zeros(6))

    with pytest.raises(AssertionError, match="is nan"):
        check_forces(Broken(), cluster(), with_stress=False)


def test_right_stress_passes_and_a_wrong_one_is_found():
    check_forces(Elastic(), crystal(), atoms=[])
    with pytest.raises(AssertionError, match=re.escape("stress[3] is")):
        check_forces(Sheared(), crystal(), atoms=[])


@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_blocking_finds_the_standard_error_of_a_correlated_series(memory):
    n = 2**16
    steps = np.random.default_rng(3).normal(size=n)
    series = np.empty(n)
    x = 0.0
    for i, step in enumerate(steps):
        x = memory * x + (1.0 - memory**2) ** 0.5 * step
        series[i] = x
    mean, error = blocking(series)
    exact = ((1.0 + memory) / (1.0 - memory) / n) ** 0.5
    assert mean == pytest.approx(series.mean(), abs=1e-15)
    # The largest of the block sizes, of which the last has 64 blocks: 9 % noise.
    assert 0.8 * exact < error < 1.4 * exact
