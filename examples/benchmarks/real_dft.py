"""Learning from real density-functional theory: what was saved, and how right it is.

    python real_dft.py WORK [silicon_dft aluminium_dft ...]

Runs the examples of these names in folders of WORK, unless they ran before: first
`otf-md run` on their input, then the same schedule with the learned model alone and
another seed. Every 100th structure of the second run, none of which the model has seen,
is computed by the code anew. Prints calls, times, and errors of each stage; needs the
codes the inputs name. Set OMP_NUM_THREADS=1 on a shared machine.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from otf.analysis.errors import error_report
from otf.build import build_reference, build_schedule
from otf.deploy.saved_model import load_model
from otf.report.account import account_of
from otf.settings.loading import load_settings
from otf.store.checkpoint import load_newest
from otf.store.frames import read_frames
from otf.store.run_reader import RunView
from otf.store.schema import RunFolder

if TYPE_CHECKING:
    from otf.settings import Settings

EXAMPLES = Path(__file__).parents[1]
NAMES = ("silicon_dft", "aluminium_dft")
SPACING = 100  # steps between two structures that are compared
OTHER_SEED = 20


def otf_md(folder: Path, name: str) -> None:
    """Run an input file; its words go to a log beside it."""
    command = [sys.executable, "-m", "otf.cli", "run", name]
    with (folder / "log.txt").open("a") as out:
        subprocess.run(command, stdout=out, stderr=out, cwd=folder, check=True)


def production_input(text: str) -> str:
    """Return the input of the same schedule for the learned model alone."""
    keep = text.replace(f"seed = {tomllib.loads(text)['seed']}", f"seed = {OTHER_SEED}")
    parts = keep.split("\n[")
    gone = ("reference", "learning", "descriptor", "regression", "baseline")
    kept = [p for p in parts if not p.startswith(gone)]
    out = "\n[".join(kept).replace('directory = "run"', 'directory = "production"')
    return out + '\n[potential]\nmodel = "run/model.h5"\non_untrusted = "flag"\n'


def run_example(name: str, work: Path) -> Path:
    """Learn and produce, unless it was done; return the folder."""
    folder = work / name
    if not (folder / "run" / "model.h5").exists():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(EXAMPLES / name, folder)
        otf_md(folder, "input.toml")
    if not (folder / "production").exists():
        text = (folder / "input.toml").read_text()
        (folder / "production.toml").write_text(production_input(text))
        otf_md(folder, "production.toml")
    return folder


def print_account(folder: Path) -> None:
    """Print what the learning run paid."""
    view = RunView.load(folder / "run")
    account = account_of(view)
    wall = float(load_newest(view.folder).counters["wall_s"])
    print(
        f"\n{view.start.configuration.n_atoms} atoms, {account.n_steps} steps: "
        f"{account.n_calls} calls, {account.bypassed:.2%} bypassed; "
        f"{view.finish.reason}"
    )
    print(
        f"wall time {wall:.0f} s, of it {account.reference_seconds / wall:.0%} in the "
        f"code ({account.seconds_per_call:.2f} s a call) and "
        f"{account.fit_seconds / wall:.0%} in fits; every step by the code would take "
        f"{account.n_steps * account.seconds_per_call / wall:.0f} times as long"
    )


def compare(folder: Path, settings: Settings) -> None:
    """Label structures of the production run and print the errors of each stage."""
    model = load_model(folder / "run" / "model.h5")
    _, frames = read_frames(RunFolder(folder / "production").frames)
    chosen = [f for f in frames if f.step and f.step % SPACING == 0]
    schedule = build_schedule(settings)
    reference = build_reference(settings)
    start = RunView.load(folder / "run").start.configuration
    structures = [start.moved(f.positions) for f in chosen]
    try:
        labels = [reference.label(c) for c in structures]
    finally:
        reference.close()
    predictions = [model.predict(c) for c in structures]
    stages = np.array([schedule.stage_index(f.step - 1) for f in chosen])
    print("stage                frames  meV/atom  eV/A     GPa   RMSE")
    for k, stage in [*enumerate(schedule.stages), (None, None)]:
        index = range(len(chosen)) if stage is None else np.flatnonzero(stages == k)
        r = error_report([predictions[i] for i in index], [labels[i] for i in index])
        name = "all"
        if stage is not None:
            name = f"{stage.temperature_start:g} to {stage.temperature_end:g} K"
        print(
            f"{name:20s} {r.n_frames:6d} {r.energy_rmse_meV_per_atom:9.3f} "
            f"{r.force_rmse_eV_per_A:7.4f} {r.stress_rmse_GPa:7.3f}"
        )


def main() -> None:
    """Run the examples and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("names", nargs="*", default=NAMES)
    arguments = parser.parse_args()
    for name in arguments.names:
        folder = run_example(name, arguments.work.resolve())
        print(f"\n{name}", flush=True)
        print_account(folder)
        compare(folder, load_settings(folder / "input.toml"))


if __name__ == "__main__":
    main()
