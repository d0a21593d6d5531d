"""Labels in parallel: several structures under way, answers in the order asked.

A lane is a thread with a reference of its own, so that retries, gates and the label
book are those of a single reference. What the lane asks is a process of this machine,
or a place found by an executor of :mod:`otf.calculators.clusters`. A label is in the
book as soon as it arrives, whether or not anybody waits for it yet.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from queue import Empty, PriorityQueue, SimpleQueue
from typing import TYPE_CHECKING, Protocol, TypeVar

from otf.calculators.caller import Caller, CallFailed, WorkerLost
from otf.calculators.serving import one_line
from otf.calculators.worker import PATIENCE, START, Worker
from otf.errors import InputError, ReferenceFailure
from otf.store.labels import label_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    from otf.calculators.caller import Results
    from otf.calculators.code import Code
    from otf.calculators.reference import LabelBook, Reference
    from otf.calculators.worker import Order
    from otf.configuration import Configuration, Labels
    from otf.potential import Answer, Doubt

    Watch = Callable[[int, int], None]

_T = TypeVar("_T")
logger = logging.getLogger(__name__)

LOSSES = 3
_GLANCE = 0.2  # seconds between two looks at whether something has arrived
_DELAY = 60.0  # seconds a shared file system may take to show a new file
_HEARTBEAT = 1.0  # seconds between two looks at whether anybody still waits


class Interruptible(Caller, Protocol):
    """A caller whose call under way can be ended from another thread."""

    def interrupt(self) -> None:
        """Let the call under way, if there is one, fail soon."""
        ...


class Closed(Exception):  # noqa: N818 - an exception of flow, never seen
    """The pool is being closed; nothing more is computed."""


class Remote:
    """A code wherever an executor runs what is submitted (see ``Interruptible``).

    Every call is one submitted function, which starts a process of its own there: a
    crash of the code does not take the worker of the cluster with it, and the limit
    on the time does not count the wait in a queue.

    Parameters
    ----------
    executor
        Of any kind; this package must be installed where it runs functions.
    order
        What is built there; its directory must be reached from there.
    time_limit, start_limit
        Seconds a call, and the start of its process, may take (see ``Worker``).
    """

    def __init__(
        self,
        executor: Executor,
        order: Order,
        *,
        time_limit: float | None = None,
        start_limit: float = START,
    ) -> None:
        self._executor = executor
        self._order = order
        self._time_limit = time_limit
        self._start_limit = start_limit
        self._interrupted = threading.Event()
        self._token = None
        if order.directory is not None:
            self._token = order.directory / "asked.token"

    def start(self) -> None:
        """Let a calculator be built there, once (see the protocol)."""
        self._ask(None, 0)

    def call(self, configuration: Configuration, attempt: int) -> Results:
        """Return the results of one call (see the protocol)."""
        return self._ask(configuration, attempt)

    def version(self) -> str:
        """Return the version of the code, asked there (see the protocol)."""
        return str(self._ask(None, 0)["version"])

    def close(self) -> None:
        """Do nothing: the process there ended with its call."""

    def interrupt(self) -> None:
        """Tell the process there that nobody waits, and soon wait no more."""
        self._interrupted.set()
        if self._token is not None:
            self._token.unlink(missing_ok=True)

    def _ask(self, configuration: Configuration | None, attempt: int) -> Results:
        if self._token is not None:
            self._token.parent.mkdir(parents=True, exist_ok=True)
            self._token.touch()
        try:
            future = self._executor.submit(
                compute_there,
                Request(
                    self._order,
                    configuration,
                    attempt,
                    self._time_limit,
                    self._start_limit,
                ),
                self._token,
                list(sys.path),
            )
            word, content = self._result(future)
        except BaseException as error:  # a cancelled future raises no Exception
            raise WorkerLost(f"the executor: {one_line(error)}") from error
        if word == "results":
            assert isinstance(content, dict)  # compute_there returns nothing else
            return content
        raise _FAILURES[word](str(content))

    def _result(self, future: Future[tuple[str, object]]) -> tuple[str, object]:
        """Wait for a submitted function; after an interruption not for long."""
        while not wait([future], timeout=_GLANCE).done:
            if self._interrupted.is_set() and not future.cancel():
                return future.result(timeout=PATIENCE)
        return future.result()


_FAILURES: dict[str, type[Exception]] = {
    "lost": WorkerLost,
    "failed": CallFailed,
    "refused": InputError,
}


@dataclass(frozen=True, eq=False)
class Request:
    """One call, as it travels.

    Attributes
    ----------
    order : what is built
    configuration : what is computed; None for building it and telling its version
    attempt : rung of the code's ladder
    time_limit : seconds of the call, None for no limit
    start_limit : seconds until the process is ready
    """

    order: Order
    configuration: Configuration | None
    attempt: int
    time_limit: float | None
    start_limit: float


def compute_there(
    request: Request, token: Path | None, path: Sequence[str]
) -> tuple[str, object]:
    """Compute one structure in a process of its own, wherever this is called.

    Parameters
    ----------
    request
        What is asked.
    token
        A file; when it vanishes nobody waits any more. None for one who always does.
    path
        Where the one who asks finds modules.

    Returns
    -------
    word, content : "results" with the results, or why there are none
    """
    end_with_parent()
    sys.path.extend(folder for folder in path if folder not in sys.path)
    worker = Worker(
        request.order,
        time_limit=request.time_limit,
        start_limit=request.start_limit,
    )
    try:
        with _while_asked(worker, token):
            if request.configuration is None:
                return "results", {"version": worker.version()}
            return "results", worker.call(request.configuration, request.attempt)
    except WorkerLost as error:
        return "lost", str(error)
    except CallFailed as error:
        return "failed", str(error)
    except InputError as error:
        return "refused", str(error)
    finally:
        worker.close()


@cache
def end_with_parent() -> None:
    """End this process when the one that started it has gone; said once, it holds.

    Executors leave processes behind that wait for ever when they are killed.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_HEARTBEAT)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _while_asked(worker: Worker, token: Path | None) -> Iterator[None]:
    """End the process of a worker when the token vanishes."""
    over = threading.Event()

    def watch(token: Path) -> None:
        # A file of another machine may take a while to appear.
        patient_until = time.monotonic() + _DELAY
        while not over.wait(_HEARTBEAT):
            if token.exists():
                patient_until = 0.0
            elif time.monotonic() > patient_until:
                worker.interrupt()

    if token is not None:
        threading.Thread(target=watch, args=(token,), daemon=True).start()
    try:
        yield
    finally:
        over.set()


class Repeating:
    """A caller that asks again when the process of a call was lost (see ``Caller``).

    A process that was killed from outside says nothing about the structure, so the
    same attempt is made again, and the labels are those of an undisturbed run.

    Parameters
    ----------
    caller
        Asked.
    losses
        Processes that may be lost in one call.
    """

    def __init__(self, caller: Interruptible, *, losses: int = LOSSES) -> None:
        self._caller = caller
        self._losses = losses
        self._closing = False

    def start(self) -> None:
        """Build the calculator (see the protocol)."""
        self._repeat(self._caller.start)

    def call(self, configuration: Configuration, attempt: int) -> Results:
        """Return the results of one call (see the protocol)."""
        return self._repeat(partial(self._caller.call, configuration, attempt))

    def version(self) -> str:
        """Return the version of the code (see the protocol)."""
        return self._repeat(self._caller.version)

    def _repeat(self, act: Callable[[], _T]) -> _T:
        for loss in itertools.count(1):
            if self._closing:
                raise Closed
            try:
                return act()
            except WorkerLost as error:
                self._caller.close()
                if loss > self._losses:
                    raise
                if not self._closing:
                    logger.warning("%s; computed again (%d)", error, loss)
        raise AssertionError("an endless loop ended")

    def close(self) -> None:
        """End the calculator and whatever process it holds."""
        self._caller.close()

    def interrupt(self) -> None:
        """End the call under way, and let no other begin."""
        self._closing = True
        self._caller.interrupt()


@dataclass(frozen=True, eq=False)
class Lane:
    """One of several references that work side by side.

    Attributes
    ----------
    reference : asks ``caller``
    caller : of this lane only
    directory : where its code works; None for a code that leaves no files
    """

    reference: Reference
    caller: Repeating
    directory: Path | None = None


@dataclass(frozen=True, order=True)
class _Task:
    """A structure that waits for a lane; the smallest is next.

    Attributes
    ----------
    rank : 0 for one that somebody waits for, 1 for the others
    number : of tasks before
    configuration, doubt : the question
    future : the answer
    """

    rank: int
    number: int
    configuration: Configuration = field(compare=False)
    doubt: Doubt | None = field(compare=False)
    future: Future[Labels] = field(compare=False)


class ReferencePool:
    """Several references with one book, behind the protocols of a single one.

    Labels do not depend on the number of lanes, nor on which of them gave one, nor on
    what was computed before.

    Parameters
    ----------
    code
        Of all lanes.
    lanes
        At least one.
    watch
        Called with the number of labels that have arrived and of those asked for since
        nothing was under way, again and again while somebody waits.
    release
        Frees what the lanes share, when they have ended.
    """

    def __init__(
        self,
        code: Code,
        lanes: Sequence[Lane],
        *,
        watch: Watch | None = None,
        release: Callable[[], None] | None = None,
    ) -> None:
        self.code = code
        self._lanes = tuple(lanes)
        self._watch = watch
        self._release = release
        self._threads = ThreadPoolExecutor(len(lanes), thread_name_prefix="label")
        self._idle: SimpleQueue[Lane] = SimpleQueue()
        for lane in lanes:
            self._idle.put(lane)
        self._waiting: PriorityQueue[_Task] = PriorityQueue()
        self._numbers = itertools.count()
        self._under_way: dict[str, Future[Labels]] = {}
        self._n_asked = 0
        self._aside = itertools.count(1)

    @property
    def n_calls(self) -> int:
        """Return the labels computed."""
        return sum(lane.reference.n_calls for lane in self._lanes)

    @property
    def n_reused(self) -> int:
        """Return the labels found in the book."""
        return sum(lane.reference.n_reused for lane in self._lanes)

    @property
    def n_cached(self) -> int:
        """Return the labels found in the cache of all runs."""
        return sum(lane.reference.n_cached for lane in self._lanes)

    def keep_labels_in(self, book: LabelBook) -> None:
        """Store labels there from now on, and take those it has."""
        for lane in self._lanes:
            lane.reference.keep_labels_in(book)

    def fingerprint(self, configuration: Configuration | None = None) -> str:
        """Return what must be equal for labels to share a training set."""
        return self._lanes[0].reference.fingerprint(configuration)

    def description(self, configuration: Configuration | None = None) -> str:
        """Return what the fingerprint stands for, in one line of words."""
        return self._lanes[0].reference.description(configuration)

    def require(self, configuration: Configuration) -> None:
        """Check before a run what would otherwise fail at its first label.

        Raises
        ------
        InputError, ReferenceFailure
            As a single reference does.
        """
        self._lanes[0].reference.require(configuration)

    def begin(
        self,
        configuration: Configuration,
        *,
        doubt: Doubt | None = None,
        urgent: bool = False,
    ) -> Answer:
        """Have a configuration labelled, and return what waits for its labels.

        An urgent one is computed before all others that have not begun. A structure
        that is under way already is not computed twice.
        """
        key = label_key(configuration, self.fingerprint(configuration))
        future = self._under_way.get(key)
        if future is None:
            self._n_asked = 1 + (self._n_asked if self._under_way else 0)
            future = Future()
            self._under_way[key] = future
            future.add_done_callback(lambda _: self._under_way.pop(key))
            rank, number = 0 if urgent else 1, next(self._numbers)
            self._waiting.put(_Task(rank, number, configuration, doubt, future))
            self._threads.submit(self._label_next)
        return partial(self._wait, future)

    def label(
        self, configuration: Configuration, *, doubt: Doubt | None = None
    ) -> Labels:
        """Return the labels of one configuration, from the book or computed.

        Raises
        ------
        ReferenceFailure
            When atoms overlap, or no trustworthy labels came after all retries.
        """
        return self.begin(configuration, doubt=doubt, urgent=True)()

    def close(self) -> None:
        """End all calls, those under way too, and whatever processes they hold."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with suppress(Empty):
            while True:
                future = self._waiting.get_nowait().future
                future.cancel()
                future.set_running_or_notify_cancel()  # whoever waits for it ends
        running = list(self._under_way.values())
        while wait(running, timeout=_GLANCE).not_done:
            for lane in self._lanes:  # a process may just have been started
                lane.caller.interrupt()
        self._threads.shutdown()
        for lane in self._lanes:
            lane.reference.close()
        if self._release is not None:
            self._release()

    def _wait(self, future: Future[Labels]) -> Labels:
        """Return labels that were asked for; tell how many there are meanwhile."""
        while not wait([future], timeout=_GLANCE).done:
            if self._watch is not None:
                self._watch(self._n_asked - len(self._under_way), self._n_asked)
        return future.result()

    def _label_next(self) -> None:
        """Answer the task that is next; as often called as there are tasks."""
        try:
            task = self._waiting.get_nowait()
        except Empty:  # the pool is being closed
            return
        if not task.future.set_running_or_notify_cancel():
            return
        try:
            task.future.set_result(self._label(task.configuration, task.doubt))
        except BaseException as error:  # whatever it is belongs to who waits
            task.future.set_exception(error)

    def _label(self, configuration: Configuration, doubt: Doubt | None) -> Labels:
        lane = self._idle.get()
        try:
            return lane.reference.label(configuration, doubt=doubt)
        except ReferenceFailure as error:
            error.files = self._set_aside(lane.directory)
            raise
        finally:
            self._idle.put(lane)

    def _set_aside(self, directory: Path | None) -> Path | None:
        """Move what a failed call left, before the next call of the lane writes there.

        Its process has ended: a failed call is never the last word of a living one.
        """
        if directory is None or not directory.is_dir():
            return None
        for number in self._aside:
            place = directory.with_name(f"failed-{number}")
            if not place.exists():
                return directory.rename(place)
        raise AssertionError("an endless loop ended")
