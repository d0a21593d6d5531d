"""Principal components: known directions, and both ways to them."""

import numpy as np
import pytest

from otf.analysis import principal
from otf.analysis.principal import principal_components


def test_points_on_a_plane_have_two_components_along_it():
    rng = np.random.default_rng(2)
    first, second = np.array([3.0, 0.0, 4.0]) / 5.0, np.array([0.0, 1.0, 0.0])
    x, y = rng.normal(size=50), 0.1 * rng.normal(size=50)
    rows = 7.0 + x[:, None] * first + y[:, None] * second
    found = principal_components(rows)
    assert found.shares.sum() == pytest.approx(1.0)
    assert abs(found.axes[0] @ first) > 0.99
    # Distances in the plane are those in space.
    along = found.coordinates(rows)
    np.testing.assert_allclose(
        np.linalg.norm(along[1:] - along[0], axis=1),
        np.linalg.norm(rows[1:] - rows[0], axis=1),
    )


def test_shares_are_the_eigenvalues_of_the_covariance():
    rows = np.random.default_rng(3).normal(size=(40, 6)) * np.arange(1, 7)
    values = np.linalg.eigvalsh(np.cov(rows.T))[::-1]
    found = principal_components(rows, 3)
    np.testing.assert_allclose(found.shares, values[:3] / values.sum())
    np.testing.assert_allclose(
        found.coordinates(rows).var(axis=0, ddof=1), values[:3], rtol=1e-10
    )


def test_few_components_of_many_rows_are_those_of_all(monkeypatch):
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(300, 230)) * np.linspace(3.0, 0.1, 230)
    few = principal_components(rows)
    monkeypatch.setattr(principal, "SMALL", 1000)
    every = principal_components(rows)
    np.testing.assert_allclose(few.shares, every.shares, rtol=1e-8)
    np.testing.assert_allclose(few.axes, every.axes, atol=1e-6)


def test_rows_that_are_alike_have_no_components():
    found = principal_components(np.full((5, 4), 0.1))
    assert not found.shares.any()
    assert not found.coordinates(np.full((5, 4), 0.1)).any()


def test_a_single_column_has_one_component():
    found = principal_components(np.arange(5.0)[:, None])
    np.testing.assert_allclose(found.shares, [1.0, 0.0])
