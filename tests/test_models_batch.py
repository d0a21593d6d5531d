"""Fits of whole data sets, and the check of their stresses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from otf.calculators.stillinger_weber import StillingerWeber
from otf.configuration import Configuration, Labels
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.errors import OTFError
from otf.models.batch import TriangularFactor, fit_dataset, prediction_errors
from otf.models.bayesian_linear import BayesianLinear, ModelOptions
from otf.models.interface import RowWeights
from otf.models.stress_offset import stress_energy_offset
from otf.units import GPA

FACES = 0.25 * np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0]])


def silicon(n, seed=0, strain=0.03):
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        cell = 5.43 * (np.eye(3) + strain * rng.normal(size=(3, 3)))
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


def model(**options):
    descriptor = PowerSpectrum(
        species=(14,),
        cutoff_three_body=4.5,
        cutoff_two_body=4.5,
        n_max=5,
        l_max=3,
        n_max_two_body=6,
    )
    weights = options.pop("weights", None)
    return BayesianLinear(descriptor, weights=weights, options=ModelOptions(**options))


def test_triangular_factor_is_that_of_all_rows():
    rng = np.random.default_rng(0)
    phi, y = rng.normal(size=(900, 20)), rng.normal(size=900)
    factor = TriangularFactor(20)
    for low, high in ((0, 3), (3, 500), (500, 501), (501, 900)):
        factor.add(phi[low:high], y[low:high])
    triangle, rotated, outside = factor.finish()
    np.testing.assert_allclose(triangle.T @ triangle, phi.T @ phi, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(triangle.T @ rotated, phi.T @ y, rtol=1e-9, atol=1e-9)
    _, square, _, _ = np.linalg.lstsq(phi, y, rcond=None)
    assert outside**2 == pytest.approx(square[0], rel=1e-10)
    assert factor.n_rows == 900


@pytest.mark.parametrize("prior", ["whitened", "identity"])
def test_fitting_in_one_go_equals_learning_frame_by_frame(prior):
    data = silicon(12)
    weights = RowWeights(2.0, 1.0, 0.5)
    learned = model(weights=weights, prior=prior, selection_bound=1e-3)
    learned.prepare([c for c, _ in data])
    learned.extend(data)
    fitted = model(weights=weights, prior=prior)
    one = learned.fit_weights()
    other = fit_dataset(fitted, data, n_references=None, bound=1e-3)
    assert other.n_references == one.n_references
    assert other.n_rows == one.n_rows == 12 * 31
    assert other.log_evidence == pytest.approx(one.log_evidence, rel=1e-6)
    for c, _ in silicon(3, seed=1):
        p, q = learned.predict(c), fitted.predict(c)
        assert p.energy == pytest.approx(q.energy, rel=1e-7)
        # One goes through Phi^T Phi, the other does not.
        np.testing.assert_allclose(p.forces, q.forces, atol=1e-6)
        u, v = learned.force_uncertainty(c), fitted.force_uncertainty(c)
        np.testing.assert_allclose(u.forces, v.forces, rtol=1e-4)


def test_a_fit_predicts_structures_it_has_not_seen():
    fitted = model()
    fit_dataset(fitted, silicon(40), n_references=200)
    errors = prediction_errors(fitted, silicon(10, seed=1))
    spread = np.std([x.forces for _, x in silicon(10, seed=1)])
    assert errors.force < 0.1 * spread
    assert errors.energy < 0.02
    assert errors.stress < 0.5 * GPA


def test_references_are_capped_per_species():
    fitted = model()
    report = fit_dataset(fitted, silicon(5), n_references=7)
    assert report.n_references == 7


def test_progress_names_every_stage():
    seen = []
    fit_dataset(
        model(),
        silicon(3),
        n_references=5,
        progress=lambda stage, done, total: seen.append(stage),
    )
    assert list(dict.fromkeys(seen)) == ["describe", "select", "rows", "solve"]


def test_a_model_fitted_in_one_go_refuses_to_be_extended():
    fitted = model()
    data = silicon(3)
    fit_dataset(fitted, data, n_references=5)
    with pytest.raises(OTFError, match="keeps no rows"):
        fitted.extend(data)


def test_an_empty_data_set_and_a_trained_model_are_refused():
    with pytest.raises(OTFError, match="empty"):
        fit_dataset(model(), [])
    learned = model()
    learned.extend(silicon(1))
    with pytest.raises(OTFError, match="empty model"):
        fit_dataset(learned, silicon(1))


def with_offset(data, pressure):
    shift = np.array([pressure] * 3 + [0.0] * 3)
    return [(c, replace(x, stress=x.stress + shift)) for c, x in data]


def test_consistent_stresses_pass():
    found = stress_energy_offset(model(), silicon(30), n_references=100)
    assert found.is_determined
    assert not found.is_significant
    assert abs(found.offset) < 0.5 * GPA


@pytest.mark.parametrize("pressure_GPa", [3.0, -3.0])
def test_a_constant_stress_offset_is_found_with_its_size(pressure_GPa):
    data = with_offset(silicon(30), pressure_GPa * GPA)
    found = stress_energy_offset(model(), data, n_references=100)
    assert found.is_significant
    assert found.offset == pytest.approx(pressure_GPa * GPA, abs=0.5 * GPA)
    assert "left out" in found.message


def test_equal_volumes_say_nothing_of_the_stress():
    data = with_offset(silicon(15, strain=0.0), 3.0 * GPA)
    found = stress_energy_offset(model(), data)
    assert not found.is_determined
    assert not found.is_significant
