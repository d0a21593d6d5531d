"""Bayesian linear regression against dense Gaussian algebra and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from otf.models.evidence import PrecisionBounds, Spectrum, maximise_evidence
from otf.testing import derivative

FREE = PrecisionBounds(noise_high=1e12, prior_low=1e-12, prior_high=1e12)


def regression(seed=0, n=40, m=15, noise=0.3, prior=1.0):
    rng = np.random.default_rng(seed)
    phi = rng.normal(size=(n, m)) * np.geomspace(1.0, 0.05, m)
    w = rng.normal(size=m) / np.sqrt(prior)
    return phi, phi @ w + noise * rng.normal(size=n)


def spectrum(phi, y):
    return Spectrum.of_gram(phi.T @ phi, phi.T @ y, float(y @ y), len(y))


def residual(phi, y, w):
    return float(((y - phi @ w) ** 2).sum())


def evidence(phi, y, alpha, beta):
    s = spectrum(phi, y)
    return s.log_evidence(alpha, beta, residual(phi, y, s.weights(alpha, beta)))


def gaussian_process(phi, y, new, alpha, beta):
    """Mean, variance and log evidence by conditioning a dense Gaussian."""
    cov = phi @ phi.T / alpha + np.eye(len(y)) / beta
    cross = new @ phi.T / alpha
    mean = cross @ np.linalg.solve(cov, y)
    var = new @ new.T / alpha - cross @ np.linalg.solve(cov, cross.T)
    _, log_det = np.linalg.slogdet(cov)
    log = -0.5 * (y @ np.linalg.solve(cov, y) + log_det + len(y) * np.log(2 * np.pi))
    return mean, var, log


@pytest.mark.parametrize(("alpha", "beta"), [(0.7, 4.0), (3.0, 0.2), (1e-3, 100.0)])
def test_posterior_and_evidence_are_those_of_the_gaussian_process(alpha, beta):
    phi, y = regression()
    new = np.random.default_rng(1).normal(size=(6, 15))
    s = spectrum(phi, y)
    mean, var, log = gaussian_process(phi, y, new, alpha, beta)
    root = s.root(alpha, beta)
    scale = float(np.abs(var).max())
    np.testing.assert_allclose(new @ s.weights(alpha, beta), mean, rtol=1e-8)
    np.testing.assert_allclose(
        new @ root @ root.T @ new.T, var, rtol=1e-8, atol=1e-8 * scale
    )
    np.testing.assert_allclose(evidence(phi, y, alpha, beta), log, rtol=1e-8)


def test_pinned_line_through_three_points():
    # y = w0 + w1 x with alpha 1 and beta 4, by hand: A = I + 4 Phi^T Phi.
    phi = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    y = np.array([1.0, 2.0, 2.5])
    s = spectrum(phi, y)
    new = np.array([1.0, 4.0])
    np.testing.assert_allclose(
        s.weights(1.0, 4.0), [0.3272727273, 0.7393939394], atol=5e-11
    )
    assert new @ s.weights(1.0, 4.0) == pytest.approx(3.2848484848, abs=5e-11)
    variance = ((new @ s.root(1.0, 4.0)) ** 2).sum()
    assert variance == pytest.approx(0.4424242424, abs=5e-11)
    assert evidence(phi, y, 1.0, 4.0) == pytest.approx(-3.6454983100, abs=5e-11)
    # The commonest slip, the noise 1/beta inside the variance, would show.
    assert abs(variance + 0.25 - 0.4424242424) > 0.1


def slopes_of_evidence(phi, y, alpha, beta):
    by_prior = derivative(lambda h: evidence(phi, y, alpha * np.exp(h), beta), 1e-2)
    by_noise = derivative(lambda h: evidence(phi, y, alpha, beta * np.exp(h)), 1e-2)
    return by_prior, by_noise


def test_slopes_of_the_evidence_count_effective_weights():
    phi, y = regression()
    alpha, beta = 0.7, 4.0
    s = spectrum(phi, y)
    gamma, w = s.n_effective(alpha, beta), s.weights(alpha, beta)
    by_prior, by_noise = slopes_of_evidence(phi, y, alpha, beta)
    # h^4 f^(5)/30 of functions of order 10 at h = 0.01.
    assert by_prior == pytest.approx((gamma - alpha * w @ w) / 2, abs=1e-7)
    expected = (len(y) - gamma - beta * residual(phi, y, w)) / 2
    assert by_noise == pytest.approx(expected, abs=1e-7)
    # All 15 weights counted instead of gamma would show.
    assert abs(by_prior - (15 - alpha * w @ w) / 2) > 0.1


def test_evidence_is_stationary_at_the_fixed_point():
    phi, y = regression()
    fit = maximise_evidence(spectrum(phi, y), bounds=FREE)
    assert fit.clamps == ()
    slopes = slopes_of_evidence(phi, y, fit.prior_precision, fit.noise_precision)
    np.testing.assert_allclose(slopes, 0.0, atol=1e-6)
    # A fixed point without effective numbers, m/|w|^2, is not stationary.
    s = spectrum(phi, y)
    w = s.weights(fit.prior_precision, fit.noise_precision)
    wrong = slopes_of_evidence(phi, y, 15 / (w @ w), fit.noise_precision)
    assert abs(wrong[0]) > 0.1


def test_evidence_never_falls_in_an_em_step():
    phi, y = regression(seed=4)
    s = spectrum(phi, y)
    alpha, beta, last = 30.0, 0.01, -np.inf
    for _ in range(50):
        now = evidence(phi, y, alpha, beta)
        assert now >= last - 1e-10 * abs(now)
        last = now
        w, root = s.weights(alpha, beta), s.root(alpha, beta)
        spread = (root**2).sum()
        alpha, beta = (
            15 / (w @ w + spread),
            40 / (residual(phi, y, w) + ((phi @ root) ** 2).sum()),
        )


def test_leave_one_out_errors_follow_from_the_hat_matrix():
    phi, y = regression(n=20, m=6)
    alpha, beta = 0.8, 5.0
    s = spectrum(phi, y)
    root = s.root(alpha, beta)
    hat = beta * phi @ root @ root.T @ phi.T
    shortcut = (y - phi @ s.weights(alpha, beta)) / (1 - hat.diagonal())
    for i in range(20):
        rest = np.arange(20) != i
        w = spectrum(phi[rest], y[rest]).weights(alpha, beta)
        assert y[i] - phi[i] @ w == pytest.approx(shortcut[i], rel=1e-10)
    # The residuals themselves, without the hat matrix, are far smaller.
    kept = y - phi @ s.weights(alpha, beta)
    assert np.abs(shortcut - kept).max() > 0.1 * np.abs(kept).max()


def test_order_of_rows_is_irrelevant_and_twice_a_row_is_twice_its_weight():
    phi, y = regression()
    order = np.random.default_rng(5).permutation(40)
    w = spectrum(phi, y).weights(0.5, 2.0)
    np.testing.assert_allclose(
        spectrum(phi[order], y[order]).weights(0.5, 2.0), w, rtol=1e-10
    )
    scale = np.where(np.arange(40) == 3, np.sqrt(2.0), 1.0)
    twice = spectrum(np.vstack([phi, phi[3]]), np.append(y, y[3]))
    heavy = spectrum(phi * scale[:, None], y * scale)
    np.testing.assert_allclose(
        twice.weights(0.5, 2.0), heavy.weights(0.5, 2.0), rtol=1e-10
    )


def test_evidence_recovers_noise_and_prior_the_data_were_drawn_with():
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        phi = rng.normal(size=(600, 100))
        y = phi @ rng.normal(size=100) / np.sqrt(4.0) + 0.5 * rng.normal(size=600)
        fit = maximise_evidence(spectrum(phi, y), bounds=FREE)
        found.append((fit.prior_precision, fit.noise_precision))
    prior, noise = np.array(found).T
    # Relative s.e. of one precision is sqrt(2/100) and sqrt(2/500); means over 20.
    assert prior.mean() / 4.0 == pytest.approx(
        1.0, abs=4 * np.sqrt(2 / 100 / 20) + 0.02
    )
    assert noise.mean() / 4.0 == pytest.approx(1.0, abs=4 * np.sqrt(2 / 500 / 20))


def coverage(alpha, beta, offset=0.0, fits=400):
    """Share of targets within one and two deviations, data drawn from the model."""
    one, two = [], []
    for seed in range(fits):
        rng = np.random.default_rng(seed)
        phi, new = rng.normal(size=(30, 8)), rng.normal(size=(25, 8))
        w = rng.normal(size=8) / np.sqrt(alpha)
        noise = rng.normal(size=30) / np.sqrt(beta)
        y = phi @ w + noise + offset * np.sin(3 * phi[:, 0])
        truth = new @ w + offset * np.sin(3 * new[:, 0])
        s = spectrum(phi, y)
        z = truth - new @ s.weights(alpha, beta)
        z /= np.sqrt(((new @ s.root(alpha, beta)) ** 2).sum(axis=1))
        one.append(np.mean(np.abs(z) < 1))
        two.append(np.mean(np.abs(z) < 2))
    return np.array(one), np.array(two)


def test_deviations_cover_what_they_claim():
    one, two = coverage(2.0, 5.0)
    # Points of one fit are correlated: the error bar is that between fits.
    for share, exact in ((one, 0.682689), (two, 0.954500)):
        error = share.std(ddof=1) / np.sqrt(len(share))
        assert error < 0.01
        assert abs(share.mean() - exact) < 4 * error


def test_deviations_of_a_misspecified_model_cover_too_little():
    # The variance shrinks with the labels, the bias does not: a decision cannot rest
    # on the variance alone.
    one, _ = coverage(2.0, 5.0, offset=1.0, fits=50)
    assert one.mean() < 0.3


def test_triangle_gives_the_spectrum_without_the_gram_matrix():
    phi, y = regression()
    q, r = np.linalg.qr(phi)
    ours = Spectrum.of_triangle(r, q.T @ y, float(y @ y), len(y))
    np.testing.assert_allclose(
        ours.weights(0.5, 2.0), spectrum(phi, y).weights(0.5, 2.0), rtol=1e-10
    )
    assert ours.n_effective(0.5, 2.0) == pytest.approx(
        spectrum(phi, y).n_effective(0.5, 2.0), rel=1e-10
    )


def test_triangle_keeps_singular_values_the_gram_matrix_loses():
    rng = np.random.default_rng(7)
    left, _ = np.linalg.qr(rng.normal(size=(30, 4)))
    right, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    singular = np.array([1.0, 1e-3, 1e-6, 1e-9])
    phi = left * singular @ right.T
    w = rng.normal(size=4)
    y = phi @ w
    q, r = np.linalg.qr(phi)
    ridge = 1e-24
    by_triangle = Spectrum.of_triangle(r, q.T @ y, float(y @ y), 30).weights(ridge, 1.0)
    by_gram = spectrum(phi, y).weights(ridge, 1.0)
    # eps times the condition number 1e9 against eps times its square.
    np.testing.assert_allclose(by_triangle, w, atol=1e-5)
    assert np.abs(by_gram - w).max() > 1e-3


def test_noise_free_labels_stop_at_the_noise_floor():
    rng = np.random.default_rng(8)
    phi = rng.normal(size=(50, 5))
    y = phi @ rng.normal(size=5)
    fit = maximise_evidence(spectrum(phi, y), bounds=PrecisionBounds())
    assert fit.noise_precision == 100.0
    assert any("noise precision held" in line for line in fit.clamps)


def test_zero_labels_stop_at_the_largest_prior_precision():
    # A perfect crystal: all forces are zero.
    phi, _ = regression()
    fit = maximise_evidence(spectrum(phi, np.zeros(40)), bounds=PrecisionBounds())
    assert (fit.prior_precision, fit.noise_precision) == (100.0, 100.0)
    assert len(fit.clamps) == 2


def test_cancelled_residual_is_taken_from_the_rows():
    rng = np.random.default_rng(9)
    phi = rng.normal(size=(200, 5))
    y = 1e6 * phi @ rng.normal(size=5) + 1e-3 * rng.normal(size=200)
    bounds = PrecisionBounds(noise_high=1e12, prior_low=1e-15, prior_high=1.0)
    fit = maximise_evidence(
        spectrum(phi, y),
        bounds=bounds,
        exact_residual=lambda w: residual(phi, y, w),
    )
    # s_v = 1e6 within sqrt(2/195); the Gram form has an error of 1e-16 |y|^2 = 1e-1
    # where the residual is 2e-4.
    assert fit.noise_precision / 1e6 == pytest.approx(1.0, abs=4 * np.sqrt(2 / 195))
