"""otf-md scan: folds that are fair, a verdict that is honest, one line per mistake."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from otf.calculators.reference import to_labels
from otf.calculators.serving import evaluate
from otf.cli import main
from otf.commands.folds import folds_of
from otf.commands.scan import BEST, WITHIN, WORSE, judge
from otf.configuration import Configuration, Labels
from otf.errors import InputError
from otf.store.extxyz import write_frames

SMALL = """
[descriptor]
cutoff_three_body_A = 4.0
n_max = 3
l_max = 1
cutoff_two_body_A = 4.0
n_max_two_body = 4
"""


def copper(n, seed=1):
    generator = np.random.default_rng(seed)
    frames = []
    for _ in range(n):
        atoms = bulk("Cu", cubic=True, a=3.6 * generator.uniform(0.97, 1.03))
        atoms.rattle(0.1, rng=generator)
        c = Configuration.from_atoms(atoms)
        frames.append((c, to_labels(evaluate(EMT(), atoms), c)))
    return frames


@pytest.fixture
def folder(tmp_path):
    write_frames(tmp_path / "cu.xyz", copper(9))
    (tmp_path / "small.toml").write_text(SMALL)
    return tmp_path


def scan(folder, *options):
    small = ["--input", str(folder / "small.toml"), "--references", "10"]
    return main(["scan", str(folder / "cu.xyz"), *small, *options])


def scanned(folder, capsys, *options):
    capsys.readouterr()
    assert scan(folder, "--json", *options) == 0
    return json.loads(capsys.readouterr().out)["settings"]


def point(row):
    return row["zeta"], row["l_max"], row["cutoff_three_body_A"]


def test_one_setting_is_changed_at_a_time_from_those_of_the_input(folder, capsys):
    rows = scanned(folder, capsys, "--zeta", "2", "4", "--l-max", "2")
    assert [point(row) for row in rows] == [(4, 1, 4.0), (2, 1, 4.0), (4, 2, 4.0)]
    assert all(row["n_frames"] == 9 for row in rows)
    assert all(row["n_local_references"] == 10 for row in rows)
    assert min(row["relative_cost"] for row in rows) == 1.0
    assert [row["verdict"] for row in rows].count(BEST) == 1


def test_a_grid_has_every_combination(folder, capsys):
    options = ["--grid", "--zeta", "1", "2", "--cutoff-three-body", "3.5", "4.5"]
    rows = scanned(folder, capsys, *options, "--folds", "2")
    expected = {(z, 1, r) for z in (1, 2) for r in (3.5, 4.5)}
    assert {point(row) for row in rows} == expected
    assert len(rows) == 4


def test_the_same_seed_gives_the_same_numbers(folder, capsys):
    def numbers(seed):
        rows = scanned(folder, capsys, "--zeta", "2", "--seed", seed, "--folds", "2")
        return [(r["force_rmse_eV_per_A"], r["log_evidence"]) for r in rows]

    first = numbers("1")
    assert numbers("1") == first
    assert numbers("2") != first


def test_people_get_a_table_with_a_verdict(folder, capsys):
    assert scan(folder, "--zeta", "2", "--folds", "2") == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].split()[:3] == ["zeta", "l_max", "cutoff"]
    rows = [line.split()[:3] for line in lines[2:4]]
    assert rows == [["4", "1", "4"], ["2", "1", "4"]]
    assert lines[-1].startswith("Best: zeta")
    assert "comparing" in printed.err or "setting" in printed.err


def test_stress_that_is_not_trained_is_still_judged(folder, capsys):
    rows = scanned(folder, capsys, "--zeta", "2", "--stress", "no", "--folds", "2")
    assert all(row["stress_rmse_GPa"] > 0.0 for row in rows)


def test_folds_leave_every_structure_out_once():
    folds = folds_of(copper(7), count=3, seed=0)
    assert sorted(np.concatenate(folds).tolist()) == list(range(7))
    assert [len(fold) for fold in folds] == [3, 2, 2]


def test_an_element_that_a_fold_would_take_away_is_refused():
    frames = copper(5)
    atoms = bulk("Au", cubic=True)
    frames.append((Configuration.from_atoms(atoms), frames[0][1]))
    with pytest.raises(InputError, match=r"structures with Au .*--seed"):
        folds_of(frames, count=3, seed=0)


def test_a_constant_difference_counts_however_much_folds_differ():
    hard = np.array([0.1, 0.5, 0.9])
    uneven = np.array([0.01, -0.01, 0.02])
    best, worse, alike = judge([hard, hard + 0.01, hard + uneven])
    assert (best.word, worse.word, alike.word) == (BEST, WORSE, WITHIN)
    assert worse.difference == pytest.approx(0.01, rel=1e-12)
    assert alike.scatter == pytest.approx(np.std(uneven, ddof=1))


def test_data_without_forces_is_judged_by_its_energies(folder, capsys):
    frames = [
        (c, Labels(y.energy, np.full((4, 3), np.nan), y.stress)) for c, y in copper(6)
    ]
    write_frames(folder / "cu.xyz", frames)
    rows = scanned(folder, capsys, "--zeta", "1", "--folds", "2")
    (best,) = [row for row in rows if row["verdict"] == BEST]
    assert best["force_rmse_eV_per_A"] is None
    mean = np.mean(best["fold_energy_rmse_meV_per_atom"])
    assert mean == min(np.mean(r["fold_energy_rmse_meV_per_atom"]) for r in rows)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--folds", "1"], "--folds must be at least 2, got 1"),
        (["--folds", "10"], "9 structures cannot be split into 10 folds"),
        (["--seed", "-1"], "--seed must not be negative"),
        (["--zeta", "0"], "--zeta"),
        (["--zeta", "40"], "at most 16, got 40"),
        (["--l-max", "13"], "at most 12, got 13"),
        (["--cutoff-three-body", "-1"], "greater than 0"),
        (["--cutoff-three-body", "nan"], "finite"),
        (["--l-max", "few"], "--l-max"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(folder, capsys, options, part):
    assert scan(folder, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert part in line


def test_zeta_is_no_setting_of_another_covariance(folder, capsys):
    text = SMALL + '[regression]\ncovariance = "gaussian"\n'
    (folder / "small.toml").write_text(text)
    assert scan(folder, "--zeta", "2") == 2
    assert "polynomial" in capsys.readouterr().err
    rows = scanned(folder, capsys, "--l-max", "2", "--folds", "2")
    assert [point(row) for row in rows] == [(None, 1, 4.0), (None, 2, 4.0)]
