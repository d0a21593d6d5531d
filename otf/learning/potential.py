"""A potential that learns while it is used.

``LearningPotential`` is a model, a policy and a reference behind the protocol of any
potential, so that every sampler and every ASE driver learns on the fly without knowing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from otf.calculators.geometry import DistanceGate, require_sane_distances
from otf.errors import ReferenceFailure
from otf.kernels import load
from otf.learning.audit import Auditor
from otf.learning.bootstrap import rattled
from otf.learning.calls import ReferenceCalls
from otf.learning.fits import Fits
from otf.learning.judge import Judge, screen_of
from otf.learning.policy import Assessment, Reason, decide
from otf.learning.queue import Queue, under
from otf.learning.scout import Scout
from otf.models.archive import model_to_arrays
from otf.potential import ModelChange, Untrusted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import Configuration, Labels
    from otf.kernels import Device
    from otf.learning.audit import Verdict
    from otf.learning.events import LearningLog
    from otf.potential import Arrays, Prediction, ReferenceCalculator

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
    strain: float = 0.0


class LearningPotential:
    """Model + policy + reference, behind the protocol of a potential.

    Every prediction is judged (``Judge``); where that says so its structure is labelled
    (``ReferenceCalls``), and what was labelled is learned (``Fits``).

    Parameters
    ----------
    reference
        Called when the judge, the rules or the auditor say so.
    judge
        Of a model that may be empty; then the first prediction labels rattled copies of
        its structure.
    auditor
        Of this walker.
    log
        Is told of every call and every fit.
    options
        As above.
    queue
        Frames that wait, of walkers that learn together; a new one when None.
    """

    def __init__(
        self,
        reference: ReferenceCalculator,
        judge: Judge,
        *,
        auditor: Auditor,
        log: LearningLog,
        options: LearningOptions | None = None,
        queue: Queue | None = None,
    ) -> None:
        self.judge = judge
        self.model = judge.model
        self.policy = judge.policy
        self.auditor = auditor
        self.options = options or LearningOptions()
        self.last = Assessment(None, np.zeros(0), self.policy.threshold)
        self._queue = Queue() if queue is None else queue
        self.calls = ReferenceCalls(
            reference,
            judge=judge,
            auditor=auditor,
            queue=self._queue,
            log=log,
            latency=self.options.label_latency,
            max_failures=self.options.max_failures,
            second_opinion=self.options.second_opinion,
        )
        self.fits = Fits(
            self.model,
            self._queue,
            log=log,
            latency=self.options.latency,
            changed=self._changed,
        )
        # What needs more than a look at a prediction is done on the host.
        device = self.options.device
        self._scout = None if device == "cpu" else Scout(device)
        self._distances = DistanceGate(backend=load(device))
        self._surface = 0
        self._consecutive = 0

    @property
    def reference(self) -> ReferenceCalculator:
        """Return what is called when the decision says so."""
        return self.calls.reference

    @property
    def n_calls(self) -> int:
        """Return the number of structures with labels."""
        return self.calls.n_calls

    @property
    def n_under_way(self) -> int:
        """Return the number of structures whose labels are computed beside the run."""
        return len(self.calls.under_way)

    @property
    def generation(self) -> int:
        """Return a number that grows with every change of the model's arrays."""
        return self.fits.generation

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
        return LearningPotential(
            self.reference,
            self.judge.beside(),
            auditor=Auditor(mine.planned_steps, goal=mine.goal, enabled=mine.enabled),
            log=log,
            options=self.options,
            queue=self._queue,
        )

    def follow(self, c: Configuration) -> Prediction:
        """Return the prediction of a model that another walker has changed.

        The decision on the configuration was made before, and no other is made.
        """
        backend = load(self.options.device)
        self._changed()
        screened = self.model.predict_screened(c.moved(backend.host(c.positions)))
        found = replace(self.judge.expected(screened), surface=self._surface)
        return found.of(backend.here)

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
        changes = self.fits.is_due(step) or self.calls.under_way.is_due(step)
        if not self.model.is_fitted or changes:
            return None
        prediction = scout.predict_screened(self.model.fitted, c)
        screen = screen_of(prediction)
        largest = float(abs(prediction.forces).max())
        if not largest <= self.options.max_force or self.judge.screen.flags(
            screen, step=step, since_label=self._since_label(step)
        ):
            return None
        assessment = Assessment(None, screen.spilling, self.policy.threshold)
        if self._reason(c, assessment, step).labels:
            return None
        self.last = assessment
        self._consecutive = 0
        self.policy.stepped(step, None)
        return replace(self.judge.expected(prediction), surface=self._surface)

    def _decided(self, c: Configuration, step: int, use_labels: bool) -> Prediction:
        """Return the prediction, labelled where needed."""
        if self.model.n_frames == 0 and not self._queue:
            self.start(c, step)
        old = self._catch_up(c, step)
        before, reason = self._look(c, step)
        first = before if old is None else old
        if reason is Reason.SAMPLE and len(self._queue):
            # A fit is cheaper than a label: learn what waits, and look again.
            self.fits.retrain(step)
            before, reason = self._look(c, step)
        waits = reason.urgent or self.options.label_latency == 0
        if reason.labels and waits:
            found = self._learn_step(c, before, reason, step, use_labels)
        else:
            if reason.labels:
                self.calls.send(c, before, reason, step)
            self._consecutive = 0
            found = replace(before, surface=self._surface)
        self.policy.stepped(step, self.last.error if self.last.is_exact else None)
        return found if before is first else _changed_since(first, found, before)

    # -------------------------------------------------------------- the decision
    def _look(self, c: Configuration, step: int) -> tuple[Prediction, Reason]:
        """Return the prediction with its uncertainty, and what to do with it."""
        prediction = self.model.predict_screened(c)
        self._require_sane_forces(c, prediction)
        screen = screen_of(prediction)
        uncertainty = self.judge.uncertainty(
            c, screen, step=step, since_label=self._since_label(step)
        )
        self.last = self.judge.assess(uncertainty, screen, step)
        reason = self._reason(c, self.last, step)
        if reason.labels and uncertainty.errors is None:
            uncertainty = self.judge.exact(c)
        return replace(prediction, uncertainty=uncertainty), reason

    def _reason(self, c: Configuration, assessment: Assessment, step: int) -> Reason:
        if self._queue.seen(c) < self.options.minimum_frames:
            return Reason.SPECIES
        rules = self.judge.rules
        reason = decide(assessment, rules, since_label=self._since_label(step))
        if reason is Reason.SAMPLE and self.fits.due is not None:
            return Reason.GAP  # a fit is cheaper than a label, and on its way
        if reason is Reason.SAMPLE and self.n_under_way >= rules.queue:
            return Reason.GAP  # what is under way may make it needless
        if reason is Reason.PREDICT and self.auditor.due(step):
            reason = Reason.AUDIT
        critical = reason is Reason.CRITICAL
        if reason.labels and not self.policy.may_call(critical=critical):
            return Reason.PREDICT
        return reason

    def _since_label(self, step: int) -> int:
        return step - self.calls.last_label

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
        self.calls.call_all(copies, step, Reason.START)
        if not self._queue:
            self.calls.call(c, step, Reason.START)
        if not self._queue:
            raise ReferenceFailure(
                "the reference gave no labels of the first structure and its copies "
                "(input file: [reference])"
            )
        self.fits.retrain(step)

    def _learn_step(
        self,
        c: Configuration,
        before: Prediction,
        reason: Reason,
        step: int,
        use_labels: bool,
    ) -> Prediction:
        """Label a step, fit when it is time, and return what the atoms move on."""
        recent = self._since_label(step) < self.options.recent_label
        urgent = reason.urgent
        answer = self.calls.ask(c, before)
        copy = self._copy(c, step) if reason is Reason.CRITICAL and recent else None
        answer_of_copy = None if copy is None else self.calls.ask(copy)
        labels = self.calls.call(c, step, reason, before, answer=answer)
        if labels is None:
            if urgent:
                raise Untrusted(c, f"no labels of a step that needs them ({reason})")
            return replace(before, surface=self._surface)
        if copy is not None:
            self.calls.call(copy, step, reason, answer=answer_of_copy)
        after = before
        waits = self.options.latency > 0 and not urgent
        if waits:
            self.fits.begin(step)
        elif urgent or len(self._queue) >= self.judge.rules.queue:
            self.fits.retrain(step)
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

    def _copy(self, c: Configuration, step: int) -> Configuration | None:
        """Return a rattled copy to label too: consecutive steps are near-duplicates."""
        # One call for the step itself, one for the copy.
        allowed = self.policy.may_call(critical=True, calls=2)
        if not self.options.rattles or not allowed:
            return None
        amplitude = self.options.rattles[0]
        return rattled(c, amplitude, seed=self.options.seed, index=step + CRITICAL_COPY)

    def _after(self, c: Configuration, step: int) -> Prediction:
        """Return the new model's prediction and tell the policy its deviation."""
        prediction = self.model.predict_screened(c)
        exact = self.judge.exact(c)
        assert exact.forces is not None  # the exact form always has them
        self.policy.retrained(float(exact.forces.max()))
        self.judge.assess(exact, screen_of(prediction), step)
        return replace(prediction, uncertainty=exact)

    def _warn_when_stuck(self) -> None:
        self._consecutive += 1
        if self._consecutive != self.judge.rules.consecutive:
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

    def _catch_up(self, c: Configuration, step: int) -> Prediction | None:
        """Take in labels and fits that are due.

        Returns
        -------
        Prediction or None
            Of the old model, where there is a new one.
        """
        n_waiting = len(self._queue)
        self.calls.collect(step)
        arrived = len(self._queue) > n_waiting
        beside = self.options.latency > 0
        if self.fits.is_due(step):
            old = self.model.predict(c)
            self.fits.settle(step)
            self._tell_policy()
            self.fits.begin(step)  # with what came meanwhile
            return old
        if arrived and beside:
            self.fits.begin(step)
        if not arrived or beside or len(self._queue) < self.judge.rules.queue:
            return None
        old = self.model.predict(c)
        self.fits.retrain(step)
        self._tell_policy()
        return old

    def _tell_policy(self) -> None:
        """Tell a policy that follows deviations that of the frame learned last."""
        if self.policy.calibrated:
            return
        learned = self.model.training.frames[-1].configuration
        exact = self.model.force_uncertainty(learned)
        assert exact.forces is not None  # the exact form always has them
        self.policy.retrained(float(exact.forces.max()))

    def _changed(self) -> None:
        """Start anew where numbers of the model before would be compared."""
        self._surface += 1
        self.judge.screen.forget()

    # -------------------------------------------------------------- beside the steps
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
            self.fits.retrain(step)
        else:
            self.start(start, step)

    def learn_after_rollback(self, frames: Sequence[Configuration], step: int) -> int:
        """Label the frames with the largest spilling that are physical, and refit.

        Returns
        -------
        int
            Number of frames labelled.
        """
        self.fits.settle(step)
        self.calls.collect()
        sane = [c for c in frames if _is_sane(c)]
        sane.sort(
            key=lambda c: -float(self.model.spilling(self.model.describe(c)).max())
        )
        chosen = sane[: self.options.rollback_labels]
        n_labelled = self.calls.call_all(chosen, step, Reason.ROLLBACK)
        if self._queue:
            self.fits.retrain(step)
        return n_labelled

    def finish(self, step: int) -> Verdict:
        """Learn what still waits or is under way, and judge the run."""
        self.fits.settle(step)
        self.calls.collect()
        if self._queue:
            self.fits.retrain(step)
        verdict = self.auditor.verdict(step)
        hint = self.calls.barren.hint
        if verdict.converged or not hint:
            return verdict
        return replace(verdict, reason=f"{verdict.reason}; {hint}")

    def wait_for_labels(self) -> int:
        """Return how many labels were under way, when all of them are in the book."""
        return self.calls.wait()

    # -------------------------------------------------------------- checkpoint
    def model_arrays(self) -> Arrays:
        """Return the arrays of the model, with those of a fit under way."""
        self.fits.wait()
        return model_to_arrays(self.model)

    def state(self) -> Arrays:
        """Return all but the arrays of the model."""
        calls, due = self.calls, self.fits.due
        out: dict[str, np.ndarray] = {
            "counters": np.array(
                [
                    calls.n_calls,
                    self._surface,
                    calls.last_label,
                    self._consecutive,
                ]
            ),
            "generation": np.array(self.fits.generation),
            "failures": np.array(calls.n_failures),
            "due": np.array([] if due is None else [due]),
        }
        for name, part in self._parts().items():
            out |= {f"{name}/{key}": value for key, value in part.state().items()}
        return out

    def restore(self, state: Arrays) -> None:
        """Take up the state of another instance with the same model."""
        calls = self.calls
        counters = [int(x) for x in state["counters"]]
        calls.n_calls, self._surface, calls.last_label, self._consecutive = counters
        self.fits.generation = int(state["generation"])
        calls.n_failures = int(state["failures"])
        for due in state["due"]:  # the fit itself came with the model
            self.fits.restore(int(due))
        for name, part in self._parts().items():
            part.restore(under(state, name))

    def _parts(self) -> dict[str, _Part]:
        return {
            "policy": self.policy,
            "calibration": self.judge.calibration,
            "auditor": self.auditor,
            "screen": self.judge.screen,
            "queue": self._queue,
            "under_way": self.calls.under_way,
            "barren": self.calls.barren,
            **self.judge.energies.parts(),
            **self.judge.stress.parts(),
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
