"""Covariances, their slopes, and where they vanish."""

from __future__ import annotations

import numpy as np
import pytest

from otf.descriptors.interface import Environments
from otf.errors import InputError
from otf.models.covariance import Gaussian, Polynomial, covariance_named
from otf.models.references import References
from otf.testing import derivative

COVARIANCES = [Polynomial(1), Polynomial(3), Polynomial(4), Gaussian(0.4)]
SOFTENING = 0.3  # large, so that rho differs from 1


def references(covariance, seed=0, m=5, q=6, n_species=1):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(m, q))
    return References.of(
        features, rng.integers(n_species, size=m), covariance, SOFTENING
    )


def environments(features, species=None):
    if species is None:
        species = np.zeros(len(features), dtype=np.int64)
    return Environments(np.asarray(species), features, None)


@pytest.mark.parametrize("exponent", range(1, 9))
def test_polynomial_is_the_power_of_the_scalar_product(exponent):
    k = np.array([[0.3, -0.7], [0.9, 1.0]])
    value = Polynomial(exponent).value(k, np.ones(2), np.ones(2))
    np.testing.assert_allclose(value, k**exponent, rtol=1e-14)


@pytest.mark.parametrize("covariance", COVARIANCES, ids=repr)
def test_alpha_and_gamma_are_the_derivative_of_the_covariance(covariance):
    basis = references(covariance)
    rng = np.random.default_rng(1)
    x, along = rng.normal(size=6), rng.normal(size=6)

    def value(step, reference):
        atoms = basis.like(environments((x + step * along)[None]))
        return float(basis.kernel(atoms)[0, reference])

    slopes = basis.slopes(environments(x[None]))
    predicted = slopes.alpha[0] * (basis.directions @ along)
    predicted += slopes.gamma[0] * (x @ along)
    expected = [derivative(lambda h, b=b: value(h, b), 1e-3) for b in range(5)]
    # Fourth-order differences: h^4 f^(5)/30 with derivatives of order 1.
    np.testing.assert_allclose(predicted, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("covariance", COVARIANCES, ids=repr)
def test_value_of_slopes_is_the_covariance(covariance):
    basis = references(covariance)
    atoms = environments(np.random.default_rng(2).normal(size=(4, 6)))
    np.testing.assert_allclose(
        basis.slopes(atoms).value, basis.kernel(basis.like(atoms)), rtol=1e-14
    )


@pytest.mark.parametrize("covariance", COVARIANCES, ids=repr)
def test_diagonal_is_the_covariance_with_itself(covariance):
    basis = references(covariance)
    np.testing.assert_allclose(
        basis.diagonal, basis.kernel(basis).diagonal(), rtol=1e-13
    )


@pytest.mark.parametrize("covariance", COVARIANCES, ids=repr)
def test_isolated_atom_has_no_covariance_and_bounded_slopes(covariance):
    basis = references(covariance)
    slopes = basis.slopes(environments(np.zeros((1, 6))))
    assert np.all(slopes.value == 0.0)
    assert np.isfinite(slopes.alpha).all()
    assert np.isfinite(slopes.gamma).all()
    assert basis.like(environments(np.zeros((1, 6)))).diagonal[0] == 0.0


def test_unequal_species_do_not_covary():
    basis = references(Polynomial(4), n_species=3, m=8)
    rng = np.random.default_rng(3)
    atoms = environments(rng.normal(size=(7, 6)), rng.integers(3, size=7))
    kernel = basis.kernel(basis.like(atoms))
    different = atoms.species[:, None] != basis.species[None, :]
    assert different.any()
    assert np.all(kernel[different] == 0.0)
    assert np.all(kernel[~different] != 0.0)
    alpha = basis.slopes(atoms).alpha
    assert np.all(alpha[different] == 0.0)
    assert np.all(alpha[~different] != 0.0)


@pytest.mark.parametrize("covariance", [Polynomial(3), Gaussian(0.7)], ids=repr)
def test_covariance_is_rebuilt_from_its_name(covariance):
    assert covariance_named(*covariance.parameters) == covariance


@pytest.mark.parametrize(("make", "parameter"), [(Polynomial, 0), (Gaussian, 0.0)])
def test_meaningless_parameters_are_refused(make, parameter):
    with pytest.raises(InputError, match="must be"):
        make(parameter)


def test_unknown_name_is_refused():
    with pytest.raises(InputError, match="'polynomial' or 'gaussian'"):
        covariance_named("linear", 1.0)
