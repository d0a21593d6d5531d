"""Leaving a structure out in closed form is fitting without it."""

import numpy as np
import pytest
from test_blind import silicon

from otf.descriptors.power_spectrum import PowerSpectrum
from otf.models.batch import fit_dataset
from otf.models.bayesian_linear import BayesianLinear
from otf.models.design import Targets, raw_rows, scaled_rows
from otf.models.interface import RowWeights
from otf.models.leave_out import left_out
from otf.models.resampled import out_of_bag_spread, resampled_weights
from otf.units import GPA


def model_of(frames, *, stress):
    """Return a model fitted to energies, forces and, with weight, stresses."""
    descriptor = PowerSpectrum(
        species=(14,),
        cutoff_three_body=4.0,
        cutoff_two_body=4.0,
        n_max=4,
        l_max=2,
        n_max_two_body=5,
    )
    model = BayesianLinear(descriptor, weights=RowWeights(2.0, 1.0, stress))
    fit_dataset(model, frames, n_references=30)
    return model


@pytest.fixture(scope="module")
def fitted():
    """Return frames, and a model fitted to their energies and forces."""
    frames = silicon(12)
    return frames, model_of(frames, stress=0.0)


def rows_without(frames, model, gone):
    """Return the rows and labels of the regression of all but one frame."""
    fit, noise = model.fitted, model.training.noise
    rows, values = [], []
    for k, (c, labels) in enumerate(frames):
        if k == gone:
            continue
        raw = raw_rows(fit.descriptor, fit.references, model.describe(c))
        targets = Targets.of(c, labels, model.baseline)
        for kind, block in scaled_rows(targets, raw, noise).items():
            e0 = fit.elements.per_atom(c).mean() if kind == "energy" else 0.0
            weight = model.weights.of(kind)
            rows.append(weight * block)
            values.append(weight * (targets.of_kind(kind) - e0) / noise.of(kind))
    return model.prior.rows(model.basis, np.vstack(rows)), np.concatenate(values)


def refitted_without(frames, model, gone):
    """Return weights fitted to all but one frame, by least squares."""
    phi, y = rows_without(frames, model, gone)
    m = phi.shape[1]
    unit, prior = model.report.noise_precision**0.5, model.report.prior_precision**0.5
    rows, values = np.vstack([unit * phi, prior * np.eye(m)]), unit * y
    solved = np.linalg.lstsq(rows, np.append(values, np.zeros(m)), rcond=None)[0]
    return model.prior.weights(model.basis, solved)


@pytest.mark.parametrize("stress", [0.0, 1.5])
def test_every_structure_left_out_is_predicted_as_by_a_fit_without_it(stress):
    frames = silicon(12)
    model = model_of(frames, stress=stress)
    fit = model.fitted
    for k, (c, labels) in enumerate(frames):
        weights, found = refitted_without(frames, model, k), left_out(model, c, labels)
        raw = raw_rows(fit.descriptor, fit.references, model.describe(c))
        energy = raw.energy @ weights / 8 + fit.elements.per_atom(c).mean()
        forces = (raw.forces @ weights).reshape(8, 3)
        virial = raw.strain @ weights / c.volume
        assert found.energy == pytest.approx(energy, rel=1e-8)
        assert np.abs(found.forces - forces).max() < 1e-8 * np.abs(forces).max()
        assert np.abs(found.stress - virial).max() < 1e-8 * np.abs(virial).max()
        # Left out is not left in: the closed form changes what the fit had said.
        assert abs(model.predict(c).energy / 8 - energy) > 1e-6


@pytest.mark.parametrize("stress", [0.0, 1.5])
def test_deviations_are_those_of_the_posterior_without_the_structure(stress):
    frames = silicon(12)
    model = model_of(frames, stress=stress)
    fit, report = model.fitted, model.report
    c, labels = frames[3]
    phi, _ = rows_without(frames, model, 3)
    precision = report.noise_precision * phi.T @ phi
    precision += report.prior_precision * np.eye(phi.shape[1])
    turn = model.prior.weights(model.basis, np.eye(len(precision)))
    covariance = turn @ np.linalg.inv(precision) @ turn.T
    raw = raw_rows(fit.descriptor, fit.references, model.describe(c))
    found = left_out(model, c, labels)
    unit = report.noise_precision**-0.5
    variance = raw.energy @ covariance @ raw.energy / 64 + (unit * 0.001 / 2.0) ** 2
    # Both invert matrices of condition 1e10 and more, in another order.
    np.testing.assert_allclose(found.energy_deviation**2, variance, rtol=1e-4)
    spread = np.einsum("ij,jk,ik->i", raw.forces, covariance, raw.forces)
    variances = spread.reshape(8, 3).mean(axis=1) + (unit * 0.1) ** 2
    np.testing.assert_allclose(found.force_deviations**2, variances, rtol=1e-4)
    if not stress:  # of a kind that was not fitted the fit knows no noise
        assert np.isinf(found.stress_deviations).all()
        return
    spread = np.einsum("ij,jk,ik->i", raw.strain, covariance, raw.strain) / c.volume**2
    variances = spread + (unit * 0.3 * GPA / stress) ** 2
    np.testing.assert_allclose(found.stress_deviations**2, variances, rtol=1e-4)


def test_fits_to_draws_are_those_of_the_repeated_rows(fitted):
    frames, model = fitted
    times = np.ones((3, 12), dtype=np.int64)
    times[1, [2, 5]], times[2, 7] = (0, 2), 0
    found = resampled_weights(model, frames, times, progress=lambda *_: None)
    repeated = [
        frame for frame, n in zip(frames, times[1], strict=True) for _ in range(n)
    ]
    expected = [model.fitted.weights, refitted_without(repeated, model, -1)]
    expected.append(refitted_without(frames, model, 7))
    for c, _ in frames:
        raw = raw_rows(
            model.fitted.descriptor, model.fitted.references, model.describe(c)
        )
        for one, weights in zip(found, expected, strict=True):
            forces = raw.forces @ weights
            # Normal equations square the condition of the rows.
            assert np.abs(raw.forces @ one - forces).max() < 1e-6 * np.abs(forces).max()
    assert np.abs(raw.forces @ (found[1] - found[0])).max() > 1e-4


def test_a_structure_all_fits_have_seen_has_no_spread(fitted):
    frames, model = fitted
    times = np.ones((4, 12), dtype=np.int64)
    times[:2, 3] = 0
    times[0, 4] = 3
    spreads = out_of_bag_spread(model, frames, times, progress=lambda *_: None)
    assert [np.isfinite(one).all() for one in spreads] == [k == 3 for k in range(12)]
    weights = resampled_weights(model, frames, times, progress=lambda *_: None)
    c = frames[3][0]
    raw = raw_rows(model.fitted.descriptor, model.fitted.references, model.describe(c))
    one, other = (raw.energy @ weights[:2].T) / 8
    assert spreads[3][0] == pytest.approx(abs(one - other) / np.sqrt(2.0), rel=1e-9)


def test_a_structure_never_fitted_is_just_predicted(fitted):
    _, model = fitted
    c, labels = silicon(13)[-1]
    found = left_out(model, c, labels, fitted=False)
    plain, exact = model.predict(c), model.fitted.force_uncertainty(c)
    np.testing.assert_allclose(found.energy, plain.energy / 8)
    np.testing.assert_allclose(found.forces, plain.forces, atol=1e-10)
    np.testing.assert_allclose(found.stress, plain.stress, atol=1e-12)
    np.testing.assert_allclose(found.implied_stress, plain.stress, atol=1e-12)
    np.testing.assert_allclose(found.implied_deviations, exact.stress)


def test_the_implied_stress_is_that_of_the_whole_fit(fitted):
    frames, model = fitted
    c, labels = frames[5]
    found = left_out(model, c, labels)
    np.testing.assert_allclose(
        found.implied_stress, model.predict(c).stress, atol=1e-12
    )
