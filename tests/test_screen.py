"""When the exact deviation is worth its cost."""

import numpy as np
import pytest

from otf.learning.policy import Rules
from otf.learning.screen import Screen
from otf.potential import Uncertainty

RULES = Rules(exact_interval=50, exact_spacing=10, max_spilling=2e-3)


def measured(local, spilling=0.0):
    return Uncertainty(np.array([0.0, local]), np.array([spilling, 0.0]))


def screen(error=0.3, step=100):
    """Return a screen that knows that a local deviation of 1 eV means e."""
    out = Screen(RULES)
    one = measured(1.0)
    out.learn(one, cheap=measured(2.0), error=error, threshold=0.3, step=step)
    return out


def flags(one, cheap, step, since_label=1000):
    return one.flags(cheap, step=step, since_label=since_label)


def first_flag(one, cheap, step=100, since_label=1000):
    return next(k for k in range(1000) if flags(one, cheap, step + k, since_label))


def test_a_new_model_is_looked_at_at_once():
    assert flags(Screen(RULES), measured(1e-9), step=0)
    one = screen()
    one.forget()
    assert flags(one, measured(1e-9), step=101)


@pytest.mark.parametrize(
    ("local", "steps"), [(0.0, 50), (0.5, 25), (0.75, 13), (1.0, 10), (1.4, 10)]
)
def test_the_nearer_to_the_threshold_the_sooner_it_looks_again(local, steps):
    assert first_flag(screen(), measured(local)) == steps


def test_what_it_learned_scales_with_the_error():
    # twice as large a deviation is needed where 1 eV meant half the threshold
    assert first_flag(screen(error=0.15), measured(1.0)) == 25


@pytest.mark.parametrize("cheap", [measured(1.6), measured(0.0, spilling=2.1e-3)])
def test_an_alarm_does_not_wait(cheap):
    assert first_flag(screen(), cheap) == 0


def test_an_error_that_stays_above_the_threshold_is_no_alarm_at_every_step():
    """A run whose calls are spent goes on with e above t."""
    one = screen(error=0.6)  # e = 2 t at a local deviation of 1 eV
    assert first_flag(one, measured(1.1)) == 10
    assert first_flag(one, measured(1.6)) == 0


def test_spilling_alone_brings_it_forward():
    assert first_flag(screen(), measured(0.0, spilling=1e-3)) == 25


def test_spilling_that_cannot_lead_to_a_call_is_no_alarm():
    """Soon after a label only critical steps are labelled."""
    high = measured(0.0, spilling=0.1)
    assert first_flag(screen(), high, since_label=9) == 10
    assert first_flag(screen(), high, since_label=10) == 0
    assert first_flag(screen(), measured(0.0, spilling=0.6), since_label=0) == 0


def test_after_a_step_back_it_looks_again():
    assert flags(screen(step=100), measured(0.1), step=90)


def test_between_evaluations_the_error_goes_with_the_deviation_of_the_screen():
    # it had said 2 eV where all references said 1
    assert screen(error=0.3).expects(measured(2.0)) == pytest.approx(0.3)
    assert screen(error=0.3).expects(measured(1.0)) == pytest.approx(0.15)


def test_it_goes_on_from_its_state():
    one, other = screen(), Screen(RULES)
    other.restore(one.state())
    assert other.expects(measured(0.5)) == one.expects(measured(0.5)) > 0
    assert first_flag(other, measured(0.5)) == first_flag(one, measured(0.5))
