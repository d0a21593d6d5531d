"""A model doubts what is far from its own prediction, measured by its own errors."""

from dataclasses import replace

import numpy as np
import pytest

from otf.configuration import Labels
from otf.learning.expectation import ENERGY_LIMIT, FORCE_LIMIT, Expectation
from otf.models.interface import RowNoise
from otf.potential import Prediction, Uncertainty

N = 8
FORCES = np.arange(3.0 * N).reshape(N, 3)


def expected(*, deviation=0.02, error=0.2, energy_deviation=0.1):
    """Return the expectation of a model whose errors are ten times its deviations."""
    known = Uncertainty(
        local=np.zeros(N),
        spilling=np.zeros(N),
        forces=np.full(N, deviation),
        energy=energy_deviation,
    )
    prediction = Prediction(-40.0, FORCES, np.zeros(6), uncertainty=known)
    return Expectation.of(prediction, np.full(N, error), RowNoise())


def labels(energy=-40.0, forces=FORCES):
    return Labels(energy, forces, np.zeros(6))


def test_the_energy_may_be_wrong_by_as_much_more_as_the_forces_are():
    # sqrt((10 x 0.1)^2 + (8 x 0.001)^2), sqrt(0.2^2 + 0.1^2)
    assert expected().energy_error == pytest.approx(np.sqrt(1.0 + 0.008**2))
    assert expected().force_error == pytest.approx(np.sqrt(0.05))
    assert expected(error=0.1).energy_error == pytest.approx(np.sqrt(0.25 + 0.008**2))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_energy_beyond_the_limit_is_doubted_in_one_line(sign):
    expectation = expected()
    limit = ENERGY_LIMIT * expectation.energy_error
    assert expectation.doubt(labels(-40.0 + sign * 0.99 * limit)) is None
    words = expectation.doubt(labels(-40.0 + sign * 22.0))
    assert f"the energy is {22 * sign:+g} eV from the model's" in words
    assert "\n" not in words


def test_forces_beyond_the_limit_are_doubted():
    expectation = expected()
    shift = FORCE_LIMIT * expectation.force_error
    assert expectation.doubt(labels(forces=FORCES + 0.99 * shift)) is None
    assert "forces" in expectation.doubt(labels(forces=FORCES + 1.01 * shift))


def test_a_model_that_is_unsure_expects_less():
    wrong = labels(-40.0 + 5.0)
    assert expected().doubt(wrong)
    assert expected(energy_deviation=0.5).doubt(wrong) is None


def test_forces_that_are_missing_are_not_doubted():
    forces = FORCES.copy()
    forces[0] = np.nan
    assert expected().doubt(labels(forces=forces)) is None
    assert expected().doubt(labels(forces=np.full_like(forces, np.nan))) is None


def test_a_model_without_any_deviation_still_allows_the_noise_of_labels():
    sure = expected(deviation=0.0, error=0.0, energy_deviation=0.0)
    assert sure.energy_error == pytest.approx(0.001 * N)
    assert sure.doubt(replace(labels(), energy=-40.0 + 0.001 * N)) is None
