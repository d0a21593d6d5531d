"""Whole runs with labels in parallel and beside the dynamics: nothing changes.

Eight atoms of Stillinger-Weber silicon, whose labels take the time a file says.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from textwrap import dedent

import numpy as np
import psutil
import pytest
from ase.build import bulk
from ase.io import write
from run_folders import run_until_killed, same_trajectory

from otf.calculators.executor import LOSSES
from otf.cli import main
from otf.progress import Progress
from otf.store.checkpoint import load_newest
from otf.store.formats import read_labelled
from otf.store.run_reader import RunView
from otf.store.schema import RunFolder

SLEEPY = dedent(
    """
    import time
    from pathlib import Path
    from otf.calculators.stillinger_weber import StillingerWeber

    class Sleepy(StillingerWeber):
        def __init__(self, folder="."):
            super().__init__()
            self.folder = Path(folder)

        def calculate(self, atoms, properties, changes):
            longest = float((self.folder / "longest").read_text())
            # some structures take long, others hardly any time
            time.sleep(longest * (atoms.positions.sum() * 1e4 % 1.0))
            unlucky = int(atoms.positions.sum() * 1e5) % 3 == 1
            if unlucky and (self.folder / "fails").exists():
                raise RuntimeError("SCF not converged")
            super().calculate(atoms, properties, changes)
            with (self.folder / "calls").open("a") as file:
                file.write("x")
    """
)
INPUT = """
seed = {seed}

[structure]
file = "si.xyz"

[reference]
calculator = "sleepy:Sleepy"
arguments = {{ folder = "{folder}" }}
retries = 0
{reference}

[descriptor]
n_max = 5
l_max = 2
cutoff_three_body_A = 4.5
cutoff_two_body_A = 5.0
n_max_two_body = 6

[learning]
{learning}

[dynamics]
timestep_fs = 2.0

[[dynamics.stages]]
steps = {steps}
temperature_K = 900.0

[output]
checkpoint_interval = {checkpoint}
trajectory_interval = 5
"""
BESIDE = "workers = 2\nlatency_steps = 12"


@pytest.fixture
def prepare(tmp_path, monkeypatch):
    """Return a function that writes an input and returns its path."""
    (tmp_path / "sleepy.py").write_text(SLEEPY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    write(tmp_path / "si.xyz", bulk("Si", "diamond", a=5.431, cubic=True))

    def write_input(reference="", *, longest=0.0, learning="", **numbers):
        (tmp_path / "longest").write_text(str(longest))
        values = {"steps": 120, "seed": 1, "checkpoint": 20} | numbers
        path = tmp_path / "input.toml"
        text = INPUT.format(
            reference=reference, learning=learning, folder=tmp_path, **values
        )
        path.write_text(text)
        return path

    return write_input


def finished(path, name):
    """Run an input, give its folder another name, and return that."""
    assert main(["run", str(path)]) == 0
    return (path.parent / "run").rename(path.parent / name)


def same_data(first, second) -> bool:
    """Return whether two runs leave one data set, its order included."""
    ours, theirs = (read_labelled(path).frames for path in (first, second))
    return len(ours) == len(theirs) and all(
        np.array_equal(a.positions, b.positions)
        and x.energy == y.energy
        and np.array_equal(x.forces, y.forces)
        for (a, x), (b, y) in zip(ours, theirs, strict=True)
    )


def test_the_labels_of_three_workers_make_the_run_of_one(prepare, tmp_path):
    one = finished(prepare(), "one")
    many = finished(prepare("workers = 3", longest=0.3), "many")
    assert same_trajectory(one, many)
    assert same_data(one, many)


def test_the_time_labels_take_beside_the_run_changes_nothing(prepare, tmp_path):
    quick = finished(prepare(BESIDE), "quick")
    slow = finished(prepare(BESIDE, longest=0.6), "slow")
    alone = finished(prepare("latency_steps = 12", longest=0.1), "alone")
    assert same_trajectory(quick, slow)
    assert same_trajectory(quick, alone)
    assert same_data(quick, slow)
    assert same_data(quick, alone)
    view = RunView.load(slow)
    late = [d for d in view.decisions if d.reason in ("sample", "audit")]
    assert late
    # A step that was labelled beside the run moved on the model.
    labelled = view.thermo["step"][view.thermo["labelled"] > 0]
    assert not {d.step for d in late} & set(labelled.astype(int).tolist())


def test_data_stand_as_they_were_asked_for_though_they_arrived_otherwise(
    prepare, tmp_path
):
    run = finished(prepare("workers = 3", longest=0.9, steps=1), "run-1")
    view = RunView.load(run)
    asked = [d.key for d in view.decisions]
    assert [label.key for label in view.labels] == asked
    arrived = [label.seconds for label in view.labels]
    assert np.ptp(arrived) > 0.05


class Killed(BaseException):
    """Ends a run where no handler looks."""


def test_a_kill_while_labels_are_under_way_changes_nothing(
    prepare, tmp_path, monkeypatch
):
    whole = finished(prepare(BESIDE, checkpoint=3), "whole")
    run = tmp_path / "run"
    path = prepare(BESIDE, checkpoint=3, longest=0.3)
    update, seen = Progress.update, []

    def kill(self, status, *, last):
        # Checkpoints are made after the step is shown.
        saved = load_newest(RunFolder(run))
        waiting = any("under_way/" in name for name in saved.potential)
        if waiting and seen[-1:] != [saved.state.step]:
            seen.append(saved.state.step)
            raise Killed
        update(self, status, last=last)

    monkeypatch.setattr(Progress, "update", kill)
    command = ["run", str(path)]
    while True:
        try:
            assert main(command) == 0
            break
        except Killed:
            command = ["resume", str(run)]
    assert len(seen) >= 3
    assert same_trajectory(whole, run)
    assert same_data(whole, run)


@pytest.mark.parametrize("moments", [2, pytest.param(15, marks=pytest.mark.slow)])
def test_kill_9_at_any_moment_and_resume_change_nothing(prepare, tmp_path, moments):
    path, run = prepare(BESIDE, longest=0.4), tmp_path / "run"
    begun = time.monotonic()
    whole = finished(path, "whole")
    duration = time.monotonic() - begun
    paid = len(RunView.load(whole).labels)
    rng = np.random.default_rng(moments)
    cut_short = 0
    for k in range(moments):
        seconds = rng.uniform(0.3, 1.0) * duration
        cut_short += run_until_killed(path, run, seconds)
        assert main(["resume", str(run)]) == 0
        assert same_trajectory(whole, run)
        assert same_data(whole, run)
        assert len(RunView.load(run).labels) == paid
        run.rename(tmp_path / f"killed-{k}")
    assert cut_short >= moments // 2


def kill_workers(stop, rng, killed):
    """Kill processes of the labels at random, as many as one label may lose."""
    while len(killed) < LOSSES and not stop.wait(rng.uniform(0.2, 2.5)):
        with suppress(psutil.Error):  # some end by themselves meanwhile
            workers = [
                child
                for child in psutil.Process().children()
                if "otf.calculators.worker" in " ".join(child.cmdline())
            ]
            if workers:
                victim = workers[rng.integers(len(workers))]
                victim.kill()
                killed.append(victim.pid)


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(s, marks=pytest.mark.slow) for s in (2, 3))]
)
def test_workers_killed_at_random_leave_the_data_of_an_undisturbed_run(
    prepare, tmp_path, seed
):
    quiet = finished(prepare(BESIDE, seed=seed), "quiet")
    path = prepare(BESIDE, seed=seed, longest=1.0)
    stop, killed = threading.Event(), []
    rng = np.random.default_rng(seed)
    killer = threading.Thread(target=kill_workers, args=(stop, rng, killed))
    killer.start()
    try:
        disturbed = finished(path, "disturbed")
    finally:
        stop.set()
        killer.join()
    assert len(killed) == LOSSES
    assert same_trajectory(quiet, disturbed)
    assert same_data(quiet, disturbed)
    assert not RunView.load(disturbed).failures


def test_structures_that_fail_are_put_aside_and_the_others_are_learned(
    prepare, tmp_path
):
    (tmp_path / "fails").touch()
    reference = f"{BESIDE}\nmax_failures = 100"
    first = finished(prepare(reference, steps=200), "first")
    second = finished(prepare(reference, steps=200, longest=0.3), "second")
    assert same_trajectory(first, second)
    assert same_data(first, second)
    view = RunView.load(second)
    assert len(view.failures) >= 2
    for failure in view.failures:
        place = second / "quarantine" / failure.folder
        assert "SCF not converged" in (place / "reason.txt").read_text()
        assert (place / "files" / "worker.log").is_file()
    assert not list((second / "reference").glob("failed-*"))


def test_a_stop_waits_for_labels_and_leaves_them_to_their_step(
    prepare, tmp_path, monkeypatch
):
    whole = finished(prepare(BESIDE), "whole")
    path, run = prepare(BESIDE, longest=0.3), tmp_path / "run"
    update, stopped = Progress.update, []

    def stop(self, status, *, last):
        if status.under_way and not stopped:
            stopped.append(status.under_way)
            (run / "STOP").touch()
        update(self, status, last=last)

    monkeypatch.setattr(Progress, "update", stop)
    assert main(["run", str(path)]) == 0
    calls = (tmp_path / "calls").read_text()
    view = RunView.load(run)
    assert view.finish is None
    # paid for, but not yet learned
    assert len(view.labels) == len(view.decisions) + stopped[0]
    assert main(["resume", str(run)]) == 0
    assert same_trajectory(whole, run)
    assert same_data(whole, run)
    paid = len(RunView.load(run).labels) - len(view.labels)
    assert len((tmp_path / "calls").read_text()) == len(calls) + paid


def test_a_first_structure_without_labels_ends_the_run_with_one_line(
    prepare, tmp_path, capsys
):
    path = prepare("workers = 2")
    text = path.read_text().replace('"sleepy:Sleepy"', '"broken:Broken"')
    path.write_text(text)
    (tmp_path / "broken.py").write_text(
        "from sleepy import Sleepy\n"
        "class Broken(Sleepy):\n"
        "    def calculate(self, *given):\n"
        "        raise RuntimeError('no licence')\n"
    )
    assert main(["run", str(path)]) == 1
    (line,) = [text for text in capsys.readouterr().err.splitlines() if "error" in text]
    assert "no licence" in line


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("executor_arguments = { max_workers = 2 }", "need executor"),
        ('executor = "slurm"', "reference.executor"),
        ("workers = 0", "at least 1"),
        ('workers = 2\narguments.directory = "x"', "would write into one directory"),
    ],
)
def test_keys_that_make_no_sense_are_one_line(prepare, capsys, reference, words):
    path = prepare()
    text = path.read_text()
    start, end = text.index("calculator ="), text.index("[descriptor]")
    path.write_text(text[:start] + f'calculator = "emt"\n{reference}\n' + text[end:])
    assert main(["check", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
