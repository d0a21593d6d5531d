"""What labels in parallel and beside the dynamics save, against what they can save.

    python parallel_labels.py WORK [--seconds 1.0] [--steps 600]

Silicon of eight atoms whose every label sleeps for a known time, so that the cores are
free for the dynamics. Twelve structures are labelled by one worker and by two; the
bound is their rest shared among the workers. Then a learning run from scratch is made
in several ways. One that waits takes at least the time of the same run with labels that
cost nothing, and the rest of all its labels. With labels beside the dynamics the longer
of both is the bound, the rest shared among the workers. Folders in WORK are made anew.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.io import write

from otf.calculators.executor import Lane, ReferencePool, Repeating
from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.calculators.stillinger_weber import StillingerWeber
from otf.calculators.worker import Order, Worker
from otf.cli import main as otf_md
from otf.configuration import Configuration
from otf.store.run_reader import RunView

NAME = "parallel_labels:Sleeping"
N_POOL = 12
WAYS = {
    "waits, 1 worker": "workers = 1",
    "waits, 2 workers": "workers = 2",
    "10 steps beside, 2 workers": "workers = 2\nlatency_steps = 10",
    "50 steps beside, 1 worker": "workers = 1\nlatency_steps = 50",
    "50 steps beside, 2 workers": "workers = 2\nlatency_steps = 50",
    "100 steps beside, 2 workers": "workers = 2\nlatency_steps = 100",
}
INPUT = """
seed = 1

[structure]
file = "start.xyz"

[reference]
calculator = "{name}"
arguments = {{ seconds = {seconds} }}
{way}

[dynamics]
timestep_fs = 2.0

[[dynamics.stages]]
steps = {steps}
temperature_K = 300.0
temperature_end_K = 1500.0
"""


class Sleeping(StillingerWeber):
    """Stillinger-Weber silicon, after a rest."""

    def __init__(self, seconds: float = 1.0) -> None:
        super().__init__()
        self.seconds = seconds

    def calculate(self, atoms, properties, changes) -> None:
        """Rest, and compute."""
        time.sleep(self.seconds)
        super().calculate(atoms, properties, changes)


def pool_seconds(workers: int, seconds: float) -> float:
    """Return the wall time of the pool by workers that have labelled before."""
    arguments = {"seconds": seconds}
    crystal = Configuration.from_atoms(bulk("Si", cubic=True))
    code = make_calculator(NAME, arguments)
    lanes = []
    for _ in range(workers):
        caller = Repeating(Worker(Order(NAME, arguments)))
        caller.call(crystal, 0)
        lanes.append(Lane(Reference(code, caller=caller), caller))
    references = ReferencePool(code, lanes)
    rng = np.random.default_rng(0)
    noise = rng.normal(scale=0.05, size=(N_POOL, crystal.n_atoms, 3))
    begun = time.perf_counter()
    answers = [references.begin(crystal.moved(crystal.positions + x)) for x in noise]
    for answer in answers:
        answer()
    spent = time.perf_counter() - begun
    references.close()
    return spent


def run(folder: Path, way: str, seconds: float, steps: int) -> tuple[float, RunView]:
    """Return the wall time of a run, and what it left."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write(folder / "start.xyz", bulk("Si", cubic=True))
    text = INPUT.format(name=NAME, seconds=seconds, way=way, steps=steps)
    (folder / "input.toml").write_text(text)
    begun = time.perf_counter()
    if otf_md(["run", str(folder / "input.toml")]):
        sys.exit("the run failed")
    return time.perf_counter() - begun, RunView.load(folder / "run")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=600)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    work, seconds = arguments.work.resolve(), arguments.seconds
    lines = []
    for workers in (1, 2):
        spent = pool_seconds(workers, seconds)
        bound = seconds * N_POOL / workers
        lines.append(
            f"{N_POOL} structures, {workers} worker{'s' * (workers > 1)}: "
            f"{spent:.2f} s, {spent / bound:.3f} of the bound {bound:.2f} s"
        )
    for _ in range(2):  # kernels are compiled in the first
        free, _ = run(work / "free", "workers = 1", 0.0, arguments.steps)
    lines.append(f"run whose labels cost nothing: {free:.1f} s")
    for number, (name, way) in enumerate(WAYS.items()):
        spent, view = run(work / str(number), way, seconds, arguments.steps)
        n_labels = len(view.labels)
        rest = seconds * n_labels
        if "beside" in name:
            bound = max(free, rest / (2 if "2 workers" in name else 1))
        else:
            bound = free + rest
        urgent = sum(d.reason in ("critical", "new species") for d in view.decisions)
        lines.append(
            f"{name}: {spent:.1f} s, {n_labels} labels ({urgent} urgent), "
            f"{spent / bound:.2f} of the bound {bound:.1f} s"
        )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
