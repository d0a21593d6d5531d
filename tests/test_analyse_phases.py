"""Jumps, critical laws and space groups that are known."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write
from scipy.signal import lfilter

from otf.analysis.change_points import change_points
from otf.analysis.critical import fit_critical
from otf.cli import main
from otf.errors import InputError


def noise(rng, n, memory):
    return lfilter([np.sqrt(1 - memory**2)], [1.0, -memory], rng.normal(size=n))


# ----------------------------------------------------------------------------- jumps
@pytest.mark.parametrize(("memory", "degree"), [(0.0, 0), (0.0, 1), (0.6, 0), (0.9, 1)])
def test_noise_shows_a_jump_no_more_often_than_stated(memory, degree):
    rng, false = np.random.default_rng(0), 0
    n = 3000 if memory > 0.8 else 300
    for seed in range(40):
        series = 2.0 + noise(rng, n, memory) + degree * np.linspace(0.0, 5.0, n)
        found = change_points(series, confidence=0.95, degree=degree, seed=seed)
        false += bool(found)
    # 2 are expected of 40; more than 6 have a probability of 0.3 %.
    assert false <= 6


def test_a_jump_is_found_where_it_is():
    rng, inside, places = np.random.default_rng(1), 0, []
    for seed in range(30):
        series = noise(rng, 1500, 0.5)
        series[900:] += 1.0
        (found,) = change_points(series, seed=seed)
        places.append(found.index)
        inside += found.low <= 900 <= found.high
        assert found.probability < 0.01
        assert abs(found.size - 1.0) < 5 * found.error < 0.6
    # The interval holds 95 % of the repeats: fewer than 25 of 30 has 0.3 %.
    assert inside >= 25
    assert abs(np.mean(places) - 900) < 10


def test_two_jumps_on_a_ramp_are_told_from_the_ramp():
    rng, x = np.random.default_rng(2), np.linspace(0.0, 1.0, 3000)
    series = 10 * x + 0.3 * noise(rng, 3000, 0.3)
    series[1000:] += 0.8
    series[2200:] -= 0.8
    found = change_points(series, degree=1)
    assert len(found) == 2
    for jump, place, size in zip(found, (1000, 2200), (0.8, -0.8), strict=True):
        assert jump.low <= place <= jump.high
        assert jump.size == pytest.approx(size, abs=5 * jump.error)


def test_a_short_series_is_refused():
    with pytest.raises(InputError, match="too few to tell a jump from noise"):
        change_points(np.random.default_rng(0).normal(size=15))


# ----------------------------------------------------------------------- critical law
@pytest.mark.parametrize(("beta", "n", "sigma"), [(0.25, 25, 0.01), (0.5, 15, 0.02)])
def test_critical_temperature_and_exponent_lie_within_their_errors(beta, n, sigma):
    rng, t = np.random.default_rng(3), np.linspace(200.0, 400.0, n)
    true = np.where(t < 353.0, np.maximum(353.0 - t, 0.0) / 100.0, 0.0) ** (2 * beta)
    inside, near, chances = [], [], []
    for _ in range(100):
        fit = fit_critical(t, true + sigma * rng.normal(size=n), np.full(n, sigma))
        c, b = fit.critical_temperature, fit.beta
        (low, high), (least, most) = fit.critical_interval, fit.beta_interval
        inside.append([low <= 353.0 <= high, least <= beta <= most])
        near.append([abs(c.value - 353.0) < c.error, abs(b.value - beta) < b.error])
        chances.append(fit.probability)
    # Three binomial standard errors of 100 repeats. The law has corners, so that its
    # estimates are not quite Gaussian: one error holds a little less than 68 %.
    np.testing.assert_allclose(np.mean(inside, axis=0), 0.954, atol=0.063)
    np.testing.assert_allclose(np.mean(near, axis=0), 0.66, atol=0.14)
    assert np.mean(chances) == pytest.approx(0.5, abs=0.09)


def test_a_law_without_noise_is_found_exactly_also_below_zero():
    t = np.linspace(100.0, 300.0, 21)
    y = -3.0 * (np.maximum(247.3 - t, 0.0) / 100.0) ** 0.7
    fit = fit_critical(t, y)
    assert fit.critical_temperature.value == pytest.approx(247.3, abs=1e-4)
    assert fit.beta.value == pytest.approx(0.35, abs=1e-5)
    assert fit.amplitude.value == pytest.approx(-3.0, rel=1e-5)


def test_what_is_no_critical_law_is_refused():
    t = np.linspace(100.0, 300.0, 9)
    with pytest.raises(InputError, match="5 points at least, got 4"):
        fit_critical(t[:4], t[:4])
    with pytest.raises(InputError, match="errors of a critical fit must be positive"):
        fit_critical(t, 400.0 - t, np.zeros(9))
    with pytest.raises(InputError, match="no critical temperature"):
        fit_critical(t, np.zeros(9))


def table(path, rows, head="temperature_K,c_over_a,c_over_a_error"):
    path.write_text("\n".join([head, *(",".join(map(str, r)) for r in rows)]) + "\n")
    return str(path)


def test_the_command_fits_a_table(tmp_path, capsys):
    t = np.linspace(250.0, 400.0, 16)
    y = 1.0 + 0.02 * np.sqrt(np.maximum(353.0 - t, 0.0) / 100.0)
    path = table(tmp_path / "t.csv", [(a, b, 1e-4) for a, b in zip(t, y, strict=True)])
    arguments = ["analyse", "critical", path, "--y", "c_over_a", "--minus", "1"]
    assert main([*arguments, "-o", str(tmp_path / "out"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    found = {r["name"]: r["value"] for r in record["results"]}
    assert found["critical temperature"] == pytest.approx(353.0, abs=1e-3)
    assert found["beta"] == pytest.approx(0.25, abs=1e-4)


@pytest.mark.parametrize(
    ("text", "more", "says"),
    [
        ("a,b\n1,2\n", ["--y", "b"], "has no column temperature_K; it has a, b"),
        ("temperature_K,b\n1,x\n", ["--y", "b"], "holds what is no number"),
        ("temperature_K,b\n1\n", ["--y", "b"], "line 2: 1 values stand under 2 names"),
        ("temperature_K,b\n", ["--y", "b"], "is no table"),
        ("temperature_K,b\n1,2\n", ["--y", "b"], "5 points at least, got 1"),
        ("temperature_K,c_over_a\n1,2\n", ["--y", "c_over_b"], "mean c_over_a?"),
        ("temperature_K,b\n1,2\n", [], "arguments are required: --y"),
    ],
)
def test_what_is_wrong_with_a_table_is_one_line(text, more, says, tmp_path, capsys):
    (tmp_path / "t.csv").write_text(text)
    assert main(["analyse", "critical", str(tmp_path / "t.csv"), *more]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


# ------------------------------------------------------------------------ trajectories
def ramp(path, rng, start, end, jump_at, n=600):
    """Write a cubic crystal that expands and jumps by 2 % of its volume."""
    images = []
    for t in np.linspace(start, end, n):
        volume = 64.0 * (1 + 5e-5 * t + 0.02 * (t > jump_at)) + 0.1 * rng.normal()
        images.append(Atoms("Cu", cell=[volume ** (1 / 3)] * 3, pbc=True))
    write(path, images)
    return str(path)


def test_heating_and_cooling_show_their_hysteresis(tmp_path, capsys):
    rng = np.random.default_rng(4)
    up = ramp(tmp_path / "up.traj", rng, 200.0, 800.0, 560.0)
    down = ramp(tmp_path / "down.traj", rng, 800.0, 200.0, 440.0)
    arguments = [
        "analyse",
        "phases",
        up,
        down,
        "--ramp-K",
        *["200", "800", "800", "200"],
    ]
    assert main([*arguments, "-o", str(tmp_path / "out"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    found = {r["name"]: r for r in record["results"]}
    assert found["jump of up at"]["value"] == pytest.approx(560.0, abs=6.0)
    assert found["jump of up of volume"]["value"] == pytest.approx(1.28, abs=0.06)
    width = found["hysteresis"]
    assert abs(width["value"] - 120.0) < 4 * width["error"] + 4.0 < 40.0
    assert found["its middle"]["value"] == pytest.approx(500.0, abs=6.0)
    assert "of first order" in record["notes"][0]


def test_a_ramp_without_a_transition_has_no_jump(tmp_path, capsys):
    rng = np.random.default_rng(5)
    up = ramp(tmp_path / "up.traj", rng, 200.0, 800.0, 9999.0, n=300)
    arguments = ["analyse", "phases", up, "--ramp-K", "200", "800"]
    assert main([*arguments, "-o", str(tmp_path / "out")]) == 0
    assert "no jump of volume stands out of the noise" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--quantity", "energy"], "holds no energies: choose another --quantity"),
        (["--quantity", "gamma"], "does not vary: choose another --quantity"),
        (["--ramp-K", "200"], "two temperatures for each of 1 trajectories, got 1"),
        (["--frames", "0:10"], "10 of 30 frames are too few"),
        (["--confidence", "1.5"], "expected a number above 0 and below 1"),
    ],
)
def test_what_cannot_be_is_one_line(more, says, tmp_path, capsys):
    path = ramp(
        tmp_path / "a.traj", np.random.default_rng(0), 300.0, 300.0, 999.0, n=30
    )
    assert main(["analyse", "phases", path, *more]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


# ------------------------------------------------------------------------- space group
def perovskite(tilts, phases, a=4.0, cells=2):
    """Return a perovskite whose octahedra tilt: degrees and phase about x, y, z."""
    numbers, positions = [], []
    for i in np.ndindex(cells, cells, cells):
        origin, turn = a * np.array(i), np.zeros(3)
        for axis in range(3):
            sign = (-1.0) ** (sum(i) - i[axis]) * phases[axis] ** i[axis]
            turn[axis] = np.radians(tilts[axis]) * sign
        numbers += [38, 22, 8, 8, 8]
        positions += [origin + 0.5 * a, origin]
        for axis in range(3):
            arm = 0.5 * a * np.eye(3)[axis]
            positions.append(origin + arm + np.cross(turn, arm))
    return Atoms(numbers, np.array(positions), cell=[a * cells] * 3, pbc=True)


# Glazer's notation and space group: Howard and Stokes, Acta Cryst. B 54, 782 (1998).
@pytest.mark.parametrize(
    ("tilts", "phases", "number", "symbol"),
    [
        ((0, 0, 0), (1, 1, 1), 221, "Pm-3m"),
        ((0, 0, 6), (1, 1, 1), 127, "P4/mbm"),
        ((0, 0, 6), (1, 1, -1), 140, "I4/mcm"),
        ((6, 6, 6), (1, 1, 1), 204, "Im-3"),
        ((6, 6, 6), (-1, -1, -1), 167, "R-3c"),
        ((6, 4, 6), (-1, 1, -1), 62, "Pnma"),
    ],
)
def test_a_vibrating_perovskite_has_the_group_of_its_tilts(
    tilts, phases, number, symbol, tmp_path, capsys
):
    rng, still, images = np.random.default_rng(6), perovskite(tilts, phases), []
    for _ in range(60):
        atoms = still.copy()
        atoms.positions += 0.02 * rng.normal(size=atoms.positions.shape)
        atoms.positions += rng.normal(size=3)  # the whole drifts
        atoms.wrap()
        images.append(atoms)
    write(tmp_path / "a.traj", images)
    arguments = ["analyse", "symmetry", str(tmp_path / "a.traj"), "--json"]
    arguments += [
        "-o",
        str(tmp_path / "out"),
        "--tolerances-A",
        "0.001",
        "0.03",
        "0.05",
    ]
    assert main(arguments) == 0
    record = json.loads(capsys.readouterr().out)
    found = {r["name"]: r["value"] for r in record["results"]}
    assert found["space group"] == number
    assert any(symbol in note for note in record["notes"])
    # 0.02 sqrt(3 / 60): the noise of the mean.
    assert found["uncertainty of mean positions"] == pytest.approx(0.00447, rel=0.2)
    assert record["tables"]["groups"]["space_group"][0] == 1


def test_a_crystal_in_vacuum_has_no_space_group(tmp_path, capsys):
    atoms = bulk("Cu")
    atoms.pbc = (True, True, False)
    write(tmp_path / "a.traj", atoms)
    assert main(["analyse", "symmetry", str(tmp_path / "a.traj")]) == 2
    assert "not periodic in three directions" in capsys.readouterr().err
