"""Models survive being taken apart into arrays."""

from __future__ import annotations

import numpy as np
import pytest

from otf.calculators.stillinger_weber import StillingerWeber
from otf.configuration import Configuration, Labels
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.errors import StoreError
from otf.models.archive import (
    model_from_arrays,
    model_to_arrays,
    posterior_from_arrays,
    posterior_to_arrays,
)
from otf.models.baseline import CompositeBaseline, CoreRepulsion
from otf.models.bayesian_linear import BayesianLinear, ModelOptions
from otf.models.covariance import Gaussian
from otf.models.interface import RowNoise, RowWeights
from otf.models.kernel_ridge import KernelRidge
from otf.models.solvers import LinearRidge

FACES = 0.25 * np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0]])
RADII = np.full(20, 1.11)


def silicon(n, seed=0):
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        cell = 5.43 * (np.eye(3) + 0.02 * rng.normal(size=(3, 3)))
        positions = np.vstack([FACES, FACES + 0.25]) @ cell
        c = Configuration(
            numbers=np.full(8, 14),
            positions=positions + 0.1 * rng.normal(size=(8, 3)),
            cell=cell,
            pbc=np.ones(3, dtype=bool),
        )
        energy, forces, virial = StillingerWeber().evaluate(c)
        out.append((c, Labels(energy, forces, virial / c.volume)))
    return out


def model(**parts):
    descriptor = PowerSpectrum(
        species=(14,),
        cutoff_three_body=4.0,
        cutoff_two_body=4.0,
        n_max=3,
        l_max=2,
        n_max_two_body=4,
    )
    return BayesianLinear(descriptor, **parts)


def learned(**parts):
    out = model(**parts)
    out.extend(silicon(6))
    out.fit_weights()
    return out


def assert_same_bits(one, other, configuration):
    a, b = one.predict(configuration), other.predict(configuration)
    assert a.energy == b.energy
    np.testing.assert_array_equal(a.forces, b.forces)
    np.testing.assert_array_equal(a.stress, b.stress)
    a, b = one.force_uncertainty(configuration), other.force_uncertainty(configuration)
    np.testing.assert_array_equal(a.forces, b.forces)
    env = one.describe(configuration)
    np.testing.assert_array_equal(one.screen(env).local, other.screen(env).local)


def test_learning_goes_on_to_the_bit():
    one = learned(baseline=CoreRepulsion(RADII, [14]))
    one.append_references(one.basis.references.subset(np.array([0])))
    one.drop_redundant()
    other = model_from_arrays(model_to_arrays(one))
    c = silicon(1, seed=9)[0][0]
    assert_same_bits(one, other, c)
    for m in (one, other):
        m.extend(silicon(2, seed=1), [np.array([1, 2]), None])
        m.drop_redundant()
        m.fit_weights()
    assert one.n_references == other.n_references
    assert one.report == other.report
    assert_same_bits(one, other, c)


def test_production_form_predicts_the_same_bits():
    one = learned(options=ModelOptions(screen_references=5))
    arrays = posterior_to_arrays(one.posterior)
    assert not any("rows" in name or "gram" in name for name in arrays)
    other = posterior_from_arrays(arrays)
    assert_same_bits(one, other, silicon(1, seed=9)[0][0])
    assert other.composition_warning(silicon(1)[0][0]) is None


def test_every_setting_survives():
    options = ModelOptions(
        prior="identity",
        selection_bound=1e-3,
        jitter=1e-7,
        max_references=20,
        cur_epsilon=1e-8,
        screen_references=7,
        noise_floor_force=0.02,
        noise_floor_energy=2e-4,
    )
    one = learned(
        covariance=Gaussian(0.6),
        noise=RowNoise(0.002, 0.2, 0.01),
        weights=RowWeights(5.0, 1.0, 0.0),
        options=options,
        isolated_energies={14: -0.8},
    )
    other = model_from_arrays(model_to_arrays(one))
    assert other.options == options
    assert other.covariance == one.covariance
    assert other.weights == one.weights
    assert other.training.noise == one.training.noise
    assert other.isolated_energies == one.isolated_energies
    assert other.solver == one.solver
    assert other.report == one.report


@pytest.mark.parametrize("solver", [LinearRidge(0.3), KernelRidge(0.3)])
def test_solvers_survive(solver):
    one = learned(solver=solver)
    assert model_from_arrays(model_to_arrays(one)).solver == solver


def test_an_empty_model_survives():
    other = model_from_arrays(model_to_arrays(model()))
    assert not other.is_fitted
    other.extend(silicon(2))
    other.fit_weights()
    assert other.n_frames == 2


def test_arrays_hold_nothing_but_plain_arrays():
    for value in model_to_arrays(learned()).values():
        assert isinstance(value, np.ndarray)
        assert value.dtype.kind in "fiubU"


def test_a_baseline_of_the_user_has_to_be_given_again():
    baseline = CompositeBaseline([CoreRepulsion(RADII, [14])])
    one = learned(baseline=baseline)
    with pytest.raises(StoreError, match="baseline of its own"):
        model_from_arrays(model_to_arrays(one))
    other = model_from_arrays(model_to_arrays(one), baseline=baseline)
    assert_same_bits(one, other, silicon(1, seed=9)[0][0])
