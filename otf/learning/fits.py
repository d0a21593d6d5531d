"""Fits of labelled frames that wait: at once, or beside the run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from otf.learning.background import PendingFit

if TYPE_CHECKING:
    from collections.abc import Callable

    from otf.learning.events import LearningLog
    from otf.learning.queue import Queue, Waiting
    from otf.models.bayesian_linear import BayesianLinear


class Fits:
    """Learns what waits in a queue.

    Parameters
    ----------
    model
        Learns.
    queue
        Frames that wait.
    log
        Is told of every fit.
    latency
        Steps from the begin of a fit beside the run to the model it makes.
    changed
        Called when the model has changed.

    Attributes
    ----------
    generation : grows with every change of the model's arrays
    """

    def __init__(
        self,
        model: BayesianLinear,
        queue: Queue,
        *,
        log: LearningLog,
        latency: int,
        changed: Callable[[], None],
    ) -> None:
        self.generation = 0
        self._model = model
        self._queue = queue
        self._log = log
        self._latency = latency
        self._changed = changed
        self._pending: PendingFit | None = None

    @property
    def due(self) -> int | None:
        """Return the step at which the fit under way enters, None without one."""
        return None if self._pending is None else self._pending.due

    def is_due(self, step: int) -> bool:
        """Return whether a fit enters at a step."""
        return self._pending is not None and step >= self._pending.due

    def retrain(self, step: int) -> None:
        """Learn what waits, now; a fit under way is waited for first."""
        self.settle(step)
        begun = time.perf_counter()
        self._fit(self._queue.drain())
        self._take_up(step, time.perf_counter() - begun)

    def begin(self, step: int) -> None:
        """Begin to learn what waits, beside the run, unless a fit is under way."""
        if self._pending is not None or not self._queue:
            return
        waiting = self._queue.drain()
        self.generation += 1
        self._pending = PendingFit(step + self._latency, lambda: self._fit(waiting))

    def settle(self, step: int) -> None:
        """Take up the fit that is under way, if there is one."""
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        self._take_up(step, pending.close())

    def wait(self) -> None:
        """Return when the arrays of the model are those of the fit under way."""
        if self._pending is not None:
            self._pending.wait()

    def restore(self, due: int) -> None:
        """Take up a fit that enters at a step, and whose arrays the model has."""
        self._pending = PendingFit(due, lambda: None)

    def _fit(self, waiting: Waiting) -> None:
        self._model.extend(*waiting)
        self._model.drop_redundant()
        self._model.solve()

    def _take_up(self, step: int, seconds: float) -> None:
        report = self._model.take_up()
        self.generation += 1
        self._changed()
        self._log.retrain(step, report, seconds)
