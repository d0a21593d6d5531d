"""The factor of the references follows appends and drops exactly."""

from __future__ import annotations

import numpy as np
import pytest

from otf.models.basis import Basis
from otf.models.covariance import Gaussian, Polynomial
from otf.models.references import References

JITTER = 1e-8


def environments(n, seed=0, covariance=None):
    rng = np.random.default_rng(seed)
    return References.of(
        rng.normal(size=(n, 6)),
        rng.integers(2, size=n),
        covariance or Gaussian(0.5),
        1e-3,
    )


def test_appending_equals_factorising_from_scratch():
    atoms = environments(30)
    basis = Basis.of(atoms.subset(np.arange(12)), JITTER)
    basis, growth = basis.appended(atoms.subset(np.arange(12, 30)))
    scratch = Basis.of(atoms, JITTER)
    np.testing.assert_allclose(basis.factor, scratch.factor, atol=1e-12)
    np.testing.assert_array_equal(growth.l21, basis.factor[12:, :12])
    np.testing.assert_array_equal(growth.l22, basis.factor[12:, 12:])


def test_a_basis_can_start_empty():
    atoms = environments(5)
    empty = Basis.of(atoms.subset(np.arange(0)), JITTER)
    grown, _ = empty.appended(atoms)
    np.testing.assert_allclose(grown.factor, Basis.of(atoms, JITTER).factor)
    assert empty.spilling(atoms).tolist() == [1.0] * 5


@pytest.mark.parametrize("dropped", [[0], [29], [3, 4, 17], [0, 29], list(range(20))])
def test_dropping_equals_factorising_from_scratch(dropped):
    atoms = environments(30)
    basis, _ = Basis.of(atoms, JITTER).without(np.array(dropped))
    kept = np.setdiff1d(np.arange(30), dropped)
    scratch = Basis.of(atoms.subset(kept), JITTER)
    np.testing.assert_allclose(basis.factor, scratch.factor, atol=1e-12)


def test_rotation_carries_whitened_rows_to_the_kept_references():
    atoms = environments(30)
    basis = Basis.of(atoms, JITTER)
    dropped = np.array([2, 11, 25])
    kept = np.setdiff1d(np.arange(30), dropped)
    smaller, rotation = basis.without(dropped)
    raw = np.random.default_rng(1).normal(size=(7, 30))
    np.testing.assert_allclose(
        basis.whiten(raw) @ rotation, smaller.whiten(raw[:, kept]), atol=1e-11
    )


def test_whitened_rows_of_the_references_are_their_factor():
    atoms = environments(10)
    basis = Basis.of(atoms, JITTER)
    kernel = atoms.kernel(atoms) + JITTER * np.eye(10)
    np.testing.assert_allclose(basis.whiten(kernel), basis.factor, atol=1e-13)


def test_spilling_lies_between_none_and_all():
    atoms = environments(40)
    basis = Basis.of(atoms.subset(np.arange(20)), JITTER)
    spilling = basis.spilling(atoms)
    assert np.all((spilling >= 0) & (spilling <= 1))
    # A reference spans itself up to the jitter.
    assert spilling[:20].max() < 10 * JITTER
    assert spilling[20:].max() > 1e-3


def test_spilling_of_an_isolated_atom_is_zero_and_of_a_new_species_one():
    known = environments(5)
    basis = Basis.of(known.subset(np.flatnonzero(known.species == 0)), JITTER)
    features = np.zeros((2, 6))
    features[1] = 1.0
    strange = References.of(features, np.array([0, 1]), Polynomial(4), 1e-3)
    assert basis.spilling(strange).tolist() == [0.0, 1.0]


def test_spilling_of_fewer_references_is_an_upper_bound():
    atoms = environments(60)
    many = Basis.of(atoms.subset(np.arange(40)), JITTER).spilling(atoms)
    few = Basis.of(atoms.subset(np.arange(15)), JITTER).spilling(atoms)
    assert np.all(few >= many - 1e-12)
