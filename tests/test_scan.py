"""otf-md scan: folds that are fair, a verdict that is honest, one line per mistake."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
import weakref
from argparse import Namespace
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from otf.analysis.errors import ErrorReport
from otf.calculators.reference import to_labels
from otf.calculators.serving import evaluate
from otf.cli import main
from otf.commands.fitting import fitted_model, model_settings
from otf.commands.folds import Validation, folds_of, plain_evidence, validate
from otf.commands.scan_axes import AXES, points_to_try, varied
from otf.commands.scan_ranking import (
    BEST,
    CRITERIA,
    WITHIN,
    WORSE,
    Ranking,
    conclusions,
    judge,
    pareto_front,
)
from otf.commands.scan_results import KeptResults
from otf.configuration import Configuration, Labels
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.errors import InputError
from otf.models.batch import fit_dataset
from otf.models.bayesian_linear import BayesianLinear
from otf.models.design import Targets, raw_rows
from otf.models.interface import KINDS, RowNoise, RowWeights
from otf.store.extxyz import write_frames
from otf.store.record_file import read_records
from otf.units import GPA

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
    assert lines[0].split()[:2] == ["zeta", "energy"]
    assert [line.split()[0] for line in lines[2:4]] == ["4", "2"]
    assert lines[5].startswith("Best by force error: zeta")
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
        (["--sigma", "0.01"], "0.05"),
        (["--n-max", "31"], "at most 30, got 31"),
        (["--weight-energy", "-1"], "weight_energy"),
        (["--grid"], "--grid combines the values of the axes that are named"),
        (["--by", "charge"], "--by"),
        (["-o", "nowhere/kept.scan"], "there is no folder nowhere"),
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


# --------------------------------------------------------------------------- evidence
def model_of(frames, *, scales=(0.001, 0.1, 0.3), weights=(1.0, 1.0, 1.0)):
    descriptor = PowerSpectrum(
        species=(29,),
        cutoff_three_body=4.0,
        cutoff_two_body=4.0,
        n_max=3,
        l_max=1,
        n_max_two_body=4,
    )
    noise = RowNoise(scales[0], scales[1], scales[2] * GPA)
    model = BayesianLinear(descriptor, noise=noise, weights=RowWeights(*weights))
    fit_dataset(model, frames, n_references=8)
    return model


def dense_evidence(frames, model):
    """Return the log density of the labels, as of one normal vector."""
    fit, report = model.fitted, model.report
    noise = report.label_noise(model.training.noise, model.weights)
    rows, values, deviations = [], [], []
    for c, labels in frames:
        raw = raw_rows(fit.descriptor, fit.references, model.describe(c))
        targets = Targets.of(c, labels, model.baseline)
        for kind in KINDS:
            if model.weights.of(kind) == 0.0:
                continue
            found = targets.of_kind(kind)
            if kind == "energy":
                found = found - fit.elements.per_atom(c).mean()
            rows.append(targets.rows_of_kind(kind, raw))
            values.append(found)
            deviations.append(np.full(len(found), noise.of(kind)))
    phi = model.prior.rows(model.basis, np.vstack(rows))
    covariance = phi @ phi.T / report.prior_precision
    covariance += np.diag(np.concatenate(deviations) ** 2)
    values = np.concatenate(values)
    _, logarithm = np.linalg.slogdet(covariance)
    square = values @ np.linalg.solve(covariance, values)
    return -0.5 * (square + logarithm + len(values) * np.log(2.0 * np.pi))


@pytest.mark.parametrize(
    ("scales", "weights"),
    [
        ((0.001, 0.1, 0.3), (1.0, 1.0, 1.0)),
        ((0.004, 0.02, 1.0), (2.0, 0.5, 3.0)),
        ((0.001, 0.1, 0.3), (1.0, 1.0, 0.0)),
    ],
)
def test_the_evidence_is_the_density_of_the_labels_in_their_own_units(scales, weights):
    frames = copper(6)
    frames[2] = (frames[2][0], replace(frames[2][1], energy=np.nan))
    model = model_of(frames, scales=scales, weights=weights)
    expected = dense_evidence(frames, model)
    assert plain_evidence(model, frames) == pytest.approx(expected, rel=1e-6)


def test_weights_say_the_same_as_noise_scales():
    frames = copper(6)
    weighted = model_of(frames, weights=(2.0, 1.0, 0.5))
    scaled = model_of(frames, scales=(0.0005, 0.1, 0.6))
    # Noise floors apply to the scales: these fits do not reach them.
    assert not weighted.report.clamps
    assert not scaled.report.clamps
    assert plain_evidence(weighted, frames) == pytest.approx(
        plain_evidence(scaled, frames), rel=1e-7
    )
    assert weighted.report.log_evidence == pytest.approx(
        scaled.report.log_evidence, rel=1e-7
    )


def test_evidence_of_fewer_kinds_of_labels_is_not_compared(folder, capsys):
    rows = scanned(folder, capsys, "--weight-energy", "0", "3", "--folds", "2")
    assert [row["weight_energy"] for row in rows] == [1.0, 0.0, 3.0]
    assert rows[1]["log_evidence"] is None
    assert rows[1]["place_by_evidence"] is None
    assert sorted([rows[0]["place_by_evidence"], rows[2]["place_by_evidence"]]) == [
        1,
        2,
    ]


# ---------------------------------------------------------------------------- ranking
def validation(errors, *, evidence, cost):
    def report(error):
        return ErrorReport(1, 1.0, 1.0, error, error, None, None, 1.0, error, None)

    folds = tuple(report(error) for error in errors)
    mean = report(float(np.mean(errors)))
    return Validation(mean, folds, evidence, 10.0, cost)


def ranking_of(*found):
    settings = model_settings(None)
    base = points_to_try(settings, Namespace(grid=False, **dict.fromkeys(NAMES)))[0]
    points = [replace(base, values=(k, *base.values[1:])) for k in range(len(found))]
    return Ranking(tuple(points), found, "force", (True,) * len(found))


NAMES = [axis.destination for axis in AXES]


def test_settings_beaten_in_error_and_cost_are_off_the_front():
    errors, costs = [1.0, 2.0, 3.0, 2.0, 1.0], [5.0, 2.0, 1.0, 3.0, 5.0]
    front = pareto_front(np.array(errors), np.array(costs))
    # The fourth is as good as the second and costs more; equal ones both stay.
    assert front == [True, True, True, False, True]


def test_where_errors_and_evidence_disagree_is_said():
    agree = ranking_of(
        validation([0.1, 0.1], evidence=9.0, cost=2.0),
        validation([0.2, 0.2], evidence=8.0, cost=1.0),
        validation([0.3, 0.3], evidence=7.0, cost=3.0),
    )
    assert agree.places_by_error == agree.places_by_evidence == [1, 2, 3]
    assert agree.agreement == pytest.approx(1.0)
    assert any("Evidence agrees" in line for line in conclusions(agree))
    differ = ranking_of(
        validation([0.1, 0.1], evidence=7.0, cost=2.0),
        validation([0.2, 0.2], evidence=9.0, cost=1.0),
        validation([0.3, 0.3], evidence=8.0, cost=3.0),
    )
    assert differ.places_by_evidence == [3, 1, 2]
    assert differ.agreement == pytest.approx(-1.0 / 3.0)
    (line,) = [line for line in conclusions(differ) if "Evidence" in line]
    assert line.startswith("Evidence disagrees: it prefers zeta 1, by errors worse.")
    assert differ.on_front == [True, True, False]


def test_the_error_that_decides_can_be_chosen(folder, capsys):
    options = ["--zeta", "1", "2", "--folds", "2"]
    for kind, name in CRITERIA.items():
        rows = scanned(folder, capsys, *options, "--by", kind)
        (best,) = [row for row in rows if row["verdict"] == BEST]
        folds = [row[f"fold_{name}"] for row in rows]
        assert np.mean(best[f"fold_{name}"]) == min(np.mean(f) for f in folds)


def test_an_error_without_labels_cannot_decide(folder, capsys):
    frames = [(c, replace(y, stress=np.full(6, np.nan))) for c, y in copper(6)]
    write_frames(folder / "cu.xyz", frames)
    assert scan(folder, "--by", "stress") == 2
    assert "no stress label" in capsys.readouterr().err


def test_without_axes_all_are_scanned_one_at_a_time(folder):
    settings = model_settings(folder / "small.toml")
    arguments = Namespace(grid=False, **dict.fromkeys(NAMES))
    points = points_to_try(settings, arguments)
    base = points[0].values
    assert all(
        sum(a != b for a, b in zip(p.values, base, strict=True)) == 1
        for p in points[1:]
    )
    assert {axis.name for axis in varied(points)} == {
        axis.name for axis in AXES if axis.values
    }


# ------------------------------------------------------------------------------- kept
def test_what_is_kept_is_not_computed_again(folder, capsys, monkeypatch):
    kept = ["-o", str(folder / "kept.scan"), "--folds", "2"]
    first = scanned(folder, capsys, "--zeta", "2", *kept)

    computed = []

    def counted(settings, *arguments, **options):
        computed.append(settings.regression.exponent)
        return validate(settings, *arguments, **options)

    monkeypatch.setattr("otf.commands.scan.validate", counted)
    second = scanned(folder, capsys, "--zeta", "2", "3", *kept)
    assert computed == [3]
    for one, other in zip(first, second, strict=False):
        for name in ("force_rmse_eV_per_A", "log_evidence", "cost_us_per_atom"):
            assert one[name] == other[name]
    # Other data, another split, or another number of references is another question.
    scanned(folder, capsys, "--zeta", "2", *kept, "--seed", "5")
    assert computed == [3, 4, 2]
    write_frames(folder / "cu.xyz", copper(9, seed=2))
    scanned(folder, capsys, "--zeta", "2", *kept)
    assert computed == [3, 4, 2, 4, 2]


def test_a_scan_that_was_killed_goes_on_where_it_was(folder, capsys):
    write_frames(folder / "cu.xyz", copper(20))
    kept = folder / "kept.scan"
    zetas = ["2", "3", "5", "6"]
    small = ["--input", str(folder / "small.toml"), "--references", "10"]
    command = [sys.executable, "-m", "otf.cli", "scan", str(folder / "cu.xyz"), *small]
    command += ["--zeta", *zetas, "-o", str(kept)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120.0
    while n_kept(kept) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -9
    n_before = n_kept(kept)
    assert 2 <= n_before < 5
    with kept.open("ab") as handle:  # as a write that was cut short leaves it
        handle.write(b"\xf0recresult\0\0")
    rows = scanned(folder, capsys, "--zeta", *zetas, "-o", str(kept))
    assert n_kept(kept) == 5
    whole = scanned(folder, capsys, "--zeta", *zetas)
    for one, other in zip(rows, whole, strict=True):
        assert one["force_rmse_eV_per_A"] == other["force_rmse_eV_per_A"]
        assert one["log_evidence"] == other["log_evidence"]


def n_kept(path):
    return len(list(read_records(path, "scan"))) if path.exists() else 0


def test_two_scans_do_not_write_one_file(folder, capsys):
    with KeptResults(folder / "kept.scan"):
        assert scan(folder, "--zeta", "2", "-o", str(folder / "kept.scan")) == 1
    assert "a scan is going on there" in capsys.readouterr().err


def test_a_file_of_something_else_is_left_alone(folder, capsys):
    other = folder / "notes.txt"
    other.write_text("These are my notes, and they are to stay as they are.")
    assert scan(folder, "--zeta", "2", "-o", str(other)) == 1
    assert "is no scan file of otf-md" in capsys.readouterr().err
    assert other.read_text().startswith("These are my notes")


def test_the_model_of_one_fold_is_gone_before_the_next_is_fitted(folder, monkeypatch):
    alive = []

    def watched(*arguments, **options):
        gc.collect()
        assert all(reference() is None for reference in alive)
        model = fitted_model(*arguments, **options)
        alive.append(weakref.ref(model))
        return model

    monkeypatch.setattr("otf.commands.folds.fitted_model", watched)
    assert scan(folder, "--zeta", "2", "--folds", "2") == 0
    assert len(alive) == 4
