"""Sweeps: one input, many runs, on eight atoms of Stillinger-Weber silicon."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from run_folders import same_trajectory

from otf.analysis.averages import Mean
from otf.analysis.run_means import RunMeans, means_of_run, over_replicas
from otf.cli import main
from otf.settings.continuing import changed_keys
from otf.settings.loading import load_settings, parse_settings
from otf.settings.members import members_of
from otf.store.lock import is_locked
from otf.store.schema import RunFolder, SweepFolder
from otf.store.thermo import COLUMNS, ThermoLog, ThermoRow, last_step
from otf.sweeping import is_finished

if TYPE_CHECKING:
    from pathlib import Path

INPUT = """
seed = 5

[structure]
file = "si.xyz"

[reference]
calculator = "stillinger-weber"

[descriptor]
n_max = 4
l_max = 2
cutoff_three_body_A = 4.0
cutoff_two_body_A = 4.5
n_max_two_body = 5

[dynamics]
timestep_fs = 2.0
{dynamics}

[output]
checkpoint_interval = 20
trajectory_interval = 5
{rest}

[sweep]
{sweep}
"""
STAGE = "[[dynamics.stages]]\nsteps = {steps}"
AT_900_K = "\ntemperature_K = 900.0"


@pytest.fixture
def prepare(tmp_path):
    """Return a function that writes an input and returns its path."""

    def write_input(sweep, *, steps=60, dynamics="", stage="", rest="") -> Path:
        crystal = bulk("Si", "diamond", a=5.431, cubic=True)
        write(tmp_path / "si.xyz", crystal)
        write(tmp_path / "c.xyz", bulk("C", "diamond", a=3.567, cubic=True))
        crystal.rattle(0.1, seed=1)
        write(tmp_path / "hot.xyz", crystal)
        stages = STAGE.format(steps=steps) + stage
        path = tmp_path / "input.toml"
        text = INPUT.format(dynamics=f"{dynamics}\n{stages}", sweep=sweep, rest=rest)
        path.write_text(text)
        return path

    return write_input


# --------------------------------------------------------------------------- members
def test_every_combination_is_an_input_of_its_own(prepare):
    path = prepare(
        "temperatures_K = [300, 450.5]\nseeds = [1, 2]\npressures_GPa = [0, 2]\n"
        'structures = ["si.xyz", "hot.xyz"]',
        dynamics='ensemble = "NPT"',
        stage=f"\npressure_GPa = 7.0{AT_900_K}\n{STAGE.format(steps=9)}",
    )
    members = members_of(load_settings(path))
    assert len({m.name for m in members}) == len(members) == 16
    assert members[-1].name == "hot-2GPa-450.5K-seed2"
    for m in members:
        alone = parse_settings(m.input_text, name="input.toml", folder=path.parent)
        assert alone.sweep is None
        assert alone == m.settings.model_copy(update={"sweep": None})
        melt, rest = alone.dynamics.stages
        # What the input file says of a stage holds there; the rest is the sweep's.
        assert (melt.temperature_K, melt.pressure_GPa) == (900.0, 7.0)
        assert rest.temperature_K == m.temperature_K
        assert rest.pressure_GPa == m.pressure_GPa
        assert alone.seed == m.seed
        assert alone.structure.file == f"{m.structure}.xyz"
        assert alone.output.directory == f"run/{m.name}"


def test_files_of_one_name_in_two_folders_make_two_runs(prepare, tmp_path):
    for name in ("fcc", "hcp"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "POSCAR", bulk("Si", cubic=True))
    path = prepare('structures = ["fcc/POSCAR", "hcp/POSCAR"]', stage=AT_900_K)
    path.write_text(path.read_text().replace('"si.xyz"', '"fcc/POSCAR"'))
    names = [m.name for m in members_of(load_settings(path))]
    assert names == ["fcc-POSCAR", "hcp-POSCAR"]


BOTH = "temperatures_K = [300, 600]"
TWO_PHASES = "[coexistence]\ntemperature_K = 1700.0\npressure_GPa = 0.0"


@pytest.mark.parametrize(
    ("says", "sweep", "more"),
    [
        ("varies nothing", "", {"stage": AT_900_K}),
        ("has 300.0 twice", "temperatures_K = [300, 600, 300]", {}),
        ("greater than 0, got -3", "temperatures_K = [-3]", {}),
        ("did you mean temperatures_K?", "temperature_K = [300]", {}),
        ("a list in square brackets", "temperatures_K = 300", {}),
        ("no stage to hold in", BOTH, {"stage": AT_900_K}),
        ('contradicts ensemble = "NVE"', BOTH, {"dynamics": 'ensemble = "NVE"'}),
        ('contradicts ensemble = "NPH"', BOTH, {"dynamics": 'ensemble = "NPH"'}),
        (
            'needs ensemble = "NPT" or "NPH"',
            "pressures_GPa = [1.0]",
            {"stage": AT_900_K},
        ),
        ("needs temperature_K", "seeds = [1, 2]", {}),
        ("are of two commands", BOTH, {"rest": TWO_PHASES}),
        ("there is no file", f'{BOTH}\nstructures = ["si.xyz", "no.xyz"]', {}),
        ("one of the structures of the", f'{BOTH}\nstructures = ["hot.xyz"]', {}),
        ("less than the 60 steps", f"{BOTH}\nequilibration_steps = 60", {}),
        (
            "need the same elements, but si.xyz has Si and c.xyz has C",
            f'{BOTH}\nstructures = ["si.xyz", "c.xyz"]\nshare_model = true',
            {},
        ),
        ("Na is not there; it holds Si", f'{BOTH}\nphase_species = ["Na"]', {}),
        ("'Xx' is no chemical symbol", f'{BOTH}\nphase_species = ["Xx"]', {}),
        ("a list in square brackets", f'{BOTH}\nphase_species = "Si"', {}),
        (
            "share_model needs policy",
            f"{BOTH}\nshare_model = true",
            {"rest": '[learning]\npolicy = "budget"\nbudget_calls = 20'},
        ),
        (
            "share_model needs latency_steps = 0",
            f"{BOTH}\nshare_model = true",
            {"rest": "[reference.more]"},
        ),
    ],
)
def test_a_wrong_sweep_is_one_clear_line(prepare, capsys, says, sweep, more):
    more = dict(more)
    late = more.get("rest") == "[reference.more]"
    path = prepare(sweep, **{**more, "rest": "" if late else more.get("rest", "")})
    if late:
        text = path.read_text()
        path.write_text(text.replace("[descriptor]", "latency_steps = 5\n[descriptor]"))
    for command in ("check", "sweep"):
        assert main([command, str(path)]) == 2
        printed = capsys.readouterr().err.strip().splitlines()
        assert len(printed) == 1
        assert says in printed[0]
        assert re.search(r"\((input\.toml|input\.toml: .+|sweep\.\w+)\)$", printed[0])


def test_a_sweep_is_no_run_and_a_run_no_sweep(prepare, capsys):
    path = prepare(BOTH)
    assert main(["run", str(path)]) == 2
    assert "otf-md sweep" in capsys.readouterr().err
    path.write_text(path.read_text().replace(BOTH, "").replace("[sweep]", ""))
    path.write_text(path.read_text().replace("steps = 60", f"steps = 60{AT_900_K}"))
    assert main(["sweep", str(path)]) == 2
    assert "there is no [sweep]" in capsys.readouterr().err
    assert main(["sweep", str(path), "--jobs", "0"]) == 2
    assert "whole number above 0" in capsys.readouterr().err


def test_check_says_what_a_sweep_would_do(prepare, capsys):
    assert main(["check", str(prepare(f"{BOTH}\nseeds = [1, 2, 3]", steps=50))]) == 0
    printed = capsys.readouterr().out
    assert "6 runs" in printed
    assert "300 steps in all" in printed
    assert "means of steps 11 to 50" in printed


# ----------------------------------------------------------------------------- means
def thermo(folder, steps, **columns):
    with ThermoLog(folder.thermo) as log:
        for k, step in enumerate(steps):
            row = dict.fromkeys(COLUMNS, 0.0) | {"step": int(step), "labelled": False}
            log.append(ThermoRow(**row | {n: v[k] for n, v in columns.items()}))


def test_means_count_what_comes_after_the_first_steps_per_atom(tmp_path):
    folder, steps = RunFolder(tmp_path), np.arange(0, 40, 2)
    thermo(
        folder,
        steps,
        potential_eV=np.where(steps > 10, -8.0, 100.0),
        volume_A3=np.full(20, 40.0),
        pressure_GPa=np.full(20, np.nan),
        temperature_K=np.where(steps > 10, 300.0, 0.0),
    )
    means = means_of_run(folder, first_step=10, n_atoms=4)
    assert means.energy_eV_per_atom.value == -2.0
    assert means.volume_A3_per_atom.value == 10.0
    assert means.temperature_K == Mean(300.0, 0.0, 14.0)
    assert np.isnan(means.pressure_GPa.value)
    assert last_step(folder.thermo) == 38


def test_errors_of_correlated_rows_are_those_of_their_process(tmp_path):
    # AR(1): var(mean) = sigma^2 / n (1 + a) / (1 - a), up to terms of 1/n^2.
    a, n, rng = 0.8, 4000, np.random.default_rng(3)
    x = np.zeros(n)
    for k in range(1, n):
        x[k] = a * x[k - 1] + rng.normal()
    thermo(RunFolder(tmp_path), np.arange(1, n + 1), temperature_K=x + 500.0)
    found = means_of_run(RunFolder(tmp_path), first_step=0, n_atoms=1).temperature_K
    exact = np.sqrt(1.0 / (1 - a**2) / n * (1 + a) / (1 - a))
    # sd of an estimated error with n_eff = n (1-a)/(1+a) = 444: some 10 %
    assert found.error == pytest.approx(exact, rel=0.3)
    assert abs(found.value - 500.0) < 4 * exact


def test_replicas_give_the_error_of_their_scatter():
    values = [1.0, 2.0, 4.0]
    runs = [RunMeans(temperature_K=Mean(v, 9.0, 5.0)) for v in values]
    found = over_replicas([*runs, RunMeans()]).temperature_K
    assert found.value == pytest.approx(7.0 / 3.0)
    # sum of squares 14/3, sd = sqrt(7/3), of three
    assert found.error == pytest.approx(np.sqrt(7.0) / 3.0)
    assert np.isnan(over_replicas(runs[:1]).temperature_K.error)


# ---------------------------------------------------------------------------- sweeps
def test_a_killed_sweep_goes_on_and_every_run_is_the_ordinary_one(
    prepare, tmp_path, capsys
):
    path = prepare("seeds = [1, 2]", steps=200, stage=AT_900_K)
    sweep = SweepFolder(tmp_path / "run")
    child = subprocess.Popen(
        [sys.executable, "-m", "otf.cli", "sweep", str(path), "--jobs", "2"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    first = sweep.member("seed1")
    while last_step(first.thermo) == 0 and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    # The runs it left end by themselves, with a checkpoint.
    while any(is_locked(sweep.member(name).lock) for name in ("seed1", "seed2")):
        time.sleep(0.05)
    assert not is_finished(first)
    assert main(["report", str(sweep.path)]) == 0
    assert "0 of 2 runs have made all their steps" in sweep.report.read_text()
    # A folder that is damaged is one failed run; the sweep goes on with the others.
    damaged = sweep.member("seed2").journal
    content = damaged.read_bytes()
    damaged.write_bytes(b"no journal of ours")
    assert main(["sweep", str(path), "--jobs", "2"]) == 1
    printed = capsys.readouterr().out
    assert "seed2 failed" in printed
    record = json.loads(sweep.results.with_suffix(".json").read_text())
    assert record["tables"]["runs"]["status"] == ["finished", "failed"]
    damaged.write_bytes(content)
    assert main(["sweep", str(path)]) == 0
    table = sweep.results.with_suffix(".csv").read_text().splitlines()
    rows = list(csv.DictReader(table))
    assert [row["status"] for row in rows] == ["finished", "finished"]
    assert all(float(row["temperature_K"]) > 0 for row in rows)
    member = members_of(load_settings(path))[0]
    text = member.input_text.replace('"run/', '"alone/')
    (tmp_path / "alone.toml").write_text(text)
    assert main(["run", str(tmp_path / "alone.toml")]) == 0
    assert same_trajectory(tmp_path / "alone" / "seed1", first.path)


def test_runs_of_another_input_are_not_taken_over(prepare, capsys):
    path = prepare(BOTH, steps=5)
    for member in members_of(load_settings(path)):
        folder = RunFolder(path.parent / "run" / member.name)
        folder.path.mkdir(parents=True)
        folder.input.write_text(member.input_text.replace("steps = 5", "steps = 6"))
    assert main(["sweep", str(path)]) == 2
    said = capsys.readouterr().err
    assert "was begun with another input" in said
    assert "(changed: dynamics.stages)" in said
    assert said.count("\n") == 1
    assert not SweepFolder(path.parent / "run").input.exists()


@pytest.mark.parametrize("together", ["", "share_model = true"])
def test_a_sweep_goes_on_with_another_walltime(prepare, together):
    path = prepare(
        f"seeds = [1]\n{together}",
        steps=5,
        stage=AT_900_K,
        rest="\n[limits]\nwalltime_h = 1e-9",
    )
    first = SweepFolder(path.parent / "run").member("seed1")
    assert main(["sweep", str(path)]) == 0
    assert "walltime_h = 1e-09" in first.input.read_text()
    assert not is_finished(first)
    path.write_text(path.read_text().replace("walltime_h = 1e-9", "walltime_h = 1.0"))
    assert main(["sweep", str(path)]) == 0
    assert is_finished(first)


@pytest.mark.parametrize(
    ("asked", "changed"),
    [
        ("a = 1\n[limits]\nwalltime_h = 2.0", []),
        ("a = 1", []),
        ("[limits]\nwalltime_h = 1.0", ["a"]),
        ("a = 1\n[b]\nc = 2\nd.e = 3", ["b"]),
    ],
)
def test_only_where_a_run_stops_may_change_before_it_goes_on(asked, changed):
    assert changed_keys("a = 1\n[limits]\nwalltime_h = 1.0", asked) == changed


def test_keys_that_keep_a_run_from_going_on_are_named_in_full():
    begun = "[b]\nc = 2\nd.e = 3\n[f]\ng = 1"
    assert changed_keys(begun, "[b]\nc = 2\nd.e = 4\nh = 1") == ["b.d.e", "b.h", "f"]
    assert changed_keys("no TOML", "[b]\nc = 2") == ["b"]
