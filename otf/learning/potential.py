"""A potential that learns while it is used.

``LearningPotential`` is a model, a policy and a reference behind the protocol of any
potential, so that every sampler and every ASE driver learns on the fly without knowing.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from otf.calculators.geometry import DistanceGate, require_sane_distances
from otf.errors import ReferenceFailure
from otf.kernels import load
from otf.learning.audit import Auditor
from otf.learning.background import PendingFit
from otf.learning.bootstrap import rattled
from otf.learning.events import Decision, Failure
from otf.learning.expectation import MINIMUM_FRAMES, Expectation
from otf.learning.pending import LabelsUnderWay, PendingLabel, ask
from otf.learning.policy import Assessment, Reason, decide
from otf.learning.queue import Queue, under
from otf.learning.scout import Scout
from otf.learning.screen import Screen
from otf.learning.stress import StressErrors
from otf.models.archive import model_to_arrays
from otf.potential import ModelChange, Untrusted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import Configuration, IntArray, Labels
    from otf.descriptors.interface import Environments
    from otf.kernels import Device
    from otf.learning.audit import Verdict
    from otf.learning.calibration import Calibration
    from otf.learning.events import LearningLog
    from otf.learning.policy import Policy, Rules
    from otf.learning.queue import Waiting
    from otf.learning.stress import StressTolerance
    from otf.models.bayesian_linear import BayesianLinear
    from otf.potential import (
        Answer,
        Arrays,
        Prediction,
        ReferenceCalculator,
        Uncertainty,
    )

logger = logging.getLogger(__name__)


# Numbers the copies of critical steps apart from those a run starts with.
CRITICAL_COPY = 1000


class _Part(Protocol):
    def state(self) -> Arrays: ...

    def restore(self, state: Arrays) -> None: ...


@dataclass(frozen=True)
class LearningOptions:
    """Numbers of the learning loop that are not part of the decision.

    Attributes
    ----------
    rattles : displacements in angstrom of the labelled copies a run starts with
    seed : of the rattling noise
    max_force : eV/angstrom, a predicted force above it is unphysical
    recent_label : a critical step this soon after a label also labels a rattled copy
    rollback_labels : frames labelled at a roll-back
    minimum_frames : labelled frames a species must be in before it is predicted
    latency : steps after a label at which the model that knows it enters, while the
        fit runs beside; 0 for fits the run waits for
    label_latency : steps after which the labels of a step that is not urgent are taken
        in, while the reference works beside; 0 for labels the run waits for
    max_failures : structures without labels that are put aside before a run stops
    second_opinion : whether labels far from the model are computed once more
    device : where configurations are and predictions shall be
    stress_tolerance : where the cell can move, who counts the errors of the stress;
        None where it cannot
    strain : deviation of the strains of the labelled copies a run starts with
    """

    rattles: tuple[float, ...] = (0.02, 0.05, 0.1, 0.15)
    seed: int = 0
    max_force: float = 100.0
    recent_label: int = 5
    rollback_labels: int = 3
    minimum_frames: int = 3
    latency: int = 0
    label_latency: int = 0
    max_failures: int = 5
    second_opinion: bool = True
    device: Device = "cpu"
    stress_tolerance: StressTolerance | None = None
    strain: float = 0.0


class LearningPotential:
    """Model + policy + reference, behind the protocol of a potential.

    Parameters
    ----------
    model
        May be empty; then the first prediction labels rattled copies of its structure.
    reference
        Called when the decision says so.
    policy, rules, calibration, auditor
        The decision.
    log
        Is told of every call and every fit.
    """

    def __init__(
        self,
        model: BayesianLinear,
        reference: ReferenceCalculator,
        *,
        policy: Policy,
        rules: Rules,
        calibration: Calibration,
        auditor: Auditor,
        log: LearningLog,
        options: LearningOptions | None = None,
    ) -> None:
        self.model = model
        self.reference = reference
        self.policy = policy
        self.rules = rules
        self.calibration = calibration
        self.auditor = auditor
        self.options = options or LearningOptions()
        self.n_calls = 0
        self.n_failures = 0
        self.generation = 0  # grows with every change of the model's arrays
        self.last = Assessment(None, np.zeros(0), policy.threshold)
        self._log = log
        self._stress = StressErrors(self.options.stress_tolerance)
        self._screen = Screen(rules)
        # What needs more than a look at a prediction is done on the host.
        device = self.options.device
        self._scout = None if device == "cpu" else Scout(device)
        self._distances = DistanceGate(backend=load(device))
        self._queue = Queue()
        self._pending: PendingFit | None = None
        self._under_way = LabelsUnderWay(self._ask_beside)
        self._surface = 0
        self._last_label = -(10**9)
        self._consecutive = 0

    # -------------------------------------------------------------- several walkers
    def beside(self, log: LearningLog) -> LearningPotential:
        """Return a potential for another walker, which learns together with this one.

        Both have one model, data set, policy and calibration. Clocks, the screen and
        audits are those of each walker: how long ago it was labelled, and how near its
        atoms are to a call, does not depend on where others are.

        Parameters
        ----------
        log
            Is told of the calls and fits of the other walker.
        """
        mine = self.auditor
        other = LearningPotential(
            self.model,
            self.reference,
            policy=self.policy,
            rules=self.rules,
            calibration=self.calibration,
            auditor=Auditor(mine.planned_steps, goal=mine.goal, enabled=mine.enabled),
            log=log,
            options=self.options,
        )
        other._queue, other._stress = self._queue, self._stress
        return other

    def follow(self, c: Configuration) -> Prediction:
        """Return the prediction of a model that another walker has changed.

        The decision on the configuration was made before, and no other is made.
        """
        host = load(self.options.device).host
        self._surface += 1
        self._screen.forget()
        prediction = self.model.predict_screened(c.moved(host(c.positions)))
        screen = prediction.uncertainty
        assert screen is not None  # the prediction was screened
        known = replace(screen, error=self._screen.expects(screen))
        found = replace(prediction, uncertainty=known, surface=self._surface)
        return found.of(load(self.options.device).here)

    @property
    def n_under_way(self) -> int:
        """Return the number of structures whose labels are computed beside the run."""
        return len(self._under_way)

    # -------------------------------------------------------------- the protocol
    def predict(
        self,
        configurations: Sequence[Configuration],
        *,
        step: int,
        use_labels: bool = True,
    ) -> list[Prediction]:
        """Return a prediction for each configuration, labelling where needed."""
        return [self._predict(c, step, use_labels) for c in configurations]

    def _predict(self, c: Configuration, step: int, use_labels: bool) -> Prediction:
        self._distances.require(c)
        if self._scout is None:
            return self._decided(c, step, use_labels)
        passed = self._passed(self._scout, c, step)
        if passed is not None:
            return passed
        here, host = self._scout.backend.here, self._scout.backend.host
        return self._decided(c.moved(host(c.positions)), step, use_labels).of(here)

    def _passed(self, scout: Scout, c: Configuration, step: int) -> Prediction | None:
        """Return the prediction of a step that the screen lets pass, None of others."""
        fit_is_due = self._pending is not None and step >= self._pending.due
        if not self.model.is_fitted or fit_is_due or self._under_way.is_due(step):
            return None
        prediction = scout.predict_screened(self.model.fitted, c)
        screen = prediction.uncertainty
        assert screen is not None  # the prediction was screened
        largest = float(abs(prediction.forces).max())
        since = step - self._last_label
        if not largest <= self.options.max_force or self._screen.flags(
            screen, step=step, since_label=since
        ):
            return None
        assessment = Assessment(None, screen.spilling, self.policy.threshold)
        if self._reason(c, assessment, step).labels:
            return None
        self.last = assessment
        self._consecutive = 0
        self.policy.stepped(step, None)
        known = replace(screen, error=self._screen.expects(screen))
        return replace(prediction, uncertainty=known, surface=self._surface)

    def _decided(self, c: Configuration, step: int, use_labels: bool) -> Prediction:
        """Return the prediction, labelled where needed."""
        if self.model.n_frames == 0 and not self._queue:
            self.start(c, step)
        old = self._catch_up(c, step)
        before, reason = self._judge(c, step)
        first = before if old is None else old
        if reason is Reason.SAMPLE and len(self._queue):
            # A fit is cheaper than a label: learn what waits, and look again.
            self._retrain(step)
            before, reason = self._judge(c, step)
        waits = reason.urgent or self.options.label_latency == 0
        if reason.labels and waits:
            found = self._learn_step(c, before, reason, step, use_labels)
        else:
            if reason.labels:
                self._send(c, before, reason, step)
            self._consecutive = 0
            found = replace(before, surface=self._surface)
        errors = self.last.errors
        self.policy.stepped(step, None if errors is None else self.last.error)
        return found if before is first else _changed_since(first, found, before)

    def _judge(self, c: Configuration, step: int) -> tuple[Prediction, Reason]:
        """Return the prediction with its uncertainty, and what to do with it."""
        prediction = self.model.predict_screened(c)
        self._require_sane_forces(c, prediction)
        screen = prediction.uncertainty
        assert screen is not None  # the prediction was screened
        uncertainty = self._uncertainty(c, screen, step)
        assessment = self._assess(uncertainty, screen, step)
        self.last = assessment
        reason = self._reason(c, assessment, step)
        if reason.labels and uncertainty.errors is None:
            uncertainty = self._exact(c, self.model.describe(c))
        return replace(prediction, uncertainty=uncertainty), reason

    # -------------------------------------------------------------- the decision
    def _uncertainty(
        self, c: Configuration, screen: Uncertainty, step: int
    ) -> Uncertainty:
        """Return the screen; where it flags, better measures, then the exact ones."""
        since = step - self._last_label
        if not self._screen.flags(screen, step=step, since_label=since):
            return replace(screen, error=self._screen.expects(screen))
        environments = self.model.describe(c)
        if screen.spilling.max(initial=0.0) > self.rules.max_spilling:
            # It is an upper bound, and not seldom a loose one.
            full = self.model.local_uncertainty(environments)
            if not self._screen.flags(full, step=step, since_label=since):
                return replace(full, error=self._screen.expects(screen))
        return self._exact(c, environments)

    def _exact(self, c: Configuration, environments: Environments) -> Uncertainty:
        """Return the exact deviations with their calibrated errors e_i."""
        exact = self.model.force_uncertainty(c, environments)
        if exact.forces is None:
            return exact
        errors = exact.forces
        if self.policy.calibrated:
            errors = self.calibration.errors(c.numbers, exact.forces)
        error = max(float(errors.max(initial=0.0)), self._of_stress(exact))
        return replace(exact, errors=errors, error=error)

    def _of_stress(self, exact: Uncertainty) -> float:
        """Return what the error of the stress counts for, in eV/angstrom."""
        return self._stress.counted(exact.stress, self.policy)

    def _assess(
        self, uncertainty: Uncertainty, screen: Uncertainty, step: int
    ) -> Assessment:
        threshold = self.policy.threshold
        of_stress = self._of_stress(uncertainty)
        assessment = Assessment(
            uncertainty.errors, uncertainty.spilling, threshold, of_stress
        )
        if uncertainty.errors is not None:
            self._screen.learn(
                uncertainty,
                cheap=screen,
                error=assessment.error,
                threshold=threshold,
                step=step,
            )
        return assessment

    def _reason(self, c: Configuration, assessment: Assessment, step: int) -> Reason:
        if self._queue.seen(c) < self.options.minimum_frames:
            return Reason.SPECIES
        reason = decide(assessment, self.rules, since_label=step - self._last_label)
        if reason is Reason.SAMPLE and self._pending is not None:
            return Reason.GAP  # a fit is cheaper than a label, and on its way
        if reason is Reason.SAMPLE and len(self._under_way) >= self.rules.queue:
            return Reason.GAP  # what is under way may make it needless
        if reason is Reason.PREDICT and self.auditor.due(step):
            reason = Reason.AUDIT
        critical = reason is Reason.CRITICAL
        if reason.labels and not self.policy.may_call(critical=critical):
            return Reason.PREDICT
        return reason

    def _require_sane_forces(self, c: Configuration, prediction: Prediction) -> None:
        largest = float(np.abs(prediction.forces).max(initial=0.0))
        if not largest <= self.options.max_force:
            raise Untrusted(c, f"a predicted force of {largest:.3g} eV/A")

    # -------------------------------------------------------------- learning
    def start(self, c: Configuration, step: int) -> None:
        """Label rattled copies of a structure, and fit.

        Raises
        ------
        ReferenceFailure
            When none of them gets labels.
        """
        seed, strain = self.options.seed, self.options.strain
        copies = [
            rattled(c, amplitude, seed=seed, index=k, strain=strain)
            for k, amplitude in enumerate(self.options.rattles)
        ]
        self._call_all(copies, step, Reason.START)
        if not self._queue:
            self._call(c, step, Reason.START)
        if not self._queue:
            raise ReferenceFailure(
                "the reference gave no labels of the first structure and its copies "
                "(input file: [reference])"
            )
        self._retrain(step)

    def _learn_step(
        self,
        c: Configuration,
        before: Prediction,
        reason: Reason,
        step: int,
        use_labels: bool,
    ) -> Prediction:
        """Label a step, fit when it is time, and return what the atoms move on."""
        recent = step - self._last_label < self.options.recent_label
        urgent = reason.urgent
        answer = self._ask(c, self._expected(c, before))
        copy = self._copy(c, step) if reason is Reason.CRITICAL and recent else None
        answer_of_copy = None if copy is None else self._ask(copy)
        labels = self._call(c, step, reason, before, answer=answer)
        if labels is None:
            if urgent:
                raise Untrusted(c, f"no labels of a step that needs them ({reason})")
            return replace(before, surface=self._surface)
        if copy is not None:
            self._call(copy, step, reason, answer=answer_of_copy)
        after = before
        waits = self.options.latency > 0 and not urgent
        if waits:
            self._begin(step)
        elif urgent or len(self._queue) >= self.rules.queue:
            self._retrain(step)
            after = self._after(c, step)
        self._warn_when_stuck()
        if not use_labels:
            return replace(after, surface=self._surface)
        self._surface += 1
        return replace(
            after,
            energy=labels.energy if np.isfinite(labels.energy) else after.energy,
            forces=np.where(labels.force_mask, labels.forces, after.forces),
            stress=np.where(labels.stress_mask, labels.stress, after.stress),
            surface=self._surface,
            labelled=True,
            change=ModelChange(
                before.energy,
                after.energy,
                before.forces,
                after.forces,
                before.stress,
                after.stress,
            ),
            uncertainty=before.uncertainty,
        )

    def _ask(self, c: Configuration, expected: Expectation | None = None) -> Answer:
        """Have a structure labelled that the run waits for."""
        doubt = None if expected is None else expected.doubt
        return ask(self.reference, c, doubt, urgent=True)

    def _ask_beside(self, c: Configuration, expected: Expectation | None) -> Answer:
        """Have a structure labelled beside the run."""
        return ask(self.reference, c, None if expected is None else expected.doubt)

    def _call_all(
        self, configurations: Sequence[Configuration], step: int, reason: Reason
    ) -> int:
        """Label configurations without a prediction; return how many got labels."""
        answers = [self._ask(c) for c in configurations]
        labels = [
            self._call(c, step, reason, answer=answer)
            for c, answer in zip(configurations, answers, strict=True)
        ]
        return sum(one is not None for one in labels)

    def _call(
        self,
        c: Configuration,
        step: int,
        reason: Reason,
        before: Prediction | None = None,
        *,
        answer: Answer | None = None,
    ) -> Labels | None:
        """Label a configuration, queue it, and keep all books; None for no labels."""
        try:
            labels = (answer or self._ask(c))()
        except ReferenceFailure as error:
            self._failed(Failure(step, reason, c, str(error), error.files))
            self._last_label = step
            if reason is Reason.AUDIT:
                self.auditor.tried(step)
            return None
        self.policy.called()
        if reason not in (Reason.START, Reason.AUDIT):
            self.auditor.called(step)
        self._last_label = step
        threshold = self.policy.threshold
        self._learned(Decision(step, reason, threshold, c, labels, before))
        return labels

    def _expected(self, c: Configuration, before: Prediction) -> Expectation | None:
        """Return what the model expects of a label, None where it is no judge."""
        known = before.uncertainty
        if not self.options.second_opinion or known is None or known.forces is None:
            return None
        if self.model.n_frames < MINIMUM_FRAMES or self.model.composition_warning(c):
            return None
        errors = self.calibration.errors(c.numbers, known.forces)
        return Expectation.of(before, errors, self.model.training.noise)

    def _learned(self, decision: Decision) -> None:
        """Queue a labelled frame, and learn what the prediction before it was worth."""
        self._stress.require(decision.labels)
        self.n_calls += 1
        before, c, labels = decision.before, decision.configuration, decision.labels
        audit = decision.reason is Reason.AUDIT
        candidates = None
        if before is not None:
            if audit:
                self.auditor.audited(decision.step, labels.forces - before.forces)
            candidates = self._learn_errors(decision)
        self._queue.add(c, labels, candidates)
        self._log.decision(decision)

    # ---------------------------------------------------------- labels beside the run
    def _send(
        self, c: Configuration, before: Prediction, reason: Reason, step: int
    ) -> None:
        """Have a step labelled beside the run; the books count the call at once."""
        self.policy.called()
        if reason is Reason.AUDIT:
            self.auditor.tried(step)
        else:
            self.auditor.called(step)
        self._last_label = step
        due = step + self.options.label_latency
        threshold = self.policy.threshold
        expected = self._expected(c, before)
        self._under_way.send(
            PendingLabel(step, due, reason, threshold, c, before, expected)
        )

    def _catch_up(self, c: Configuration, step: int) -> Prediction | None:
        """Take in labels and fits that are due.

        Returns
        -------
        Prediction or None
            Of the old model, where there is a new one.
        """
        n_waiting = len(self._queue)
        self._collect(step)
        arrived = len(self._queue) > n_waiting
        beside = self.options.latency > 0
        if self._pending is not None and step >= self._pending.due:
            old = self.model.predict(c)
            self._enter(step)
            return old
        if arrived and beside:
            self._begin(step)
        if not arrived or beside or len(self._queue) < self.rules.queue:
            return None
        old = self.model.predict(c)
        self._retrain(step)
        self._tell_policy()
        return old

    def _collect(self, step: int | None = None) -> None:
        """Take in the labels that are due at a step, or all that are under way."""
        for p, answer in self._under_way.due(step):
            try:
                labels = answer()
            except ReferenceFailure as error:
                failure = Failure(
                    p.step, p.reason, p.configuration, str(error), error.files
                )
                self._failed(failure)
                continue
            self._learned(
                Decision(
                    p.step, p.reason, p.threshold, p.configuration, labels, p.before
                )
            )

    def wait_for_labels(self) -> int:
        """Return how many labels were under way, when all of them are in the book."""
        answers = self._under_way.answers
        for answer in answers:
            with suppress(ReferenceFailure):  # it is met again when it is due
                answer()
        return len(answers)

    def _failed(self, failure: Failure) -> None:
        """Put a structure aside; too many of them, or the very first, end the run.

        Raises
        ------
        ReferenceFailure
            In that case.
        """
        self._log.failure(failure)
        self.n_failures += 1
        if self.model.n_frames == 0 and not self._queue:
            raise ReferenceFailure(failure.text)
        if self.n_failures > self.options.max_failures:
            raise ReferenceFailure(
                f"{self.n_failures} structures got no labels, more than max_failures = "
                f"{self.options.max_failures} (input file: [reference]); the last: "
                f"{failure.text}"
            )
        logger.warning("step %d goes on without labels: %s", failure.step, failure.text)

    def _learn_errors(self, decision: Decision) -> IntArray | None:
        """Calibrate with a labelled prediction; return the candidates it offers."""
        before = decision.before
        assert before is not None  # asked by the caller
        known = before.uncertainty
        if known is None:
            return None
        assert known.forces is not None  # labelled steps are evaluated exactly
        self.calibration.add(
            decision.configuration.numbers,
            decision.labels.forces - before.forces,
            known.forces,
            audit=decision.reason is Reason.AUDIT,
        )
        self._stress.learn(
            decision.labels.stress - before.stress,
            known.stress,
            audit=decision.reason is Reason.AUDIT,
        )
        assessment = Assessment(known.errors, known.spilling, decision.threshold)
        return np.flatnonzero(assessment.candidates(self.rules))

    def _copy(self, c: Configuration, step: int) -> Configuration | None:
        """Return a rattled copy to label too: consecutive steps are near-duplicates."""
        # One call for the step itself, one for the copy.
        allowed = self.policy.may_call(critical=True, calls=2)
        if not self.options.rattles or not allowed:
            return None
        amplitude = self.options.rattles[0]
        return rattled(c, amplitude, seed=self.options.seed, index=step + CRITICAL_COPY)

    def _retrain(self, step: int) -> None:
        """Learn what waits, now; a fit under way is waited for first."""
        self._settle(step)
        begun = time.perf_counter()
        self._fit(self._queue.drain())
        self._take_up(step, time.perf_counter() - begun)

    def _fit(self, waiting: Waiting) -> None:
        self.model.extend(*waiting)
        self.model.drop_redundant()
        self.model.solve()

    def _take_up(self, step: int, seconds: float) -> None:
        report = self.model.take_up()
        self.generation += 1
        self._surface += 1
        self._screen.forget()
        self._log.retrain(step, report, seconds)

    def _begin(self, step: int) -> None:
        """Begin to learn what waits, beside the run, unless a fit is under way."""
        if self._pending is not None or not self._queue:
            return
        waiting = self._queue.drain()
        self.generation += 1
        self._pending = PendingFit(
            step + self.options.latency, lambda: self._fit(waiting)
        )

    def _enter(self, step: int) -> None:
        """Take the pending fit up, and begin the next with what came meanwhile."""
        self._settle(step)
        self._tell_policy()
        self._begin(step)

    def _tell_policy(self) -> None:
        """Tell a policy that follows deviations that of the frame learned last."""
        if self.policy.calibrated:
            return
        learned = self.model.training.frames[-1].configuration
        exact = self.model.force_uncertainty(learned)
        assert exact.forces is not None  # the exact form always has them
        self.policy.retrained(float(exact.forces.max()))

    def _settle(self, step: int) -> None:
        """Take up the fit that is under way, if there is one."""
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        self._take_up(step, pending.close())

    def _after(self, c: Configuration, step: int) -> Prediction:
        """Return the new model's prediction and tell the policy its deviation."""
        prediction = self.model.predict_screened(c)
        exact = self._exact(c, self.model.describe(c))
        assert prediction.uncertainty is not None  # it was screened
        assert exact.forces is not None  # the exact form always has them
        self.policy.retrained(float(exact.forces.max()))
        self._assess(exact, prediction.uncertainty, step)
        return replace(prediction, uncertainty=exact)

    def _warn_when_stuck(self) -> None:
        self._consecutive += 1
        if self._consecutive != self.rules.consecutive:
            return
        logger.warning(
            "%d labelled steps in a row (e %.3g, t %.3g eV/A, largest spilling %.2g): "
            "the model does not catch up; allow more local references "
            "(learning.max_references), raise learning.max_force_error_eV_per_A, "
            "or shorten dynamics.timestep_fs",
            self._consecutive,
            self.last.error,
            self.last.threshold,
            self.last.max_spilling,
        )

    def learn(
        self,
        frames: Sequence[tuple[Configuration, Labels]],
        step: int,
        *,
        start: Configuration | None = None,
        references: Sequence[str] | None = None,
    ) -> None:
        """Take in labels that are already known, from all atoms as candidates.

        Parameters
        ----------
        frames
            Structures with labels.
        step
            The sampler's clock.
        start
            Labelled, in rattled copies, when no energy is known to count from.
        references
            For each frame the fingerprint of another calculator that labelled it, empty
            for that of the run; None when it labelled all.
        """
        marks = references or [""] * len(frames)
        counted = False
        for (c, labels), mark in zip(frames, marks, strict=True):
            self._queue.add(c, labels, None, mark)
            counted = counted or (not mark and bool(np.isfinite(labels.energy)))
        if start is None or counted:
            self._retrain(step)
        else:
            self.start(start, step)

    def learn_after_rollback(self, frames: Sequence[Configuration], step: int) -> int:
        """Label the frames with the largest spilling that are physical, and refit.

        Returns
        -------
        int
            Number of frames labelled.
        """
        self._settle(step)
        self._collect()
        sane = [c for c in frames if _is_sane(c)]
        sane.sort(
            key=lambda c: -float(self.model.spilling(self.model.describe(c)).max())
        )
        chosen = sane[: self.options.rollback_labels]
        n_labelled = self._call_all(chosen, step, Reason.ROLLBACK)
        if self._queue:
            self._retrain(step)
        return n_labelled

    def finish(self, step: int) -> Verdict:
        """Learn what still waits or is under way, and judge the run."""
        self._settle(step)
        self._collect()
        if self._queue:
            self._retrain(step)
        return self.auditor.verdict(step)

    # -------------------------------------------------------------- checkpoint
    def model_arrays(self) -> Arrays:
        """Return the arrays of the model, with those of a fit under way."""
        if self._pending is not None:
            self._pending.wait()
        return model_to_arrays(self.model)

    def state(self) -> Arrays:
        """Return all but the arrays of the model."""
        out: dict[str, np.ndarray] = {
            "counters": np.array(
                [self.n_calls, self._surface, self._last_label, self._consecutive]
            ),
            "generation": np.array(self.generation),
            "failures": np.array(self.n_failures),
            "due": np.array([] if self._pending is None else [self._pending.due]),
        }
        for name, part in self._parts().items():
            out |= {f"{name}/{key}": value for key, value in part.state().items()}
        return out

    def restore(self, state: Arrays) -> None:
        """Take up the state of another instance; restore the model's arrays first."""
        counters = [int(x) for x in state["counters"]]
        self.n_calls, self._surface, self._last_label, self._consecutive = counters
        self.generation = int(state["generation"])
        self.n_failures = int(state["failures"])
        for due in state["due"]:  # the fit itself came with the model
            self._pending = PendingFit(int(due), lambda: None)
        for name, part in self._parts().items():
            part.restore(under(state, name))

    def _parts(self) -> dict[str, _Part]:
        return {
            "policy": self.policy,
            "calibration": self.calibration,
            "auditor": self.auditor,
            "screen": self._screen,
            "queue": self._queue,
            "under_way": self._under_way,
            **self._stress.parts(),
        }


def _changed_since(
    first: Prediction, found: Prediction, before: Prediction
) -> Prediction:
    """Return a prediction whose change of model began with an earlier one."""
    change = found.change or ModelChange(
        before.energy,
        before.energy,
        before.forces,
        before.forces,
        before.stress,
        before.stress,
    )
    change = replace(
        change,
        energy_before=first.energy,
        forces_before=first.forces,
        stress_before=first.stress,
    )
    return replace(found, change=change)


def _is_sane(configuration: Configuration) -> bool:
    try:
        require_sane_distances(configuration)
    except Untrusted:
        return False
    return True
