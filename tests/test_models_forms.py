"""Collapsed sums over references are the sums themselves."""

import numpy as np
import pytest

from otf.kernels import load
from otf.models.covariance import Gaussian, Polynomial
from otf.models.forms import Direct, Quadratic, Vector, form_of, products
from otf.models.references import References

Q, M, SOFTENING = 7, 12, 0.1
CPU = load("cpu")


def environments(n, covariance, seed):
    features = np.random.default_rng(seed).normal(size=(n, Q))
    return References.of(features, np.zeros(n, dtype=int), covariance, SOFTENING)


def energy(x, references, weights):
    """Return the energies of raw features, written out, (n,)."""
    u = x / np.sqrt((x**2).sum(axis=1) + SOFTENING**2)[:, None]
    k = u @ references.directions.T
    rho = (u**2).sum(axis=1)
    return references.covariance.value(k, rho, references.rho) @ weights


def case(covariance):
    references = environments(M, covariance, 1)
    return references, np.random.default_rng(2).normal(size=M)


CASES = [
    (Polynomial(1), Vector),
    (Polynomial(2), Quadratic),
    (Polynomial(3), Direct),
    (Polynomial(4), Direct),
    (Gaussian(0.7), Direct),
]


@pytest.mark.parametrize(("covariance", "kind"), CASES)
def test_every_form_gives_the_energies_of_the_sum(covariance, kind):
    references, weights = case(covariance)
    form = form_of(references, weights, CPU)
    assert isinstance(form, kind)
    x = np.random.default_rng(3).normal(size=(5, Q))
    atoms = References.of(x, np.zeros(5, dtype=int), covariance, SOFTENING)
    value = form.sums(atoms, None).value
    np.testing.assert_allclose(value, energy(x, references, weights), rtol=1e-12)


@pytest.mark.parametrize(("covariance", "kind"), CASES)
def test_slopes_are_the_derivatives_of_the_energies(covariance, kind):
    references, weights = case(covariance)
    x = np.random.default_rng(3).normal(size=(5, Q))
    atoms = References.of(x, np.zeros(5, dtype=int), covariance, SOFTENING)
    sums = form_of(references, weights, CPU).sums(atoms, None)
    gradient = sums.slope + sums.own[:, None] * atoms.directions
    gradient *= references.inverse_norm(x)[:, None]
    h = 1e-3
    for q, unit in enumerate(np.eye(Q)):
        f = [energy(x + k * h * unit, references, weights) for k in (-2, -1, 1, 2)]
        slope = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h)
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(gradient[:, q], slope, atol=1e-8 * scale)


def test_products_that_are_known_are_not_computed_again():
    references, weights = case(Polynomial(4))
    atoms = environments(5, Polynomial(4), 3)
    form = Direct(references, weights, CPU.kernels)
    known = form.sums(atoms, atoms.directions @ references.directions.T)
    for a, b in zip(known, form.sums(atoms, None), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)


def test_memory_that_is_used_again_holds_other_numbers_of_atoms():
    references, _ = case(Polynomial(4))
    for n in (5, 3, 8):
        u = environments(n, Polynomial(4), n).directions
        got = products(u, references.directions)
        np.testing.assert_allclose(got, u @ references.directions.T, rtol=1e-14)


def test_few_references_are_summed_directly():
    references, weights = case(Polynomial(2))
    few = references.subset(np.arange(3))
    assert isinstance(form_of(few, weights[:3], CPU), Direct)
