"""The error of the stress in the decision, where the cell can move."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_learning_potential import learning, reference, silicon  # noqa: F401

from otf.errors import InputError
from otf.learning.bootstrap import rattled
from otf.learning.policy import Assessment, Budget, Calibrated, History, Reason, Rules
from otf.learning.policy import decide as decided
from otf.learning.stress import StressErrors, StressTolerance
from otf.units import GPA

TOLERANCE = StressTolerance(stress=0.3 * GPA, force=0.3)
CALM = np.full(4, 0.05)


def decide(of_stress, since=100):
    assessment = Assessment(CALM, np.full(4, 1e-5), 0.3, of_stress)
    return decided(assessment, Rules(), since_label=since)


def test_the_stress_alone_calls_the_reference():
    assert decide(0.0) is Reason.PREDICT
    assert decide(0.29) is Reason.PREDICT
    assert decide(0.31) is Reason.SAMPLE
    assert decide(0.61) is Reason.CRITICAL
    assert decide(0.31, since=5) is Reason.GAP


def test_a_stress_error_at_its_tolerance_counts_as_the_tolerated_force_error():
    errors = StressErrors(TOLERANCE)
    # Ten deviations, the factor before anything is known.
    deviations = np.array([0.01, 0.03, 0.02, 0.0, 0.0, 0.01]) * GPA
    assert errors.counted(deviations, Calibrated(0.3)) == pytest.approx(0.3)
    assert errors.counted(2.0 * deviations, Calibrated(0.3)) == pytest.approx(0.6)


def test_the_threshold_of_a_budget_moves_against_a_fixed_rate():
    deviations = np.full(6, 0.03) * GPA
    policy = Budget(100, 1000, start=0.3)
    policy.threshold = 0.7
    counted = StressErrors(TOLERANCE).counted(deviations, policy)
    assert counted == pytest.approx(0.3)


def test_raw_deviations_have_a_rate_of_their_own():
    counted = StressErrors(TOLERANCE).counted(np.full(6, 0.03) * GPA, History(0.002))
    assert counted == pytest.approx(0.002)


def test_in_a_fixed_cell_the_stress_does_not_count():
    errors = StressErrors(None)
    assert errors.law() is None
    for _ in range(5):
        errors.learn(np.full(6, 0.1), np.full(6, 0.02), audit=True)
    assert errors.counted(np.full(6, 1.0), Calibrated(0.3)) == 0.0


def test_what_a_stress_is_worth_is_known_in_a_fixed_cell_too():
    errors, rng = StressErrors(None), np.random.default_rng(2)
    deviations = np.full(6, 0.03) * GPA
    for _ in range(20):
        errors.learn(2.0 * deviations * rng.normal(size=6), deviations, audit=True)
    assert errors.law().factor == pytest.approx(2.0 * 1.96, rel=0.2)
    again = StressErrors(None)
    again.parts()["stress_calibration"].restore(
        errors.parts()["stress_calibration"].state()
    )
    assert again.law() == errors.law()


def test_the_stress_is_calibrated_by_its_labels():
    errors, rng = StressErrors(TOLERANCE), np.random.default_rng(1)
    deviations = np.full(6, 0.03) * GPA
    for _ in range(20):
        # Twice the deviation, normal: 95 % lie within 1.96 times as much.
        errors.learn(2.0 * deviations * rng.normal(size=6), deviations, audit=True)
    found = errors.counted(deviations, Calibrated(0.3)) / 0.03
    assert found == pytest.approx(2.0 * 1.96, rel=0.2)


def test_labels_without_stress_are_refused_only_where_the_cell_moves(reference):  # noqa: F811
    c = silicon(0.05)
    labels = replace(reference.label(c), stress=np.full(6, np.nan))
    StressErrors(None).require(labels)
    with pytest.raises(InputError, match=r'gives no stress .* ensemble = "NPT" needs'):
        StressErrors(TOLERANCE).require(labels)


def walk(potential, steps=150):
    """Predict silicon that is compressed and stretched by up to 5 % and back."""
    for step in range(steps):
        scale = 1.0 + 0.05 * np.sin(2.0 * np.pi * step / steps)
        potential.predict([silicon(0.02, seed=step % 10, scale=scale)], step=step)
    return potential.n_calls


def test_a_tight_tolerance_of_the_stress_costs_calls(reference):  # noqa: F811
    calls = []
    for tolerance in (None, StressTolerance(0.05 * GPA, 0.3)):
        potential, _ = learning(reference, tolerance=tolerance)
        calls.append(walk(potential))
    assert calls[1] > calls[0]


def test_a_restored_potential_knows_what_the_stress_was_worth(reference):  # noqa: F811
    tolerance = StressTolerance(0.05 * GPA, 0.3)
    first, _ = learning(reference, tolerance=tolerance)
    walk(first, 60)
    second, _ = learning(reference, tolerance=tolerance, model=first.model)
    second.restore(first.state())
    deviations = np.full(6, 0.03) * GPA
    counted = [p.judge.stress.counted(deviations, p.policy) for p in (first, second)]
    assert counted[0] == counted[1] != pytest.approx(1.8)


def test_copies_a_run_starts_from_are_strained_where_the_cell_moves():
    c = silicon()
    fixed = [rattled(c, 0.02, seed=1, index=k) for k in range(4)]
    moving = [rattled(c, 0.02, seed=1, index=k, strain=0.02) for k in range(4)]
    for one, other in zip(fixed, moving, strict=True):
        assert np.array_equal(one.cell, c.cell)
        deformation = np.linalg.solve(c.cell, other.cell)
        np.testing.assert_allclose(other.positions, one.positions @ deformation)
        assert 0.005 < np.std(deformation - np.eye(3)) < 0.05
    volumes = np.array([m.volume for m in moving]) / c.volume
    assert volumes.min() < 0.995
    assert volumes.max() > 1.005
