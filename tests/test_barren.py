"""A basis too coarse for the tolerated error: the run says so instead of asking on."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk

from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.configuration import Configuration, Labels
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.learning.audit import Auditor
from otf.learning.barren import TOO_MANY, BarrenLabels
from otf.learning.calibration import Calibration
from otf.learning.energy import EnergyErrors
from otf.learning.events import Decision
from otf.learning.judge import Judge
from otf.learning.policy import Calibrated, Reason, Rules
from otf.learning.potential import LearningPotential
from otf.learning.stress import StressErrors
from otf.models.bayesian_linear import BayesianLinear, ModelOptions
from otf.models.covariance import Polynomial
from otf.potential import Prediction, Uncertainty

RULES = Rules(selection_bound=3e-3, max_spilling=0.06)


def silicon(seed):
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=seed)
    return Configuration.from_atoms(atoms)


def decision(reason=Reason.SAMPLE, *, spilling=1e-3, step=0):
    c = silicon(0)
    known = Uncertainty(
        local=np.zeros(8),
        spilling=np.full(8, spilling),
        forces=np.full(8, 0.02),
        errors=np.full(8, 0.4),
        error=0.4,
    )
    before = Prediction(0.0, np.zeros((8, 3)), np.zeros(6), uncertainty=known)
    labels = Labels(0.0, np.zeros((8, 3)), np.zeros(6))
    return Decision(step, reason, 0.3, c, labels, before)


def told(caplog):
    return [r.getMessage() for r in caplog.records if r.name == "otf.learning.barren"]


def test_ten_labels_in_a_row_without_a_reference_are_told_once(caplog):
    barren = BarrenLabels(RULES)
    for k in range(3 * TOO_MANY):
        barren.learned(decision(step=10 * k))
        assert len(told(caplog)) == (k >= TOO_MANY - 1)
    (line,) = told(caplog)
    assert "\n" not in line
    assert "step 90" in line
    assert "selection_bound = 0.003" in line
    assert "lower learning.selection_bound to about 0.0001," in line
    assert "selection_bound from 0.003 to about 0.0001" in barren.hint


def test_a_label_that_may_bring_a_reference_ends_the_row(caplog):
    barren = BarrenLabels(RULES)
    for k in range(3 * TOO_MANY):
        barren.learned(decision(spilling=4e-3 if k % TOO_MANY == 0 else 1e-3))
    assert barren.most == TOO_MANY - 1
    assert not told(caplog)
    assert not barren.hint


@pytest.mark.parametrize("reason", [Reason.AUDIT, Reason.START, Reason.ROLLBACK])
def test_labels_the_error_did_not_ask_for_do_not_count(reason):
    barren = BarrenLabels(RULES)
    barren.learned(decision())
    barren.learned(decision(reason))
    barren.learned(decision(reason, spilling=0.1))
    barren.learned(replace(decision(), before=None))
    assert barren.in_a_row == 1


def test_counts_travel_with_the_state_and_older_states_have_none(caplog):
    barren, twin = BarrenLabels(RULES), BarrenLabels(RULES)
    twin.restore({})
    for _ in range(TOO_MANY):
        barren.learned(decision())
    twin.restore(barren.state())
    twin.learned(decision())
    assert (twin.in_a_row, twin.most) == (TOO_MANY + 1, TOO_MANY + 1)
    assert len(told(caplog)) == 1  # before the state was written


@pytest.mark.parametrize(("bound", "is_told"), [(0.1, True), (1e-6, False)])
def test_a_run_with_a_coarse_basis_is_told_and_one_with_a_fine_basis_is_not(
    caplog, bound, is_told
):
    descriptor = PowerSpectrum(
        species=(14,),
        cutoff_three_body=4.5,
        cutoff_two_body=5.0,
        n_max=5,
        l_max=2,
        n_max_two_body=6,
    )
    model = BayesianLinear(
        descriptor,
        covariance=Polynomial(2),
        options=ModelOptions(selection_bound=bound),
    )
    judge = Judge(
        model,
        policy=Calibrated(0.1),
        rules=Rules(selection_bound=bound, max_spilling=min(1.0, 20 * bound)),
        calibration=Calibration(),
        energies=EnergyErrors(),
        stress=StressErrors(None),
    )
    potential = LearningPotential(
        Reference(make_calculator("stillinger-weber", {})),
        judge,
        auditor=Auditor(200, goal=0.1, enabled=False),
        log=Deaf(),
    )
    with caplog.at_level(logging.WARNING):
        for step in range(0, 200, 10):
            potential.predict([silicon(step)], step=step)
    assert bool(told(caplog)) == is_told
    verdict = potential.finish(200)
    assert ("selection_bound" in verdict.reason) == is_told
    assert "\n" not in verdict.reason


class Deaf:
    """A log that keeps nothing."""

    def decision(self, decision):
        pass

    def retrain(self, step, report, seconds):
        pass

    def failure(self, failure):
        pass
