"""Learning silicon on the fly through melting: calls, errors, and whether the run knew.

    python learning_silicon.py WORK [--seeds 10] [--jobs 2] [--extras]

Runs `otf-md run` for every seed in a folder of WORK, then compares each model with
frames of independent exact trajectories, and every 20th step of each run with the
reference. `--extras` adds a run with a budget of 150 calls, one with a goal of a tenth,
and one in which two atoms are pushed together. Writes WORK/silicon.json and
WORK/silicon_rdf.png. Set OMP_NUM_THREADS=1 when several jobs share a machine.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import silicon
from matplotlib.figure import Figure
from silicon import SILICON

from otf.deploy.saved_model import load_model
from otf.report.rdf import radial_distribution
from otf.store.checkpoint import Checkpoints, load_newest
from otf.store.frames import read_frames
from otf.store.run_reader import RunView
from otf.store.schema import RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable

TOLERATED = 0.3  # eV/angstrom, the default threshold


def otf_md(*arguments: object) -> None:
    """Run a command; its words go to a log beside the input."""
    command = [sys.executable, "-m", "otf.cli", *map(str, arguments)]
    log = Path(arguments[1]).parent / "log.txt"
    with log.open("a") as out:
        code = subprocess.run(command, stdout=out, stderr=out, check=False).returncode
    if code:
        print(f"{' '.join(command[2:])}: exit code {code}, see {log}", flush=True)


def run_once(folder: Path, prepare: Callable[[], Path]) -> Path:
    """Run the input that ``prepare`` writes, unless it ran before; return its run."""
    run = folder / "run"
    if not (run / "model.h5").exists():
        shutil.rmtree(folder, ignore_errors=True)
        begin = time.monotonic()
        otf_md("run", prepare())
        print(f"{folder.name}: {time.monotonic() - begin:.0f} s", flush=True)
    return run


def learn(folder: Path, seed: int, extra: str = "") -> Path:
    """Learn silicon with one seed; return the run folder."""
    return run_once(
        folder, lambda: silicon.write_input(SILICON, folder, seed, extra=extra)
    )


def true_errors(run: Path) -> list[dict[str, object]]:
    """Return, for every 20th step that was predicted, how wrong it was."""
    _, frames = read_frames(RunFolder(run).frames)
    calculator, crystal = SILICON.reference(), SILICON.start
    out = []
    for frame in frames:
        if frame.labelled or not frame.valid or not frame.step:
            continue
        labels = calculator.label(crystal.moved(frame.positions))
        difference = frame.forces - labels.forces
        atoms = np.sqrt((difference**2).mean(axis=1))
        own = frame.force_errors  # NaN where the screen saw no need to evaluate them
        known = bool(np.isfinite(own).all())
        out.append(
            {
                "stage": silicon.stage_name(frame.step),
                "step": frame.step,
                "rmse": float(np.sqrt((difference**2).mean())),
                "largest": float(np.abs(difference).max()),
                "largest_norm": float(np.linalg.norm(difference, axis=1).max()),
                "above_own": float(np.mean(atoms > own)) if known else np.nan,
                "components_above_own": float(
                    np.mean(np.abs(difference) > own[:, None])
                )
                if known
                else np.nan,
                "above_tolerated": float(np.mean(atoms > TOLERATED)),
                "norm_above_tolerated": float(
                    np.mean(np.linalg.norm(difference, axis=1) > TOLERATED)
                ),
            }
        )
    return out


def account(run: Path) -> dict[str, object]:
    """Return what a run paid and how it ended."""
    view = RunView.load(run)
    steps = view.finish.step
    reasons: dict[str, int] = {}
    for decision in view.decisions:
        reasons[decision.reason] = reasons.get(decision.reason, 0) + 1
    return {
        "steps": steps,
        "calls": len(view.decisions),
        "bypassed": 1.0 - len(view.decisions) / steps,
        "reasons": reasons,
        "rollbacks": len(view.rollbacks),
        "references": view.retrains[-1].n_references,
        "converged": view.finish.converged,
        "verdict": view.finish.reason,
        "seconds": load_newest(view.folder).counters["wall_s"],
    }


def flagged_far_away(run: Path, melt: silicon.Frames) -> dict[str, dict[str, float]]:
    """Return what the model says of frames far from everything it has seen."""
    model = load_model(run / "model.h5")
    rng = np.random.default_rng(5)
    crystal, hot = SILICON.start, melt[0][0]
    noise = 0.6 * rng.normal(size=crystal.positions.shape)
    squeezed = replace(hot, positions=0.8 * hot.positions, cell=0.8 * hot.cell)
    far = {
        "melt at 0.8": squeezed,
        "0.6 A rattle": crystal.moved(noise + crystal.positions),
    }
    calculator = SILICON.reference()
    calculator = type(calculator)(calculator.code, shortest_contact=0.1)
    out = {}
    for name, c in far.items():
        known = model.force_uncertainty(c)
        true = np.abs(model.predict(c).forces - calculator.label(c).forces).max()
        out[name] = {
            "sigma": float(known.forces.max()),
            "spilling": float(known.spilling.max()),
            "true_largest": float(true),
        }
    return out


def median_and_worst(results: list[dict], pick) -> str:
    """Return the median over the seeds and the worst of them, as text."""
    values = [pick(r) for r in results]
    return f"{np.median(values):8.4f} {max(values):8.4f}"


def print_tables(results: list[dict]) -> None:
    """Print what the runs paid and how wrong they were."""
    print("\nseed calls bypassed refs rollbacks seconds verdict")
    for r in results:
        a = r["account"]
        print(
            f"{r['seed']:4d} {a['calls']:5d} {a['bypassed']:8.2%} {a['references']:5d} "
            f"{a['rollbacks']:3d} {a['seconds']:7.0f} {a['verdict']}"
        )
    print("\nRMSE on independent frames: median and worst over the seeds")
    for name in results[0]["test"]:
        for key in (
            "energy_rmse_meV_per_atom",
            "force_rmse_eV_per_A",
            "stress_rmse_GPa",
        ):
            row = median_and_worst(results, lambda r, n=name, k=key: r["test"][n][k])
            print(f"{name:8s} {key:26s} {row}")
    print("\nevery 20th predicted step, all seeds (largest: of all components);")
    print("e_i where it was evaluated")
    rows = [row for r in results for row in r["steps"]]
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    print(
        "stage         rmse  atoms>e_i comp>e_i atoms>0.3 norm>0.3 steps>0.3 >0.6 max"
    )
    for stage in [*stages, "all"]:
        part = [row for row in rows if stage in (row["stage"], "all")]
        mean = {
            key: np.nanmean([row[key] for row in part])
            for key in part[0]
            if key not in ("stage", "step")
        }
        largest = np.array([row["largest"] for row in part])
        print(
            f"{stage:12s} {mean['rmse']:6.3f} {mean['above_own']:8.2%} "
            f"{mean['components_above_own']:8.2%} {mean['above_tolerated']:8.3%} "
            f"{mean['norm_above_tolerated']:8.3%} {np.mean(largest > 0.3):8.2%} "
            f"{np.mean(largest > 0.6):7.2%} {largest.max():.2f}"
        )
    print("\nfar from the data (sigma eV/A, spilling, true largest error eV/A)")
    for name, row in results[0]["far"].items():
        print(f"{name:14s} " + "  ".join(f"{k} {v:.3g}" for k, v in row.items()))


def draw_rdf(path: Path, runs: list[Path], test: dict[str, silicon.Frames]) -> None:
    """Draw the pair distributions of the learned and the exact dynamics."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    for ax, name, first, last in (
        (axes[0], "300 K", 500, 2000),
        (axes[1], "melt", 16000, 22000),
    ):
        for k, run in enumerate(runs):
            _, frames = read_frames(RunFolder(run).frames)
            learned = [
                SILICON.start.moved(f.positions)
                for f in frames
                if first < f.step <= last and f.valid
            ]
            rdf = radial_distribution(learned)[0]
            label = "learned on the fly, every seed" if k == 0 else None
            ax.plot(rdf.distance, rdf.g, "#4477aa", lw=0.8, alpha=0.6, label=label)
        rdf = radial_distribution([c for c, _ in test[name]])[0]
        ax.plot(rdf.distance, rdf.g, "k--", lw=1.2, label="exact")
        ax.set(title=name, xlabel="r (Å)", ylabel="g(r)")
    axes[1].legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=150)


def push_together(folder: Path, learned: Path) -> dict[str, object]:
    """Push two atoms to 0.5 A in the middle of a learned run, and let it go on."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(learned, folder)
    run = RunFolder(folder)
    text = run.input.read_text()
    run.input.write_text(
        text + "\n[[dynamics.stages]]\nsteps = 500\ntemperature_K = 2200.0\n"
    )
    store = Checkpoints(run)
    checkpoint = store.load()
    c = checkpoint.state.configuration
    x = c.positions.copy()
    x[1] = x[0] + 0.5 / np.sqrt(3.0)
    store.save(
        replace(checkpoint, state=replace(checkpoint.state, configuration=c.moved(x)))
    )
    before = len(RunView.load(folder).decisions)
    otf_md("resume", folder)
    view = RunView.load(folder)
    new = view.decisions[before:]
    end = view.rollbacks[-1].step if view.rollbacks else 0
    return {
        "rollbacks": len(view.rollbacks),
        "labels_at_rollback": sum(r.labelled for r in view.rollbacks),
        "labels_within_100_steps": sum(d.step <= end + 100 for d in new),
        "labels_after": len(new),
        "finished_at": view.finish.step,
    }


def main() -> None:
    """Run everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--extras", action="store_true")
    arguments = parser.parse_args()
    work: Path = arguments.work.resolve()
    seeds = range(1, arguments.seeds + 1)
    test = silicon.test_frames()
    with ThreadPoolExecutor(arguments.jobs) as pool:
        runs = list(pool.map(lambda s: learn(work / f"seed-{s}", s), seeds))
        extras = {
            "budget": '\n[learning]\npolicy = "budget"\nbudget_calls = 150\n',
            "strict": "\n[learning]\ngoal_force_rmse_eV_per_A = 0.03\n",
        }
        chosen = extras if arguments.extras else {}
        ended = pool.map(lambda k: learn(work / k, 1, extras[k]), chosen)
        extra_runs = dict(zip(chosen, ended, strict=True))
    results = [
        {
            "seed": seed,
            "account": account(run),
            "test": silicon.errors_on(load_model(run / "model.h5"), test),
            "steps": true_errors(run),
            "far": flagged_far_away(run, test["melt"]),
        }
        for seed, run in zip(seeds, runs, strict=True)
        if (run / "model.h5").exists()
    ]
    print_tables(results)
    draw_rdf(work / "silicon_rdf.png", runs, test)
    extra_accounts: dict[str, object] = {k: account(r) for k, r in extra_runs.items()}
    if arguments.extras:
        extra_accounts["pushed"] = push_together(work / "pushed", runs[0])
    for name, row in extra_accounts.items():
        print(f"\n{name}: {row}")
    silicon.save_json(work / "silicon.json", [results, extra_accounts])


if __name__ == "__main__":
    main()
