"""Stages and ramps."""

from __future__ import annotations

import pytest

from otf.dynamics.schedule import Schedule, Stage
from otf.errors import InputError

MELT_AND_QUENCH = Schedule((Stage(10, 300.0, 3000.0), Stage(4, 500.0, 500.0)))


def test_a_ramp_is_linear_in_the_step():
    found = [MELT_AND_QUENCH.target(step).temperature for step in range(10)]
    assert found == pytest.approx([300.0 + 270.0 * step for step in range(10)])


def test_a_stage_begins_with_its_own_temperature():
    assert MELT_AND_QUENCH.target(10).temperature == 500.0


def test_stages_follow_one_another_and_the_last_one_stays():
    assert MELT_AND_QUENCH.steps == 14
    indices = [MELT_AND_QUENCH.stage_index(step) for step in (0, 9, 10, 13, 14, 99)]
    assert indices == [0, 0, 1, 1, 1, 1]


def test_the_last_ramp_ends_at_its_end():
    ramp = Schedule((Stage(7, 1000.0, 100.0),))
    assert [ramp.target(step).temperature for step in (7, 99)] == [100.0, 100.0]


@pytest.mark.parametrize(
    "arguments", [(0, 1.0, 1.0), (1, -1.0, 1.0), (1, 1.0, float("nan"))]
)
def test_an_impossible_stage_is_refused(arguments):
    with pytest.raises(InputError):
        Stage(*arguments)


def test_a_schedule_without_stages_is_refused():
    with pytest.raises(InputError, match="at least one stage"):
        Schedule(())
