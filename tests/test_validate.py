"""otf-md validate: errors on structures no fit has seen, and what they are worth."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk

from otf.analysis.bootstrap import resampled_errors
from otf.analysis.held_out import HeldOut, errors_of, reliability_of
from otf.analysis.learning_curve import log_spaced, power_law
from otf.calculators.stillinger_weber import StillingerWeber
from otf.cli import main
from otf.commands.fitting import fitted_model
from otf.commands.folds import distinct, folds_of
from otf.commands.kept import Kept
from otf.commands.validation import orders_of
from otf.configuration import Configuration, Labels
from otf.store.extxyz import write_frames
from otf.store.record_file import read_records
from otf.testing import strained

SMALL = """
[descriptor]
cutoff_three_body_A = 4.0
n_max = 4
l_max = 2
cutoff_two_body_A = 4.0
n_max_two_body = 5
"""


def silicon(n, *, seed=0):
    """Return strained, rattled silicon with exact labels."""
    generator = np.random.default_rng(seed)
    start = Configuration.from_atoms(bulk("Si", cubic=True))
    out = []
    for _ in range(n):
        c = strained(start, 0.03 * generator.uniform(-1.0, 1.0, 6))
        c = c.moved(c.positions + generator.normal(0.0, 0.07, c.positions.shape))
        energy, forces, virial = StillingerWeber().evaluate(c)
        out.append((c, Labels(energy, forces, virial / c.volume)))
    return out


def held(errors, *, deviation=1.0):
    """Return a structure for each number, which is its error of energy and forces."""
    return [
        HeldOut(
            frame=k,
            energy=error,
            label_energy=0.0,
            energy_deviation=deviation,
            forces=np.full((4, 3), error),
            label_forces=np.zeros((4, 3)),
            force_deviations=np.full(4, deviation),
            stress=np.zeros(6),
            label_stress=np.full(6, np.nan),
            stress_deviations=np.ones(6),
        )
        for k, error in enumerate(errors)
    ]


@pytest.fixture
def folder(tmp_path):
    write_frames(tmp_path / "si.xyz", silicon(12))
    (tmp_path / "small.toml").write_text(SMALL)
    return tmp_path


def validate(folder, *options):
    small = ["--input", str(folder / "small.toml"), "--references", "20"]
    return main(["validate", str(folder / "si.xyz"), *small, *options])


def validated(folder, capsys, *options):
    capsys.readouterr()
    assert validate(folder, "--json", *options) == 0
    return json.loads(capsys.readouterr().out)


# ----------------------------------------------------------------------- deviations
@pytest.mark.parametrize(("scale", "within"), [(1.0, 0.6827), (2.0, 0.9545)])
def test_normal_errors_lie_within_their_deviations_as_often_as_normal(scale, within):
    n = 10_000
    errors = np.random.default_rng(0).normal(size=n)
    found = reliability_of(held(errors, deviation=scale), "energy")
    assert found.n_values == n
    three_sigma = 3.0 * np.sqrt(within * (1.0 - within) / n)
    assert found.within[0] == pytest.approx(within, abs=three_sigma)
    assert found.score_rms == pytest.approx(1.0 / scale, rel=3.0 / np.sqrt(2.0 * n))


def test_kinds_without_labels_or_without_noise_are_not_judged():
    frames = held([1.0, 2.0])
    assert reliability_of(frames, "stress") is None
    assert errors_of(frames).stress_rmse_GPa is None
    unfitted = [replace(one, energy_deviation=np.inf) for one in frames]
    assert reliability_of(unfitted, "energy") is None
    assert errors_of(unfitted).energy_max_meV_per_atom == 2000.0


# ------------------------------------------------------------------------ bootstrap
def test_draws_of_two_structures_have_the_binomial_distribution():
    n = 20_000
    found = resampled_errors(held([1.0, 3.0]), n_samples=n, seed=0)["energy"].mae
    values, counts = np.unique(found, return_counts=True)
    assert values.tolist() == [1.0, 2.0, 3.0]
    shares = np.array([0.25, 0.5, 0.25])
    assert (
        np.abs(counts / n - shares) < 3.0 * np.sqrt(shares * (1 - shares) / n)
    ).all()


def test_the_interval_of_a_mean_is_that_of_the_central_limit_theorem():
    n, draws = 400, 20_000
    sizes = np.abs(np.random.default_rng(1).normal(size=n))
    found = resampled_errors(held(sizes), n_samples=draws, seed=0)["energy"]
    error = sizes.std() / np.sqrt(n)
    ends = sizes.mean() + 1.96 * error * np.array([-1.0, 1.0])
    # The ends of 20 000 draws scatter by 0.019 of the standard error; the skewness of
    # |x|, 1/sqrt(n), moves them by 0.024.
    assert found.mae_interval == pytest.approx(ends, abs=(3 * 0.019 + 0.024) * error)


def test_labels_of_one_structure_stand_and_fall_together():
    found = resampled_errors(
        held(np.random.default_rng(2).normal(size=30)), n_samples=500, seed=0
    )
    # Twelve equal components say no more than one number.
    np.testing.assert_allclose(found["forces"].rmse, found["energy"].rmse, rtol=1e-12)


# ------------------------------------------------------------------- learning curve
def test_a_power_law_is_found_again():
    sizes = [5, 10, 20, 50, 100]
    law = power_law(sizes, [3.0 * n**-0.7 for n in sizes])
    assert law.exponent == pytest.approx(0.7, abs=1e-12)
    assert law.prefactor == pytest.approx(3.0, rel=1e-12)
    assert law.deviation < 1e-12


def test_the_deviation_of_an_exponent_covers_its_error_as_often_as_it_should():
    sizes, n = [10, 20, 40, 80, 160, 320], 2000
    generator = np.random.default_rng(3)
    noise = np.exp(0.1 * generator.normal(size=(n, len(sizes))))
    laws = [power_law(sizes, np.array(sizes) ** -0.5 * row) for row in noise]
    scores = [(law.exponent - 0.5) / law.deviation for law in laws]
    # Student's t with four degrees of freedom: 0.626 within one deviation.
    share, sigma = 0.6261, np.sqrt(0.6261 * 0.3739 / n)
    assert np.mean(np.abs(scores) < 1.0) == pytest.approx(share, abs=3.0 * sigma)


def test_sizes_run_from_the_smallest_to_all():
    assert log_spaced(5, 160, 6) == [5, 10, 20, 40, 80, 160]
    assert log_spaced(5, 7, 6) == [5, 6, 7]


def test_every_order_begins_with_all_elements():
    frames = silicon(8)
    gold = Configuration.from_atoms(bulk("Au", cubic=True))
    frames.append((gold, Labels(0.0, np.zeros((4, 3)), np.zeros(6))))
    for order in orders_of(frames, count=20, seed=0):
        assert sorted(order) == list(range(9))
        assert 8 in order[:2]


# ---------------------------------------------------------------------------- folds
def test_copies_fall_into_the_same_fold():
    frames = silicon(9)
    for k in (2, 5):  # shifted and turned by a symmetry of no crystal
        c, labels = frames[k]
        turn = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
        turned = replace(c, positions=(c.positions + 0.3) @ turn, cell=c.cell @ turn)
        stress = labels.stress[[1, 2, 0, 4, 5, 3]]
        frames.append((turned, Labels(labels.energy, labels.forces @ turn, stress)))
    assert {(2, 9), (5, 10)} <= set(distinct(frames))
    for seed in range(5):
        folds = [set(fold.tolist()) for fold in folds_of(frames, count=3, seed=seed)]
        assert any({2, 9} <= fold for fold in folds)
        assert any({5, 10} <= fold for fold in folds)
        assert sorted(len(fold) for fold in folds) == [3, 4, 4]


# ------------------------------------------------------------------------ the command
def test_a_fold_of_one_is_a_fit_to_the_others_and_an_evaluation(folder, capsys):
    found = validated(folder, capsys, "--folds", "12", "--stress", "yes")
    frames = silicon(12)
    write_frames(folder / "rest.xyz", frames[:4] + frames[5:])
    write_frames(folder / "one.xyz", frames[4:5])
    small = ["--input", str(folder / "small.toml"), "--references", "20"]
    model = str(folder / "m.h5")
    rest = str(folder / "rest.xyz")
    assert main(["fit", rest, *small, "--stress", "yes", "-o", model]) == 0
    capsys.readouterr()
    assert main(["evaluate", model, str(folder / "one.xyz"), "--json"]) == 0
    expected = json.loads(capsys.readouterr().out)
    one = found["structures"][4]
    assert abs(one["energy_error_meV_per_atom"]) == pytest.approx(
        expected["energy_mae_meV_per_atom"], rel=1e-6
    )
    (fold,) = [
        f
        for f in found["folds"]
        if f["energy_mae_meV_per_atom"]
        == pytest.approx(expected["energy_mae_meV_per_atom"], rel=1e-6)
    ]
    for name in ("force_rmse_eV_per_A", "force_max_eV_per_A", "stress_rmse_GPa"):
        assert fold[name] == pytest.approx(expected[name], rel=1e-6)


def test_leaving_one_out_is_nearly_a_fold_for_each(folder, capsys):
    closed = validated(folder, capsys, "--leave-one-out")
    folds = validated(folder, capsys, "--folds", "12")
    fitted = main(
        [
            *("fit", str(folder / "si.xyz"), "--input", str(folder / "small.toml")),
            *("--references", "20", "-o", str(folder / "m.h5"), "--json"),
        ]
    )
    assert fitted == 0
    training = json.loads(capsys.readouterr().out)["force_rmse_eV_per_A"]
    name = "force_rmse_eV_per_A"
    assert closed["folds"] == []
    assert len(closed["structures"]) == 12
    # References and precisions differ; the errors of a fit to all are much smaller.
    assert closed[name] == pytest.approx(folds[name], rel=0.3)
    assert closed[name] > 1.3 * training


def test_intervals_hold_the_errors_they_belong_to(folder, capsys):
    found = validated(folder, capsys, "--bootstrap", "400", "--folds", "3")
    plain = validated(folder, capsys, "--folds", "3")
    for name in ("energy_rmse_meV_per_atom", "force_mae_eV_per_A", "stress_rmse_GPa"):
        low, high = found[f"{name}_interval"]
        assert low < found[name] < high
        assert found[name] == plain[name]
    # Fits to draws scatter, but less than they err.
    scatter = found["force_bootstrap_scatter_eV_per_A"]
    assert 0.0 < scatter < found["force_rmse_eV_per_A"]


def test_a_learning_curve_is_judged_on_structures_never_fitted(folder, capsys):
    write_frames(folder / "si.xyz", silicon(24))
    found = validated(folder, capsys, "--learning-curve", "--folds", "3")
    assert found["n_held_out"] == 8
    sizes = [point["n_structures"] for point in found["points"]]
    assert (sizes[0], sizes[-1]) == (5, 16)
    assert [len(point["orders"]) for point in found["points"]] == [3] * 5 + [1]
    assert all(o["n_frames"] == 8 for p in found["points"] for o in p["orders"])
    last = found["points"][-1]["orders"][0]
    folds = validated(folder, capsys, "--folds", "3")["folds"]
    # The order of structures changes the last digits.
    assert last["force_rmse_eV_per_A"] == pytest.approx(
        folds[0]["force_rmse_eV_per_A"], rel=1e-6
    )
    assert found["power_laws"]["force_rmse_eV_per_A"]["exponent"] > 0.0


@pytest.mark.parametrize(
    "option", [["--leave-one-out"], ["--bootstrap", "100", "--folds", "3"]]
)
def test_clusters_without_a_cell_have_no_stress(folder, capsys, option):
    frames = []
    for c, _ in silicon(9):
        cluster = replace(c, cell=np.zeros((3, 3)), pbc=np.zeros(3, dtype=bool))
        energy, forces, _ = StillingerWeber().evaluate(cluster)
        frames.append((cluster, Labels(energy, forces, np.full(6, np.nan))))
    write_frames(folder / "si.xyz", frames)
    found = validated(folder, capsys, *option)
    assert found["stress_rmse_GPa"] is None
    assert found["deviations"]["stress"] is None
    assert 0.0 < found["force_rmse_eV_per_A"] < 1.0
    assert found["deviations"]["forces"]["n_values"] == 9 * 8 * 3


def test_people_read_which_structures_are_worst(folder, capsys):
    frames = silicon(12)
    c, y = frames[7]
    frames[7] = (c, Labels(y.energy + 8.0, y.forces, y.stress))
    write_frames(folder / "si.xyz", frames)
    assert validate(folder, "--leave-one-out") == 0
    lines = capsys.readouterr().out.splitlines()
    (at,) = [k for k, line in enumerate(lines) if line.startswith("largest energy")]
    assert lines[at + 1].endswith("si.xyz 7")
    assert lines[0].startswith("leave-one-out of 12 structures")


def test_copies_are_counted(folder, capsys):
    frames = silicon(12)
    write_frames(folder / "si.xyz", [*frames, frames[0]])
    assert validate(folder, "--folds", "2") == 0
    assert "1 structures are copies" in capsys.readouterr().out
    assert validated(folder, capsys, "--leave-one-out")["n_copies"] == 1


@pytest.mark.parametrize(
    ("option", "figures"),
    [
        (["--folds", "2"], ["parity", "reliability"]),
        (["--leave-one-out"], ["parity", "reliability"]),
        (
            ["--bootstrap", "100", "--folds", "2"],
            ["parity", "reliability", "intervals"],
        ),
        (["--learning-curve", "--orders", "1", "--folds", "3"], ["curve"]),
    ],
)
def test_the_page_has_its_figures_and_needs_nothing_else(folder, option, figures):
    page = folder / "page.html"
    assert validate(folder, *option, "-o", str(page)) == 0
    text = page.read_text()
    for name in figures:
        assert f'<figure id="{name}">' in text
    assert text.count("<svg") == len(figures)
    assert "src=" not in text
    assert 'href="http' not in text


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--folds", "1"], "--folds must be at least 2"),
        (["--folds", "13"], "12 structures cannot be split into 13 folds"),
        (["--folds", "3", "--leave-one-out"], "has no folds"),
        (["--leave-one-out", "--learning-curve"], "not allowed with"),
        (["--orders", "2"], "--orders belongs to --learning-curve"),
        (["--bootstrap", "10"], "--bootstrap must be at least 100, got 10"),
        (["--bootstrap", "many"], "--bootstrap"),
        (["--learning-curve", "--folds", "2", "--orders", "0"], "--orders"),
        (["--seed", "-3"], "--seed must not be negative"),
        (["-o", "nowhere/page.html"], "there is no folder nowhere"),
        (["--keep", "nowhere/kept"], "there is no folder nowhere"),
        (["--keep", "page", "-o", "page"], "page is read by this command"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(folder, capsys, options, part):
    assert validate(folder, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert part in line


def test_too_few_structures_for_a_curve_are_counted(folder, capsys):
    write_frames(folder / "si.xyz", silicon(6))
    assert validate(folder, "--learning-curve", "--folds", "3") == 2
    assert "more than 5 structures beside the 2 held out, got 4" in (
        capsys.readouterr().err
    )


# ------------------------------------------------------------------------------- kept
METHODS = [
    ["--folds", "3"],
    ["--folds", "3", "--bootstrap", "100"],
    ["--leave-one-out"],
    ["--learning-curve", "--folds", "3", "--orders", "2"],
]


@pytest.fixture
def fits(monkeypatch):
    """Return a list that grows with every fit, by the number of its structures."""
    made = []

    def counted(settings, frames, **options):
        made.append(len(frames))
        return fitted_model(settings, frames, **options)

    monkeypatch.setattr("otf.commands.validation.fitted_model", counted)
    return made


@pytest.mark.parametrize("method", METHODS)
def test_fits_that_are_kept_are_not_made_again(folder, capsys, fits, method):
    plain = table(folder, capsys, *method)
    n_fits = len(fits)
    kept = ["--keep", str(folder / "kept")]
    assert table(folder, capsys, *method, *kept) == plain
    assert len(fits) == 2 * n_fits
    assert table(folder, capsys, *method, *kept) == plain
    assert len(fits) == 2 * n_fits


def test_other_questions_are_asked_anew(folder, capsys, fits):
    kept = ["--keep", str(folder / "kept"), "--folds", "2"]
    table(folder, capsys, *kept)
    assert fits == [6, 6]
    table(folder, capsys, *kept, "--bootstrap", "100")  # the folds are known
    assert fits == [6, 6, 12]
    for other in (["--seed", "3"], ["--references", "10"], ["--stress", "no"]):
        fits.clear()
        table(folder, capsys, *kept, *other)
        assert fits == [6, 6]
    fits.clear()
    write_frames(folder / "si.xyz", silicon(12, seed=4))
    table(folder, capsys, *kept)
    assert fits == [6, 6]


def test_a_validation_that_was_killed_prints_the_same_table(folder, capsys):
    write_frames(folder / "si.xyz", silicon(36))
    kept = folder / "kept"
    method = ["--folds", "6", "--keep", str(kept)]
    small = ["--input", str(folder / "small.toml"), "--references", "20"]
    command = [sys.executable, "-m", "otf.cli", "validate", str(folder / "si.xyz")]
    process = subprocess.Popen(
        [*command, *small, *method],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120.0
    while n_kept(kept) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -9
    n_before = n_kept(kept)
    assert 2 <= n_before < 6
    with kept.open("ab") as handle:  # as a write that was cut short leaves it
        handle.write(b"\xf0recresult\0\0")
    resumed = table(folder, capsys, *method)
    assert n_kept(kept) == 6
    assert resumed == table(folder, capsys, "--folds", "6")


def n_kept(path):
    return len(list(read_records(path, "validate"))) if path.exists() else 0


def table(folder, capsys, *options):
    """Return the lines for people but the last, on seconds and memory."""
    capsys.readouterr()
    assert validate(folder, *options) == 0
    *lines, cost = capsys.readouterr().out.splitlines()
    assert "MB of memory" in cost
    return lines


def test_two_validations_do_not_write_one_file(folder, capsys):
    with Kept(folder / "kept", "validate", work="a validation"):
        assert validate(folder, "--keep", str(folder / "kept")) == 1
    assert "a validation is going on there" in capsys.readouterr().err


def test_a_file_of_a_scan_is_left_alone(folder, capsys):
    Kept(folder / "kept", "scan", work="a scan").close()
    before = (folder / "kept").read_bytes()
    assert validate(folder, "--keep", str(folder / "kept")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "kept" in line
    assert "validate" in line
    assert (folder / "kept").read_bytes() == before
