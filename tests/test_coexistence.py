"""otf-md coexistence from the input file: two phases of a Lennard-Jones crystal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk

from otf.calculators.exact import ExactPotential
from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.cli import main
from otf.commands.coexistence_runs import along_third, lower_half, with_room
from otf.configuration import Configuration, Labels
from otf.dynamics.sampler import evaluate
from otf.dynamics.schedule import Target
from otf.dynamics.thermostats import Langevin
from otf.dynamics.velocities import with_random_velocities
from otf.dynamics.verlet import Motion
from otf.state import State
from otf.store.checkpoint import load_newest
from otf.store.extxyz import write_frames
from otf.store.motion import read_motion
from otf.store.run_reader import RunView
from otf.store.schema import RunFolder
from otf.store.thermo import read_thermo
from otf.units import FS

MODEL = """
[structure]
file = "data.extxyz"

[reference]
calculator = "lennard-jones"

[descriptor]
n_max = 1
l_max = 0
cutoff_three_body_A = 4.0
cutoff_two_body_A = 6.8
n_max_two_body = 10
two_body_weight = 0.9

[[dynamics.stages]]
steps = 1
temperature_K = 1.0
"""
INPUT = """
[structure]
file = "ar.xyz"
repeat = [3, 3, 6]

[potential]
model = "model.h5"
on_untrusted = "flag"

[dynamics]
timestep_fs = 5.0
barostat_time_fs = 500.0
compressibility_per_GPa = 0.3

[coexistence]
temperature_K = 60.0
melt_temperature_K = 600.0
crystal_steps = 150
melt_steps = 250
join_steps = 60
steps = 80
neighbors = 12

[output]
directory = "melting"
trajectory_interval = 4
thermo_interval = 2
checkpoint_interval = 50
"""


def hot_argon(edge, temperature):
    """Yield frames of 32 atoms with their Lennard-Jones labels."""
    arguments = {"tail": "switched", "cutoff_sigma": 2.0}
    potential = ExactPotential(Reference(make_calculator("lennard-jones", arguments)))
    atoms = bulk("Ar", "fcc", a=edge, cubic=True).repeat(2)
    n = len(atoms)
    state = State(
        configuration=Configuration.from_atoms(atoms),
        momenta=np.zeros((n, 3)),
        masses=atoms.get_masses(),
        free=np.ones((n, 3), dtype=np.bool_),
        step=0,
        time=0.0,
        seed=1,
    )
    state = with_random_velocities(state, temperature)
    sampler = Langevin(Motion(timestep=5.0 * FS), 0.01 / FS)
    last = evaluate(potential, state)
    for k in range(160):
        state, last = sampler.step(state, last, potential, Target(temperature))
        if k % 20 == 19:
            yield state.configuration, Labels(last.energy, last.forces, last.stress)


@pytest.fixture(scope="module")
def argon(tmp_path_factory):
    """Return a folder with a crystal and a model of argon."""
    folder = tmp_path_factory.mktemp("argon")
    frames = [*hot_argon(5.4, 160.0), *hot_argon(5.4, 500.0), *hot_argon(5.75, 300.0)]
    write_frames(folder / "data.extxyz", frames)
    (folder / "model.toml").write_text(MODEL)
    bulk("Ar", "fcc", a=5.4, cubic=True).write(folder / "ar.xyz")
    arguments = ["--input", str(folder / "model.toml"), "--references", "60"]
    code = main(
        ["fit", str(folder / "data.extxyz"), "-o", str(folder / "model.h5"), *arguments]
    )
    assert code == 0
    return folder


def written(folder, text=INPUT, name="input.toml"):
    path = folder / name
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def melted(argon):
    """Return the folder of all runs, killed once on the way and taken up again."""
    path = written(argon)
    command = [sys.executable, "-m", "otf.cli", "coexistence", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    melt = RunFolder(argon / "melting/0GPa/melt")
    while process.poll() is None and not any(s >= 1 for s, _ in melt.checkpoints()):
        time.sleep(0.01)
    assert process.poll() is None, process.stderr.read().decode()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert RunView.load(melt.path).finish is None
    assert main(["coexistence", str(path)]) == 0
    return argon / "melting"


def configuration(path):
    return load_newest(RunFolder(path)).state.configuration


def test_the_lower_half_is_held_while_the_other_melts(melted):
    motion = read_motion(melted / "0GPa/melt")
    crystal = Configuration.from_atoms(
        bulk("Ar", "fcc", a=5.4, cubic=True).repeat((3, 3, 6))
    )
    held = lower_half(crystal)
    assert held.sum() == 108
    assert (motion.positions[:, held] == motion.positions[0, held]).all()
    moved = np.linalg.norm(motion.positions[-1] - motion.positions[0], axis=1)
    # An atom of a crystal vibrates about its place; 0.1 of 3.8 angstrom at melting.
    assert (moved[~held] ** 2).mean() > 3.0 * 2.0 * 0.38**2
    assert RunView.load(melted / "0GPa/melt").resumes


def test_the_cell_across_the_borders_is_the_mean_of_the_crystal(melted):
    cells = read_motion(melted / "0GPa/crystal").cells
    mean = cells[len(cells) // 2 :].mean(axis=0)
    for name in ("melt", "join-57.6K", "enthalpy-57.6K", "enthalpy-62.4K"):
        cell = configuration(melted / "0GPa" / name).cell
        np.testing.assert_allclose(cell[:2], mean[:2], rtol=1e-12, atol=1e-12)
    assert cell[2, 2] != pytest.approx(mean[2, 2], rel=1e-4)


def test_the_melt_has_the_room_it_takes_without_a_crystal(melted):
    crystal = read_motion(melted / "0GPa/crystal").cells
    crystal = crystal[len(crystal) // 2 :].mean(axis=0)
    liquid = read_motion(melted / "0GPa/liquid")
    held = liquid.cells[liquid.times <= 500 * 5.0 * FS + 1e-6]
    assert (held == held[0]).all()
    np.testing.assert_allclose(held[0], crystal, rtol=1e-12, atol=1e-12)
    free = liquid.cells[liquid.times > 575 * 5.0 * FS].mean(axis=0)
    assert free[2, 2] > 1.03 * crystal[2, 2]
    melt = read_motion(melted / "0GPa/melt")
    expected = 0.5 * (crystal[2, 2] + free[2, 2])
    assert melt.cells[0][2, 2] == pytest.approx(expected, rel=1e-12)


def test_only_the_upper_half_is_given_room():
    crystal = Configuration.from_atoms(
        bulk("Ar", "fcc", a=5.4, cubic=True).repeat((2, 2, 6))
    )
    held = lower_half(crystal)
    # Atoms of either half across the border, and of both across the end of the cell.
    rattled = crystal.positions + np.random.default_rng(1).normal(
        0.0, 0.3, crystal.positions.shape
    )
    sheared = crystal.cell + np.outer([0.0, 0.0, 1.0], [2.0, 1.0, 0.0])
    crystal = replace(
        crystal, positions=np.mod(rattled, np.diag(crystal.cell)), cell=sheared
    )
    liquid = sheared * np.array([[1.0], [1.0], [1.1]])
    roomy = with_room(crystal, held, liquid)
    np.testing.assert_allclose(roomy.cell[2], 1.05 * sheared[2], rtol=1e-12)
    np.testing.assert_allclose(roomy.cell[:2], sheared[:2], rtol=1e-12)

    between = np.subtract.outer(*2 * [rattled[held][:, 2]])
    moved = np.subtract.outer(*2 * [roomy.positions[held][:, 2]])
    np.testing.assert_allclose(moved, between, atol=1e-10)
    between = np.subtract.outer(*2 * [rattled[~held][:, 2]])
    moved = np.subtract.outer(*2 * [roomy.positions[~held][:, 2]])
    np.testing.assert_allclose(moved, 1.1 * between, atol=1e-10)


def test_half_of_the_atoms_are_crystalline_after_the_join(melted):
    table = np.genfromtxt(
        melted / "enthalpy-shares-0GPa.csv", delimiter=",", names=True
    )
    # At each border a layer of 108/12 atoms sees both phases.
    for name in ("from_576K", "from_624K"):
        assert table[name][0] == pytest.approx(0.5, abs=2.0 * 18.0 / 216.0)


def test_the_enthalpy_is_constant_and_the_temperature_is_free(melted):
    thermo = read_thermo(melted / "0GPa/enthalpy-62.4K/thermo.csv")
    kinetic = np.ptp(thermo["kinetic_eV"])
    assert np.ptp(thermo["conserved_eV"]) < 0.02 * kinetic
    assert thermo["temperature_K"][0] == pytest.approx(62.4, rel=0.15)


def test_the_result_says_that_so_short_a_run_is_none(melted):
    record = json.loads((melted / "enthalpy.json").read_text())
    names = [q["name"] for q in record["results"]]
    assert "temperature from 57.6 K at 0 GPa" in names
    errors = {q["name"]: q["error"] for q in record["results"]}
    assert errors["temperature from 57.6 K at 0 GPa"] > 0.0
    assert (melted / "enthalpy.png").stat().st_size > 10000


def test_what_has_ended_is_not_run_again(melted, capsys):
    before = {p: p.stat().st_mtime_ns for p in melted.rglob("journal.bin")}
    assert len(before) == 7
    assert main(["coexistence", str(melted.parent / "input.toml")]) == 0
    assert {p: p.stat().st_mtime_ns for p in melted.rglob("journal.bin")} == before
    assert "temperature from 62.4 K at 0 GPa" in capsys.readouterr().out


def test_other_settings_are_not_mixed_with_runs_that_are_there(melted, capsys):
    text = INPUT.replace("crystal_steps = 150", "crystal_steps = 151")
    path = written(melted.parent, text, "other.toml")
    assert main(["coexistence", str(path)]) == 2
    error = capsys.readouterr().err
    assert "crystal: this run was begun with other settings" in error
    assert error.count("\n") == 1


def test_replicas_are_told_apart_and_judged_together(melted, capsys):
    text = INPUT.replace(
        "steps = 80", "steps = 80\nequilibration_steps = 20\nreplicas = 2"
    )
    before = (melted / "0GPa/enthalpy-57.6K/journal.bin").stat().st_mtime_ns
    code = main(["coexistence", str(written(melted.parent, text, "replicas.toml"))])
    out, error = capsys.readouterr()
    assert code == 0, error
    journal = melted / "0GPa/enthalpy-57.6K/journal.bin"
    assert journal.stat().st_mtime_ns == before
    first, second = (
        read_thermo(melted / f"0GPa/enthalpy-57.6K{n}/thermo.csv")["temperature_K"]
        for n in ("", "-2")
    )
    assert abs(first - second).max() > 1.0
    inputs = list(melted.glob("0GPa/enthalpy-*/input.toml"))
    seeds = {tomllib.loads(path.read_text())["seed"] for path in inputs}
    assert len(seeds) == len(inputs) == 4
    for name in ("57.6 K", "57.6 K, replica 2", "62.4 K, replica 2"):
        assert f"temperature from {name} at 0 GPa" in out
    record = json.loads((melted / "enthalpy.json").read_text())
    found = {q["name"]: q["value"] for q in record["results"]}
    late = read_thermo(melted / "0GPa/enthalpy-57.6K/thermo.csv")
    late = late["temperature_K"][late["time_fs"] >= 20 * 5.0]
    assert found["temperature from 57.6 K at 0 GPa"] == pytest.approx(late.mean())


def test_velocities_go_on_from_the_same_melt(melted, capsys):
    text = INPUT.replace(
        "[coexistence]",
        '[coexistence]\nmethod = "velocity"\ntemperatures = 3\nspread = 0.1',
    ).replace("steps = 80", "steps = 120")
    path = written(melted.parent, text, "velocity.toml")
    journal = (melted / "0GPa/melt/journal.bin").stat().st_mtime_ns
    code = main(["coexistence", str(path)])
    assert (melted / "0GPa/melt/journal.bin").stat().st_mtime_ns == journal
    out, error = capsys.readouterr()
    assert code == 0, error
    assert "growth at 54 K at 0 GPa" in out
    assert (melted / "velocity.png").exists()


def test_a_plan_names_runs_and_steps_and_makes_none(argon, tmp_path, capsys):
    text = INPUT.replace(
        "temperature_K = 60.0\n",
        "temperature_K = [60.0, 90.0]\npressure_GPa = [0.0, 0.1]\n",
    ).replace('"melting"', f'"{tmp_path}/nowhere"')
    assert main(["coexistence", str(written(argon, text, "plan.toml")), "--plan"]) == 0
    out = capsys.readouterr().out
    assert "0.1GPa/enthalpy-93.6K  80 steps" in out
    # 2 (150 + 500 + 150 + 500 + 2 (60 + 80))
    assert "3160 steps, 15.8 ps" in out
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("repeat = [3, 3, 6]", "repeat = [3, 3, 3]", "must be twice as long"),
        ("repeat = [3, 3, 6]", "repeat = [1, 1, 3]", "two phases need 64 atoms"),
        ("[dynamics]", '[dynamics]\nensemble = "NVT"', "ensemble contradicts"),
        ("[dynamics]", '[dynamics]\nthermostat = "nose-hoover"', "does not go with"),
        ("[output]", "[sweep]\n[output]", "[sweep] and [coexistence]"),
        ("repeat", "fix_atoms = [0]\nrepeat", "fix_atoms contradicts [coexistence]"),
        ("melt_temperature_K = 600", "melt_temperature_K = 50", "must be above the"),
        ("temperature_K = 60.0\n", "temperature_K = [60.0, 70.0]\n", "2 temperatures"),
        ("temperature_K = 60.0\n", "", "temperature_K is missing"),
        ("steps = 80", "steps = 80\npressure_GPa = [0.0, 0.0]", "there twice"),
        ("steps = 80", "steps = 70", "give 17 temperatures, a verdict needs 20"),
        (
            "steps = 80",
            "steps = 80\nequilibration_steps = 60",
            "20 steps that are judged and thermo_interval = 2 give 10 temperatures",
        ),
        (
            "steps = 80",
            "steps = 120\nmethod = 'velocity'\nequilibration_steps = 1",
            'equilibration_steps needs method = "enthalpy"',
        ),
        ("steps = 80", "steps = 80\nreplicas = 0", "replicas"),
        ("steps = 80", "steps = 90\nmethod = 'velocity'", "22 frames, a verdict needs"),
        ("steps = 80", "steps = 80\ntemperatures = 7", 'needs method = "velocity"'),
        ("steps = 80", 'steps = 80\nmethod = "hysteresis"', "coexistence.method"),
        ("[coexistence]", "[coexistence]\nspread = 0.9", "spread"),
        ("model.h5", "model.h6", "there is no file"),
    ],
)
def test_a_mistake_is_one_line(argon, old, new, words, capsys):
    assert old in INPUT
    path = written(argon, INPUT.replace(old, new, 1), "wrong.toml")
    assert main(["coexistence", str(path)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.startswith("otf-md: error: ")
    assert error.count("\n") == 1


def test_a_reference_is_no_model_for_two_phases(argon, capsys):
    text = INPUT.replace("[potential]", '[reference]\ncalculator = "lennard-jones"')
    text = text.replace('model = "model.h5"\non_untrusted = "flag"', "")
    assert main(["coexistence", str(written(argon, text, "wrong.toml"))]) == 2
    assert "[coexistence] needs a finished model" in capsys.readouterr().err


def test_each_command_says_whose_input_it_is(argon, capsys):
    path = written(argon, INPUT, "run.toml")
    for command in ("run", "check"):
        assert main([command, str(path)]) == 2
        assert f"otf-md coexistence {path}" in capsys.readouterr().err
    text = INPUT[: INPUT.index("barostat_time_fs")]
    text += "[[dynamics.stages]]\nsteps = 1\ntemperature_K = 1.0\n"
    assert main(["coexistence", str(written(argon, text, "run.toml"))]) == 2
    assert "[coexistence] is missing" in capsys.readouterr().err


def test_thirds_of_atoms_on_the_border_do_not_flip():
    atoms = bulk("Ar", "fcc", a=5.4, cubic=True).repeat((1, 1, 2))
    atoms.positions[:, 2] -= 1e-9
    s = along_third(Configuration.from_atoms(atoms))
    assert sorted(np.round(s, 3))[:2] == [0.0, 0.0]
