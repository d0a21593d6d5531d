"""Frames the run asked for against frames drawn at random, all else equal.

    python active_or_random.py WORK [--seeds 5] [--jobs 2]

Takes the runs of learning_silicon.py in WORK (or makes them), and runs with a budget of
25 and 50 calls. For each run as many frames are drawn at random from an independent
exact trajectory of the same schedule. Both sets are fitted in the same way with the
same number of local references, because otherwise that number, and not the choice of
frames, would decide. Prints the ratio of force errors, active over random, and writes
WORK/active_or_random.json.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import silicon
from learning_silicon import learn
from silicon import SILICON

from otf.descriptors.power_spectrum import PowerSpectrum
from otf.models.batch import fit_dataset
from otf.models.bayesian_linear import BayesianLinear
from otf.store.run_reader import RunView

MELTING = (6500, 9000)  # steps of the schedule between which the crystal melts
BUDGET = '\n[learning]\npolicy = "budget"\nbudget_calls = {calls}\n'


def labelled_frames(run: Path) -> tuple[silicon.Frames, int]:
    """Return all frames a run paid for and its number of references."""
    view = RunView.load(run)
    frames = [(label.configuration, label.labels) for label in view.labels]
    return frames, view.retrains[-1].n_references


def fitted(frames: silicon.Frames, n_references: int) -> BayesianLinear:
    """Return a model of these frames with so many references."""
    model = BayesianLinear(
        PowerSpectrum(
            species=(14,), cutoff_three_body=5.0, cutoff_two_body=5.0, l_max=3
        )
    )
    fit_dataset(model, frames, n_references=n_references)
    return model


def compare(run: Path, seed: int, pool: silicon.Frames, test) -> dict[str, object]:
    """Return force errors of both choices of frames."""
    active, n_references = labelled_frames(run)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(pool), size=len(active), replace=False)
    drawn = [pool[k] for k in chosen]
    # As many as both sets can give.
    atoms = SILICON.start.n_atoms * len(active)
    n_references = min(n_references, atoms)
    models = {
        "active": fitted(active, n_references),
        "random": fitted(drawn, n_references),
    }
    errors = {
        name: {
            part: row["force_rmse_eV_per_A"]
            for part, row in silicon.errors_on(model, test).items()
        }
        for name, model in models.items()
    }
    return {
        "labels": len(active),
        "references": [model.n_references for model in models.values()],
        **errors,
        "ratio": {k: errors["active"][k] / errors["random"][k] for k in test},
    }


def main() -> None:
    """Make the runs, fit both choices and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    work: Path = arguments.work.resolve()
    seeds = range(1, arguments.seeds + 1)
    kinds = {
        "default": "",
        "50": BUDGET.format(calls=50),
        "25": BUDGET.format(calls=25),
    }

    def folder(kind: str, seed: int) -> Path:
        return work / (f"seed-{seed}" if kind == "default" else f"budget-{kind}-{seed}")

    tasks = [(kind, seed) for kind in kinds for seed in seeds]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        runs = list(pool.map(lambda t: learn(folder(*t), t[1], kinds[t[0]]), tasks))
    n_steps = sum(steps for steps, *_ in silicon.STAGES)
    frames = silicon.exact_trajectory(
        SILICON, silicon.STAGES, 7000, last=n_steps, every=5
    )
    test = silicon.test_frames()
    other = silicon.exact_trajectory(SILICON, silicon.STAGES, 7001, last=n_steps)
    low, high = (step // silicon.SPACING for step in MELTING)
    test["melting"] = other[low:high]
    results = {}
    for (kind, seed), run in zip(tasks, runs, strict=True):
        results[f"{kind}/{seed}"] = row = compare(run, seed, frames, test)
        print(kind, seed, row["labels"], row["references"], row["ratio"], flush=True)
    print("\nforce error, active over random: median over the seeds")
    for kind in kinds:
        ratios = [results[f"{kind}/{seed}"]["ratio"] for seed in seeds]
        medians = {k: round(float(np.median([r[k] for r in ratios])), 3) for k in test}
        print(kind, medians)
    silicon.save_json(work / "active_or_random.json", results)


if __name__ == "__main__":
    main()
