"""Who may use threads: the matrix library for few large products, we for many small.

A matrix library that splits thousands of small products over its threads spends the
time waking them, many times over where other programs want the cores too. Where there
are many such products it is held to one thread, and independent pieces of work go to
threads of our own.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Protocol, TypeVar

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

_T = TypeVar("_T")
_R = TypeVar("_R")

LIMIT = "OMP_NUM_THREADS"


class _Library(Protocol):
    def get_num_threads(self) -> int: ...

    def set_num_threads(self, num_threads: int) -> None: ...


def thread_count() -> int:
    """Return OMP_NUM_THREADS where it is set, else the cores this process may use."""
    wanted = os.environ.get(LIMIT, "").partition(",")[0]
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    return available_cores()


def available_cores() -> int:
    """Return the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let the matrix library use one thread inside.

    The limit holds for the whole process. Contexts may be nested, but those of several
    threads must stand inside one that is older than all of them. It is entered at
    every step of a run, hence no search for libraries each time.
    """
    before = [library.get_num_threads() for library in _libraries()]
    for library, number in zip(_libraries(), before, strict=True):
        if number != 1:
            library.set_num_threads(1)
    try:
        yield
    finally:
        for library, number in zip(_libraries(), before, strict=True):
            if number != 1:
                library.set_num_threads(number)


@contextmanager
def one_openmp_thread(package: str) -> Iterator[None]:
    """Let the OpenMP of an imported package use one thread inside.

    Sums over several threads come out in another order each time, and with it another
    last bit.
    """
    with _controller(package).limit(limits=1, user_api="openmp"):
        yield


def in_order(function: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
    """Yield function(item) in the order of the items, computed on several threads.

    Only a few results wait at any time, so that their memory stays small. The results
    do not depend on the number of threads. Within a function that is already on such a
    thread, items follow each other.
    """
    n_threads = thread_count()
    if n_threads < 2 or getattr(_here, "is_worker", False):
        yield from map(function, items)
        return
    pool = _pool(os.getpid(), n_threads)
    waiting: deque[Future[_R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        wait([future for future in waiting if not future.cancel()])


_here = threading.local()


def _is_worker() -> None:
    _here.is_worker = True


@lru_cache(maxsize=2)
def _pool(process: int, n_threads: int) -> ThreadPoolExecutor:
    """Return the threads of a process: they do not follow into a forked child."""
    return ThreadPoolExecutor(n_threads, f"otf-{process}", initializer=_is_worker)


@cache
def _controller(package: str) -> ThreadpoolController:
    """Return the libraries there are once the package has brought its own."""
    return ThreadpoolController()


@cache
def _libraries() -> list[_Library]:
    import scipy.linalg  # noqa: F401 - brings the second copy of the library

    found = ThreadpoolController().select(user_api="blas")
    return list(found.lib_controllers)
