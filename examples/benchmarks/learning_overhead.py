"""What learning costs: a run that learns against the same run with its finished model.

    python learning_overhead.py WORK [--seeds 1]

Silicon of learning_silicon.py with a reference that costs nothing (in WORK, made where
missing), then the same stages and seed with the model it ended with. One core. Prints
wall times and their ratio.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import silicon
from learning_silicon import account, learn, otf_md
from silicon import SILICON

from otf.store.checkpoint import load_newest
from otf.store.schema import RunFolder

os.environ["OMP_NUM_THREADS"] = "1"
PRODUCTION = '\n[potential]\nmodel = "{model}"\non_untrusted = "flag"\n'


def produce(folder: Path, seed: int, model: Path) -> Path:
    """Run the same stages with a finished model; return the run folder."""
    run = folder / "run"
    if not run.exists():
        extra = PRODUCTION.format(model=model)
        path = silicon.write_input(SILICON, folder, seed, extra=extra)
        calculator = f'[reference]\ncalculator = "{SILICON.calculator}"\n'
        path.write_text(path.read_text().replace(calculator, ""))
        otf_md("run", path)
    return run


def main() -> None:
    """Run both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    work: Path = arguments.work.resolve()
    for seed in range(1, arguments.seeds + 1):
        run = learn(work / f"seed-{seed}", seed)
        known = account(run)
        frozen = produce(work / f"frozen-{seed}", seed, run / "model.h5")
        seconds = float(load_newest(RunFolder(frozen)).counters["wall_s"])
        print(
            f"seed {seed}: {known['steps']} steps, {known['references']} references, "
            f"learning {known['seconds']:.0f} s, frozen {seconds:.0f} s, "
            f"ratio {known['seconds'] / seconds:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
