"""Spread a kernel over ranges of atoms on a few threads.

The kernels release the interpreter lock and every atom writes only what is its own, so
that results are bitwise the same for any number of threads. A pool of plain threads
instead of numba's own loops: those compile slowly, abort the process when called from
two threads at once, and do not survive a fork.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numba import config

# Fewer pairs per thread are done sooner than a thread is woken.
MIN_PAIRS = 4000


def thread_count():
    """Return the number of threads, from NUMBA_NUM_THREADS or the cores there are."""
    return config.NUMBA_NUM_THREADS


def over_atoms(kernel, n_atoms, n_pairs, *arguments):
    """Call kernel(low, high, *arguments) for ranges that cover all atoms."""
    n_threads = min(thread_count(), n_pairs // MIN_PAIRS, n_atoms)
    if n_threads < 2:
        kernel(0, n_atoms, *arguments)
        return
    bounds = np.linspace(0, n_atoms, n_threads + 1).astype(int)
    pool = _pool(os.getpid(), thread_count())
    jobs = [pool.submit(kernel, a, b, *arguments) for a, b in pairwise(bounds)]
    for job in jobs:
        job.result()


@lru_cache(maxsize=2)
def _pool(process, n_threads):
    """Return the pool of a process: threads do not follow into a forked child."""
    return ThreadPoolExecutor(n_threads, thread_name_prefix=f"otf-{process}")
