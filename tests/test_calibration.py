"""Running calibration of force deviations."""

import numpy as np
import pytest

from otf.learning.calibration import Calibration

SI = np.full(200, 14, dtype=np.int64)


def test_start_value_until_three_frames():
    calibration = Calibration()
    for _ in range(2):
        calibration.add(SI, np.full(200, 0.5), np.full(200, 0.1), audit=False)
    assert calibration.factors(SI[:1])[0] == 10.0
    calibration.add(SI, np.full(200, 0.5), np.full(200, 0.1), audit=False)
    assert calibration.factors(SI[:1])[0] == pytest.approx(5.0)


def test_factor_is_the_95_percent_quantile_of_the_ratio():
    # |F| errors of three Gaussian components: the quantile of chi with 3 degrees of
    # freedom is 2.7955 (tables: chi^2_3 at 0.95 is 7.8147).
    rng = np.random.default_rng(1)
    calibration = Calibration()
    for _ in range(20):
        sigma = rng.uniform(0.01, 0.1, size=200)
        error = np.linalg.norm(sigma[:, None] * rng.normal(size=(200, 3)), axis=1)
        calibration.add(SI, error, sigma, audit=False)
    # standard error of a 95 % quantile of n samples: sqrt(p(1-p)/n)/density
    density = 0.0826  # of chi_3 at 2.7955
    error = np.sqrt(0.05 * 0.95 / 4000) / density
    assert calibration.factors(SI[:1])[0] == pytest.approx(7.8147**0.5, abs=4 * error)


def test_an_audit_counts_for_five_frames():
    # 8 of 408 atoms are 2 % of the errors, below the quantile; as an audit they weigh
    # 40 of 440, which is 9 %.
    found = {}
    for audit in (False, True):
        calibration = Calibration()
        for _ in range(2):
            calibration.add(SI, np.full(200, 0.2), np.full(200, 0.1), audit=False)
        calibration.add(SI[:8], np.full(8, 0.4), np.full(8, 0.1), audit=audit)
        found[audit] = calibration.factors(SI[:1])[0]
    assert found[False] == pytest.approx(2.0)
    assert found[True] == pytest.approx(4.0)


def test_bounds_hold():
    calibration = Calibration()
    for _ in range(3):
        calibration.add(SI, np.full(200, 50.0), np.full(200, 0.1), audit=False)
    assert calibration.factors(SI[:1])[0] == 30.0


def test_species_are_calibrated_apart_and_missing_labels_do_not_count():
    numbers = np.array([11] * 50 + [17] * 50)
    error = np.where(numbers == 11, 0.2, 0.8)
    error[:10] = np.nan
    calibration = Calibration()
    for _ in range(3):
        calibration.add(numbers, error, np.full(100, 0.1), audit=False)
    assert calibration.factors(np.array([11, 17])) == pytest.approx([2.0, 8.0])


def test_state_round_trip():
    rng = np.random.default_rng(2)
    calibration = Calibration()
    for k in range(25):
        calibration.add(SI, rng.random(200), rng.random(200) + 0.1, audit=k % 3 == 0)
    twin = Calibration()
    twin.restore(calibration.state())
    assert twin.factors(SI[:1])[0] == calibration.factors(SI[:1])[0]
