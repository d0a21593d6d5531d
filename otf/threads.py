"""Who may use threads: the matrix library for few large products, we for many small.

A matrix library that splits thousands of small products over its threads spends the
time waking them, many times over where other programs want the cores too. Where there
are many such products it is held to one thread, and independent pieces of work go to
threads of our own.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

_T = TypeVar("_T")
_R = TypeVar("_R")

LIMIT = "OMP_NUM_THREADS"


def thread_count() -> int:
    """Return OMP_NUM_THREADS where it is set, else the cores this process may use."""
    wanted = os.environ.get(LIMIT, "").partition(",")[0]
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def one_blas_thread() -> AbstractContextManager[object]:
    """Return a context in which the matrix library uses one thread.

    The limit holds for the whole process. Contexts may be nested, but those of several
    threads must stand inside one that is older than all of them.
    """
    limit: AbstractContextManager[object] = _controller().limit(
        limits=1, user_api="blas"
    )
    return limit


def in_order(function: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
    """Yield function(item) in the order of the items, computed on several threads.

    Only a few results wait at any time, so that their memory stays small. The results
    do not depend on the number of threads.
    """
    n_threads = thread_count()
    if n_threads < 2:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        waiting: deque[Future[_R]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@cache
def _controller() -> ThreadpoolController:
    import scipy.linalg  # noqa: F401 - brings the second copy of the library

    return ThreadpoolController()
