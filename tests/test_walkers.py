"""Runs of a sweep that learn together, on eight atoms of Stillinger-Weber silicon."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from run_folders import same_trajectory

from otf import stepping
from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.cli import main
from otf.configuration import Configuration
from otf.deploy.saved_model import load_model
from otf.potential import Untrusted
from otf.settings.loading import load_settings
from otf.settings.members import members_of
from otf.store.frames import read_frames
from otf.store.run_files import RunFiles
from otf.store.run_reader import RunView
from otf.store.schema import RunFolder, SweepFolder
from otf.store.thermo import last_step

INPUT = """
seed = 5

[structure]
file = "si.xyz"

[reference]
calculator = "stillinger-weber"
workers = {workers}

[descriptor]
n_max = 4
l_max = 2
cutoff_three_body_A = 4.0
cutoff_two_body_A = 4.5
n_max_two_body = 5

[dynamics]
timestep_fs = 2.0

[[dynamics.stages]]
steps = {steps}

[output]
directory = "{directory}"
checkpoint_interval = 20
trajectory_interval = 5

[sweep]
{axes}
share_model = true
"""
STRUCTURES = 'temperatures_K = [600.0]\nstructures = ["si.xyz", "hot.xyz"]'
TEMPERATURES = "temperatures_K = [300.0, 900.0]"
NAMES = ("si-600K", "hot-600K")


@pytest.fixture
def prepare(tmp_path):
    """Return a function that writes an input and returns it with its folder."""

    def write_input(directory="run", *, steps=60, axes=STRUCTURES, workers=1):
        crystal = bulk("Si", "diamond", a=5.431, cubic=True)
        write(tmp_path / "si.xyz", crystal)
        crystal.rattle(0.08, seed=1)
        write(tmp_path / "hot.xyz", crystal)
        path = tmp_path / f"{directory}.toml"
        path.write_text(
            INPUT.format(
                directory=directory,
                steps=steps,
                axes=axes,
                workers=workers,
            )
        )
        return path, SweepFolder(tmp_path / directory)

    return write_input


def same(first: SweepFolder, second: SweepFolder) -> bool:
    """Return whether all walkers moved alike, to the last bit, and learned alike."""
    models = [load_model(sweep.shared.model).weights for sweep in (first, second)]
    return np.array_equal(*models) and all(
        same_trajectory(first.member(name).path, second.member(name).path)
        and first.member(name).thermo.read_bytes()
        == second.member(name).thermo.read_bytes()
        for name in NAMES
    )


def forces_of(folder: RunFolder) -> tuple[list[Configuration], np.ndarray]:
    """Return late frames of a run with the forces of the reference itself."""
    _, frames = read_frames(folder.frames)
    frames = frames[len(frames) // 2 :]
    numbers = np.full(8, 14)
    structures = [
        Configuration(numbers, f.positions, f.cell, np.ones(3, dtype=bool))
        for f in frames
    ]
    reference = Reference(make_calculator("stillinger-weber", {}))
    return structures, np.array([reference.label(c).forces for c in structures])


def test_runs_that_learn_together_need_fewer_calls_and_the_model_is_good_for_all(
    prepare, capsys
):
    path, together = prepare("together", axes=TEMPERATURES)
    assert main(["sweep", str(path)]) == 0
    printed = capsys.readouterr().out
    shared = RunView.load(together.shared.path)
    apart = SweepFolder(path.parent / "apart")
    calls = []
    members = members_of(load_settings(path))
    for member in members:
        text = member.input_text.replace('"together/', '"apart/')
        alone = path.with_name("alone.toml")
        alone.write_text(text)
        assert main(["run", str(alone)]) == 0
        calls.append(len(RunView.load(apart.member(member.name).path).labels))
    assert f"{len(shared.labels)} reference calls of all runs" in printed
    assert len(shared.labels) < 0.8 * sum(calls)
    model = load_model(together.shared.model)
    for name in (member.name for member in members):
        # Where the runs alone went, of which the shared model has seen nothing.
        structures, exact = forces_of(apart.member(name))
        found = np.array([p.forces for p in model.predict_batch(structures)])
        # max_force_error_eV_per_A is 0.3 for the worst atom.
        assert np.sqrt(((found - exact) ** 2).mean()) < 0.3


def test_killed_and_resumed_they_make_the_same_steps(prepare, capsys):
    path, whole = prepare("whole")
    assert main(["sweep", str(path)]) == 0
    path, killed = prepare("killed")
    for steps in (1, 35):
        child = subprocess.Popen(
            [sys.executable, "-m", "otf.cli", "sweep", str(path)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        table = killed.member(NAMES[0]).thermo
        while last_step(table) < steps and child.poll() is None:
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    assert main(["sweep", str(path)]) == 0
    assert same(whole, killed)
    views = [RunView.load(sweep.shared.path) for sweep in (whole, killed)]
    assert [x.key for x in views[0].labels] == [x.key for x in views[1].labels]
    # Nothing is left to do, and the same table comes out.
    first = killed.results.with_suffix(".csv").read_text()
    assert main(["sweep", str(path)]) == 0
    assert killed.results.with_suffix(".csv").read_text() == first
    assert main(["resume", str(killed.member(NAMES[0]).path)]) == 2
    assert "learns together with others" in capsys.readouterr().err


# Three are written before any step, three at turn 0, three at step 20.
@pytest.mark.parametrize("whole_saves", [1, 4, 8])
def test_a_save_cut_short_counts_for_nobody(prepare, monkeypatch, whole_saves):
    """A kill between two folders of one checkpoint leaves the one before."""
    path, whole = prepare("whole", steps=25)
    assert main(["sweep", str(path)]) == 0
    path, cut = prepare("cut", steps=25)
    save, left = RunFiles.save, [whole_saves]

    class Killed(BaseException):
        pass

    def dying(self, checkpoint):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        save(self, checkpoint)

    monkeypatch.setattr(RunFiles, "save", dying)
    with pytest.raises(Killed):
        main(["sweep", str(path)])
    monkeypatch.setattr(RunFiles, "save", save)
    assert main(["sweep", str(path)]) == 0
    assert same(whole, cut)


def test_a_change_of_the_model_by_another_is_booked(prepare, tmp_path):
    path, sweep = prepare(steps=40)
    hot = bulk("Si", "diamond", a=5.431, cubic=True)
    hot.rattle(0.1, seed=1)
    write(tmp_path / "hot.xyz", hot)
    text = path.read_text().replace("temperatures_K = [600.0]", "")
    # At constant energy what is not booked shows as a jump of the energy.
    slow = 'timestep_fs = 0.5\nensemble = "NVE"\ninitial_temperature_K = 100.0'
    text = text.replace("timestep_fs = 2.0", slow)
    text = text.replace("[output]", "[output]\nthermo_interval = 1")
    path.write_text(
        text.replace("[descriptor]", "[learning]\naudits = false\n[descriptor]")
    )
    assert main(["sweep", str(path)]) == 0
    view = RunView.load(sweep.member("si").path)
    work = np.diff(view.thermo["learning_work_eV"])
    conserved = np.diff(view.thermo["conserved_eV"])
    own = {fit.step for fit in view.retrains}
    by_another = [k for k in np.flatnonzero(work) if k + 1 not in own]
    largest = max(by_another, key=lambda k: abs(work[k]))
    assert abs(conserved[largest]) < 0.02 * abs(work[largest])


def test_only_the_walker_that_lost_its_way_goes_back(prepare, monkeypatch):
    require, lost = stepping._require_no_explosion, []

    def explode_once(parts, state):
        if state.step == 33 and "hot-600K" in str(parts.files.folder.path) and not lost:
            lost.append(state.step)
            raise Untrusted(state.configuration, "it exploded")
        require(parts, state)

    monkeypatch.setattr(stepping, "_require_no_explosion", explode_once)
    path, sweep = prepare()
    assert main(["sweep", str(path)]) == 0
    returns = {
        name: len(RunView.load(sweep.member(name).path).rollbacks) for name in NAMES
    }
    assert returns == dict.fromkeys(NAMES, 0) | {"hot-600K": 1}
    for name in NAMES:
        steps = RunView.load(sweep.member(name).path).thermo["step"]
        assert steps.tolist() == list(range(0, 61, 10))


def test_a_walker_that_cannot_go_on_stops_no_other(prepare, monkeypatch, capsys):
    require = stepping._require_no_explosion

    def explode(parts, state):
        if state.step >= 33 and "hot-600K" in str(parts.files.folder.path):
            raise Untrusted(state.configuration, "it exploded")
        require(parts, state)

    monkeypatch.setattr(stepping, "_require_no_explosion", explode)
    path, _ = prepare()
    for _ in range(2):  # the second time nothing is done, and the same is said
        assert main(["sweep", str(path)]) == 1
        printed = capsys.readouterr().out
        assert "hot-600K failed" in printed
        assert printed.count("finished") == 1


def test_structures_of_other_elements_are_refused(prepare, capsys):
    path, _ = prepare()
    write(path.with_name("hot.xyz"), bulk("Ge", cubic=True))
    assert main(["sweep", str(path)]) == 2
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 1
    assert "si.xyz has Si and hot.xyz has Ge" in printed[0]
    assert main(["sweep", str(path), "--jobs", "2"]) == 2


@pytest.mark.slow
def test_workers_change_nothing(prepare):
    path, one = prepare("one", steps=25)
    assert main(["sweep", str(path)]) == 0
    path, two = prepare("two", steps=25, workers=2)
    assert main(["sweep", str(path)]) == 0
    assert same(one, two)
