"""Lattice parameters and thermal expansion of cells that are known."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from otf.analysis.averages import Mean
from otf.analysis.lattice import Point, expansion, is_settled, lattice_parameters
from otf.cli import main
from otf.units import KB


def test_parameters_of_cells_written_by_hand():
    s = np.sqrt(0.75)
    hexagonal = 4.0 * np.array([[1, 0, 0], [-0.5, s, 0], [0, 0, 1.6]])
    monoclinic = np.array([[3.0, 0, 0], [0, 5.0, 0], [-1.0, 0, 2.0]])
    found = lattice_parameters(np.array([hexagonal, monoclinic]))
    beta = np.degrees(np.arccos(-1 / np.sqrt(5)))
    expected = {
        "a": [4.0, 3.0],
        "b": [4.0, 5.0],
        "c": [6.4, np.sqrt(5)],
        "alpha": [90.0, 90.0],
        "beta": [90.0, beta],
        "gamma": [120.0, 90.0],
        "volume": [64 * s * 1.6, 30.0],
        "b/a": [1.0, 5 / 3],
        "c/a": [1.6, np.sqrt(5) / 3],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-12)


def test_parameters_of_one_of_several_unit_cells():
    found = lattice_parameters(np.diag([8.0, 9.0, 10.0])[None], (2, 3, 1))
    assert (found["a"][0], found["b"][0], found["c"][0]) == (4.0, 3.0, 10.0)
    assert found["volume"][0] == pytest.approx(120.0)


def test_the_expansion_lies_within_its_error_bars():
    # y = 4 (1 + 2e-5 (T - 500)) with errors in both.
    rng, t = np.random.default_rng(0), np.linspace(200.0, 800.0, 7)
    sigma, sigma_t, pulls, chances = 1e-3, 5.0, [], []
    for _ in range(400):
        y = 4.0 * (1 + 2e-5 * (t - 500.0)) + sigma * rng.normal(size=7)
        shown = t + sigma_t * rng.normal(size=7)
        points = [
            Point(Mean(a, sigma_t, 10), {"a": Mean(b, sigma, 10)})
            for a, b in zip(shown, y, strict=True)
        ]
        fit = expansion(points, "a")
        true = 2e-5 / (1 + 2e-5 * (fit.temperature - 500.0))
        pulls.append((fit.coefficient - true) / fit.error)
        chances.append(fit.probability)
    assert abs(np.mean(np.abs(pulls) < 1.0) - 0.683) < 0.07
    assert abs(np.mean(np.abs(pulls) < 2.0) - 0.954) < 0.032
    assert np.mean(chances) == pytest.approx(0.5, abs=0.05)


def test_a_drift_is_not_settled_and_noise_is():
    rng = np.random.default_rng(3)
    noise = rng.normal(size=400)
    assert is_settled(noise)
    assert not is_settled(noise + np.linspace(0.0, 3.0, 400))


def heating(path, rng, temperatures, per=40):
    """Write a cubic crystal of 32 atoms whose edge is 8 (1 + 1.5e-5 T)."""
    images, atoms = [], bulk("Cu", cubic=True) * (2, 2, 2)
    masses = atoms.get_masses()[:, None]
    for t in np.repeat(temperatures, per):
        frame = atoms.copy()
        edge = 8.0 * (1 + 1.5e-5 * t) + 0.002 * rng.normal()
        frame.set_cell(edge * np.eye(3), scale_atoms=True)
        frame.set_velocities(np.sqrt(KB * t / masses) * rng.normal(size=(32, 3)))
        images.append(frame)
    write(path, images)
    return str(path)


def test_a_heating_run_gives_the_expansion(tmp_path, capsys):
    rng = np.random.default_rng(1)
    path = heating(tmp_path / "ramp.traj", rng, np.linspace(100, 900, 20))
    out = ["-o", str(tmp_path / "out"), "--json", "--repeat", "2", "2", "2"]
    assert main(["analyse", "lattice", path, "--against", "temperature", *out]) == 0
    record = json.loads(capsys.readouterr().out)
    found = {r["name"]: r for r in record["results"]}
    linear, volume = found["expansion of a"], found["expansion of volume"]
    # 1.5e-5 / (1 + 1.5e-5 * 500) at the middle.
    assert abs(linear["value"] - 14.89) < 3.5 * linear["error"] < 1.5
    assert volume["value"] == pytest.approx(3 * linear["value"], rel=0.03)
    a = np.array(record["tables"]["lattice"]["a_A"])
    assert a == pytest.approx(4.0 * (1 + 1.5e-5 * np.linspace(100, 900, 20)), abs=1e-3)


def test_several_runs_give_the_same_expansion(tmp_path, capsys):
    rng = np.random.default_rng(2)
    runs = [
        heating(tmp_path / f"{t}.traj", rng, np.full(5, float(t)))
        for t in (200, 500, 800)
    ]
    out = ["-o", str(tmp_path / "out"), "--json"]
    assert main(["analyse", "lattice", *runs, *out]) == 0
    found = {r["name"]: r for r in json.loads(capsys.readouterr().out)["results"]}
    linear = found["expansion of a"]
    assert abs(linear["value"] - 14.89) < 3.5 * linear["error"] < 1.5


def test_one_run_against_time(tmp_path, capsys):
    rng = np.random.default_rng(2)
    path = heating(tmp_path / "a.traj", rng, np.full(5, 300.0))
    prefix = tmp_path / "out"
    assert main(["analyse", "lattice", path, "-o", str(prefix)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("temperature  ")
    assert "Å³" in out
    header = (tmp_path / "out.csv").read_text().splitlines()[0]
    assert header.startswith("frame,temperature_K,a_A,b_A,c_A,alpha_deg")


@pytest.mark.parametrize(
    ("cells", "more", "says"),
    [
        ("fixed", [], "the cell is the same in all frames"),
        ("fixed", ["--frames", "0:2"], "2 of 6 frames are too few"),
        ("none", [], "is not periodic in three directions, which a lattice needs"),
        ("free", ["--against", "temperature"], "its temperature is not known: give"),
        ("free", ["--repeat", "2", "0", "2"], "whole number above 0, got '0'"),
    ],
)
def test_what_cannot_be_is_one_line(cells, more, says, tmp_path, capsys):
    images = [
        Atoms("Cu", cell=None if cells == "none" else [3 + k * (cells == "free")] * 3)
        for k in range(6)
    ]
    for atoms in images:
        atoms.pbc = cells != "none"
    write(tmp_path / "a.traj", images)
    assert main(["analyse", "lattice", str(tmp_path / "a.traj"), *more]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
