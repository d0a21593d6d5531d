"""A potential that learns while it is used, on Stillinger-Weber silicon."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.build import bulk

from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.configuration import Configuration, Labels
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.errors import OTFError, ReferenceFailure
from otf.learning.audit import Auditor
from otf.learning.calibration import Calibration
from otf.learning.energy import EnergyErrors
from otf.learning.judge import Judge
from otf.learning.policy import Budget, Calibrated, Reason, Rules
from otf.learning.potential import LearningOptions, LearningPotential
from otf.learning.stress import StressErrors
from otf.models.archive import model_from_arrays
from otf.models.bayesian_linear import BayesianLinear
from otf.potential import Untrusted

if TYPE_CHECKING:
    from otf.learning.events import Decision, Failure


class Log:
    """Remembers what it is told."""

    def __init__(self):
        self.decisions: list[Decision] = []
        self.fits: list[int] = []
        self.failures: list[Failure] = []

    def decision(self, decision):
        self.decisions.append(decision)

    def retrain(self, step, report, seconds):
        self.fits.append(step)

    def failure(self, failure):
        self.failures.append(failure)


class Broken:
    """Gives no labels."""

    def label(self, configuration, *, doubt=None):
        raise ReferenceFailure("the SCF did not converge")

    def fingerprint(self, configuration):
        return "x"

    def close(self):
        pass


def silicon(rattle: float = 0.0, seed: int = 0, scale: float = 1.0) -> Configuration:
    atoms = bulk("Si", "diamond", a=5.431, cubic=True)
    atoms.rattle(rattle, seed=seed)
    atoms.set_cell(atoms.cell * scale, scale_atoms=True)
    return Configuration.from_atoms(atoms)


@pytest.fixture(scope="module")
def reference():
    return Reference(make_calculator("stillinger-weber", {}))


def learning(
    reference,
    *,
    threshold=0.3,
    policy=None,
    rules=None,
    planned=None,
    model=None,
    tolerance=None,
    **options,
):
    """Return a potential, of an empty model where none is given, and its log."""
    descriptor = PowerSpectrum(
        species=(14,),
        cutoff_three_body=4.5,
        cutoff_two_body=5.0,
        n_max=5,
        l_max=2,
        n_max_two_body=6,
    )
    log = Log()
    judge = Judge(
        model or BayesianLinear(descriptor),
        policy=policy or Calibrated(threshold),
        rules=rules or Rules(),
        calibration=Calibration(),
        energies=EnergyErrors(),
        stress=StressErrors(tolerance),
    )
    potential = LearningPotential(
        reference,
        judge,
        auditor=Auditor(planned, goal=threshold, enabled=planned is not None),
        log=log,
        options=LearningOptions(**options),
    )
    return potential, log


@pytest.fixture
def trained(reference):
    """Return a potential that has seen thirty frames of warm silicon."""
    potential, log = learning(reference, threshold=0.25)
    frames = [silicon(0.12, seed=k) for k in range(30)]
    potential.learn([(c, reference.label(c)) for c in frames], 0)
    return potential, log


def test_a_run_starts_from_four_rattled_copies(reference):
    potential, log = learning(reference)
    c = silicon()
    potential.predict([c], step=0)
    starts = [d for d in log.decisions if d.reason is Reason.START]
    shifts = [np.std(d.configuration.positions - c.positions) for d in starts]
    assert np.allclose(shifts, [0.02, 0.05, 0.1, 0.15], rtol=0.5)
    assert potential.n_calls == len(log.decisions)


def test_without_rattles_the_first_frames_are_labelled_until_three_are_known(reference):
    potential, log = learning(reference, rattles=())
    for step in range(4):
        potential.predict([silicon(0.05, seed=step)], step=step)
    assert [d.reason for d in log.decisions[:3]] == [
        Reason.START,
        Reason.SPECIES,
        Reason.SPECIES,
    ]


def test_reference_forces_are_returned_on_a_labelled_step(trained, reference):
    potential, log = trained
    wild = silicon(0.3, seed=99)
    prediction = potential.predict([wild], step=50)[0]
    assert log.decisions[-1].reason is Reason.CRITICAL
    assert prediction.labelled
    assert np.array_equal(prediction.forces, reference.label(wild).forces)


def test_samplers_that_compare_energies_get_the_retrained_model(trained):
    potential, _ = trained
    wild = silicon(0.3, seed=99)
    prediction = potential.predict([wild], step=50, use_labels=False)[0]
    assert not prediction.labelled
    again = potential.model.predict(wild)
    assert np.array_equal(prediction.forces, again.forces)


def test_surface_grows_with_every_fit_and_every_label(trained):
    potential, _ = trained
    calm = potential.predict([silicon(0.05, seed=5)], step=11)[0].surface
    same = potential.predict([silicon(0.05, seed=6)], step=12)[0].surface
    assert calm == same
    after = potential.predict([silicon(0.3, seed=99)], step=50)[0].surface
    assert after > calm


def test_model_change_holds_both_models_at_the_labelled_positions(trained):
    potential, _ = trained
    wild = silicon(0.3, seed=99)
    before = potential.model.predict(wild)
    change = potential.predict([wild], step=50)[0].change
    after = potential.model.predict(wild)
    assert change.energy_before == before.energy
    assert change.energy_after == after.energy
    assert np.array_equal(change.forces_after, after.forces)


@pytest.mark.parametrize(
    "far", [silicon(0.1, seed=3, scale=0.8), silicon(0.6, seed=4)], ids=["0.8", "0.6 A"]
)
def test_compressed_and_rattled_far_from_the_data_are_flagged(trained, reference, far):
    potential, log = trained
    environments = potential.model.describe(far)
    exact = potential.model.force_uncertainty(far, environments)
    true = np.abs(
        potential.model.predict(far).forces - reference.label(far).forces
    ).max()
    # The deviation saturates: it misses the true error by more than its largest
    # calibration factor would mend for an honest deviation, the spilling does not.
    assert true > 3 * exact.forces.max()
    assert exact.spilling.max() > potential.judge.rules.max_spilling
    potential.predict([far], step=50)
    assert log.decisions[-1].reason in (Reason.CRITICAL, Reason.SAMPLE)


def test_sampled_labels_keep_their_gap(reference):
    rules = Rules(critical_ratio=1e9, critical_spilling=1.0, max_spilling=1e-9)
    potential, log = learning(reference, rules=rules)
    for step in range(65):
        potential.predict([silicon(0.2, seed=step)], step=step)
    sampled = [d.step for d in log.decisions if d.reason is Reason.SAMPLE]
    assert np.diff([0, *sampled]).min() >= rules.minimum_gap
    assert len(sampled) == 6


def test_a_waiting_label_is_learned_before_the_next_call(reference):
    rules = Rules(critical_ratio=1e9, critical_spilling=1.0)
    potential, log = learning(reference, threshold=0.25, rules=rules)
    potential.predict([silicon()], step=0)
    fits, wild = len(log.fits), silicon(0.3, seed=99)
    potential.predict([wild], step=20)
    assert log.decisions[-1].reason is Reason.SAMPLE
    assert len(log.fits) == fits  # it waits
    calls = len(log.decisions)
    again = potential.predict([wild], step=40)[0]
    # The same structure is known once the waiting label is learned.
    assert log.fits[fits:] == [40]
    assert len(log.decisions) == calls
    assert not again.labelled
    assert again.change is not None
    assert np.array_equal(again.change.forces_after, again.forces)
    assert again.change.energy_before != again.change.energy_after


def calm(reference, latency):
    """Return a potential whose first later label is a sample, and its log."""
    rules = Rules(critical_ratio=1e9, critical_spilling=1.0)
    potential, log = learning(reference, threshold=0.25, rules=rules, latency=latency)
    potential.predict([silicon()], step=0)
    return potential, log


def test_with_a_latency_the_new_model_enters_at_its_step(reference):
    potential, log = calm(reference, 15)
    fits, wild = len(log.fits), silicon(0.3, seed=99)
    potential.predict([wild], step=20)
    assert log.decisions[-1].reason is Reason.SAMPLE
    old = potential.model.predict(wild)
    calls = len(log.decisions)
    for step in (21, 34):
        found = potential.predict([wild], step=step)[0]
        # Nothing is labelled while a fit is on its way, although e > t.
        assert np.array_equal(found.forces, old.forces)
        assert len(log.decisions) == calls
        assert len(log.fits) == fits
    found = potential.predict([wild], step=35)[0]
    assert log.fits[fits:] == [35]
    assert found.change.energy_before == old.energy
    assert np.array_equal(found.change.forces_before, old.forces)
    assert np.array_equal(found.forces, potential.model.predict(wild).forces)
    assert not np.array_equal(found.forces, old.forces)


def test_the_model_that_enters_is_the_one_a_waiting_run_would_make(reference):
    wild, other = silicon(0.3, seed=99), silicon(0.2, seed=5)
    beside, _ = calm(reference, 15)
    waits, _ = calm(reference, 0)
    for potential in (beside, waits):
        potential.predict([wild], step=20)
    waits.fits.retrain(20)
    beside.predict([other], step=35)
    one, two = beside.model.predict(other), waits.model.predict(other)
    assert np.array_equal(one.forces, two.forces)


def test_a_critical_step_takes_the_pending_fit_up_and_learns_at_once(reference):
    potential, log = calm(reference, 15)
    potential.predict([silicon(0.3, seed=99)], step=20)
    fits = len(log.fits)
    potential.judge.rules = Rules()
    potential.predict([silicon(0.35, seed=97)], step=22)
    assert log.decisions[-1].reason is Reason.CRITICAL
    assert log.fits[fits:] == [22, 22]
    assert potential.model.n_frames == len(log.decisions)
    # Nothing is left that would enter.
    assert len(potential.state()["due"]) == 0


def test_a_fit_under_way_travels_with_the_state(reference):
    potential, _ = calm(reference, 15)
    potential.predict([silicon(0.3, seed=99)], step=20)
    arrays = {k: np.array(v) for k, v in potential.model_arrays().items()}
    model, rules = model_from_arrays(arrays), potential.judge.rules
    other, log = learning(
        reference, threshold=0.25, rules=rules, model=model, latency=15
    )
    other.restore(potential.state())
    c = silicon(0.1, seed=7)
    for step in (30, 35, 36):
        ours, theirs = (p.predict([c], step=step)[0] for p in (potential, other))
        assert np.array_equal(ours.forces, theirs.forces)
        assert ours.surface == theirs.surface
    assert log.fits == [35]


def test_what_goes_wrong_in_a_fit_beside_the_run_is_said_when_it_enters(
    reference, monkeypatch
):
    potential, _ = calm(reference, 15)

    def fails():
        raise OTFError("no such luck")

    monkeypatch.setattr(potential.model, "solve", fails)
    potential.predict([silicon(0.3, seed=99)], step=20)
    potential.predict([silicon(0.1)], step=25)
    with pytest.raises(OTFError, match="no such luck"):
        potential.predict([silicon(0.1)], step=35)


def test_critical_steps_in_close_order_label_a_rattled_copy_too(trained):
    potential, log = trained
    potential.predict([silicon(0.3, seed=99)], step=50)
    n = len(log.decisions)
    potential.predict([silicon(0.35, seed=97)], step=52)
    assert len(log.decisions) == n + 2
    assert log.decisions[-1].before is None


class Spoilt:
    """A reference in a wrong state of the electrons at its first answer."""

    def __init__(self, reference, shift):
        self.reference, self.shift, self.doubts = reference, shift, []

    def label(self, c, *, doubt=None):
        true = self.reference.label(c)
        wrong = Labels(true.energy + self.shift, true.forces, true.stress)
        self.doubts.append(None if doubt is None else doubt(wrong))
        return wrong if doubt is None or self.doubts[-1] is None else true


@pytest.mark.parametrize(("shift", "doubted"), [(0.0, 0), (-22.0, 1), (3.0, 1)])
def test_a_label_in_a_wrong_state_is_doubted_and_a_right_one_is_not(
    reference, shift, doubted
):
    potential, _ = learning(reference, threshold=0.25)
    frames = [silicon(0.12, seed=k) for k in range(30)]
    potential.learn([(c, reference.label(c)) for c in frames], 0)
    potential.calls.reference = Spoilt(reference, shift)
    prediction = potential.predict([silicon(0.25, seed=70)], step=1000)[0]
    assert prediction.labelled
    first, *_ = potential.reference.doubts
    assert (first is not None) == doubted


def test_a_model_of_few_frames_doubts_nothing(reference):
    potential, _ = learning(reference, threshold=0.25)
    potential.calls.reference = Spoilt(reference, 22.0)
    potential.predict([silicon()], step=0)
    potential.predict([silicon(0.25, seed=70)], step=1000)
    assert potential.reference.doubts == [None] * len(potential.reference.doubts)


def test_second_opinions_can_be_left_out(reference):
    potential, _ = learning(reference, threshold=0.25, second_opinion=False)
    frames = [silicon(0.12, seed=k) for k in range(30)]
    potential.learn([(c, reference.label(c)) for c in frames], 0)
    potential.calls.reference = Spoilt(reference, 22.0)
    potential.predict([silicon(0.25, seed=70)], step=1000)
    assert potential.reference.doubts[0] is None


def test_audits_are_labelled_although_the_model_is_sure(reference):
    sure = Rules(max_spilling=1.0)
    potential, log = learning(reference, threshold=50.0, planned=1000, rules=sure)
    for step in range(0, 400, 2):
        potential.predict([silicon(0.1, seed=step)], step=step)
    audits = [d.step for d in log.decisions if d.reason is Reason.AUDIT]
    assert audits == list(range(30, 400, 30))


def test_overlapping_atoms_are_untrusted(trained):
    potential, _ = trained
    c = silicon()
    x = c.positions.copy()
    x[1] = x[0] + 0.2
    with pytest.raises(Untrusted, match="atoms 0"):
        potential.predict([c.moved(x)], step=5)


def test_rollback_labels_at_most_three_physical_frames_by_spilling(trained):
    potential, log = trained
    overlapping = silicon()
    x = overlapping.positions.copy()
    x[1] = x[0] + 0.2
    frames = [silicon(r, seed=k) for k, r in enumerate((0.1, 0.22, 0.24, 0.26, 0.12))]
    made = potential.learn_after_rollback([*frames, overlapping.moved(x)], 40)
    assert made == 3
    chosen = {d.configuration for d in log.decisions[-3:]}
    assert chosen == set(frames[1:4])


def test_missing_labels_are_filled_from_the_model(reference):
    class Partial:
        fingerprint = staticmethod(reference.fingerprint)

        def label(self, c, *, doubt=None):
            full = reference.label(c)
            forces = full.forces.copy()
            forces[0] = np.nan
            return Labels(full.energy, forces, np.full(6, np.nan))

    potential, _ = learning(Partial())
    potential.predict([silicon()], step=0)
    wild = silicon(0.3, seed=3)
    prediction = potential.predict([wild], step=50)[0]
    assert prediction.labelled
    assert np.isfinite(prediction.forces).all()
    assert np.isfinite(prediction.stress).all()
    assert np.array_equal(prediction.forces[1:], reference.label(wild).forces[1:])


def test_failing_reference_stops_with_its_own_words():
    class Broken:
        def fingerprint(self, c):
            return ""

        def label(self, c, *, doubt=None):
            raise ReferenceFailure("the queue is closed")

    potential, log = learning(Broken())
    with pytest.raises(ReferenceFailure, match="queue is closed"):
        potential.predict([silicon()], step=0)
    assert not log.decisions


def test_state_and_model_arrays_restore_a_twin_to_the_bit(reference):
    potential, _ = learning(reference, planned=1000)
    for step in range(25):
        potential.predict([silicon(0.2, seed=step)], step=step)
    model = model_from_arrays(potential.model_arrays())
    twin, _ = learning(reference, planned=1000, model=model)
    twin.restore(potential.state())
    for step in range(25, 60):
        c = silicon(0.2, seed=step)
        ours = potential.predict([c], step=step)[0]
        theirs = twin.predict([c], step=step)[0]
        assert np.array_equal(ours.forces, theirs.forces)
        assert ours.labelled == theirs.labelled
    assert potential.n_calls == twin.n_calls
    laws = twin.judge.laws()
    assert laws == potential.judge.laws()
    assert laws.energy is not None
    assert laws.stress is not None


def test_a_checkpoint_that_knows_nothing_of_energies_is_taken_up(reference):
    potential, _ = learning(reference, planned=1000)
    for step in range(25):
        potential.predict([silicon(0.2, seed=step)], step=step)
    older = {
        name: array
        for name, array in potential.state().items()
        if not name.startswith(("energy_calibration/", "stress_calibration/"))
    }
    twin, _ = learning(
        reference, planned=1000, model=model_from_arrays(potential.model_arrays())
    )
    twin.restore(older)
    laws = twin.judge.laws()
    assert laws.forces == potential.judge.laws().forces
    assert laws.energy is None
    assert laws.stress is None


# ----------------------------------------------------------------- without labels


def test_a_sampled_step_without_labels_is_predicted_and_put_aside(reference):
    potential, log = calm(reference, 0)
    potential.calls.reference = Broken()
    known, odd = len(log.decisions), silicon(0.3, seed=99)
    first = potential.predict([odd], step=50)[0]
    assert len(log.decisions) == known
    assert [(f.step, f.reason) for f in log.failures] == [(50, Reason.SAMPLE)]
    assert log.failures[0].configuration is odd
    assert not first.labelled
    np.testing.assert_array_equal(first.forces, potential.model.predict(odd).forces)
    # the next call is as far away as after a label
    potential.predict([odd], step=59)
    assert len(log.failures) == 1
    potential.predict([odd], step=60)
    assert len(log.failures) == 2


def test_a_critical_step_without_labels_is_not_to_be_trusted(trained):
    potential, log = trained
    potential.calls.reference = Broken()
    with pytest.raises(Untrusted, match="no labels of a step that needs them"):
        potential.predict([silicon(0.3, seed=99)], step=50)
    assert [f.reason for f in log.failures] == [Reason.CRITICAL]


def test_an_audit_without_labels_is_repeated_an_interval_later(reference):
    potential, log = learning(reference, threshold=0.25, planned=10_000)
    frames = [silicon(0.12, seed=k) for k in range(30)]
    potential.learn([(c, reference.label(c)) for c in frames], 0)
    potential.calls.reference = Broken()
    calm = silicon(0.1, seed=3)
    for step in range(1000):
        potential.predict([calm], step=step)
    interval = potential.auditor.interval
    assert [f.reason for f in log.failures] == [Reason.AUDIT] * (999 // interval)
    assert np.diff([f.step for f in log.failures]).tolist() == [interval] * (
        len(log.failures) - 1
    )


def test_too_many_structures_without_labels_stop_a_run(reference):
    potential, log = calm(reference, 0)
    potential.calls.reference = Broken()
    odd = silicon(0.3, seed=99)
    for k in range(5):
        potential.predict([odd], step=50 + 10 * k)
    with pytest.raises(ReferenceFailure, match="6 structures got no labels") as caught:
        potential.predict([odd], step=100)
    assert "max_failures = 5" in str(caught.value)
    assert len(log.failures) == 6


def test_a_reference_that_gives_no_first_label_stops_a_run_at_once():
    potential, log = learning(Broken())
    with pytest.raises(ReferenceFailure, match="did not converge"):
        potential.predict([silicon()], step=0)
    assert len(log.failures) == 1


def test_a_roll_back_counts_the_frames_that_got_labels(trained):
    potential, log = trained
    potential.calls.reference = Broken()
    frames = [silicon(0.15, seed=200 + k) for k in range(3)]
    assert potential.learn_after_rollback(frames, 10) == 0
    assert len(log.failures) == 3


# ----------------------------------------------------------- labels beside the run


class Ahead:
    """A reference that works ahead, and remembers what was asked and waited for."""

    def __init__(self, reference):
        self.exact = reference
        self.asked = []
        self.urgent = []
        self.waited_for = []

    def begin(self, configuration, *, doubt=None, urgent=False):
        self.asked.append(configuration)
        self.urgent.append(urgent)

        def answer():
            self.waited_for.append(configuration)
            return self.exact.label(configuration)

        return answer

    def label(self, configuration, *, doubt=None):
        return self.begin(configuration)()

    def fingerprint(self, configuration):
        return self.exact.fingerprint(configuration)


def beside(reference, *, rules=None, **options):
    """Return a potential whose later labels come after 15 steps, and its log."""
    rules = rules or Rules(critical_ratio=1e9, critical_spilling=1.0)
    ahead = Ahead(reference)
    options = {"label_latency": 15} | options
    potential, log = learning(ahead, threshold=0.25, rules=rules, **options)
    potential.predict([silicon()], step=0)
    assert all(ahead.urgent)  # the run waits for the copies it starts with
    for record in (ahead.asked, ahead.urgent, ahead.waited_for):
        record.clear()
    return potential, log


def test_the_copies_of_a_start_are_asked_for_together(reference):
    class Watching(Ahead):
        def begin(self, configuration, *, doubt=None, urgent=False):
            assert not self.waited_for
            return super().begin(configuration)

    potential, log = learning(Watching(reference))
    potential.start(silicon(), 0)
    assert [d.configuration for d in log.decisions] == potential.reference.asked
    assert len(log.decisions) == 4


def test_with_a_label_latency_the_atoms_move_on_the_model(reference):
    potential, log = beside(reference)
    calls, wild = len(log.decisions), silicon(0.3, seed=99)
    model = potential.model.predict(wild)
    found = potential.predict([wild], step=20)[0]
    assert potential.reference.asked == [wild]
    assert potential.reference.urgent == [False]
    assert not found.labelled
    assert found.change is None
    assert np.array_equal(found.forces, model.forces)
    potential.predict([silicon(0.05)], step=34)
    assert not potential.reference.waited_for
    assert len(log.decisions) == calls
    potential.predict([silicon(0.05)], step=35)
    assert potential.reference.waited_for == [wild]
    taken = log.decisions[-1]
    assert (taken.step, taken.reason) == (20, Reason.SAMPLE)
    assert np.array_equal(taken.before.forces, model.forces)


def test_a_label_beside_the_run_calibrates_as_one_that_is_waited_for(reference):
    late, _ = beside(reference)
    waits, _ = calm(reference, 0)
    for potential in (late, waits):
        potential.predict([silicon(0.3, seed=99)], step=20)
    late.predict([silicon(0.05)], step=35)
    ours, theirs = (p.judge.calibration.state() for p in (late, waits))
    assert len(ours["errors"]) > 0
    for name, array in theirs.items():
        assert np.array_equal(ours[name], array)
    for name, array in waits._queue.state().items():
        assert np.array_equal(late._queue.state()[name], array)


def test_samples_under_way_keep_their_gap_and_are_as_many_as_may_wait(reference):
    rules = Rules(critical_ratio=1e9, critical_spilling=1.0, max_spilling=1e-9, queue=3)
    potential, _ = beside(reference, rules=rules, label_latency=100)
    sent = []
    for step in range(1, 100):
        potential.predict([silicon(0.2, seed=step)], step=step)
        if len(potential.reference.asked) > len(sent):
            sent.append(step)
    assert sent == [10, 20, 30]
    assert potential.n_under_way == 3


def test_labels_that_fill_the_queue_are_learned_at_the_step_they_are_due(reference):
    rules = Rules(critical_ratio=1e9, critical_spilling=1.0, queue=1)
    potential, log = beside(reference, rules=rules)
    fits, other = len(log.fits), silicon(0.1, seed=3)
    potential.predict([silicon(0.3, seed=99)], step=20)
    old = potential.model.predict(other)
    found = potential.predict([other], step=35)[0]
    assert log.fits[fits:] == [35]
    # the books of learning work get both models at the same positions
    assert found.change.energy_before == old.energy
    assert np.array_equal(found.change.forces_before, old.forces)
    assert np.array_equal(found.change.forces_after, found.forces)
    assert np.array_equal(found.forces, potential.model.predict(other).forces)


def test_with_both_latencies_the_model_enters_after_their_sum(reference):
    potential, log = beside(reference, latency=8)
    fits = len(log.fits)
    potential.predict([silicon(0.3, seed=99)], step=20)
    for step in range(21, 45):
        potential.predict([silicon(0.05)], step=step)
    assert log.fits[fits:] == [43]


def test_a_critical_step_is_labelled_at_once_and_others_stay_under_way(reference):
    potential, log = beside(reference)
    wild, wilder = silicon(0.3, seed=99), silicon(0.35, seed=97)
    potential.predict([wild], step=20)
    potential.judge.rules = Rules()
    found = potential.predict([wilder], step=22)[0]
    assert found.labelled
    assert log.decisions[-1].reason is Reason.CRITICAL
    assert wild not in potential.reference.waited_for
    assert potential.n_under_way == 1
    calls = len(log.decisions)
    potential.predict([silicon(0.05)], step=35)
    assert log.decisions[calls].configuration is wild


def test_a_critical_step_and_its_copy_are_asked_for_together(reference):
    potential, _ = beside(reference, rules=Rules())
    potential.predict([silicon(0.3, seed=99)], step=50)
    ahead = potential.reference
    ahead.asked.clear()
    waited = len(ahead.waited_for)
    begin = ahead.begin

    def watching(configuration, *, doubt=None, urgent=False):
        assert urgent
        assert len(ahead.waited_for) == waited
        return begin(configuration)

    ahead.begin = watching
    potential.predict([silicon(0.35, seed=97)], step=52)
    assert len(ahead.asked) == 2


def test_an_audit_under_way_is_not_sent_again_and_counts_when_it_is_there(reference):
    sure = Rules(max_spilling=1.0)
    potential, log = learning(
        Ahead(reference), threshold=50.0, planned=1000, rules=sure, label_latency=70
    )
    for step in range(0, 400, 2):
        potential.predict([silicon(0.1, seed=step)], step=step)
    audits = [d.step for d in log.decisions if d.reason is Reason.AUDIT]
    assert audits == list(range(30, 400 - 70, 30))
    assert potential.auditor.n_audits == len(audits)
    verdict = potential.finish(400)
    assert potential.auditor.n_audits == len(range(30, 400, 30))
    assert np.isfinite(verdict.force_rmse)


def test_labels_under_way_travel_with_the_state(reference):
    potential, _ = beside(reference)
    wild = silicon(0.3, seed=99)
    potential.predict([wild], step=20)
    twin, log = learning(
        Ahead(reference),
        threshold=0.25,
        rules=potential.judge.rules,
        model=model_from_arrays(potential.model_arrays()),
        label_latency=15,
    )
    twin.restore({k: np.array(v) for k, v in potential.state().items()})
    assert len(twin.reference.asked) == 1
    assert np.array_equal(twin.reference.asked[0].positions, wild.positions)
    for step in range(21, 60):
        c = silicon(0.2, seed=step)
        ours, theirs = (p.predict([c], step=step)[0] for p in (potential, twin))
        assert np.array_equal(ours.forces, theirs.forces)
        assert ours.surface == theirs.surface
    assert log.decisions[0].step == 20
    states = potential.state(), twin.state()
    assert states[0].keys() == states[1].keys()
    for name, array in states[0].items():
        assert np.array_equal(array, states[1][name]), name


def test_a_structure_that_fails_beside_the_run_is_put_aside_when_it_is_due(reference):
    potential, log = beside(reference)
    wild, calls = silicon(0.3, seed=99), len(log.decisions)
    potential.calls.reference = Broken()
    potential.predict([wild], step=20)
    potential.predict([silicon(0.05)], step=34)
    assert not log.failures
    potential.predict([silicon(0.05)], step=35)
    assert [(f.step, f.reason) for f in log.failures] == [(20, Reason.SAMPLE)]
    assert log.failures[0].configuration is wild
    assert potential.calls.n_failures == 1
    assert len(log.decisions) == calls


def test_a_roll_back_and_the_end_take_in_all_that_is_under_way(reference):
    for act in ("roll back", "finish"):
        potential, log = beside(reference)
        known = potential.model.n_frames
        potential.predict([silicon(0.3, seed=99)], step=20)
        if act == "finish":
            potential.finish(25)
        else:
            potential.learn_after_rollback([], 10)
        assert log.decisions[-1].step == 20
        assert potential.n_under_way == 0
        assert potential.model.n_frames == known + 1


def test_calls_under_way_count_for_the_budget(reference):
    rules = Rules(critical_ratio=1e9, critical_spilling=1.0, max_spilling=1e-9)
    # Four calls are those of the start.
    budget = Budget(7, 10_000, start=0.25)
    potential, _ = beside(reference, rules=rules, policy=budget, label_latency=1000)
    for step in range(1, 200):
        potential.predict([silicon(0.2, seed=step)], step=step)
    assert len(potential.reference.asked) == 3


def test_a_label_under_way_is_doubted_by_what_was_expected_when_it_was_sent(reference):
    """A resumed run asks for it again, with a model that has learned meanwhile."""
    doubts = []

    class Doubted(Ahead):
        def begin(self, configuration, *, doubt=None, urgent=False):
            doubts.append(doubt)
            return super().begin(configuration)

    rules = Rules(critical_ratio=1e9, critical_spilling=1.0)
    potential, _ = learning(
        Doubted(reference), threshold=0.25, rules=rules, label_latency=15
    )
    potential.learn(
        [(c, reference.label(c)) for c in (silicon(0.15, seed=k) for k in range(12))], 0
    )
    wild = silicon(0.3, seed=99)
    potential.predict([wild], step=20)
    sent = doubts[-1]
    other, _ = learning(
        Doubted(reference),
        threshold=0.25,
        rules=rules,
        model=potential.model,
        label_latency=15,
    )
    other.restore(potential.state())
    again, true = doubts[-1], reference.label(wild)
    assert again is not sent
    for shift in (0.0, 1.0, 100.0):
        wrong = replace(true, energy=true.energy + shift)
        assert again(wrong) == sent(wrong)
    assert sent(true) is None
    assert "the energy is" in sent(wrong)
