"""Running calibration of force deviations."""

import numpy as np
import pytest

from otf.learning.calibration import Calibration

SI = np.full(200, 14, dtype=np.int64)


def equal(error: float, n: int = 200) -> np.ndarray:
    """Return errors of one size, of either sign."""
    return error * np.where(np.arange(3 * n) % 2, 1.0, -1.0).reshape(n, 3)


def filled(frames) -> Calibration:
    """Return a calibration whose window is full of these frames."""
    calibration = Calibration(window=len(frames))
    for numbers, errors, deviations, audit in frames:
        calibration.add(numbers, errors, deviations, audit=audit)
    return calibration


def test_start_value_until_three_frames_then_in_the_measure_the_window_fills():
    calibration = Calibration()
    found = []
    for _ in range(20):
        calibration.add(SI, equal(0.5), np.full(200, 0.1), audit=False)
        found.append(calibration.law(14).factor)
    assert found[:2] == [10.0, 10.0]
    assert found[2] == pytest.approx(10.0 - 3 / 20 * 5.0)
    assert found[19] == pytest.approx(5.0)


def test_a_larger_ratio_counts_at_once():
    calibration = Calibration()
    for _ in range(3):
        calibration.add(SI, equal(1.5), np.full(200, 0.1), audit=False)
    assert calibration.law(14).factor == pytest.approx(15.0)


def test_factor_is_the_95_percent_quantile_of_the_ratio():
    # Gaussian components: 95 % of |x| lie below 1.95996 standard deviations.
    rng = np.random.default_rng(1)
    calibration = Calibration()
    for _ in range(20):
        sigma = rng.uniform(0.01, 0.1, size=200)
        error = sigma[:, None] * rng.normal(size=(200, 3))
        calibration.add(SI, error, sigma, audit=False)
    # standard error of a 95 % quantile of n samples: sqrt(p(1-p)/n)/density
    density = 2 * 0.05845  # of |x| at the quantile
    error = np.sqrt(0.05 * 0.95 / 12000) / density
    assert calibration.law(14).factor == pytest.approx(1.95996, abs=4 * error)


def test_an_audit_counts_for_five_frames():
    # 24 of 1224 components are 2 % of the errors, below the quantile; as an audit
    # they weigh 120 of 1320, which is 9 %.
    found = {}
    for audit in (False, True):
        calm = (SI, equal(0.2), np.full(200, 0.1), False)
        calibration = filled(
            [calm, calm, (SI[:8], equal(0.4, 8), np.full(8, 0.1), audit)]
        )
        found[audit] = calibration.law(14).factor
    assert found[False] == pytest.approx(2.0)
    assert found[True] == pytest.approx(4.0)


def test_bounds_hold():
    calibration = Calibration()
    for _ in range(3):
        calibration.add(SI, equal(50.0), np.full(200, 0.1), audit=False)
    assert calibration.law(14).factor == 100.0


def test_species_are_calibrated_apart_and_missing_labels_do_not_count():
    numbers = np.array([11] * 50 + [17] * 50)
    error = np.where(numbers == 11, 0.2, 0.8)[:, None] * np.ones(3)
    error[:10] = np.nan
    calibration = filled([(numbers, error, np.full(100, 0.1), False)] * 3)
    assert [calibration.law(z).factor for z in (11, 17)] == pytest.approx([2.0, 8.0])


def test_state_round_trip():
    rng = np.random.default_rng(2)
    calibration = Calibration()
    for k in range(25):
        calibration.add(
            SI, rng.random((200, 3)), rng.random(200) + 0.1, audit=k % 3 == 0
        )
    twin = Calibration()
    twin.restore(calibration.state())
    assert twin.law(14).factor == calibration.law(14).factor


def liquid(rng, *, slope: float, n: int = 200):
    """Return a frame whose errors go as sigma^slope: sigma within a factor of four."""
    sigma = 0.01 * np.exp(rng.uniform(-0.7, 0.7, size=n))
    size = 0.1 * (sigma / 0.01) ** slope
    return SI[:n], size[:, None] * rng.normal(size=(n, 3)), sigma, False


@pytest.mark.parametrize("slope", [1.0, 0.5])
def test_the_slope_of_errors_within_frames_is_found(slope):
    rng = np.random.default_rng(7)
    law = filled([liquid(rng, slope=slope) for _ in range(20)]).law(14)
    # log |x| of a Gaussian has the variance pi^2/8, log sigma that of a uniform law
    error = np.sqrt(np.pi**2 / 8 / 12000) / (1.4 / np.sqrt(12))
    assert law.exponent == pytest.approx(slope, abs=4 * error)


def test_the_largest_deviation_is_not_blamed_for_more_than_it_does():
    # Errors that have nothing to do with sigma: proportional errors would put e of the
    # largest deviation at q sigma_max, twice what 95 % of the errors are below.
    rng = np.random.default_rng(8)
    frames = [liquid(rng, slope=0.0) for _ in range(20)]
    calibration = filled(frames)
    e = calibration.errors(SI, frames[-1][2])
    covered = np.mean(
        [np.abs(f[1]) < calibration.errors(SI, f[2])[:, None] for f in frames]
    )
    assert covered == pytest.approx(0.95, abs=0.01)
    assert e.max() < 1.3 * 1.96 * 0.1


def test_frames_differ_in_proportion_whatever_their_atoms_do():
    rng = np.random.default_rng(10)
    calibration = filled([liquid(rng, slope=0.0) for _ in range(20)])
    sigma = liquid(rng, slope=0.0)[2]
    calm, hot = calibration.errors(SI, sigma), calibration.errors(SI, 5 * sigma)
    assert np.allclose(hot, 5 * calm)


def test_an_atom_beyond_the_spread_seen_counts_in_proportion():
    rng = np.random.default_rng(9)
    law = filled([liquid(rng, slope=0.0) for _ in range(20)]).law(14)
    n = 10**6  # so many that one atom does not move the mean of the frame
    sigma = np.full(n, 0.01)
    e = []
    for ratio in (law.largest, 10 * law.largest):
        sigma[0] = 0.01 * ratio
        e.append(law.errors(sigma)[0])
    assert e[1] == pytest.approx(10 * e[0], rel=1e-4)


def test_what_is_zero_by_symmetry_has_no_part_in_the_law():
    rng = np.random.default_rng(12)
    frames = [liquid(rng, slope=0.5) for _ in range(20)]
    zeros = 1e-16 * rng.random((2, 20, 100))
    with_zeros = [
        (
            np.append(numbers, np.full(100, 14)),
            np.concatenate([errors, np.repeat(zeros[0, k, :, None], 3, axis=1)]),
            np.append(sigma, zeros[1, k]),
            audit,
        )
        for k, (numbers, errors, sigma, audit) in enumerate(frames)
    ]
    law, same = filled(frames).law(14), filled(with_zeros).law(14)
    assert same == law
    sigma = frames[0][2]
    found = law.errors(np.append(sigma, zeros[1, 0]))
    np.testing.assert_array_equal(found[: len(sigma)], law.errors(sigma))
    assert found[len(sigma) :].max() < 1e-6 * found.max()
