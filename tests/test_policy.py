"""The decision at every step, against its definition."""

import numpy as np
import pytest

from otf.learning.policy import (
    Assessment,
    Budget,
    Calibrated,
    History,
    Reason,
    Rules,
    decide,
)

RULES = Rules()


def assess(e: float, s: float, t: float = 0.3) -> Assessment:
    return Assessment(np.array([0.1 * e, e]), np.array([0.0, s]), t)


@pytest.mark.parametrize(
    ("e", "s", "since", "expected"),
    [
        (0.29, 1e-3, 100, Reason.PREDICT),
        (0.31, 1e-3, 100, Reason.SAMPLE),
        (0.31, 1e-3, 9, Reason.GAP),
        (0.31, 1e-3, 10, Reason.SAMPLE),
        (0.61, 1e-3, 0, Reason.CRITICAL),
        (0.01, 2.1e-3, 100, Reason.SAMPLE),
        (0.01, 0.51, 0, Reason.CRITICAL),
        (0.31, 1e-7, 100, Reason.DUPLICATE),
        (0.61, 1e-7, 100, Reason.CRITICAL),
    ],
)
def test_decision_follows_its_definition(e, s, since, expected):
    assert decide(assess(e, s), RULES, since_label=since) is expected


def test_spilling_calls_where_the_force_deviation_saturates():
    # Far from the data the deviation stays small while the spilling does not.
    saturated = assess(0.1, 0.015)
    assert decide(saturated, RULES, since_label=100) is Reason.SAMPLE
    blind = Rules(max_spilling=1.0, critical_spilling=1.0)
    assert decide(saturated, blind, since_label=100) is Reason.PREDICT


def test_candidates_are_uncertain_or_unspanned_atoms():
    a = Assessment(np.array([0.1, 0.2, 0.0]), np.array([0.0, 0.0, 2e-4]), 0.3)
    assert a.candidates(RULES).tolist() == [False, True, True]


def test_calibrated_threshold_never_moves():
    policy = Calibrated(0.25)
    policy.retrained(9.0)
    policy.stepped(10, 0.1)
    assert policy.threshold == 0.25


def test_history_moves_to_the_mean_of_a_flat_history_only():
    policy = History(0.002, excess=0.1)
    for _ in range(9):
        policy.retrained(0.03)
    assert policy.threshold == 0.002
    policy.retrained(0.03)
    assert policy.threshold == pytest.approx(0.033)
    rising = History(0.002)
    for k in range(10):
        rising.retrained(0.01 * (k + 1))
    assert rising.threshold == 0.002


@pytest.mark.parametrize("law", ["shrinking", "phases"])
def test_budget_lands_on_the_number_of_calls(law):
    steps, calls = 20000, 150
    rng = np.random.default_rng(5)
    policy = Budget(calls, steps, start=0.3)
    last, made = -100, 0
    for step in range(steps):
        scale = 0.2 / (1 + made / 40)
        if law == "phases":
            scale = 0.05 if step < 7000 else (0.5 if step < 9000 else 0.15)
        e = scale * rng.lognormal(sigma=0.4)
        reason = decide(
            assess(e, 0.0, policy.threshold),
            Rules(duplicate_spilling=-1),
            since_label=step - last,
        )
        critical = reason is Reason.CRITICAL
        if reason.labels and policy.may_call(critical=critical):
            policy.called()
            made, last = made + 1, step
        policy.stepped(step, e if step % 5 == 0 else None)
    assert 135 <= made <= 150


def test_the_threshold_of_a_budget_stays_near_the_errors():
    # A burst of calls puts the run far ahead of its pace; nothing that follows may
    # carry the threshold away from the errors there are.
    policy = Budget(150, 20000, start=0.3)
    for _ in range(60):
        policy.called()
    for step in range(1000, 4000):
        policy.stepped(step, 0.2 if step % 5 == 0 else None)
        assert 0.03 < policy.threshold < 0.4


def test_budget_is_never_exceeded():
    policy = Budget(10, 1000)
    made = 0
    for _ in range(1000):
        if policy.may_call(critical=True):
            policy.called()
            made += 1
    assert made == 10


@pytest.mark.parametrize("policy", [Calibrated(0.2), History(), Budget(100, 1000)])
def test_policy_state_round_trip(policy):
    for k in range(12):
        policy.retrained(0.02 + 0.001 * (k % 2))
        policy.called()
        policy.stepped(k, 0.1)
    twin = type(policy)(100, 1000) if isinstance(policy, Budget) else type(policy)()
    twin.restore(policy.state())
    assert twin.threshold == policy.threshold
    for one in (policy, twin):
        one.retrained(0.05)
        one.stepped(13, 0.2)
    assert twin.threshold == policy.threshold
