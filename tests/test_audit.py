"""Audits and the verdict they support."""

import numpy as np

from otf.learning.audit import Auditor


def quiet_run(auditor: Auditor, steps: int, error: float, start: int = 0) -> int:
    made = 0
    for step in range(start, steps):
        if auditor.due(step):
            auditor.audited(step, np.full((8, 3), error))
            made += 1
    return made


def test_quiet_run_is_audited_every_three_percent():
    auditor = Auditor(10000, goal=0.3)
    assert quiet_run(auditor, 10000, 0.1) == 33  # 300, 600, ..., 9900


def test_no_audit_while_calls_are_frequent():
    auditor = Auditor(10000, goal=0.3)
    for step in range(0, 1000, 100):
        auditor.called(step)
    assert not auditor.due(1000)  # 9 calls in the last 1000 steps: 0.9 %
    assert auditor.due(1600)  # 3 calls: 0.3 %


def test_converged_needs_quiet_audited_and_accurate():
    accurate = Auditor(10000, goal=0.3)
    quiet_run(accurate, 10000, 0.1)
    assert accurate.verdict(10000).converged
    assert np.isclose(accurate.verdict(10000).force_rmse, 0.1)
    strict = Auditor(10000, goal=0.03)
    quiet_run(strict, 10000, 0.1)
    assert not strict.verdict(10000).converged
    busy = Auditor(10000, goal=0.3)
    quiet_run(busy, 10000, 0.1)
    for step in range(8100, 9000, 100):
        busy.called(step)
    assert not busy.verdict(10000).converged
    unaudited = Auditor(10000, goal=0.3)
    assert not unaudited.verdict(10000).converged


def test_without_a_plan_audits_come_every_thousand_steps():
    auditor = Auditor(None, goal=0.3)
    assert quiet_run(auditor, 13000, 0.1) == 12


def test_audits_of_a_short_run_are_not_all_of_it():
    assert quiet_run(Auditor(300, goal=0.3), 300, 0.1) == 11  # 25, 50, ..., 275


def test_audits_can_be_turned_off():
    auditor = Auditor(10000, goal=0.3, enabled=False)
    assert quiet_run(auditor, 10000, 0.1) == 0


def test_state_round_trip():
    auditor = Auditor(1000, goal=0.3)
    auditor.called(3)
    quiet_run(auditor, 600, 0.1)
    twin = Auditor(1000, goal=0.3)
    twin.restore(auditor.state())
    assert twin.due(610) == auditor.due(610)
    assert twin.verdict(1000) == auditor.verdict(1000)
