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


def bayesian(phi, y, new, alpha, beta):
    """Mean and covariance of new values, and log evidence, by the code under test."""
    s = spectrum(phi, y)
    w, spread = s.weights(alpha, beta), new @ s.root(alpha, beta)
    return new @ w, spread @ spread.T, evidence(phi, y, alpha, beta)


def gaussian_process(phi, y, new, alpha, beta):
    """Mean, covariance and log evidence by conditioning a dense Gaussian."""
    cov = phi @ phi.T / alpha + np.eye(len(y)) / beta
    cross = new @ phi.T / alpha
    mean = cross @ np.linalg.solve(cov, y)
    var = new @ new.T / alpha - cross @ np.linalg.solve(cov, cross.T)
    _, log_det = np.linalg.slogdet(cov)
    log = -0.5 * (y @ np.linalg.solve(cov, y) + log_det + len(y) * np.log(2 * np.pi))
    return mean, var, log


def swapped(phi, y, new, alpha, beta):
    mean, _, log = bayesian(phi, y, new, alpha, beta)
    return mean, bayesian(phi, y, new, beta, alpha)[1], log


def with_noise(phi, y, new, alpha, beta):
    mean, var, log = bayesian(phi, y, new, alpha, beta)
    return mean, var + np.eye(len(new)) / beta, log


def without_labels(phi, y, new, alpha, beta):
    mean, _, log = bayesian(phi, y, new, alpha, beta)
    return mean, new @ new.T / alpha, log


def without_prior(phi, y, new, alpha, beta):
    _, var, log = bayesian(phi, y, new, alpha, beta)
    return new @ np.linalg.lstsq(phi, y)[0], var, log


def without_occam(phi, y, new, alpha, beta):
    # Without ln det, which is what makes the evidence prefer simple models.
    mean, var, log = bayesian(phi, y, new, alpha, beta)
    values = np.maximum(spectrum(phi, y).values, 0.0)
    return mean, var, log + 0.5 * np.log(1.0 + beta * values / alpha).sum()


MUTANTS = [swapped, with_noise, without_labels, without_prior, without_occam]


# ------------------------------------------------------------- posterior and evidence


def check_against_gaussian_process(predict, alpha, beta):
    phi, y = regression()
    new = np.random.default_rng(1).normal(size=(6, 15))
    mean, var, log = predict(phi, y, new, alpha, beta)
    exact = gaussian_process(phi, y, new, alpha, beta)
    scale = float(np.abs(exact[1]).max())
    np.testing.assert_allclose(mean, exact[0], rtol=1e-8)
    np.testing.assert_allclose(var, exact[1], rtol=1e-8, atol=1e-8 * scale)
    np.testing.assert_allclose(log, exact[2], rtol=1e-8)


@pytest.mark.parametrize(("alpha", "beta"), [(0.7, 4.0), (3.0, 0.2), (1e-3, 100.0)])
def test_posterior_and_evidence_are_those_of_the_gaussian_process(alpha, beta):
    check_against_gaussian_process(bayesian, alpha, beta)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_check_of_the_gaussian_process_rejects(mutant):
    with pytest.raises(AssertionError):
        check_against_gaussian_process(mutant, 0.7, 4.0)


def check_pinned_line(predict):
    # y = w0 + w1 x with alpha 1 and beta 4, by hand: A = I + 4 Phi^T Phi.
    phi = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    y = np.array([1.0, 2.0, 2.5])
    w, _, log = predict(phi, y, np.eye(2), 1.0, 4.0)
    mean, var, _ = predict(phi, y, np.array([[1.0, 4.0]]), 1.0, 4.0)
    np.testing.assert_allclose(w, [0.3272727273, 0.7393939394], atol=5e-11)
    assert mean[0] == pytest.approx(3.2848484848, abs=5e-11)
    assert var[0, 0] == pytest.approx(0.4424242424, abs=5e-11)
    assert log == pytest.approx(-3.6454983100, abs=5e-11)


def test_pinned_line_through_three_points():
    check_pinned_line(bayesian)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_check_of_the_pinned_line_rejects(mutant):
    with pytest.raises(AssertionError):
        check_pinned_line(mutant)


# ------------------------------------------------------------- maximum of the evidence


def slopes_of_evidence(phi, y, alpha, beta):
    by_prior = derivative(lambda h: evidence(phi, y, alpha * np.exp(h), beta), 1e-2)
    by_noise = derivative(lambda h: evidence(phi, y, alpha, beta * np.exp(h)), 1e-2)
    return by_prior, by_noise


def check_slopes(count):
    phi, y = regression()
    alpha, beta = 0.7, 4.0
    s = spectrum(phi, y)
    gamma, w = count(s, alpha, beta), s.weights(alpha, beta)
    by_prior, by_noise = slopes_of_evidence(phi, y, alpha, beta)
    # h^4 f^(5)/30 of functions of order 10 at h = 0.01.
    assert by_prior == pytest.approx((gamma - alpha * w @ w) / 2, abs=1e-7)
    expected = (len(y) - gamma - beta * residual(phi, y, w)) / 2
    assert by_noise == pytest.approx(expected, abs=1e-7)


def test_slopes_of_the_evidence_count_effective_weights():
    check_slopes(Spectrum.n_effective)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda s, alpha, beta: len(s.values),
        lambda s, alpha, beta: s.n_effective(beta, alpha),
        lambda s, alpha, beta: s.n_effective(alpha, 1.0),
        lambda s, alpha, beta: len(s.values) - s.n_effective(alpha, beta),
    ],
    ids=["all weights", "swapped", "rows not scaled", "undetermined weights"],
)
def test_check_of_the_slopes_rejects(mutant):
    with pytest.raises(AssertionError):
        check_slopes(mutant)


def maximum(phi, y):
    fit = maximise_evidence(spectrum(phi, y), bounds=FREE)
    assert fit.clamps == ()
    return fit.prior_precision, fit.noise_precision


def fixed_point(*, determined, spent):
    """Return the iteration with other counts of weights and of spent labels."""

    def iterate(phi, y):
        s, alpha, beta = spectrum(phi, y), 1.0, 1.0
        for _ in range(300):
            w, gamma = s.weights(alpha, beta), s.n_effective(alpha, beta)
            alpha = (gamma if determined else len(w)) / (w @ w)
            beta = (len(y) - (gamma if spent else 0.0)) / residual(phi, y, w)
        return alpha, beta

    return iterate


def check_stationary(find):
    phi, y = regression()
    slopes = slopes_of_evidence(phi, y, *find(phi, y))
    np.testing.assert_allclose(slopes, 0.0, atol=1e-6)


def test_evidence_is_stationary_at_the_fixed_point():
    check_stationary(maximum)
    check_stationary(fixed_point(determined=True, spent=True))


@pytest.mark.parametrize(
    "mutant",
    [
        fixed_point(determined=False, spent=True),
        fixed_point(determined=True, spent=False),
        lambda phi, y: maximum(phi, y)[::-1],
    ],
    ids=["all weights", "no weight spent", "swapped"],
)
def test_check_of_the_fixed_point_rejects(mutant):
    with pytest.raises(AssertionError):
        check_stationary(mutant)


def check_evidence_rises(predict):
    """The exact EM step cannot lower the exact evidence, so one checks the other."""
    phi, y = regression(seed=4)
    alpha, beta, last = 30.0, 0.01, -np.inf
    for _ in range(50):
        w, cov, now = predict(phi, y, np.eye(15), alpha, beta)
        assert now >= last - 1e-10 * abs(now)
        last = now
        alpha, beta = (
            15 / (w @ w + np.trace(cov)),
            40 / (residual(phi, y, w) + np.trace(phi @ cov @ phi.T)),
        )


def test_evidence_never_falls_in_an_em_step():
    check_evidence_rises(bayesian)


def of_weights_alone(phi, y, new, alpha, beta):
    mean, var, log = bayesian(phi, y, new, alpha, beta)
    return mean, 0.0 * var, log


@pytest.mark.parametrize("mutant", [with_noise, without_prior, of_weights_alone])
def test_check_of_the_em_step_rejects(mutant):
    with pytest.raises(AssertionError):
        check_evidence_rises(mutant)


# ------------------------------------------------------------------------- single rows


def hat_matrix(phi, y, alpha, beta):
    root = spectrum(phi, y).root(alpha, beta)
    return beta * phi @ root @ root.T @ phi.T


def check_leave_one_out(hat):
    phi, y = regression(n=20, m=6)
    alpha, beta = 0.8, 5.0
    kept = y - phi @ spectrum(phi, y).weights(alpha, beta)
    shortcut = kept / (1 - hat(phi, y, alpha, beta).diagonal())
    for i in range(20):
        rest = np.arange(20) != i
        w = spectrum(phi[rest], y[rest]).weights(alpha, beta)
        assert y[i] - phi[i] @ w == pytest.approx(shortcut[i], rel=1e-10)


def test_leave_one_out_errors_follow_from_the_hat_matrix():
    check_leave_one_out(hat_matrix)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda phi, y, alpha, beta: np.zeros((20, 20)),
        lambda phi, y, alpha, beta: hat_matrix(phi, y, alpha, beta) / beta,
        lambda phi, y, alpha, beta: hat_matrix(phi, y, beta, alpha),
        lambda phi, y, alpha, beta: phi @ np.linalg.pinv(phi),
    ],
    ids=["residuals", "rows not scaled", "swapped", "without prior"],
)
def test_check_of_leave_one_out_rejects(mutant):
    with pytest.raises(AssertionError):
        check_leave_one_out(mutant)


def ridge(phi, y):
    return spectrum(phi, y).weights(0.5, 2.0)


def check_order_and_weight_of_rows(solve):
    phi, y = regression()
    order = np.random.default_rng(5).permutation(40)
    w = solve(phi, y)
    np.testing.assert_allclose(solve(phi[order], y[order]), w, rtol=1e-10)
    scale = np.where(np.arange(40) == 3, np.sqrt(2.0), 1.0)
    twice = solve(np.vstack([phi, phi[3]]), np.append(y, y[3]))
    heavy = solve(phi * scale[:, None], y * scale)
    np.testing.assert_allclose(twice, heavy, rtol=1e-10)


def test_order_of_rows_is_irrelevant_and_twice_a_row_is_twice_its_weight():
    check_order_and_weight_of_rows(ridge)


def with_duplicates_counted_once(phi, y):
    rows = np.unique(np.column_stack([phi, y]), axis=0)
    return ridge(rows[:, :-1], rows[:, -1])


def with_a_stale_gram_matrix(phi, y):
    gram = phi[:-1].T @ phi[:-1]
    s = Spectrum.of_gram(gram, phi.T @ y, float(y @ y), len(y))
    return s.weights(0.5, 2.0)


def with_a_fading_memory(phi, y):
    fade = 0.99 ** np.arange(len(y))[::-1]
    return ridge(phi * fade[:, None], y * fade)


def with_weights_of_the_mean_row(phi, y):
    return spectrum(phi, y).weights(0.5 * len(y), 2.0)


@pytest.mark.parametrize(
    "mutant",
    [
        with_duplicates_counted_once,
        with_a_stale_gram_matrix,
        with_a_fading_memory,
        with_weights_of_the_mean_row,
    ],
)
def test_check_of_order_and_weight_of_rows_rejects(mutant):
    with pytest.raises(AssertionError):
        check_order_and_weight_of_rows(mutant)


# ------------------------------------------------------ data drawn from a known law


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


def coverage(alpha, beta, *, predict=bayesian, offset=0.0, fits=400):
    """Share of targets within one and two deviations, data drawn from the model."""
    one, two = [], []
    for seed in range(fits):
        rng = np.random.default_rng(seed)
        phi, new = rng.normal(size=(30, 8)), rng.normal(size=(25, 8))
        w = rng.normal(size=8) / np.sqrt(alpha)
        noise = rng.normal(size=30) / np.sqrt(beta)
        y = phi @ w + noise + offset * np.sin(3 * phi[:, 0])
        truth = new @ w + offset * np.sin(3 * new[:, 0])
        mean, var, _ = predict(phi, y, new, alpha, beta)
        z = (truth - mean) / np.sqrt(var.diagonal())
        one.append(np.mean(np.abs(z) < 1))
        two.append(np.mean(np.abs(z) < 2))
    return np.array(one), np.array(two)


def check_coverage(predict):
    # Points of one fit are correlated: the error bar is that between fits.
    shares = coverage(2.0, 5.0, predict=predict)
    for share, exact in zip(shares, (0.682689, 0.954500), strict=True):
        error = share.std(ddof=1) / np.sqrt(len(share))
        assert error < 0.01
        assert abs(share.mean() - exact) < 4 * error


def test_deviations_cover_what_they_claim():
    check_coverage(bayesian)


def with_noise_estimated(phi, y, new, alpha, beta):
    # n/(n - m) belongs to a noise taken from the residuals, not to a known one.
    mean, var, log = bayesian(phi, y, new, alpha, beta)
    return mean, var * len(y) / (len(y) - phi.shape[1]), log


@pytest.mark.parametrize(
    "mutant", [swapped, with_noise, without_labels, with_noise_estimated]
)
def test_check_of_coverage_rejects(mutant):
    with pytest.raises(AssertionError):
        check_coverage(mutant)


def check_misspecification_shows(offset):
    one, _ = coverage(2.0, 5.0, offset=offset, fits=50)
    assert one.mean() < 0.3


def test_deviations_of_a_misspecified_model_cover_too_little():
    # The variance shrinks with the labels, the bias does not: a decision cannot rest
    # on the variance alone.
    check_misspecification_shows(1.0)


@pytest.mark.parametrize("offset", [0.0, 0.05])
def test_check_of_misspecification_rejects_a_model_that_fits(offset):
    with pytest.raises(AssertionError):
        check_misspecification_shows(offset)


# --------------------------------------------------------------- numbers that cancel


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
