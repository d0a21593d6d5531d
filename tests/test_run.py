"""Whole runs from the input file, on eight atoms of Stillinger-Weber silicon."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.io import write
from run_folders import run_until_killed, same_trajectory, trajectory

from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.cli import main
from otf.configuration import Configuration, Labels
from otf.deploy.provenance import laws_of
from otf.deploy.saved_model import load_model
from otf.models.bayesian_linear import BayesianLinear
from otf.progress import Progress
from otf.store.checkpoint import Checkpoints, load_newest
from otf.store.extxyz import write_frames
from otf.store.labels import LabelBook
from otf.store.model_file import read_model
from otf.store.run_files import RunFiles
from otf.store.run_reader import RunView
from otf.store.schema import RunFolder

INPUT = """
title = "silicon"
seed = {seed}

[structure]
file = "si.xyz"

[reference]
calculator = "stillinger-weber"

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
checkpoint_interval = 20
trajectory_interval = 5
"""


@pytest.fixture
def prepare(tmp_path):
    """Return a function that writes an input and returns its path."""

    def write_input(*, steps: int = 80, seed: int = 1, learning: str = ""):
        write(tmp_path / "si.xyz", bulk("Si", "diamond", a=5.431, cubic=True))
        path = tmp_path / "input.toml"
        path.write_text(INPUT.format(steps=steps, seed=seed, learning=learning))
        return path

    return write_input


def test_a_run_learns_and_leaves_what_it_promises(prepare, tmp_path, capsys):
    assert main(["run", str(prepare())]) == 0
    folder = RunFolder(tmp_path / "run")
    for path in (folder.model, folder.report, folder.trajectory, folder.thermo):
        assert path.is_file()
    view = RunView.load(folder.path)
    assert view.finish is not None
    assert 4 <= len(view.labels) < 80
    assert "verdict" in capsys.readouterr().out
    reasons = {d.reason for d in view.decisions}
    assert "start" in reasons


def test_every_step_says_what_error_it_expects_and_most_can_be_gone_back_to(
    prepare, tmp_path
):
    main(["run", str(prepare(steps=200))])
    thermo = RunView.load(tmp_path / "run").thermo
    assert np.isfinite(thermo["e_eV_per_A"][1:]).all()
    checkpoint = load_newest(RunFolder(tmp_path / "run"))
    trusted = checkpoint.potential["ring/trusted"]
    # what is below the threshold at the step of a state
    steps = checkpoint.potential["ring/integers"][:, 0]
    row = np.searchsorted(thermo["step"], steps)
    exact = np.take(thermo["step"], row, mode="clip") == steps
    below = thermo["e_eV_per_A"][row[exact]] <= thermo["threshold_eV_per_A"][row[exact]]
    assert exact.sum() >= 5
    assert trusted[exact].tolist() == below.tolist()
    assert trusted.mean() > 0.5


def test_conserved_quantity_is_kept_across_model_changes(prepare, tmp_path):
    main(["run", str(prepare(steps=200))])
    thermo = RunView.load(tmp_path / "run").thermo
    drift = np.ptp(thermo["conserved_eV"])
    # The energy of the model alone jumps by far more at its fits.
    assert np.abs(thermo["learning_work_eV"]).max() > 0
    assert drift < 0.02 * 8


def test_a_second_run_in_the_same_folder_is_refused(prepare, capsys):
    path = prepare(steps=10)
    assert main(["run", str(path)]) == 0
    assert main(["run", str(path)]) == 1
    assert "otf-md resume" in capsys.readouterr().err


def test_stop_file_ends_the_run_and_resume_makes_the_same_trajectory(prepare, tmp_path):
    path = prepare()
    main(["run", str(path)])
    whole = tmp_path / "whole"
    (tmp_path / "run").rename(whole)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "STOP").touch()
    assert main(["run", str(path)]) == 0
    assert load_newest(RunFolder(tmp_path / "run")).state.step == 0
    assert main(["resume", str(tmp_path / "run")]) == 0
    assert same_trajectory(whole, tmp_path / "run")


@pytest.mark.parametrize("command", ["run", "resume"])
def test_a_run_killed_before_its_first_word_begins_again(prepare, tmp_path, command):
    path = prepare(steps=60)
    main(["run", str(path)])
    whole = tmp_path / "whole"
    (tmp_path / "run").rename(whole)
    with RunFiles(RunFolder(tmp_path / "run")) as files:
        files.save_input(path.read_text())
    target = path if command == "run" else tmp_path / "run"
    assert main([command, str(target)]) == 0
    assert same_trajectory(whole, tmp_path / "run")
    assert len(RunView.load(tmp_path / "run").labels) == len(RunView.load(whole).labels)


@pytest.mark.parametrize("moments", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_kill_and_resume_make_the_same_trajectory(prepare, tmp_path, moments):
    path = prepare(steps=120)
    run = tmp_path / "run"
    begin = time.monotonic()
    assert main(["run", str(path)]) == 0
    duration = time.monotonic() - begin
    paid = len(RunView.load(run).labels)
    whole = tmp_path / "whole"
    run.rename(whole)
    rng = np.random.default_rng(moments)
    cut_short = 0
    for k in range(moments):
        killed = run_until_killed(path, run, rng.uniform(0, duration))
        if not RunFolder(run).input.is_file():
            (run).rename(tmp_path / f"early-{k}")
            continue
        assert main(["resume", str(run)]) == 0
        assert same_trajectory(whole, run)
        assert len(RunView.load(run).labels) == paid
        run.rename(tmp_path / f"killed-{k}")
        cut_short += killed
    # A kill before the first or after the last step would prove nothing.
    assert cut_short >= moments // 2


def test_rows_on_disk_make_the_same_trajectory(prepare, tmp_path):
    run = tmp_path / "run"
    assert main(["run", str(prepare(steps=60))]) == 0
    run.rename(tmp_path / "memory")
    assert main(["run", str(prepare(steps=60, learning="row_memory_GB = 1e-9"))]) == 0
    assert same_trajectory(tmp_path / "memory", run)
    run.rename(tmp_path / "disk")
    # Resumed from its last checkpoint, whose rows go back to files.
    folder = RunFolder(tmp_path / "disk")
    folder.input.write_text(folder.input.read_text().replace("= 60", "= 90"))
    assert main(["resume", str(folder.path)]) == 0
    names = {path.suffix for path in folder.path.iterdir()}
    assert names <= {".bin", ".npz", ".h5", ".h5md", ".csv", ".html", ".toml", ""}


LATENCY = "retrain_latency_steps = 12"


@pytest.fixture
def slow_fits(monkeypatch):
    """Return a function that makes every fit take longer."""
    solve = BayesianLinear.solve

    def slow_down(seconds):
        def slowly(self):
            time.sleep(seconds)
            return solve(self)

        monkeypatch.setattr(BayesianLinear, "solve", slowly)

    return slow_down


def test_a_slow_fit_beside_the_run_changes_nothing(prepare, tmp_path, slow_fits):
    path, run = prepare(steps=120, learning=LATENCY), tmp_path / "run"
    assert main(["run", str(path)]) == 0
    run.rename(tmp_path / "fast")
    slow_fits(0.3)
    assert main(["run", str(path)]) == 0
    assert same_trajectory(tmp_path / "fast", run)
    view = RunView.load(run)
    labels = {d.step for d in view.decisions if d.reason in ("sample", "audit")}
    urgent = {d.step for d in view.decisions} - labels
    late = {r.step for r in view.retrains} - urgent - {120}
    assert late
    assert {step - 12 for step in late} <= labels


class Killed(BaseException):
    """Ends a run where no handler looks."""


@pytest.mark.parametrize("seconds", [0.0, 0.1])
def test_a_kill_between_a_label_and_its_model_changes_nothing(
    prepare, tmp_path, slow_fits, monkeypatch, seconds
):
    path, run = prepare(steps=120, learning=LATENCY), tmp_path / "run"
    path.write_text(path.read_text().replace("interval = 20", "interval = 3"))
    assert main(["run", str(path)]) == 0
    run.rename(tmp_path / "whole")
    slow_fits(seconds)
    update = Progress.update
    pending = []

    def kill(self, status, *, last):
        # Checkpoints are made after the step is shown.
        saved = load_newest(RunFolder(run))
        if pending[-1:] != [saved.state.step] and len(saved.potential["potential/due"]):
            pending.append(saved.state.step)
            raise Killed
        update(self, status, last=last)

    monkeypatch.setattr(Progress, "update", kill)
    kills, command = 0, ["run", str(path)]
    while True:
        try:
            assert main(command) == 0
            break
        except Killed:
            kills, command = kills + 1, ["resume", str(run)]
    assert kills >= 3
    assert same_trajectory(tmp_path / "whole", run)


def test_overlapping_atoms_while_a_fit_is_under_way_are_survived(prepare, tmp_path):
    path, folder = prepare(steps=160, learning=LATENCY), RunFolder(tmp_path / "run")
    main(["run", str(path)])
    text = path.read_text().replace("steps = 160", "steps = 260")
    folder.input.write_text(text)
    store = Checkpoints(folder)
    checkpoint = store.load()
    push_atoms(folder, 0.5)
    assert main(["resume", str(folder.path)]) == 0
    view = RunView.load(folder.path)
    assert len(view.rollbacks) == 1
    assert view.finish.step == 260
    assert checkpoint.state.step == 160


def push_atoms(folder: RunFolder, distance: float) -> None:
    """Move atom 1 of the checkpoint to this distance (A) of atom 0."""
    store = Checkpoints(folder)
    checkpoint = store.load()
    c = checkpoint.state.configuration
    x = c.positions.copy()
    x[1] = x[0] + distance / np.sqrt(3.0)
    state = replace(checkpoint.state, configuration=c.moved(x))
    store.save(replace(checkpoint, state=state))


def test_atoms_pushed_together_are_rolled_back_and_survived(prepare, tmp_path):
    path = prepare(steps=160)
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    script = path.read_text()
    main(["run", str(path)])
    # Go on beyond the end, from a state no dynamics would have made.
    folder.input.write_text(script.replace("steps = 160", "steps = 260"))
    before = len(RunView.load(folder.path).labels)
    push_atoms(folder, 0.5)
    assert main(["resume", str(folder.path)]) == 0
    view = RunView.load(folder.path)
    assert [r.to_step <= 160 for r in view.rollbacks] == [True]
    assert sum(r.labelled for r in view.rollbacks) <= 3
    assert view.finish.step == 260
    at_rollback = [d for d in view.decisions if d.reason == "roll-back"]
    assert len(at_rollback) <= 3
    assert len(view.labels) >= before
    frames = trajectory(folder.path)
    assert max(np.abs(f.forces).max() for f in frames if f.valid) < 30.0


def test_overlapping_atoms_at_the_start_are_refused_by_name(prepare, tmp_path, capsys):
    path = prepare()
    atoms = bulk("Si", "diamond", a=5.431, cubic=True)
    atoms.positions[1] = atoms.positions[0] + [0.5, 0, 0]
    write(tmp_path / "si.xyz", atoms)
    assert main(["run", str(path)]) != 0
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0
    assert "atoms 0 (Si) and 1 (Si)" in error
    assert not (tmp_path / "run").exists()


def test_budget_is_spent_and_not_exceeded(prepare, tmp_path):
    main(
        [
            "run",
            str(prepare(steps=600, learning='policy = "budget"\nbudget_calls = 20')),
        ]
    )
    view = RunView.load(tmp_path / "run")
    assert 16 <= len(view.labels) <= 20


def test_labels_of_the_cache_make_the_same_trajectory_without_a_call(
    prepare, tmp_path, capsys
):
    path = prepare()
    path.write_text(
        path.read_text().replace("[descriptor]", 'cache = "labels"\n\n[descriptor]')
    )
    assert main(["run", str(path)]) == 0
    (tmp_path / "run").rename(tmp_path / "first")
    assert main(["run", str(path)]) == 0
    assert same_trajectory(tmp_path / "first", tmp_path / "run")
    first, second = (RunView.load(tmp_path / name).labels for name in ("first", "run"))
    assert not any(label.cached for label in first)
    assert all(label.cached for label in second)
    assert [label.key for label in first] == [label.key for label in second]
    capsys.readouterr()
    assert main(["show", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert f"from the cache    {len(first)} labels" in out
    assert "reference calls   0," in out
    assert "labels from the cache" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize("shared", [True, False])
def test_a_run_killed_between_cache_and_journal_goes_on_the_same(
    prepare, tmp_path, monkeypatch, shared
):
    path = prepare(steps=60)
    path.write_text(
        path.read_text().replace("[descriptor]", 'cache = "labels"\n\n[descriptor]')
    )
    assert main(["run", str(path)]) == 0
    (tmp_path / "run").rename(tmp_path / "first")
    if not shared:
        shutil.rmtree(tmp_path / "labels")
    added = []
    add = LabelBook.add

    def killed(self, label, description=""):
        added.append(label)
        if len(added) == 6:
            raise RuntimeError("kill -9")
        add(self, label, description)

    monkeypatch.setattr(LabelBook, "add", killed)
    with pytest.raises(RuntimeError, match="kill"):
        main(["run", str(path)])
    monkeypatch.undo()
    assert main(["resume", str(tmp_path / "run")]) == 0
    assert same_trajectory(tmp_path / "first", tmp_path / "run")
    again = {label.key: label for label in RunView.load(tmp_path / "run").labels}
    assert again[added[5].key].cached  # paid for before the kill, or by the first run


def test_start_from_takes_over_the_labels_of_another_run(prepare, tmp_path):
    main(["run", str(prepare())])
    paid = len(RunView.load(tmp_path / "run").labels)
    (tmp_path / "run").rename(tmp_path / "first")
    learning = 'start_from = ["first"]'
    assert main(["run", str(prepare(seed=2, learning=learning))]) == 0
    view = RunView.load(tmp_path / "run")
    assert view.retrains[0].n_frames == paid
    assert len(view.labels) < paid
    assert "start" not in {d.reason for d in view.decisions}


def test_start_from_takes_no_file_of_another_reference(prepare, tmp_path, capsys):
    path = prepare(steps=10, learning='start_from = ["labels.xyz"]')
    c = Configuration.from_atoms(bulk("Si", "diamond", a=5.431, cubic=True))
    frame = (c, Labels(-30.0, np.zeros((8, 3)), np.zeros(6)))
    write_frames(tmp_path / "labels.xyz", [frame], fingerprints=["another"])
    assert main(["run", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "labelled by another reference" in line
    assert not (tmp_path / "run").exists()


@pytest.fixture
def mixing(prepare, tmp_path):
    """Return a function that runs from labels of another reference of some zero."""

    def run(shift, n_own):
        frames = []
        for seed in range(12):
            atoms = bulk("Si", "diamond", a=5.431, cubic=True)
            atoms.rattle(0.08, seed=seed)
            c = Configuration.from_atoms(atoms)
            labels = Reference(make_calculator("stillinger-weber")).label(c)
            # The same physics counted from another zero.
            zero = 0.0 if seed < n_own else 8 * shift
            frames.append((c, replace(labels, energy=labels.energy + zero)))
        marks = [""] * n_own + ["another"] * (12 - n_own)
        write_frames(tmp_path / "labels.xyz", frames, fingerprints=marks)
        learning = 'start_from = ["labels.xyz"]\nmix_references = true'
        assert main(["run", str(prepare(steps=40, learning=learning))]) == 0
        folder = (tmp_path / "run").rename(tmp_path / f"run_{shift:g}_{n_own}")
        return folder, frames

    return run


def test_start_from_learns_labels_of_another_reference_when_told_to(mixing, tmp_path):
    folder, frames = mixing(100.0, 0)
    view = RunView.load(folder)
    exact = Reference(make_calculator("stillinger-weber"))
    assert view.retrains[0].n_frames == 12 + sum(
        d.reason == "start" for d in view.decisions
    )
    # Energies are those of the run's own reference, within what the model knows.
    for frame in trajectory(folder):
        c = frames[0][0].moved(frame.positions)
        energy = exact.label(c).energy
        assert frame.potential_energy == pytest.approx(energy, abs=8 * 0.02)
    said = read_model(RunFolder(folder).model).metadata
    (other,) = said["mixed_references"]
    assert (other["reference"], other["n_frames"]) == ("another", 12)
    assert other["shifts"]["Si"] == pytest.approx(100.0, abs=0.01)
    low, high = said["range"]["energy_eV_per_atom"]
    assert -4.4 < low < high < -3.5


@pytest.mark.parametrize("n_own", [0, 4])
def test_a_run_is_blind_to_the_zero_of_another_reference(mixing, n_own):
    """The labels of two codes that differ by a constant give the model of one code."""
    (near, frames), (far, _) = mixing(0.0, n_own), mixing(100.0, n_own)
    one, other = (load_model(RunFolder(folder).model) for folder in (near, far))
    for c, _ in frames:
        a, b = one.predict(c), other.predict(c)
        assert abs(a.energy - b.energy) / c.n_atoms < 1e-8
        np.testing.assert_allclose(a.forces, b.forces, rtol=0, atol=1e-8)
    before, after = trajectory(near), trajectory(far)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(a.positions, b.positions, rtol=0, atol=1e-8)


def test_a_refit_of_such_a_run_shifts_energies_too(mixing, tmp_path, capsys):
    folder, frames = mixing(100.0, 4)
    capsys.readouterr()
    model = tmp_path / "refit.h5"
    assert main(["refit", str(folder), "-o", str(model)]) == 0
    assert "8 labels of reference another lie above by Si +100.0" in (
        capsys.readouterr().out
    )
    c, labels = frames[0]
    assert load_model(model).predict(c).energy == pytest.approx(labels.energy, abs=0.1)


def test_a_learned_model_runs_alone_with_the_same_input(prepare, tmp_path):
    path = prepare()
    main(["run", str(path)])
    (tmp_path / "run").rename(tmp_path / "learned")
    text = path.read_text()
    start, end = text.index("[reference]"), text.index("[dynamics]")
    frozen = '[potential]\nmodel = "learned/model.h5"\non_untrusted = "flag"\n'
    path.write_text(text[:start] + frozen + text[end:])
    assert main(["run", str(path)]) == 0
    view = RunView.load(tmp_path / "run")
    assert not view.labels
    assert view.finish.converged is None
    energies = view.thermo["conserved_eV"]
    assert np.ptp(energies) < 0.02 * 8


def test_the_model_of_a_run_tells_what_it_was_made_from(prepare, tmp_path):
    assert main(["run", str(prepare(steps=20))]) == 0
    view = RunView.load(tmp_path / "run")
    said = read_model(RunFolder(tmp_path / "run").model).metadata
    assert said["reference"] == view.start.fingerprint
    assert said["range"]["temperature_K"] == [900.0, 900.0]
    assert said["n_frames"] == view.retrains[-1].n_frames
    assert said["log_evidence"] == view.retrains[-1].log_evidence
    assert said["training_force_rmse_eV_per_A"] == view.retrains[-1].force_rmse
    laws = laws_of(said)
    assert laws.origin == "run"
    assert laws.forces.keys() == {14}
    assert 1.0 <= laws.forces[14].factor <= 30.0
    assert laws.energy is None  # of four labels one was compared


@pytest.mark.parametrize("where", ["input", "structure"])
def test_fixed_atoms_do_not_move(prepare, tmp_path, where):
    path = prepare(steps=20)
    file, fixed = 'file = "si.xyz"', 'file = "si.xyz"\nfix_atoms = [0]'
    if where == "structure":
        atoms = bulk("Si", "diamond", a=5.431, cubic=True)
        atoms.set_constraint(FixAtoms([0]))
        write(tmp_path / "POSCAR", atoms)
        fixed = 'file = "POSCAR"'
    path.write_text(path.read_text().replace(file, fixed))
    main(["run", str(path)])
    frames = trajectory(tmp_path / "run")
    assert np.ptp([f.positions[0] for f in frames], axis=0).max() == 0.0
    assert np.ptp([f.positions[1] for f in frames], axis=0).max() > 0.0


def test_velocities_of_the_file_are_taken_over(prepare, tmp_path):
    path = prepare(steps=5)
    atoms = bulk("Si", "diamond", a=5.431, cubic=True)
    rng = np.random.default_rng(4)
    velocities = rng.normal(scale=0.02, size=(8, 3))
    velocities -= velocities.mean(axis=0)
    atoms.set_velocities(velocities)
    write(tmp_path / "si.xyz", atoms, columns=["symbols", "positions", "momenta"])
    main(["run", str(path)])
    first = trajectory(tmp_path / "run")[0]
    assert first.step == 0
    assert np.allclose(first.velocities, velocities, atol=1e-7)


def test_a_signal_ends_the_run_at_the_next_step_with_a_checkpoint(prepare, tmp_path):
    path = prepare(steps=5000)
    child = subprocess.Popen(
        [sys.executable, "-m", "otf.cli", "run", str(path)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    folder = RunFolder(tmp_path / "run")
    while not folder.checkpoints() and child.poll() is None:
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 128 + signal.SIGTERM
    assert "SIGTERM" in said
    assert "Traceback" not in said
    assert load_newest(folder).state.step < 5000
