"""Leaving a structure out in closed form is fitting without it."""

import numpy as np
import pytest
from ase.build import bulk

from otf.calculators.stillinger_weber import StillingerWeber
from otf.configuration import Configuration, Labels
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.models.batch import fit_dataset
from otf.models.bayesian_linear import BayesianLinear
from otf.models.design import Targets, raw_rows, scaled_rows
from otf.models.interface import RowWeights
from otf.models.leave_out import left_out


def silicon(n):
    """Return rattled silicon in cells of random shape with exact labels."""
    generator = np.random.default_rng(0)
    out = []
    for _ in range(n):
        atoms = bulk("Si", cubic=True)
        shape = np.eye(3) + 0.03 * generator.normal(size=(3, 3))
        atoms.set_cell(atoms.cell[:] @ shape, scale_atoms=True)
        atoms.positions += 0.1 * generator.normal(size=(8, 3))
        c = Configuration.from_atoms(atoms)
        energy, forces, virial = StillingerWeber().evaluate(c)
        out.append((c, Labels(energy, forces, virial / c.volume)))
    return out


@pytest.fixture(scope="module")
def fitted():
    """Return frames, and a model fitted to their energies and forces."""
    descriptor = PowerSpectrum(
        species=(14,),
        cutoff_three_body=4.0,
        cutoff_two_body=4.0,
        n_max=4,
        l_max=2,
        n_max_two_body=5,
    )
    model = BayesianLinear(descriptor, weights=RowWeights(2.0, 1.0, 0.0))
    frames = silicon(12)
    fit_dataset(model, frames, n_references=30)
    return frames, model


def posterior_without(frames, model, gone):
    """Return mean and covariance of the weights, with the rows of all but one frame."""
    fit, report, noise = model.fitted, model.report, model.training.noise
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
    phi = model.prior.rows(model.basis, np.vstack(rows))
    precision = report.noise_precision * phi.T @ phi
    precision += report.prior_precision * np.eye(phi.shape[1])
    covariance = np.linalg.inv(precision)
    mean = report.noise_precision * covariance @ phi.T @ np.concatenate(values)
    turn = model.prior.weights(model.basis, np.eye(len(mean)))
    return turn @ mean, turn @ covariance @ turn.T


def test_a_structure_left_out_is_predicted_as_by_a_fit_without_it(fitted):
    frames, model = fitted
    c, labels = frames[3]
    mean, covariance = posterior_without(frames, model, 3)
    fit = model.fitted
    raw = raw_rows(fit.descriptor, fit.references, model.describe(c))
    found = left_out(model, c, labels)
    e0 = fit.elements.per_atom(c).mean()
    np.testing.assert_allclose(found.energy, raw.energy @ mean / 8 + e0, rtol=1e-8)
    forces = (raw.forces @ mean).reshape(8, 3)
    np.testing.assert_allclose(found.forces, forces, rtol=1e-6, atol=1e-8)
    unit = model.report.noise_precision**-0.5
    variance = raw.energy @ covariance @ raw.energy / 64 + (unit * 0.001 / 2.0) ** 2
    # Both invert matrices of condition 1e10 and more, in another order.
    np.testing.assert_allclose(found.energy_deviation**2, variance, rtol=1e-4)
    spread = np.einsum("ij,jk,ik->i", raw.forces, covariance, raw.forces)
    variances = spread.reshape(8, 3).mean(axis=1) + (unit * 0.1) ** 2
    np.testing.assert_allclose(found.force_deviations**2, variances, rtol=1e-4)


def test_a_structure_never_fitted_is_just_predicted(fitted):
    _, model = fitted
    c, labels = silicon(13)[-1]
    found = left_out(model, c, labels, fitted=False)
    plain, exact = model.predict(c), model.fitted.force_uncertainty(c)
    np.testing.assert_allclose(found.energy, plain.energy / 8)
    np.testing.assert_allclose(found.forces, plain.forces, atol=1e-10)
    np.testing.assert_allclose(found.stress, plain.stress, atol=1e-12)
    np.testing.assert_allclose(found.stress_deviation, exact.stress)


def test_the_stress_is_that_of_the_whole_fit(fitted):
    frames, model = fitted
    c, labels = frames[5]
    found = left_out(model, c, labels)
    np.testing.assert_allclose(found.stress, model.predict(c).stress, atol=1e-12)
