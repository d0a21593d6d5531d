"""What a process of its own adds to a reference call.

    python worker_overhead.py [--calls 200]

64 atoms of Stillinger-Weber silicon, labelled in this process and by a worker. Prints
the median wall time of a call, the difference, and what the first call takes.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from floor import rattled_silicon

from otf.calculators.caller import Caller, InProcess
from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.calculators.worker import Order, Worker

NAME = "stillinger-weber"


def seconds(caller: Caller, n_calls: int) -> tuple[float, float]:
    """Return wall times of the first call and of the median of the others."""
    reference = Reference(make_calculator(NAME), caller=caller)
    crystal = rattled_silicon(2, seed=1)
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(n_calls + 1):
        moved = crystal.positions + rng.normal(scale=0.01, size=crystal.positions.shape)
        begun = time.perf_counter()
        reference.label(crystal.moved(moved))
        rows.append(time.perf_counter() - begun)
    reference.close()
    return rows[0], float(np.median(rows[1:]))


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=200)
    n_calls = parser.parse_args().calls
    _, here = seconds(InProcess(make_calculator(NAME)), n_calls)
    first, there = seconds(Worker(Order(NAME)), n_calls)
    print(f"in this process {1e3 * here:.2f} ms, by a worker {1e3 * there:.2f} ms")
    print(f"difference {1e3 * (there - here):.2f} ms a call; first call {first:.2f} s")


if __name__ == "__main__":
    main()
