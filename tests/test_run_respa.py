"""Runs with two time steps from the input file, on eight atoms of silicon."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write

from otf.cli import main
from otf.errors import InputError
from otf.settings import load_settings
from otf.store.checkpoint import load_newest
from otf.store.frames import read_frames
from otf.store.run_reader import RunView
from otf.store.schema import RunFolder

INPUT = """
seed = 1
{device}

[structure]
file = "si.xyz"

{potential}

[dynamics]
timestep_fs = {timestep}
{dynamics}

[[dynamics.stages]]
steps = {steps}
{stage}

[output]
directory = "{name}"
checkpoint_interval = 20
trajectory_interval = 5
thermo_interval = 1
"""
LEARN = """
[reference]
calculator = "stillinger-weber"

[baseline.calculator]
name = "stillinger-weber"
arguments = { epsilon_eV = 1.8 }

[descriptor]
n_max = 5
l_max = 2
cutoff_three_body_A = 4.5
cutoff_two_body_A = 5.0
n_max_two_body = 6
"""
LEARNED = '[potential]\nmodel = "learned/model.h5"'
COLD = 'ensemble = "NVE"\ninitial_temperature_K = 600.0'


def written(folder, name, **values):
    """Return an input file; Langevin at 600 K, two time steps, learning."""
    filled = {
        "potential": LEARN,
        "timestep": 6.0,
        "dynamics": "respa = { inner_steps = 3 }",
        "steps": 60,
        "stage": "temperature_K = 600.0",
        "device": "",
    }
    path = folder / f"{name}.toml"
    path.write_text(INPUT.format(name=name, **{**filled, **values}))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a structure and a finished run that learned its model."""
    folder = tmp_path_factory.mktemp("respa")
    write(folder / "si.xyz", bulk("Si", "diamond", a=5.431, cubic=True))
    assert main(["run", str(written(folder, "learned"))]) == 0
    return folder


def positions(folder):
    _, frames = read_frames(RunFolder(folder).frames)
    return {round(f.time, 6): f.positions for f in frames}


def same(first, second):
    ours, theirs = positions(first), positions(second)
    return ours.keys() == theirs.keys() and all(
        np.array_equal(x, theirs[time]) for time, x in ours.items()
    )


def test_labels_belong_to_long_steps_and_the_energy_is_conserved(folder):
    view = RunView.load(folder / "learned")
    assert view.finish is not None
    assert {d.step for d in view.decisions} <= set(range(61))
    thermo = view.thermo
    np.testing.assert_allclose(np.diff(thermo["time_fs"]), 6.0, rtol=1e-9)
    assert np.abs(thermo["learning_work_eV"]).max() > 0.0
    assert np.ptp(thermo["conserved_eV"]) < 0.005 * 8


def test_a_stopped_run_goes_on_to_the_bit(folder):
    path = written(folder, "resumed")
    (folder / "resumed").mkdir()
    (folder / "resumed" / "STOP").touch()
    assert main(["run", str(path)]) == 0
    assert load_newest(RunFolder(folder / "resumed")).state.step == 0
    assert main(["resume", str(folder / "resumed")]) == 0
    assert same(folder / "learned", folder / "resumed")


@pytest.mark.parametrize("fast", ["baseline", "learned"])
def test_either_part_of_a_finished_model_can_be_the_fast_force(folder, fast):
    """The other is slow; short enough, both make the steps of the whole."""
    path = written(
        folder,
        f"fast-{fast}",
        potential=LEARNED,
        dynamics=f'{COLD}\nrespa = {{ inner_steps = 3, fast = "{fast}" }}',
        timestep=3.0,
        steps=30,
        stage="",
    )
    assert main(["run", str(path)]) == 0
    short = written(
        folder,
        f"short-{fast}",
        potential=LEARNED,
        dynamics=COLD,
        timestep=1.0,
        steps=90,
        stage="",
    )
    assert main(["run", str(short)]) == 0
    ours, theirs = positions(folder / path.stem), positions(folder / short.stem)
    times = sorted(ours.keys() & theirs.keys())
    assert len(times) == 7
    moved = np.abs(theirs[times[-1]] - theirs[0.0]).max()
    off = max(np.abs(ours[time] - theirs[time]).max() for time in times)
    assert off < 0.02 * moved
    energies = RunView.load(folder / path.stem).thermo["conserved_eV"]
    assert np.ptp(energies) < 0.005 * 8


def test_a_model_that_is_its_own_fast_force_makes_the_short_steps(folder):
    """A known answer: without a slow force only the short time step is left."""
    path = written(
        folder,
        "own",
        potential=LEARNED,
        dynamics=f'{COLD}\nrespa = {{ inner_steps = 5, fast = "learned/model.h5" }}',
        timestep=10.0,
        steps=20,
        stage="",
    )
    assert main(["run", str(path)]) == 0
    plain = written(
        folder,
        "plain",
        potential=LEARNED,
        dynamics=COLD,
        timestep=2.0,
        steps=100,
        stage="",
    )
    assert main(["run", str(plain)]) == 0
    ours, theirs = positions(folder / "own"), positions(folder / "plain")
    shared = sorted(ours.keys() & theirs.keys())
    assert len(shared) == 5
    for time in shared:
        np.testing.assert_allclose(ours[time], theirs[time], atol=1e-9)


def test_a_run_goes_on_with_the_fast_model_it_began_with(folder):
    cheap = folder / "cheap.h5"
    cheap.write_bytes((folder / "learned" / "model.h5").read_bytes())
    respa = 'respa = { inner_steps = 2, fast = "cheap.h5" }'
    whole = written(folder, "whole", potential=LEARNED, dynamics=respa)
    assert main(["run", str(whole)]) == 0
    path = written(folder, "kept", potential=LEARNED, dynamics=respa)
    (folder / "kept").mkdir()
    (folder / "kept" / "STOP").touch()
    assert main(["run", str(path)]) == 0
    cheap.unlink()
    assert main(["resume", str(folder / "kept")]) == 0
    assert same(folder / "whole", folder / "kept")


# -------------------------------------------------------------------------- refusals
def refused(path, capsys):
    """Return the line by which a run is refused before it leaves anything."""
    assert main(["run", str(path)]) == 2
    assert not (path.parent / path.stem).exists()
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_model_without_baseline_has_no_fast_force(folder, capsys):
    without = LEARN.replace("[baseline.calculator]", "[baseline]")
    start, end = without.index("[baseline]"), without.index("[descriptor]")
    learn = written(
        folder, "bare", potential=without[:start] + without[end:], dynamics=""
    )
    assert main(["run", str(learn)]) == 0
    capsys.readouterr()
    model = '[potential]\nmodel = "bare/model.h5"'
    line = refused(written(folder, "no", potential=model), capsys)
    assert "has no baseline, and its force no two parts" in line
    assert "dynamics.respa.fast" in line


def test_a_fast_model_must_know_every_element(folder, capsys):
    write(folder / "sic.xyz", bulk("SiC", "zincblende", a=4.4, cubic=True))
    path = written(
        folder, "carbon", dynamics='respa = { inner_steps = 2, fast = "cheap.h5" }'
    )
    (folder / "cheap.h5").write_bytes((folder / "learned/model.h5").read_bytes())
    path.write_text(path.read_text().replace("si.xyz", "sic.xyz"))
    line = refused(path, capsys)
    assert "knows nothing of C" in line
    assert "dynamics.respa.fast" in line


def test_a_gpu_is_refused(folder):
    path = written(folder, "device", device='device = "gpu"')
    with pytest.raises(InputError, match="moves the atoms on the processor"):
        load_settings(path)


def test_two_phases_are_refused(folder):
    path = written(folder, "phases", potential=LEARNED)
    text = path.read_text().partition("[[dynamics.stages]]")[0]
    text += "[coexistence]\ntemperature_K = 1600.0\npressure_GPa = 0.0\n"
    path.write_text(text)
    with pytest.raises(InputError, match="respa does not go with"):
        load_settings(path)


def test_check_says_what_the_two_steps_are(folder, capsys):
    assert main(["check", str(written(folder, "checked"))]) == 0
    said = capsys.readouterr().out
    assert "3 short steps of 2 fs in each, fast force: baseline" in said
