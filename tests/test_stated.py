"""When deviations are called too small or too large, and when nothing is said."""

import numpy as np
import pytest
from scipy import stats

from otf.analysis.held_out import HeldOut, Reliability, reliability_of
from otf.commands.stated import SIGMAS, judgement


def held(errors, deviation=1.0):
    """Return structures whose energies are off by so much; nothing else is known."""
    nothing = np.empty((0, 3))
    return [
        HeldOut(
            frame=k,
            energy=e,
            label_energy=0.0,
            energy_deviation=deviation,
            forces=nothing,
            label_forces=nothing,
            force_deviations=np.empty(0),
            stress=np.full(6, np.nan),
            label_stress=np.full(6, np.nan),
            stress_deviations=np.full(6, np.nan),
        )
        for k, e in enumerate(errors)
    ]


def said(errors, deviation=1.0):
    found = reliability_of(held(errors, deviation), "energy")
    return judgement(found, found.n_values)


def test_stated_deviations_are_those_of_which_1_96_hold_95_percent():
    assert pytest.approx(stats.norm.ppf(0.975)) == SIGMAS


@pytest.mark.parametrize("n", [5, 25, 100])
def test_of_normal_errors_nothing_is_said(n):
    rng = np.random.default_rng(n)
    words = [said(rng.normal(size=n)) for _ in range(200)]
    # Each of the two is wrong in at most one of a hundred cases.
    assert sum(map(bool, words)) <= stats.binom.ppf(0.999, 200, 0.02)


@pytest.mark.parametrize("n", [25, 100, 1000])
@pytest.mark.parametrize(("scale", "word"), [(4.5, "too small"), (0.2, "too large")])
def test_errors_of_another_size_are_told(n, scale, word):
    rng = np.random.default_rng(n)
    words = {said(scale * rng.normal(size=n)) for _ in range(20)}
    assert words == {word}


def test_a_few_wild_errors_do_not_make_deviations_too_small():
    errors = np.random.default_rng(0).normal(size=1000)
    errors[:20] = 100.0  # 2 % of them; the root mean square is 14
    assert said(errors) == ""


def test_three_structures_are_too_few_to_blame():
    assert said([3.0, 0.1, 0.2]) == ""
    assert said([0.3, 0.3, 0.3]) == ""
    assert said([8.0, 9.0, 7.0]) == "too small"


def test_the_judgement_is_that_of_exact_tests():
    # 5 of 30 above two, and a mean square of 0.2 of 30, where both bounds are passed.
    assert stats.binom.sf(4, 30, 2 * stats.norm.sf(2)) < 0.05
    found = Reliability(30, (0.7, 25 / 30), 1.5)
    expected = stats.binom.sf(4, 30, 2 * stats.norm.sf(2)) < 0.01
    assert (judgement(found, 30) == "too small") == expected
    for rms in (0.1, 0.3, 0.45, 0.49):
        for n in (2, 5, 10, 30):
            expected = stats.chi2.cdf(n * rms**2, n) < 0.01
            found = Reliability(n, (1.0, 1.0), rms)
            assert (judgement(found, n) == "too large") == expected
