"""Order parameters and structures of crystals, solids and liquids."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.cluster import Icosahedron
from ase.io import write

from otf.analysis.order import (
    STRUCTURES,
    Surroundings,
    bond_order,
    solid,
    structures,
)
from otf.cli import main
from otf.configuration import Configuration

CRYSTALS = {
    "fcc": bulk("Cu", cubic=True) * (5, 5, 5),
    "bcc": bulk("Fe", cubic=True) * (6, 6, 6),
    "hcp": bulk("Mg", "hcp", a=3.2, c=3.2 * np.sqrt(8 / 3)) * (6, 6, 4),
    "sc": bulk("Po", "sc", a=3.3) * (5, 5, 5),
    "diamond": bulk("Si", cubic=True) * (3, 3, 3),
}


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("fcc", 12, (0.190941, 0.574524, 0.403915)),
        ("hcp", 12, (0.097222, 0.484762, 0.316992)),
        ("bcc", 8, (0.509175, 0.628539, 0.212762)),
        ("bcc", 14, (0.036370, 0.510688, 0.429322)),
        ("sc", 6, (0.763763, 0.353553, 0.718070)),
        ("diamond", 4, (0.509175, 0.628539, 0.212762)),
    ],
)
def test_order_parameters_of_crystals_are_those_of_the_tables(name, number, expected):
    # Steinhardt, Nelson, Ronchetti 1983; Mickel et al. 2013, table I.
    c = Configuration.from_atoms(CRYSTALS[name])
    q = bond_order(c, (4, 6, 8), Surroundings(number=number))
    np.testing.assert_allclose(q, np.tile(expected, (len(q), 1)), atol=2e-6)
    # In a crystal of one kind of site the mean over neighbours changes nothing but
    # where neighbours are turned, as in hcp and diamond.
    if name in ("fcc", "bcc", "sc"):
        mean = bond_order(c, (4, 6, 8), Surroundings(number=number), averaged=True)
        np.testing.assert_allclose(mean, q, atol=1e-9)


def test_an_icosahedron_has_no_order_of_degree_four():
    c = Configuration.from_atoms(Icosahedron("Cu", 2))
    center = int(
        np.linalg.norm(c.positions - c.positions.mean(axis=0), axis=1).argmin()
    )
    q = bond_order(c, (4, 6, 8), Surroundings(cutoff=2.8))[center]
    np.testing.assert_allclose(q, [0.0, 0.663325, 0.0], atol=1e-6)


# Atoms that OVITO 3.17.2 gives their own structure (common neighbour analysis with
# adaptive cutoff; diamond with its first and second neighbours), for the displacements
# of this seed.
@pytest.mark.parametrize(
    ("name", "atoms", "spread", "right"),
    [
        ("fcc", bulk("Cu", cubic=True) * (5, 5, 5), 0.1, 497),
        ("fcc", bulk("Cu", cubic=True) * (5, 5, 5), 0.2, 157),
        ("bcc", bulk("Fe", cubic=True) * (6, 6, 6), 0.15, 412),
        ("hcp", bulk("Mg", orthorhombic=True) * (6, 4, 4), 0.15, 372),
        ("cubic diamond", bulk("Si", cubic=True) * (4, 4, 4), 0.2, 512),
    ],
)
def test_structures_of_hot_crystals_are_those_of_another_program(
    name, atoms, spread, right
):
    rng = np.random.default_rng(1)
    atoms = atoms.copy()
    atoms.positions += spread * rng.normal(size=atoms.positions.shape)
    found = structures(Configuration.from_atoms(atoms))
    assert (found == STRUCTURES.index(name)).sum() == right


def test_crystal_and_gas_are_told_apart():
    rng = np.random.default_rng(0)
    crystal = CRYSTALS["fcc"].copy()
    crystal.positions += 0.1 * rng.normal(size=crystal.positions.shape)
    gas = crystal.copy()
    gas.set_scaled_positions(rng.random((len(gas), 3)))
    near = Surroundings(cutoff=3.1)
    assert solid(Configuration.from_atoms(crystal), near).mean() > 0.99
    assert solid(Configuration.from_atoms(gas), near).mean() < 0.02


@pytest.fixture
def hot(tmp_path):
    rng, images = np.random.default_rng(2), []
    for _ in range(6):
        atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True) * (3, 3, 3)
        atoms.positions += 0.1 * rng.normal(size=atoms.positions.shape)
        images.append(atoms)
    write(tmp_path / "salt.extxyz", images)
    return str(tmp_path / "salt.extxyz")


def test_a_sublattice_has_a_structure_of_its_own(hot, tmp_path, capsys):
    out = ["-o", str(tmp_path / "out"), "--json", "--species", "Na"]
    assert main(["analyse", "order", hot, *out]) == 0
    record = json.loads(capsys.readouterr().out)
    found = {r["name"]: r["value"] for r in record["results"]}
    assert found["fcc share"] > 0.95
    assert found["neighbours of an atom"] == pytest.approx(12.0, abs=0.05)
    assert found["q6"] == pytest.approx(0.5745, abs=0.05)
    # Both together are simple cubic.
    assert main(["analyse", "order", hot, *out[:3]]) == 0
    found = {r["name"]: r for r in json.loads(capsys.readouterr().out)["results"]}
    assert found["neighbours of an atom"]["value"] == pytest.approx(6.0, abs=0.05)
    assert found["q4"]["value"] == pytest.approx(0.7638, abs=0.08)
    assert 0.0 < found["q4"]["error"] < 0.01


# Sublattices of perfect crystals with their neighbours and order parameters: fcc of
# anions and of cations in rock salt, simple cubic in caesium chloride, and in an ABX3
# perovskite, where all atoms together have no order of either.
@pytest.mark.parametrize(
    ("crystal", "species", "near", "expected"),
    [
        ("salt", ["Na"], 12, (0.190941, 0.574524)),
        ("salt", ["Cl"], 12, (0.190941, 0.574524)),
        ("salt", ["Na", "Cl"], 6, (0.763763, 0.353553)),
        ("caesium", ["Cs"], 6, (0.763763, 0.353553)),
        ("perovskite", ["Pb"], 6, (0.763763, 0.353553)),
    ],
)
def test_neighbours_are_counted_among_the_chosen_species_alone(
    crystal, species, near, expected, tmp_path, capsys
):
    crystals = {
        "salt": bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (4, 4, 4),
        "caesium": bulk("CsCl", "cesiumchloride", a=4.12, cubic=True) * (5, 5, 5),
        "perovskite": perovskite((0, 0, 0), (1, 1, 1), cells=4),
    }
    path = str(tmp_path / "crystal.traj")
    write(path, crystals[crystal])
    out = ["-o", str(tmp_path / "out"), "--json", "--species", *species]
    assert main(["analyse", "order", path, *out]) == 0
    record = json.loads(capsys.readouterr().out)
    found = {r["name"]: r["value"] for r in record["results"]}
    assert found["neighbours of an atom"] == near
    assert (found["q4"], found["q6"]) == pytest.approx(expected, abs=2e-6)
    assert found.get("fcc share", 0.0) == (near == 12)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--species", "K"], "K is not there; it holds Na, Cl"),
        (["--degrees", "14"], "--degrees go up to 12, got 14"),
        (["--neighbors", "0"], "expected a whole number above 0"),
        (["--neighbors", "6", "--cutoff-A", "3"], "not allowed with"),
        (["--neighbors", "400"], "fewer than 400 neighbours"),
    ],
)
def test_what_cannot_be_is_one_line(hot, more, says, capsys):
    assert main(["analyse", "order", hot, *more]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_cluster_needs_a_cutoff(tmp_path, capsys):
    path = str(tmp_path / "a.xyz")
    write(path, Icosahedron("Cu", 3))
    assert main(["analyse", "order", path]) == 2
    assert "--cutoff-A" in capsys.readouterr().err
    out = ["-o", str(tmp_path / "out"), "--json"]
    assert main(["analyse", "order", path, "--cutoff-A", "3.0", *out]) == 0
    found = json.loads(capsys.readouterr().out)["results"]
    assert "icosahedral share" in [r["name"] for r in found]


# ---------------------------------------------------------------------- octahedra
def perovskite(tilts, phases, cells=2, a=6.0, shift=0.0):
    """Return a perovskite with small tilts of rigid octahedra.

    tilts: degrees about x, y, z; phases: +1 in phase along the axis, -1 in antiphase.
    Corners move with the octahedron behind them, which is exact to first order.
    """
    numbers, positions = [], []
    for i in np.ndindex(cells, cells, cells):
        origin = a * np.array(i)
        numbers += [82, 53, 53, 53]
        positions.append(origin + shift)
        turn = np.zeros(3)
        for axis in range(3):
            plane = sum(i) - i[axis]
            sign = (-1.0) ** plane * (phases[axis] ** i[axis])
            turn[axis] = np.radians(tilts[axis]) * sign
        for axis in range(3):
            arm = 0.5 * a * np.eye(3)[axis]
            positions.append(origin + arm + np.cross(np.tan(turn), arm))
    return Atoms(numbers, np.array(positions), cell=[a * cells] * 3, pbc=True)


def tilts_of(atoms, tmp_path, capsys):
    write(tmp_path / "abx.traj", atoms)
    arguments = ["analyse", "tilts", str(tmp_path / "abx.traj"), "--json"]
    arguments += ["--octahedra", "Pb", "I", "-o", str(tmp_path / "out")]
    assert main(arguments) == 0
    record = json.loads(capsys.readouterr().out)
    return {r["name"]: r["value"] for r in record["results"]}


@pytest.mark.parametrize("phase", [1, -1])
def test_a_tilt_about_one_axis_is_found_with_its_phase(phase, tmp_path, capsys):
    atoms = perovskite((0, 0, 8.0), (1, 1, phase))
    found = tilts_of(atoms, tmp_path, capsys)
    # Four of six bonds turn by 8 degrees and stretch by 1 / cos: exact about one axis.
    assert found["tilt about z"] == pytest.approx(8.0, abs=1e-9)
    assert found["static tilt about z"] == pytest.approx(8.0, abs=1e-9)
    assert found["agreement along z"] == pytest.approx(phase)
    assert found["tilt about x"] == pytest.approx(0.0, abs=1e-9)


def test_tilts_about_three_axes_in_a_rotated_wrapped_cell(tmp_path, capsys):
    atoms = perovskite((2.0, 3.0, 4.0), (-1, -1, 1), shift=0.2)
    atoms.rotate(10, "x", rotate_cell=True)
    atoms.positions += 1.7
    atoms.wrap()
    found = tilts_of(atoms, tmp_path, capsys)
    sizes = [found[f"static tilt about {axis}"] for axis in "xyz"]
    # To first order; the second is (4 degrees)^2 = 0.005 of the angle.
    np.testing.assert_allclose(sizes, [2.0, 3.0, 4.0], rtol=0.01)
    agree = [found[f"agreement along {axis}"] for axis in "xyz"]
    np.testing.assert_allclose(agree, [-1, -1, 1], atol=0.01)


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        (["Pb", "Br"], "Br is not there; it holds I, Pb"),
        (["I", "Pb"], "does not stand in an octahedron"),
    ],
)
def test_what_makes_no_octahedra_is_one_line(pair, says, tmp_path, capsys):
    write(tmp_path / "abx.traj", perovskite((0, 0, 0), (1, 1, 1)))
    arguments = ["analyse", "tilts", str(tmp_path / "abx.traj"), "--octahedra", *pair]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
