import numpy as np
import pytest
from scipy.special import eval_legendre, ive, roots_legendre, spherical_jn

from otf.descriptors.radial import (
    basis,
    bessel_zeros,
    radial_functions,
    radial_table,
    scaled_bessel,
)
from otf.kernels import reference


def test_scaled_bessel_functions_are_those_of_the_half_integer_order():
    x = np.geomspace(1e-3, 1500.0, 400)
    for order, values in enumerate(scaled_bessel(x, 8)):
        expected = np.sqrt(np.pi / (2 * x)) * ive(order + 0.5, x)
        np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_bessel_zeros_are_zeros_in_order():
    for order in range(6):
        zeros = np.array(bessel_zeros(order, 10))
        assert (np.diff(zeros) > 3.0).all()
        np.testing.assert_allclose(spherical_jn(order, zeros), 0.0, atol=1e-14)


def test_radial_basis_is_orthonormal():
    x, w = roots_legendre(200)
    r, w = 2.5 * (x + 1), 2.5 * w
    for order in range(5):
        chi = basis(r, 5.0, 8, order)
        np.testing.assert_allclose((chi * w * r**2) @ chi.T, np.eye(8), atol=1e-12)


@pytest.mark.parametrize("r", [0.01, 0.7, 2.35, 5.0, 5.49])
def test_radial_functions_equal_a_quadrature_over_the_ball(r):
    """One neighbour on the z axis: c_nl0 = h_nl(r) Y_l0(z)."""
    cutoff, sigma, n_max, l_max = 5.5, 0.5, 8, 4
    x, wx = roots_legendre(240)
    s, ws = 0.5 * cutoff * (x + 1), 0.5 * cutoff * wx
    # the Gaussian is narrow around the pole: 1 - cos = (1 - x)^2 / 2 gathers nodes
    cosine, wc = 1 - (1 - x) ** 2 / 2, wx * (1 - x)
    square = s[:, None] ** 2 + r**2 - 2 * s[:, None] * r * cosine
    gauss = np.exp(-square / (2 * sigma**2)) / (2 * np.pi * sigma**2) ** 1.5
    cut = 0.5 * (1 + np.cos(np.pi * r / cutoff))
    h = radial_functions(np.array([r]), cutoff, n_max, l_max, sigma)[0, 0]
    for order in range(l_max + 1):
        angular = 2 * np.pi * wc * eval_legendre(order, cosine)
        chi = basis(s, cutoff, n_max, order) * ws * s**2
        # both sides divided by sqrt((2 l + 1) / 4 pi)
        expected = cut * chi @ (gauss @ angular)
        np.testing.assert_allclose(h[order], expected, atol=1e-12)


def test_radial_slopes_are_derivatives():
    r, h = np.array([0.3, 1.7, 4.9]), 1e-3

    def f(x):
        return radial_functions(r + x, 5.5, 8, 4, 0.5)

    slope = (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)
    np.testing.assert_allclose(f(0.0)[:, 1:], slope[:, :2], atol=1e-9)


@pytest.mark.parametrize(
    "parameters",
    [(5.5, 8, 4, 0.5), (6.5, 12, 0, 0.5), (8.0, 12, 4, 0.3)],
    ids=["three-body", "two-body", "narrow"],
)
def test_spline_errs_by_less_than_forces_can_show(parameters):
    cutoff, n_max, l_max, sigma = parameters
    table = radial_table(cutoff, n_max, l_max, sigma)
    # the value is worst in the middle of an interval, the slope beside it
    step = cutoff / (len(table.values) - 1)
    r = step * (np.arange(0, len(table.values) - 1, 7)[:, None] + [0.2, 0.5, 0.75])
    r = r.ravel()
    exact = radial_functions(r, cutoff, n_max, l_max, sigma)
    spline = np.array([reference.radial(x, table) for x in r])
    size = np.abs(exact[:, :2]).max(axis=(0, 2, 3))
    error = np.abs(spline - exact[:, :2]).max(axis=(0, 2, 3))
    assert error[0] < 1e-12 * size[0]
    assert error[1] < 1e-10 * size[1]


def test_radial_functions_leave_the_cutoff_with_zero_value_and_slope():
    table = radial_table(5.5, 8, 4, 0.5)
    assert (table.values[-1, :2] == 0.0).all()
    assert np.abs(table.values[-1, 2]).max() > 0.0
