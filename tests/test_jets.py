"""Functions with derivatives, and the tables made of them."""

from __future__ import annotations

import numpy as np
import pytest

from otf.models.baselines.jets import erf_over_r, fade, fermi, power, spline

R = np.linspace(0.3, 4.0, 38)
FUNCTIONS = {
    "power": lambda r: power(r, -6),
    "fade": lambda r: fade(r, 1.03, 3.07),
    "fermi": lambda r: fermi(r, 2.0, 5.0),
    "erf": lambda r: erf_over_r(r, 0.7),
    "product": lambda r: fermi(r, 2.0, 5.0).times(power(r, -6)).scaled(-3.0),
    "sum": lambda r: fermi(r, 2.0, 5.0).plus(erf_over_r(r, 0.7)),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_slope_and_curvature_are_the_derivatives(function):
    h = 1e-3
    jet, (before, after) = function(R), (function(R - h), function(R + h))
    for k in (0, 1):
        expected = (after[k] - before[k]) / (2 * h)
        scale = np.abs(jet[k + 1]).max()
        np.testing.assert_allclose(jet[k + 1], expected, atol=2e-4 * scale)


def test_the_series_near_zero_meets_the_closed_form():
    b = 0.8
    edge = 0.5 / b
    one, other = (erf_over_r(np.array([edge + x]), b) for x in (-1e-12, 1e-12))
    for a, c in zip(one, other, strict=True):
        assert a == pytest.approx(c, abs=1e-11)


def test_erf_over_r_is_finite_at_zero():
    value, slope, curvature = erf_over_r(np.array([0.0]), 0.8)
    assert value == pytest.approx(1.6 / np.sqrt(np.pi))
    assert slope == 0.0
    assert curvature == pytest.approx(-4 * 0.8**3 / (3 * np.sqrt(np.pi)))


def test_a_spline_passes_through_value_slope_and_curvature():
    step = R[1] - R[0]
    jet = FUNCTIONS["product"](R)
    rows, k = spline(jet, step), np.arange(6)
    assert rows.shape == (len(R) - 1, 6)
    np.testing.assert_allclose(rows.sum(axis=1), jet.value[1:], rtol=1e-9)
    np.testing.assert_allclose(rows @ k, step * jet.slope[1:], rtol=1e-9)
    np.testing.assert_allclose(
        rows @ (k * (k - 1)), step**2 * jet.curvature[1:], rtol=1e-9, atol=1e-9
    )


def test_a_spline_is_accurate_to_the_sixth_power_of_the_step():
    def error(n):
        nodes = np.linspace(1.0, 3.0, n + 1)
        rows = spline(FUNCTIONS["erf"](nodes), 2.0 / n)
        middle = rows @ 0.5 ** np.arange(6)
        return np.abs(middle - FUNCTIONS["erf"](nodes[:-1] + 1.0 / n).value).max()

    assert error(8) / error(16) == pytest.approx(64.0, rel=0.2)
