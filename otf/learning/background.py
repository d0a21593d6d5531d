"""A fit beside the run: what waits is learned while the old model goes on predicting.

The fit runs in a thread. Products and kernels let the interpreter go, so both sides
advance, and the rows are not copied as they would be for another process. The run takes
the new model up at a step that is fixed when the fit begins, and waits there if need
be, so the trajectory does not depend on the speed of the machine.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

from otf.threads import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future


class PendingFit:
    """One fit, whose model is taken up at a given step.

    Until it is closed, the matrix library keeps to one thread in the whole process:
    results depend on their number, and limits set by two threads in turn would mix.

    Attributes
    ----------
    due : the step at which the new model enters

    Parameters
    ----------
    due
        As above.
    work
        Makes the fit; called in a thread.
    """

    def __init__(self, due: int, work: Callable[[], object]) -> None:
        self.due = due
        self._limit = ExitStack()
        self._limit.enter_context(one_blas_thread())
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="fit")
        self._seconds: Future[float] = self._pool.submit(_timed, work)

    def wait(self) -> float:
        """Return the seconds the fit took, when it has ended; raise what it raised."""
        return self._seconds.result()

    def close(self) -> float:
        """Wait, set the matrix library free, and return the seconds."""
        try:
            return self.wait()
        finally:
            self._pool.shutdown()
            self._limit.close()


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
