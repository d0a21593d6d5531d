"""Directions of molecules whose distribution is known."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import write

from otf.analysis.orientation import (
    directions,
    orientational_order,
    reorientation,
    sphere_map,
    time_to_fall,
)
from otf.cli import main
from otf.errors import InputError
from otf.store.motion import Motion


def anywhere(rng, *shape):
    n = rng.normal(size=(*shape, 3))
    return n / np.linalg.norm(n, axis=-1, keepdims=True)


def test_directions_without_preference_fill_the_map_evenly():
    units = anywhere(np.random.default_rng(0), 400, 60)
    found = sphere_map(units)
    assert found.density.mean() == pytest.approx(1.0, rel=1e-12)
    # 24000 vectors in 648 cells: 37 each, so the error of a cell is 1/sqrt(37).
    assert found.density.std() == pytest.approx(1 / np.sqrt(37.04), rel=0.1)
    assert np.mean(found.error) == pytest.approx(1 / np.sqrt(37.04), rel=0.1)
    pulls = (found.density - 1.0) / found.error
    assert abs(np.mean(np.abs(pulls) < 2.0) - 0.924) < 0.04
    order = orientational_order(units)
    assert abs(order.cubic.value) < 4 * order.cubic.error < 0.02
    assert order.polar.value < 0.03
    assert order.nematic.value < 0.03


def test_a_map_shows_where_molecules_point():
    units = np.tile([0.0, 1.0, 0.0], (10, 3, 1))
    found = sphere_map(units)
    row, column = np.unravel_index(found.density.argmax(), found.density.shape)
    assert found.heights[row] <= 0.0 <= found.heights[row + 1]
    assert found.angles[column] <= np.pi / 2 <= found.angles[column + 1]
    assert found.density.max() == pytest.approx(648.0)


@pytest.mark.parametrize(
    ("along", "polar", "nematic", "cubic"),
    [
        ([[0, 0, 1]], 1.0, 1.0, 0.4),
        ([[0, 0, 1], [0, 0, -1]], 0.0, 1.0, 0.4),
        (
            [[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0, -1, 0], [0, 0, -1]],
            0,
            0,
            0.4,
        ),
        ([[i, j, k] for i in (1, -1) for j in (1, -1) for k in (1, -1)], 0, 0, -4 / 15),
    ],
)
def test_order_of_simple_arrangements(along, polar, nematic, cubic):
    units = np.array(along, dtype=float)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    order = orientational_order(np.tile(units, (12, 1, 1)))
    assert order.polar.value == pytest.approx(polar, abs=1e-12)
    assert order.nematic.value == pytest.approx(nematic, abs=1e-12)
    assert order.cubic.value == pytest.approx(cubic, abs=1e-12)


def diffusing(rng, n_frames, n, step):
    """Return unit vectors that diffuse on the sphere, angle^2 per step 2 step^2."""
    units = np.empty((n_frames, n, 3))
    units[0] = anywhere(rng, n)
    for k in range(1, n_frames):
        kick = step * rng.normal(size=(n, 3))
        kick -= (kick * units[k - 1]).sum(axis=1, keepdims=True) * units[k - 1]
        moved = units[k - 1] + kick
        units[k] = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    return units


def test_memory_of_rotational_diffusion_fades_as_the_closed_form():
    # <P_l> = exp(-l (l + 1) D t) with 2 D dt = step^2.
    step = 0.05
    units = diffusing(np.random.default_rng(1), 6000, 60, step)
    found = reorientation(units, 1.0, n_segments=5)
    d = 0.5 * step**2
    for degree, curve, error in (
        (1, found.first, found.first_error),
        (2, found.second, found.second_error),
    ):
        exact = np.exp(-degree * (degree + 1) * d * found.lags)
        # A finite step is (1 - O(step^2)) of an infinitesimal one.
        k = slice(1, 300)
        assert (np.abs(curve - exact)[k] < 5 * error[k] + 0.02).all()
    fall = time_to_fall(found.lags, found.second)
    assert fall == pytest.approx(1 / (6 * d), rel=0.15)


def test_a_molecule_across_a_face_keeps_its_direction():
    rng, cell = np.random.default_rng(2), np.diag([7.0, 8.0, 9.0])
    units = diffusing(rng, 40, 2, 0.1)
    carbon = np.cumsum(0.3 * rng.normal(size=(40, 2, 3)), axis=0)
    carbon[:, 1] += [3, 4, 5]
    free = np.stack([carbon, carbon + 1.4 * units], axis=2).reshape(40, 4, 3)
    wrapped = free % np.diagonal(cell)
    motion = Motion(
        numbers=np.array([6, 7, 6, 7]),
        masses=np.ones(4),
        pbc=np.ones(3, dtype=bool),
        positions=wrapped,
        cells=np.broadcast_to(cell, (40, 3, 3)),
    )
    np.testing.assert_allclose(directions(motion, 6, 7), units, atol=1e-12)


def test_water_points_between_its_hydrogens_and_methane_nowhere():
    def still(name):
        atoms = molecule(name)
        return Motion(
            numbers=np.asarray(atoms.numbers),
            masses=atoms.get_masses(),
            pbc=np.zeros(3, dtype=bool),
            positions=atoms.positions[None],
            cells=np.zeros((1, 3, 3)),
        )

    atoms = molecule("H2O")
    found = directions(still("H2O"), 8, 1)[0, 0]
    middle = atoms.positions[atoms.numbers == 1].mean(axis=0)
    axis = middle - atoms.positions[atoms.numbers == 8][0]
    np.testing.assert_allclose(found, axis / np.linalg.norm(axis), atol=1e-12)
    with pytest.raises(InputError, match="bonds of atom 0 cancel"):
        directions(still("CH4"), 6, 1)


@pytest.fixture
def rotors(tmp_path):
    units = diffusing(np.random.default_rng(3), 60, 4, 0.2)
    images = []
    for frame in units:
        atoms = Atoms(cell=[24] * 3, pbc=True)
        for k, u in enumerate(frame):
            place = np.array([6.0 * k, 3.0, 3.0])
            atoms += Atoms("CN", positions=[place, place + 1.4 * u])
        atoms.wrap()
        images.append(atoms)
    write(tmp_path / "cn.traj", images)
    return str(tmp_path / "cn.traj")


def test_the_command_writes_map_and_memory(rotors, tmp_path, capsys):
    prefix = str(tmp_path / "out")
    arguments = ["analyse", "orientation", rotors, "--vector", "C", "N", "-o", prefix]
    assert main([*arguments, "--json", "--interval-fs", "100"]) == 0
    record = json.loads(capsys.readouterr().out)
    found = {r["name"]: r["value"] for r in record["results"]}
    assert found["molecules"] == 4
    assert len(record["tables"]["map"]["z"]) == 648
    assert "lag_ps" in record["tables"]["memory"]
    assert (tmp_path / "out.svg").exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--vector", "C", "H"], "H is not there; it holds C, N"),
        (["--vector", "C", "C"], "no bond shorter than 1.90 angstrom"),
        ([], "the following arguments are required: --vector"),
    ],
)
def test_what_cannot_be_is_one_line(rotors, more, says, capsys):
    assert main(["analyse", "orientation", rotors, *more]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
