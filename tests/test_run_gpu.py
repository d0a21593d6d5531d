"""Runs whose atoms move on the CUDA C kernels, emulated or on a GPU."""

from __future__ import annotations

import sys
from contextlib import contextmanager

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from run_folders import same_frames

from otf.calculators.stillinger_weber import StillingerWeber
from otf.cli import main
from otf.configuration import Configuration, Labels
from otf.deploy.saved_model import save_model
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.kernels import Backend, DeviceMissing, interface, load
from otf.kernels.watch import Watch
from otf.models.bayesian_linear import BayesianLinear
from otf.stopping import StopRequest
from otf.store.checkpoint import load_newest
from otf.store.frames import read_frames
from otf.store.run_reader import RunView
from otf.store.schema import RunFolder

INPUT = """
device = "{device}"
seed = 3
[structure]
file = "si.xyz"
[potential]
model = "model.h5"
on_untrusted = "{on_untrusted}"
max_spilling = {max_spilling}
[dynamics]
timestep_fs = 2.0
initial_temperature_K = 7000
{thermostat}
[[dynamics.stages]]
steps = {steps}
{temperature}
[output]
directory = "{directory}"
trajectory_interval = {interval}
checkpoint_interval = 20
"""
LEARNING = """
device = "{device}"
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
[[dynamics.stages]]
steps = 120
temperature_K = 900.0
[output]
directory = "{directory}"
"""
DEFAULTS = {
    "device": "gpu",
    "steps": 60,
    "thermostat": "",
    "interval": 1,
    "max_spilling": 1.0,
    "on_untrusted": "stop",
}
THERMOSTATS = {
    "nve": 'ensemble = "NVE"',
    "langevin": 'thermostat = "langevin"',
    "nose-hoover": 'thermostat = "nose-hoover"',
    "csvr": 'thermostat = "csvr"',
    "cell-rescaling": 'ensemble = "NPT"\nbarostat = "cell-rescaling"',
    "mtk": 'ensemble = "NPT"\nbarostat = "mtk"',
    "parrinello-rahman": 'ensemble = "NPT"\nbarostat = "parrinello-rahman"',
}


def labelled(n, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(n):
        c = Configuration.from_atoms(bulk("Si", "diamond", a=5.43, cubic=True))
        c = c.moved(c.positions + 0.2 * rng.normal(size=(8, 3)))
        energy, forces, virial = StillingerWeber().evaluate(c)
        yield c, Labels(energy, forces, virial / c.volume)


@pytest.fixture(scope="module")
def model():
    descriptor = PowerSpectrum(
        species=(14,),
        cutoff_three_body=4.0,
        cutoff_two_body=4.5,
        n_max=4,
        l_max=2,
        n_max_two_body=5,
    )
    learned = BayesianLinear(descriptor)
    learned.extend(list(labelled(12)))
    learned.fit_weights()
    return learned.fitted


@pytest.fixture
def run(tmp_path, model, monkeypatch):
    """Return a function that runs an input and returns the frames."""
    save_model(
        tmp_path / "model.h5", model, proof=[c for c, _ in labelled(5)], metadata={}
    )
    write(tmp_path / "si.xyz", bulk("Si", "diamond", a=5.43, cubic=True))
    monkeypatch.chdir(tmp_path)

    def make(name, *, code=0, command="run", **changes):
        path = tmp_path / f"{name}.toml"
        given = DEFAULTS | changes | {"directory": name}
        held = "" if "NVE" in given["thermostat"] else "temperature_K = 3000"
        held += "\npressure_GPa = 2.0" if "NPT" in given["thermostat"] else ""
        path.write_text(INPUT.format(temperature=held, **given))
        assert main([command, str(path if command == "run" else name)]) == code
        return [] if code == 2 else read_frames(RunFolder(tmp_path / name).frames)[1]

    return make


@pytest.fixture
def gpu(emulated, monkeypatch):
    """Return a function that puts an emulated GPU into this machine."""

    def make(*, poll=1, chunk=5, **options):
        backend = Backend(np, emulated(**options), chunk, poll, "emulated")
        backend.__dict__["watch"] = watch = Counting(np)
        monkeypatch.setattr(interface, "_gpu", lambda device: backend)
        load.cache_clear()
        return watch

    yield make
    monkeypatch.undo()
    load.cache_clear()


class Counting(Watch):
    """A watch that says how often steps were made ahead, and how many in vain."""

    def __init__(self, xp):
        super().__init__(xp)
        self.asked, self.sound = [], []

    @contextmanager
    def ahead(self):
        with super().ahead() as ahead:
            count = ahead.count_sound
            ahead.count_sound = lambda: self.sound.append(count()) or self.sound[-1]
            yield ahead
        self.asked.append(len(ahead._steps))


@pytest.mark.parametrize("thermostat", THERMOSTATS.values(), ids=THERMOSTATS)
def test_a_run_has_the_same_bits_however_seldom_anybody_looks(run, gpu, thermostat):
    gpu(poll=1)
    looked = run("looked", thermostat=thermostat)
    watch = gpu(poll=16, order="random")
    assert same_frames(run("ahead", thermostat=thermostat), looked)
    # Steps were made ahead, and not all of them were sound: lists were made anew.
    assert max(watch.sound) > 2
    assert watch.sound != watch.asked


def test_a_run_is_that_of_the_cpu(run, gpu):
    gpu(poll=8)
    ours, theirs = run("gpu", steps=30), run("cpu", steps=30, device="cpu")
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.positions, b.positions, rtol=0, atol=1e-9)
        np.testing.assert_allclose(a.forces, b.forces, rtol=0, atol=1e-8)
        assert a.conserved == pytest.approx(b.conserved, abs=1e-9)


def test_a_run_stops_where_it_must_not_be_trusted(run, gpu, capsys):
    """With and without steps ahead, and on the CPU: one step, one line."""
    found = []
    for name, device, poll in (("a", "cpu", 1), ("b", "gpu", 1), ("c", "gpu", 16)):
        gpu(poll=poll)
        frames = run(name, device=device, max_spilling=4e-4, code=1)
        found.append((frames[-1].step, capsys.readouterr().err.split("otf-md: error")))
    assert found[0][0] == found[1][0] == found[2][0]
    assert found[0][1][-1] == found[1][1][-1] == found[2][1][-1]
    assert "is unknown to the model (spilling" in found[0][1][-1]


def test_flagged_steps_are_counted_once(run, gpu, tmp_path):
    for name, poll in (("a", 1), ("b", 16)):
        gpu(poll=poll)
        run(name, max_spilling=0.0, on_untrusted="flag")
    counts = [
        load_newest(RunFolder(tmp_path / name)).potential["potential/n_flagged"]
        for name in "ab"
    ]
    assert counts[0] == counts[1] == 7


def test_a_resumed_run_makes_the_steps_it_would_have_made(run, gpu, monkeypatch):
    gpu(poll=16)
    whole = run("whole")
    asked = iter(range(1000))
    with monkeypatch.context() as patch:
        patch.setattr(
            StopRequest, "reason", lambda _: "a test" if next(asked) == 9 else None
        )
        part = run("part")
    assert 5 < part[-1].step < 55
    assert same_frames(run("part", command="resume"), whole)


def test_a_run_that_learns_moves_atoms_on_a_gpu(gpu, tmp_path, monkeypatch):
    """It labels where that of the CPU does, and the host sees few of its steps."""
    write(tmp_path / "si.xyz", bulk("Si", "diamond", a=5.43, cubic=True))
    monkeypatch.chdir(tmp_path)
    seen = []
    exact = BayesianLinear.predict_screened
    monkeypatch.setattr(
        BayesianLinear,
        "predict_screened",
        lambda self, c: seen.append(1) or exact(self, c),
    )
    labels, host_steps = [], []
    for device in ("cpu", "gpu"):
        gpu(order="random")
        seen.clear()
        (tmp_path / f"{device}.toml").write_text(
            LEARNING.format(device=device, directory=device)
        )
        assert main(["run", f"{device}.toml"]) == 0
        view = RunView.load(tmp_path / device)
        labels.append([entry.step for entry in view.decisions])
        host_steps.append(len(seen))
    assert labels[0] == labels[1]
    assert host_steps[1] < 0.5 * host_steps[0]


def test_a_gpu_that_is_not_there_is_missed_in_one_line(run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    load.cache_clear()
    run("missed", code=2)
    error = capsys.readouterr().err
    assert "needs CuPy: pip install 'otf-md[gpu]' (input file: device)" in error


@pytest.mark.gpu
@pytest.mark.parametrize("thermostat", THERMOSTATS.values(), ids=THERMOSTATS)
def test_a_run_on_a_gpu_is_that_of_the_cpu_and_itself(run, thermostat):
    try:
        load("gpu")
    except DeviceMissing as error:
        pytest.skip(str(error))
    once, again, cpu = (
        run(name, device=device, steps=30, thermostat=thermostat)
        for name, device in (("a", "gpu"), ("b", "gpu"), ("c", "cpu"))
    )
    assert same_frames(once, again)
    for a, b in zip(once, cpu, strict=True):
        np.testing.assert_allclose(a.positions, b.positions, rtol=0, atol=1e-8)
        assert a.conserved == pytest.approx(b.conserved, abs=1e-8)
