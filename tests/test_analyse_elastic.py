"""Elastic constants against published values and exact fluctuations."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from otf.analysis.elastic import (
    ElasticConstants,
    fluctuation_elasticity,
    static_elasticity,
    strains_of,
)
from otf.calculators.registry import make_calculator
from otf.cli import main
from otf.units import GPA, KB

# Silicon of Stillinger and Weber, GPa: C11, C12, C44, C44 of clamped atoms.
SW = 151.424, 76.422, 56.449, 109.756


def silicon():
    atoms = bulk("Si", a=5.40)
    atoms.calc = make_calculator("stillinger-weber").build()
    return atoms


def test_silicon_of_stillinger_and_weber_has_its_published_constants():
    found = static_elasticity(silicon())
    c = found.constants.matrix / GPA
    c11, c12, c44, _ = SW
    expected = np.zeros((6, 6))
    expected[:3, :3] = c12
    np.fill_diagonal(expected, [c11] * 3 + [c44] * 3)
    # Published to 1 MPa; the relaxation leaves forces of 1e-4 eV/A.
    np.testing.assert_allclose(c, expected, atol=0.05)
    assert (found.constants.error / GPA).max() < 0.5
    assert found.constants.is_stable
    edge = found.atoms.cell.cellpar()[0] * np.sqrt(2)
    assert edge == pytest.approx(5.43095, abs=1e-4)
    bulk_modulus = found.constants.moduli()["bulk"]
    assert bulk_modulus.value / GPA == pytest.approx((c11 + 2 * c12) / 3, abs=0.03)


def test_clamped_atoms_make_silicon_stiffer_in_shear_alone():
    c = static_elasticity(silicon(), clamped=True).constants.matrix / GPA
    assert c[3, 3] == pytest.approx(SW[3], abs=0.05)
    assert c[0, 0] == pytest.approx(SW[0], abs=0.05)


def test_moduli_of_an_isotropic_solid_are_those_of_lame():
    lam, mu = 60.0, 30.0
    c = np.zeros((6, 6))
    c[:3, :3] = lam
    c[np.arange(3), np.arange(3)] += 2 * mu
    c[np.arange(3, 6), np.arange(3, 6)] = mu
    m = ElasticConstants(c, np.zeros((6, 6))).moduli()
    assert m["bulk"].value == pytest.approx(lam + 2 * mu / 3)
    assert m["shear"].value == pytest.approx(mu)
    assert m["Young"].value == pytest.approx(mu * (3 * lam + 2 * mu) / (lam + mu))
    assert m["Poisson"].value == pytest.approx(lam / 2 / (lam + mu))
    assert m["anisotropy"].value == pytest.approx(0.0, abs=1e-12)


def fluctuating(c, temperature, n, rng, edge=12.0):
    """Return cells whose small strains have the covariance kT C^-1 / V."""
    covariance = KB * temperature / edge**3 * np.linalg.inv(c)
    e = rng.multivariate_normal(np.zeros(6), covariance, size=n)
    strain = np.zeros((n, 3, 3))
    for k, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        strain[:, a, b] = strain[:, b, a] = e[:, k] * (1.0 if a == b else 0.5)
    # A symmetric stretch whose Lagrangian strain is exactly this: sqrt(1 + 2 e).
    w, v = np.linalg.eigh(np.eye(3) + 2 * strain)
    stretch = np.einsum("tij,tj,tkj->tik", v, np.sqrt(w), v)
    # Turned in any way, but for the first, which says how the crystal lies.
    turn = np.linalg.qr(rng.normal(size=(n, 3, 3)))[0]
    turn[0] = np.eye(3)
    return edge * stretch @ turn


def matrix_of(c11, c12, c44):
    c = np.zeros((6, 6))
    c[:3, :3] = c12
    np.fill_diagonal(c, [c11] * 3 + [c44] * 3)
    return c * GPA


def test_a_fluctuating_cell_gives_the_constants_within_their_errors():
    rng, c = np.random.default_rng(0), matrix_of(150.0, 75.0, 55.0)
    pulls = []
    for _ in range(40):
        found = fluctuation_elasticity(fluctuating(c, 300.0, 1500, rng), 300.0)
        pull = (found.constants.matrix - c) / found.constants.error
        pulls.append(pull[np.triu_indices(6)])
        assert found.freedom == 6
    pulls = np.array(pulls)
    # Student's t of 9 degrees. Six strains of 1500 frames bias the inverse by 0.5 %,
    # a ninth of an error.
    assert abs(np.mean(np.abs(pulls) < 1.0) - 0.657) < 0.06
    assert abs(np.mean(np.abs(pulls) < 2.0) - 0.924) < 0.04


def test_strains_do_not_see_rotations():
    rng = np.random.default_rng(1)
    cells = 5.0 * np.eye(3) + 0.1 * rng.normal(size=(50, 3, 3))
    turn = np.linalg.qr(rng.normal(size=(50, 3, 3)))[0]
    turn[0] = np.eye(3)  # the first says how the crystal lies
    np.testing.assert_allclose(strains_of(cells @ turn), strains_of(cells), atol=1e-13)


def test_strains_of_two_cells_are_half_their_difference():
    cells = np.array([np.diag([4.0, 5.0, 6.0]), np.diag([4.04, 5.0, 6.0])])
    e = strains_of(cells)
    # E = (l^2 - l0^2) / (2 l0^2) with l0^2 the mean of both squares.
    mean = (4.0**2 + 4.04**2) / 2
    expected = (np.array([4.0, 4.04]) ** 2 / mean - 1) / 2
    np.testing.assert_allclose(e[:, 0], expected, rtol=1e-12)
    np.testing.assert_allclose(e[:, 1:], 0.0, atol=1e-15)
    sheared = np.array([np.eye(3), np.eye(3)]) * 3.0
    sheared[0, 0, 1], sheared[1, 0, 1] = 0.003, -0.003
    gamma = strains_of(sheared)[:, 5]
    assert gamma[0] - gamma[1] == pytest.approx(0.002, rel=1e-5)


def test_a_cell_that_only_breathes_gives_the_bulk_modulus(tmp_path, capsys):
    # var V = kT V / B.
    rng, modulus, edge, temperature = np.random.default_rng(3), 100 * GPA, 10.0, 500.0
    n, v = 1000, edge**3
    volumes = v + np.sqrt(KB * temperature * v / modulus) * rng.normal(size=n)
    images = [Atoms("Cu", cell=[x ** (1 / 3)] * 3, pbc=True) for x in volumes]
    write(tmp_path / "a.traj", images)
    arguments = ["analyse", "elastic", str(tmp_path / "a.traj"), "--json"]
    arguments += ["--temperature-K", "500", "-o", str(tmp_path / "out")]
    assert main(arguments) == 0
    record = json.loads(capsys.readouterr().out)
    found = {r["name"]: r for r in record["results"]}["bulk modulus of volume"]
    assert abs(found["value"] - 100.0) < 4 * found["error"] < 30.0
    assert "varies in 1 of 6 ways" in record["notes"][0]


def test_the_command_gives_the_matrix_of_a_calculator(tmp_path, capsys):
    write(tmp_path / "cu.xyz", bulk("Cu", a=3.5))
    arguments = ["analyse", "elastic", str(tmp_path / "cu.xyz"), "--calculator", "emt"]
    assert main([*arguments, "-o", str(tmp_path / "out"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    found = {r["name"]: r["value"] for r in record["results"]}
    assert found["C11"] == pytest.approx(found["C33"], abs=0.1)
    b = (found["C11"] + 2 * found["C12"]) / 3
    assert found["bulk modulus"] == pytest.approx(b, abs=0.05)
    assert len(record["tables"]["stress"]["strain"]) == 24


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([], "1 frames are too few, this analysis needs at least 50"),
        (["--strain", "0.01"], "need a potential: give --model or --calculator"),
        (["--calculator", "emtt"], "--calculator: no calculator is called 'emtt'"),
        (["--calculator", "stillinger-weber"], "has no parameters for Cu"),
        (["--calculator", "emt", "--strain", "0.2"], "must be at most 0.05, got 0.2"),
        (["--calculator", "emt", "--temperature-K", "3"], "belongs to a trajectory"),
        (["--model", "nowhere.h5"], "there is no file or run nowhere.h5"),
        (["--model", "a.h5", "--calculator", "emt"], "not allowed with argument"),
    ],
)
def test_what_cannot_be_is_one_line(more, says, tmp_path, capsys):
    write(tmp_path / "cu.xyz", bulk("Cu", a=3.6))
    assert main(["analyse", "elastic", str(tmp_path / "cu.xyz"), *more]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
