"""Pair distributions, the statistics of analyses, and the files they read and write."""

import csv
import json

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from otf.analysis.averages import blocks, mean_of
from otf.analysis.rdf import pair_distributions
from otf.cli import main
from otf.commands.analyses.outcome import with_error
from otf.configuration import Configuration
from otf.errors import StoreError
from otf.state import State
from otf.store.frames import Frame, FrameLog
from otf.store.motion import read_motion
from otf.store.schema import RunFolder
from otf.store.trajectory import update_trajectory
from otf.units import FS


def gas(n=60, n_frames=40, seed=5, number=18):
    rng = np.random.default_rng(seed)
    cell, pbc = 10.0 * np.eye(3), np.ones(3, dtype=np.bool_)
    return [
        Configuration(np.full(n, number), 10.0 * rng.random((n, 3)), cell, pbc)
        for _ in range(n_frames)
    ]


# ------------------------------------------------------------------------ statistics
def test_the_error_of_a_correlated_mean_covers_the_truth():
    # An AR(1) series has g = (1 + a) / (1 - a); its mean is zero.
    a, rng = 0.8, np.random.default_rng(3)
    pulls, independent = [], []
    for _ in range(200):
        noise = rng.normal(size=2000)
        series = np.zeros(2000)
        for k in range(1, 2000):
            series[k] = a * series[k - 1] + noise[k]
        mean = mean_of(series[100:])
        pulls.append(mean.value / mean.error)
        independent.append(1900 / mean.n_independent)
    inside = np.mean(np.abs(pulls) < 1.0), np.mean(np.abs(pulls) < 2.0)
    # Binomial standard errors of 200 repeats: 0.033 and 0.015; three of them.
    assert abs(inside[0] - 0.683) < 0.10
    assert abs(inside[1] - 0.954) < 0.05
    assert np.mean(independent) == pytest.approx(9.0, rel=0.15)


def test_a_single_value_has_no_error_and_a_constant_none_to_speak_of():
    assert np.isnan(mean_of(np.array([3.0])).error)
    mean = mean_of(np.full(50, 0.1))
    assert mean.value == pytest.approx(0.1)
    assert mean.error < 1e-15


def test_blocks_leave_out_the_beginning():
    assert blocks(11, 3) == [slice(2, 5), slice(5, 8), slice(8, 11)]
    assert blocks(2, 5) == [slice(0, 1), slice(1, 2)]


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.23456, 0.0234, "1.235 ± 0.023"),
        (151.4, 12.3, "151 ± 12"),
        (1.5e-9, 2.1e-10, "(1.50 ± 0.21)e-9"),
        (3.0, float("nan"), "3"),
        (12.0, 0.0, "12 ± 0"),
    ],
)
def test_a_value_has_the_digits_its_error_allows(value, error, text):
    assert with_error(value, error) == text


# ------------------------------------------------------------------------------- g(r)
def test_an_ideal_gas_has_no_structure_within_its_error_bars():
    (d,) = pair_distributions(gas(n_frames=200), width=0.5)
    pulls = (d.g - (1 - 1 / 60)) / d.error
    far = d.distance > 1.0  # nearer there are too few pairs for a Gaussian error
    assert np.abs(pulls[far]).max() < 4.0
    assert np.mean(np.abs(pulls[far]) < 2.0) > 0.6
    # The error is that of counting: pairs of a shell are nearly independent.
    shells = 4 / 3 * np.pi * ((d.distance + 0.25) ** 3 - (d.distance - 0.25) ** 3)
    counting = 1 / np.sqrt(200 * 60 * 59 / 2 * shells / 1000.0)
    np.testing.assert_allclose(d.error[far], counting[far], rtol=0.35)


def test_the_first_shells_of_rock_salt():
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True) * (2, 2, 2)
    c = Configuration.from_atoms(atoms)
    like, unlike, _ = pair_distributions([c], width=0.03)
    assert (unlike.first, unlike.second) == (11, 17)
    # Na sees 6 Cl at a/2 and 8 at a sqrt(3)/2, 12 Na at a/sqrt(2).
    assert abs(unlike.shell.peak - 2.8) <= 0.03
    assert unlike.shell.second_around_first.value == 6.0
    assert unlike.shell.first_around_second.value == 6.0
    at = np.searchsorted(unlike.distance, 5.1)
    assert unlike.coordination[at] == 14.0
    assert abs(like.shell.peak - 5.6 / np.sqrt(2.0)) <= 0.03
    at = np.searchsorted(like.distance, 4.5)
    assert like.coordination[at] == 12.0


@pytest.mark.parametrize(
    ("structure", "a", "first", "two"),
    [("fcc", 4.0, 12, 18), ("bcc", 3.21, 8, 14), ("diamond", 5.43, 4, 16)],
)
def test_the_coordination_of_a_lattice_is_exact(structure, a, first, two):
    c = Configuration.from_atoms(bulk("Si", structure, a=a, cubic=True).repeat(3))
    (d,) = pair_distributions([c])
    steps = np.unique(d.coordination)
    assert steps[:3].tolist() == [0.0, first, two]


def test_unequal_numbers_of_two_species_are_counted_from_both_sides():
    # CaF2: 8 F around Ca, 4 Ca around F.
    atoms = bulk("CaF2", "fluorite", a=5.46, cubic=True) * (2, 2, 2)
    c = Configuration.from_atoms(atoms)
    d = pair_distributions([c], pairs=[(9, 20)])[0]
    assert (d.first, d.second) == (9, 20)
    assert d.shell.second_around_first.value == 4.0
    assert d.shell.first_around_second.value == 8.0


# ------------------------------------------------------------------------------ files
@pytest.fixture
def salt(tmp_path):
    rng = np.random.default_rng(0)
    crystal = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (2, 2, 2)
    images = []
    for _ in range(10):
        atoms = crystal.copy()
        atoms.positions += 0.1 * rng.normal(size=atoms.positions.shape)
        images.append(atoms)
    path = tmp_path / "salt.extxyz"
    write(path, images)
    return path


def test_the_command_writes_numbers_and_pictures(salt, tmp_path, capsys):
    prefix = tmp_path / "out"
    assert main(["analyse", "rdf", str(salt), "-o", str(prefix)]) == 0
    out = capsys.readouterr().out
    assert "Cl around Na" in out
    assert "±" in out
    record = json.loads((tmp_path / "out.json").read_text())
    values = {r["name"]: r["value"] for r in record["results"]}
    assert values["Cl around Na"] == 6.0
    with (tmp_path / "out.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert set(rows[0]) >= {"r_A", "g_Na_Cl", "g_Na_Cl_error", "n_Cl_around_Na"}
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert b"</svg>" in (tmp_path / "out.svg").read_bytes()
    assert not list(tmp_path.glob("*.partial"))


def test_json_is_what_the_file_holds(salt, tmp_path, capsys):
    prefix = tmp_path / "out"
    assert main(["analyse", "rdf", str(salt), "-o", str(prefix), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "out.json").read_text())


def test_one_frame_has_no_error_bars_and_says_so(salt, tmp_path, capsys):
    arguments = ["analyse", "rdf", str(salt), "--frames", "0:1", "--json"]
    assert main([*arguments, "-o", str(tmp_path / "out")]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["tables"]["g"]["g_Na_Cl_error"][0] is None
    assert "one frame" in record["notes"][0]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--pair", "Na", "Cu"], "Cu is not there; it holds Na, Cl"),
        (["--pair", "Na", "Xy"], "Xy is no element; it holds Na, Cl"),
        (["--cutoff-A", "9"], "beyond half the smallest width of the cell, 5.64"),
        (["--cutoff-A", "-1"], "'-1' is no positive number"),
        (["--width-A", "20"], "too wide"),
        (["--frames", "90:"], "0 of 10 frames are too few"),
        (["--frames", "a:b"], "no range of frames"),
        (["-o", "nowhere/out"], "there is no folder nowhere"),
    ],
)
def test_what_cannot_be_is_one_line(salt, more, says, capsys):
    assert main(["analyse", "rdf", str(salt), *more]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_file_that_is_not_there_and_a_kind_that_is_none(salt, tmp_path, capsys):
    assert main(["analyse", "rdf", str(tmp_path / "sald.extxyz")]) == 2
    assert "did you mean salt.extxyz?" in capsys.readouterr().err
    assert main(["analyse", "rfd", str(salt)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_molecule_in_vacuum_has_no_density(tmp_path, capsys):
    write(tmp_path / "a.xyz", Atoms("CO", positions=[[0, 0, 0], [0, 0, 1.1]]))
    assert main(["analyse", "rdf", str(tmp_path / "a.xyz")]) == 2
    assert "not periodic in three directions" in capsys.readouterr().err


def test_a_missing_package_is_named(salt, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pymbar.timeseries", None)
    arguments = ["analyse", "rdf", str(salt), "-o", str(tmp_path / "out")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "pip install otf-md[analysis]" in error
    assert error.count("\n") == 1


def run_folder(path, n_frames=6):
    path.mkdir()
    folder = RunFolder(path)
    rng = np.random.default_rng(1)
    c = Configuration.from_atoms(bulk("Cu", cubic=True))
    state = State(
        configuration=c,
        momenta=np.zeros((4, 3)),
        masses=np.full(4, 63.5),
        time=0.0,
        step=0,
        seed=0,
        free=np.ones((4, 3), dtype=bool),
    )
    with FrameLog(folder.frames) as log:
        log.begin(state)
        for k in range(n_frames):
            log.write(
                Frame(
                    step=10 * k,
                    time=20.0 * FS * k,
                    positions=rng.normal(size=(4, 3)),
                    velocities=rng.normal(size=(4, 3)),
                    forces=np.zeros((4, 3)),
                    force_errors=np.zeros(4),
                    cell=c.cell,
                    potential_energy=float(k),
                    kinetic_energy=0.0,
                    conserved=0.0,
                    learning_work=0.0,
                    labelled=False,
                )
            )
            if k == 3:
                log.invalidate(after_step=20)
    return folder


def test_a_run_and_its_trajectory_give_the_same_frames(tmp_path):
    folder = run_folder(tmp_path / "run")
    update_trajectory(folder.trajectory, folder.frames)
    a, b = read_motion(folder.path), read_motion(folder.trajectory)
    assert a.n_frames == 5  # one was discarded by a roll-back
    assert a.energies.tolist() == [0.0, 1.0, 2.0, 4.0, 5.0]
    for name in ("numbers", "masses", "pbc", "positions", "cells", "energies"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    np.testing.assert_allclose(a.velocities, b.velocities, rtol=1e-14)
    np.testing.assert_allclose(a.times, b.times, rtol=1e-14)


def test_files_that_hold_no_trajectory_say_so(tmp_path):
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file["arrays/weights"] = np.zeros(3)
    with pytest.raises(StoreError, match="is no H5MD"):
        read_motion(tmp_path / "model.h5")
    with pytest.raises(StoreError, match="no run with frames"):
        read_motion(tmp_path)
    (tmp_path / "a.txt").write_text("hello\n")
    with pytest.raises(StoreError, match="cannot read it"):
        read_motion(tmp_path / "a.txt")
    write(tmp_path / "b.extxyz", [bulk("Cu"), bulk("Al")])
    with pytest.raises(StoreError, match="frame 1 holds other atoms"):
        read_motion(tmp_path / "b.extxyz")
