from dataclasses import dataclass, field

import numpy as np
import pytest

from otf.configuration import Configuration, Labels
from otf.learning.calibration import Calibration
from otf.learning.energy import EnergyErrors
from otf.learning.events import Decision
from otf.learning.judge import Judge
from otf.learning.policy import Calibrated, Reason, Rules
from otf.learning.stress import StressErrors
from otf.potential import Prediction, Uncertainty

TOLERATED = 0.3


@dataclass
class Known:
    """A model whose deviations are given; it remembers what it was asked for."""

    local: np.ndarray
    forces: np.ndarray
    asked: list = field(default_factory=list)

    def describe(self, configuration):
        return None

    def force_uncertainty(
        self, configuration, environments=None, atoms=None, *, with_stress=True
    ):
        self.asked.append(None if atoms is None else atoms.tolist())
        chosen = np.arange(len(self.forces)) if atoms is None else atoms
        local = self.local[chosen]
        return Uncertainty(local, 0.0 * local, self.forces[chosen], 0.1, np.zeros(6))


class Unchanged(Calibration):
    """Errors are deviations."""

    def errors(self, numbers, deviations):
        return deviations


def judge_of(model):
    return Judge(
        model,
        policy=Calibrated(TOLERATED),
        rules=Rules(),
        calibration=Unchanged(),
        energies=EnergyErrors(),
        stress=StressErrors(None),
    )


def looked_at(model, numbers=None):
    """Return the judge, and what it finds where its screen asks for more."""
    n = len(model.local)
    numbers = np.full(n, 14) if numbers is None else numbers
    c = Configuration(numbers, np.zeros((n, 3)), np.eye(3), np.ones(3, bool))
    judge, screen = judge_of(model), Uncertainty(model.local, 0.0 * model.local)
    found = judge.uncertainty(c, screen, step=1, since_label=100)
    return judge, screen, found


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_the_atoms_that_know_least_are_enough_where_their_errors_are_small(rng):
    local = rng.uniform(0.1, 0.2, 64)
    model = Known(local, local)
    judge, screen, found = looked_at(model)
    (few,) = model.asked
    assert few == sorted(np.argsort(local)[-16:].tolist())
    assert found.error == local.max()
    assert found.errors is None
    assert found.forces is None
    assessment = judge.assess(found, screen, 1)
    assert assessment.is_exact
    assert assessment.error == local.max()
    # The screen has learned from them, and is content for a while.
    assert not judge.screen.flags(screen, step=2, since_label=100)
    assert judge.screen.expects(screen) == pytest.approx(local.max())


def test_what_is_known_of_the_other_atoms_is_what_the_screen_says(rng):
    local = rng.uniform(0.1, 0.2, 64)
    judge = judge_of(Known(local, local))
    c = Configuration(np.full(64, 14), np.zeros((64, 3)), np.eye(3), np.ones(3, bool))
    screen = Uncertainty(1.3 * local, np.full(64, 1e-3))
    found = judge.uncertainty(c, screen, step=1, since_label=100)
    few = np.argsort(local)[-16:]
    others = np.delete(np.arange(64), few)
    assert found.local[few].tolist() == local[few].tolist()
    assert found.spilling[few].max() == 0.0
    expected = np.minimum(1.3 * local, local.max())
    assert found.local[others].tolist() == expected[others].tolist()
    assert found.spilling[others].tolist() == [1e-3] * 48


@pytest.mark.parametrize("of_few", [0.31, 5.0])
def test_all_atoms_are_looked_at_where_some_are_beyond_the_threshold(rng, of_few):
    local = rng.uniform(0.1, 0.2, 64)
    forces = local.copy()
    forces[local.argmax()] = of_few
    forces[local.argmin()] = 0.9  # what the local deviation does not tell
    model = Known(local, forces)
    judge, screen, found = looked_at(model)
    assert len(model.asked[0]) == 16
    assert model.asked[1:] == [None]
    assert found.error == max(of_few, 0.9)
    assert found.errors.tolist() == forces.tolist()
    assert judge.assess(found, screen, 1).error == found.error


def test_few_atoms_stand_for_all_as_they_lately_did(rng):
    local = rng.uniform(0.1, 0.2, 64)
    forces = local.copy()
    forces[local.argmin()] = 0.4  # what the local deviation does not tell
    model = Known(local, 1.6 * forces)
    judge, screen, _ = looked_at(model)  # of the few 0.32, of all 0.64
    of_few = 1.6 * local.max()
    ratio = 1.0 + 0.2 * (0.64 / of_few - 1.0)
    assert judge.screen.all_over_few == pytest.approx(ratio)
    model.forces = local
    c = Configuration(np.full(64, 14), np.zeros((64, 3)), np.eye(3), np.ones(3, bool))
    found = judge.uncertainty(c, screen, step=1000, since_label=100)
    assert len(model.asked[-1]) == 16
    assert found.error == pytest.approx(ratio * local.max())
    # With a larger ratio the few are near the threshold, and all are looked at.
    model.forces = 0.9 * TOLERATED / local.max() * local
    found = judge.uncertainty(c, screen, step=2000, since_label=100)
    assert model.asked[-1] is None
    assert found.error == pytest.approx(0.9 * TOLERATED)
    again = judge.beside()
    again.screen.restore(judge.screen.state())
    assert again.screen.all_over_few == judge.screen.all_over_few
    older = {k: v for k, v in judge.screen.state().items() if k != "all_over_few"}
    again = judge.beside()
    again.screen.restore(older)
    assert again.screen.all_over_few == 1.0


def test_where_the_screen_expects_the_threshold_all_are_looked_at_at_once(rng):
    local = rng.uniform(0.1, 0.2, 64)
    model = Known(local, 1.6 * local)
    judge, screen, found = looked_at(model)
    judge.assess(found, screen, 1)
    model.asked.clear()
    c = Configuration(np.full(64, 14), np.zeros((64, 3)), np.eye(3), np.ones(3, bool))
    judge.uncertainty(c, screen, step=1000, since_label=100)
    assert model.asked == [None]


def test_of_few_atoms_all_are_looked_at(rng):
    local = rng.uniform(0.1, 0.2, 32)
    model = Known(local, local)
    looked_at(model)
    assert model.asked == [None]


def test_every_species_is_among_those_that_know_least(rng):
    local = np.concatenate([np.full(40, 0.2), np.full(5, 0.01)])
    numbers = np.concatenate([np.full(40, 11), np.full(5, 17)])
    model = Known(local, 0.5 * local)
    looked_at(model, numbers)
    (few,) = model.asked
    assert len(few) == 12
    assert np.bincount(numbers[few])[[11, 17]].tolist() == [10, 2]


def labelled(judge, rng, *, energy_deviation):
    """Tell a judge of a label whose energy is off by three deviations, normal."""
    model = judge.model
    n = len(model.local)
    c = Configuration(np.full(n, 14), np.zeros((n, 3)), np.eye(3), np.ones(3, bool))
    zeros = np.zeros((n, 3))
    known = Uncertainty(
        model.local,
        0.0 * model.local,
        model.forces,
        energy_deviation,
        np.full(6, 0.01),
        errors=model.forces,
    )
    before = Prediction(-5.0, zeros, np.zeros(6), uncertainty=known)
    labels = Labels(
        -5.0 + 3.0 * energy_deviation * rng.normal(), zeros, 0.01 * rng.normal(size=6)
    )
    judge.learn(Decision(1, Reason.AUDIT, TOLERATED, c, labels, before))


def test_labels_say_what_deviations_of_energies_and_stresses_are_worth():
    model = Known(np.full(8, 0.1), np.full(8, 0.2))
    model.descriptor = type("Descriptor", (), {"species": (14,)})
    judge, rng = judge_of(model), np.random.default_rng(5)
    labelled(judge, rng, energy_deviation=0.02)
    laws = judge.laws()
    assert laws.forces.keys() == {14}
    assert laws.energy is None
    assert laws.stress is None
    for _ in range(400):  # the last twenty count
        labelled(judge, rng, energy_deviation=rng.uniform(0.01, 0.03))
    # 95 % of normal errors lie within 1.96 deviations; of twenty, the largest but one
    # has a scatter of a fifth.
    laws = judge.laws()
    assert laws.energy.factor == pytest.approx(3.0 * 1.96, rel=0.5)
    assert laws.energy.exponent == 1.0
    assert laws.stress.factor == pytest.approx(1.96, rel=0.25)
    # Walkers learn together.
    assert judge.beside().laws() == laws
