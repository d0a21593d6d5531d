"""Does the screen change what a run decides? Learning with and without it.

    python screen_or_exact.py WORK [--material silicon] [--seeds 3] [--jobs 2]

Aluminium of learning_aluminium.py, 32 atoms, or silicon of learning_silicon.py in less
than half the time, 64 atoms, of which exact deviations are made of a fourth first.
Learned twice from the same seeds: as runs do it, with exact force deviations where the
screen flags a step, and with those of every atom at every step. Prints reference calls,
errors on independent exact frames and wall times of both, and their ratios. Writes
screen.json in the folder of the material. Set OMP_NUM_THREADS=1 when several jobs share
a machine.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import learning_aluminium
import numpy as np
import silicon
from learning_silicon import account

from otf.deploy.saved_model import load_model

EXACT = """
from otf.cli import main
from otf.learning.judge import Judge
from otf.learning.screen import Screen
Screen.flags = lambda self, cheap, *, step, since_label: True
Judge.uncertainty = lambda self, c, screen, *, step, since_label: self.exact(c)
raise SystemExit(main())
"""
KINDS = {"screened": ["-m", "otf.cli"], "exact": ["-c", EXACT]}
# Exact deviations at every step take a tenth of a second each.
SILICON_STAGES = (
    (1000, 300.0, 300.0),
    (4000, 300.0, 3500.0),
    (2500, 3500.0, 3500.0),
    (1000, 3500.0, 2200.0),
    (1500, 2200.0, 2200.0),
)
MATERIALS = {
    "aluminium": (
        learning_aluminium.ALUMINIUM,
        learning_aluminium.STAGES,
        learning_aluminium.test_frames,
    ),
    "silicon": (silicon.SILICON, SILICON_STAGES, silicon.test_frames),
}


def learn(folder: Path, seed: int, kind: str, name: str) -> Path:
    """Learn a material with one seed; return the run folder."""
    run = folder / "run"
    if not (run / "model.h5").exists():
        material, stages, _ = MATERIALS[name]
        path = silicon.write_input(material, folder, seed, stages)
        with (folder / "log.txt").open("w") as log:
            command = [sys.executable, *KINDS[kind], "run", str(path)]
            subprocess.run(command, stdout=log, stderr=log, check=True)
    return run


def main() -> None:
    """Run everything and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--material", choices=MATERIALS, default="aluminium")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    name: str = arguments.material
    work: Path = arguments.work.resolve() / name
    tasks = [(kind, seed) for seed in range(1, arguments.seeds + 1) for kind in KINDS]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        runs = pool.map(
            lambda t: learn(work / f"{t[0]}-{t[1]}", t[1], t[0], name), tasks
        )
        runs = dict(zip(tasks, runs, strict=True))
    test = MATERIALS[name][2]()
    results: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for (kind, seed), run in runs.items():
        known = account(run)
        errors = silicon.errors_on(load_model(run / "model.h5"), test)
        row = {"seed": seed, "calls": known["calls"], "seconds": known["seconds"]}
        row |= {name: part["force_rmse_eV_per_A"] for name, part in errors.items()}
        results[kind].append(row)
        print(kind, row, flush=True)
    print("\nscreened over exact: mean over the seeds, of each seed")
    for key in ("calls", *test, "seconds"):
        one, other = (np.array([r[key] for r in results[k]]) for k in KINDS)
        print(f"{key:8s} {one.mean() / other.mean():.3f}", np.round(one / other, 3))
    silicon.save_json(work / "screen.json", results)


if __name__ == "__main__":
    main()
