"""The client of i-PI, against ASE's server and i-PI itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.socketio import SocketClosed, SocketIOCalculator
from ase.io import read, write

from otf.calculators.reference import to_labels
from otf.calculators.serving import evaluate
from otf.calculators.stillinger_weber import StillingerWeber
from otf.cli import main
from otf.configuration import Configuration
from otf.deploy.ipi import extras_of, serve
from otf.deploy.saved_model import load_model, save_model
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.errors import InputError
from otf.models.batch import fit_dataset
from otf.models.bayesian_linear import BayesianLinear
from otf.potential import Prediction, Uncertainty

N_BEADS, STEPS = 32, 4
IPI = shutil.which("i-pi")

PATH_INTEGRAL = """<simulation verbosity="low">
  <output prefix="pi">
    <trajectory filename="x" stride="1" format="xyz">positions{{angstrom}}</trajectory>
    <trajectory filename="f" stride="1" format="xyz">forces{{ev/ang}}</trajectory>
    <trajectory filename="e" stride="1" extra_type="spilling">extras</trajectory>
  </output>
  <total_steps>{steps}</total_steps>
  <prng><seed>7</seed></prng>
  <ffsocket mode="unix" name="otf" pbc="false"><address>{address}</address></ffsocket>
  <system>
    <initialize nbeads="{beads}">
      <file mode="xyz">start.xyz</file>
      <velocities mode="thermal" units="kelvin">300</velocities>
    </initialize>
    <forces><force forcefield="otf"/></forces>
    <ensemble><temperature units="kelvin">300</temperature></ensemble>
    <motion mode="dynamics">
      <dynamics mode="nvt">
        <timestep units="femtosecond">0.5</timestep>
        <thermostat mode="pile_g"><tau units="femtosecond">25</tau></thermostat>
      </dynamics>
    </motion>
  </system>
</simulation>
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a small model of silicon and a rattled crystal."""
    path = tmp_path_factory.mktemp("ipi")
    crystal = bulk("Si", cubic=True)
    frames = []
    for seed in range(4):
        rattled = crystal.copy()
        rattled.rattle(0.1, seed=seed)
        c = Configuration.from_atoms(rattled)
        frames.append((c, to_labels(evaluate(StillingerWeber(), rattled), c)))
    write(path / "start.extxyz", rattled)
    model = BayesianLinear(
        PowerSpectrum(species=(14,), cutoff_three_body=4.0, n_max=3, l_max=2)
    )
    fit_dataset(model, frames, n_references=20)
    proof = [c for c, _ in frames]
    save_model(path / "model.h5", model.fitted, proof=proof, metadata={})
    return path


def served(folder, name, *options):
    """Return the exit code of the command once the driver has ended."""
    files = str(folder / "model.h5"), str(folder / "start.extxyz")
    return main(["serve", *files, "--unix", name, *options])


def test_a_driver_gets_what_the_model_says(folder, tmp_path, capsys):
    name = f"otf-{tmp_path.name}-{time.monotonic_ns()}"
    model = load_model(folder / "model.h5")
    atoms = read(folder / "start.extxyz")
    with ThreadPoolExecutor(1) as pool:
        with SocketIOCalculator(unixsocket=name) as server:
            ended = pool.submit(served, folder, name)
            atoms.calc = server
            for scale in (1.0, 1.01):
                atoms.set_cell(scale * atoms.cell.array, scale_atoms=True)
                expected = model.predict(Configuration.from_atoms(atoms))
                energy = atoms.get_potential_energy()
                assert energy == pytest.approx(expected.energy, rel=1e-12)
                forces = atoms.get_forces()
                np.testing.assert_allclose(forces, expected.forces, atol=1e-10)
                stress = atoms.get_stress()
                np.testing.assert_allclose(stress, expected.stress, atol=1e-12)
        assert ended.result(60) == 0
    assert "ended after 2 structures" in capsys.readouterr().out


def test_the_extras_are_what_the_model_says_of_itself():
    known = Uncertainty(local=np.array([0.1, 0.2]), spilling=np.array([3e-3, 1e-3]))
    prediction = Prediction(0.0, np.zeros((2, 3)), np.zeros(6), uncertainty=known)
    extras = json.loads(extras_of(prediction))
    assert extras == {"local_deviation_eV": 0.2, "spilling": 3e-3}
    unknown = json.loads(extras_of(Prediction(0.0, np.zeros((2, 3)), np.zeros(6))))
    assert unknown.keys() == extras.keys()
    assert np.isnan(list(unknown.values())).all()


# ASE does not close the socket of a connection that was refused.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("address", ["otf-nobody", ("localhost", 1)])
def test_without_a_driver_the_user_is_told_to_start_one(address):
    with pytest.raises(InputError, match=r"no driver listens at .*start i-PI first"):
        serve(None, Atoms("Si", pbc=True, cell=3 * [9.0]), address=address)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "99999"], "--port must be at most 65535, got 99999"),
        (
            ["--unix", "x", "--max-spilling", "-1"],
            "--max-spilling must lie in [0, 1], got -1",
        ),
    ],
)
def test_values_out_of_range_are_one_line(folder, options, message, capsys):
    files = str(folder / "model.h5"), str(folder / "start.extxyz")
    assert main(["serve", *files, *options]) == 2
    assert capsys.readouterr().err == f"otf-md: error: {message}\n"


def test_a_driver_of_other_atoms_is_told_so(folder, tmp_path, capsys):
    name = f"otf-{tmp_path.name}-{time.monotonic_ns()}"
    atoms = read(folder / "start.extxyz").repeat((2, 1, 1))
    with (
        ThreadPoolExecutor(1) as pool,
        SocketIOCalculator(unixsocket=name) as server,
    ):
        ended = pool.submit(served, folder, name)
        atoms.calc = server
        with pytest.raises((ConnectionError, SocketClosed)):
            atoms.get_potential_energy()
        assert ended.result(60) == 2
    assert "the driver has 16 atoms, the structure file 8" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(IPI is None, reason="i-pi is not installed (pip install ipi)")
def test_ipi_moves_all_beads_of_a_path_integral_with_our_forces(folder, tmp_path):
    name = f"otf-{time.monotonic_ns()}"
    start = read(folder / "start.extxyz")
    cell = "  ".join(f"{x:.8f}" for x in start.cell.cellpar())
    comment = f"# CELL(abcABC): {cell} cell{{angstrom}} positions{{angstrom}}"
    write(tmp_path / "start.xyz", start, format="xyz", comment=comment)
    text = PATH_INTEGRAL.format(steps=STEPS, beads=N_BEADS, address=name)
    (tmp_path / "input.xml").write_text(text)
    with (tmp_path / "ipi.log").open("w") as log:
        driver = subprocess.Popen([IPI, "input.xml"], cwd=tmp_path, stdout=log)
        try:
            wait_for(Path(f"/tmp/ipi_{name}"))
            files = str(folder / "model.h5"), str(folder / "start.extxyz")
            command = [sys.executable, "-m", "otf.cli", "serve", *files]
            options = ["--unix", name, "--check-interval", "2", "--flag"]
            subprocess.run([*command, *options], check=True, timeout=300)
            assert driver.wait(60) == 0
        finally:
            driver.kill()
    model, structure = load_model(folder / "model.h5"), Configuration.from_atoms(start)
    spread, known = [], []
    for bead in range(N_BEADS):
        positions = read(tmp_path / f"pi.x_{bead:02d}.xyz", ":", format="xyz")
        forces = read(tmp_path / f"pi.f_{bead:02d}.xyz", ":", format="xyz")
        assert len(positions) == STEPS + 1
        for x, f in zip(positions, forces, strict=True):
            expected = model.predict(structure.moved(x.positions)).forces
            # i-PI writes six digits
            np.testing.assert_allclose(f.positions, expected, rtol=1e-4, atol=1e-3)
        spread.append(positions[-1].positions)
        known.append(np.isfinite(np.loadtxt(tmp_path / f"pi.e_{bead:02d}")))
    # Every second structure was looked at; at first all beads are one structure.
    assert np.sum(known, axis=0)[1:].sum() == N_BEADS * STEPS // 2
    assert np.ptp(spread, axis=0).max() > 0.01  # the beads have left each other


def wait_for(path):
    """Return once a file is there."""
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.1)
    raise TimeoutError(f"{path} did not appear")
