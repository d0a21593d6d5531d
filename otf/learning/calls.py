"""Calls of the reference, and the books that are kept of them."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from otf.errors import ReferenceFailure
from otf.learning.barren import BarrenLabels
from otf.learning.events import Decision, Failure
from otf.learning.pending import LabelsUnderWay, PendingLabel, ask
from otf.learning.policy import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import Configuration, Labels
    from otf.learning.audit import Auditor
    from otf.learning.events import LearningLog
    from otf.learning.expectation import Expectation
    from otf.learning.judge import Judge
    from otf.learning.queue import Queue
    from otf.potential import Answer, Prediction, ReferenceCalculator

logger = logging.getLogger(__name__)


class ReferenceCalls:
    """Has structures labelled, and keeps count.

    Parameters
    ----------
    reference
        Is called.
    judge
        Says what is expected of labels, and learns how wrong it was.
    auditor
        Is told of every call.
    queue
        Takes what was labelled; walkers that learn together share it.
    log
        Is told of labels and failures.
    latency
        Steps after which labels computed beside the run are taken in.
    max_failures
        Structures without labels that are put aside before a run stops.
    second_opinion
        Whether labels far from the model are computed once more.

    Attributes
    ----------
    n_calls, n_failures : structures with and without labels
    last_label : the sampler's clock when the last structure was sent
    barren : labels that brought no reference
    """

    def __init__(
        self,
        reference: ReferenceCalculator,
        *,
        judge: Judge,
        auditor: Auditor,
        queue: Queue,
        log: LearningLog,
        latency: int,
        max_failures: int,
        second_opinion: bool,
    ) -> None:
        self.reference = reference
        self.n_calls = 0
        self.n_failures = 0
        self.last_label = -(10**9)
        self.under_way = LabelsUnderWay(self._ask_beside)
        self.barren = BarrenLabels(judge.rules)
        self._judge = judge
        self._policy = judge.policy
        self._auditor = auditor
        self._queue = queue
        self._log = log
        self._latency = latency
        self._max_failures = max_failures
        self._second_opinion = second_opinion

    # -------------------------------------------------------- labels the run waits for
    def ask(self, c: Configuration, before: Prediction | None = None) -> Answer:
        """Have a structure labelled that the run waits for."""
        expected = None if before is None else self._expected(c, before)
        doubt = None if expected is None else expected.doubt
        return ask(self.reference, c, doubt, urgent=True)

    def call(
        self,
        c: Configuration,
        step: int,
        reason: Reason,
        before: Prediction | None = None,
        *,
        answer: Answer | None = None,
    ) -> Labels | None:
        """Label a configuration, queue it, and keep all books; None for no labels.

        Parameters
        ----------
        c, step, reason
            What is labelled, when, and why.
        before
            Prediction of it, where there is one.
        answer
            Of ``ask``, where it was asked for already.

        Raises
        ------
        ReferenceFailure
            When too many structures got no labels, or the very first did not.
        """
        try:
            labels = (answer or self.ask(c))()
        except ReferenceFailure as error:
            self._failed(Failure(step, reason, c, str(error), error.files))
            self.last_label = step
            if reason is Reason.AUDIT:
                self._auditor.tried(step)
            return None
        self._policy.called()
        if reason not in (Reason.START, Reason.AUDIT):
            self._auditor.called(step)
        self.last_label = step
        threshold = self._policy.threshold
        self._learned(Decision(step, reason, threshold, c, labels, before))
        return labels

    def call_all(
        self, configurations: Sequence[Configuration], step: int, reason: Reason
    ) -> int:
        """Label configurations without a prediction; return how many got labels."""
        answers = [self.ask(c) for c in configurations]
        labels = [
            self.call(c, step, reason, answer=answer)
            for c, answer in zip(configurations, answers, strict=True)
        ]
        return sum(one is not None for one in labels)

    # ---------------------------------------------------------- labels beside the run
    def send(
        self, c: Configuration, before: Prediction, reason: Reason, step: int
    ) -> None:
        """Have a step labelled beside the run; the books count the call at once."""
        self._policy.called()
        if reason is Reason.AUDIT:
            self._auditor.tried(step)
        else:
            self._auditor.called(step)
        self.last_label = step
        self.under_way.send(
            PendingLabel(
                step,
                step + self._latency,
                reason,
                self._policy.threshold,
                c,
                before,
                self._expected(c, before),
            )
        )

    def collect(self, step: int | None = None) -> None:
        """Take in the labels that are due at a step, or all that are under way."""
        for p, answer in self.under_way.due(step):
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

    def wait(self) -> int:
        """Return how many labels were under way, when all of them are in the book."""
        answers = self.under_way.answers
        for answer in answers:
            with suppress(ReferenceFailure):  # it is met again when it is due
                answer()
        return len(answers)

    def _ask_beside(self, c: Configuration, expected: Expectation | None) -> Answer:
        return ask(self.reference, c, None if expected is None else expected.doubt)

    # ------------------------------------------------------------------------ books
    def _expected(self, c: Configuration, before: Prediction) -> Expectation | None:
        return self._judge.expectation(c, before) if self._second_opinion else None

    def _learned(self, decision: Decision) -> None:
        """Queue a labelled frame, and learn what the prediction before it was worth."""
        before, labels = decision.before, decision.labels
        self._judge.stress.require(labels)
        self.n_calls += 1
        if self._policy.calibrated:  # other deviations fall with labels alone
            self.barren.learned(decision)
        if before is not None and decision.reason is Reason.AUDIT:
            self._auditor.audited(decision.step, labels.forces - before.forces)
        candidates = self._judge.learn(decision)
        self._queue.add(decision.configuration, labels, candidates)
        self._log.decision(decision)

    def _failed(self, failure: Failure) -> None:
        """Put a structure aside; too many of them, or the very first, end the run.

        Raises
        ------
        ReferenceFailure
            In that case.
        """
        self._log.failure(failure)
        self.n_failures += 1
        if self._queue.is_new:
            raise ReferenceFailure(failure.text)
        if self.n_failures > self._max_failures:
            raise ReferenceFailure(
                f"{self.n_failures} structures got no labels, more than max_failures = "
                f"{self._max_failures} (input file: [reference]); the last: "
                f"{failure.text}"
            )
        logger.warning("step %d goes on without labels: %s", failure.step, failure.text)
