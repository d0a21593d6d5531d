"""Displacements, diffusion coefficients and activation energies."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from otf.analysis.averages import Mean
from otf.analysis.diffusion import (
    arrhenius,
    diffusion,
    finite_size_shift,
    mean_square_displacement,
)
from otf.analysis.thermal import temperatures
from otf.analysis.unwrapping import unwrapped
from otf.cli import main
from otf.commands.analyses.msd import MPAS
from otf.store.motion import Motion
from otf.units import FS, KB

PS = 1e3 * FS


def walk(rng, n_frames, n_atoms, sigma=1.0):
    return np.cumsum(sigma * rng.normal(size=(n_frames, n_atoms, 3)), axis=0)


def test_displacements_are_those_of_the_definition():
    x = walk(np.random.default_rng(0), 30, 4) + 100.0
    found = mean_square_displacement(x, 12)
    direct = [((x[lag:] - x[: 30 - lag]) ** 2).sum(axis=2).mean() for lag in range(12)]
    np.testing.assert_allclose(found, direct, rtol=1e-9, atol=1e-9)


def test_the_diffusion_of_a_random_walk_lies_within_its_error_bars():
    # Steps of variance s^2 in each direction: D = s^2 / (2 dt).
    rng, sigma, interval = np.random.default_rng(7), 0.3, 2.0
    pulls, exponents = [], []
    for _ in range(150):
        found = diffusion(walk(rng, 1000, 4, sigma), interval)
        true = sigma**2 / (2 * interval)
        pulls.append((found.coefficient.value - true) / found.coefficient.error)
        exponents.append(found.exponent.value)
    # 10 blocks: Student's t of 9 degrees, 65.7 % and 92.4 %; three binomial errors.
    assert abs(np.mean(np.abs(pulls) < 1.0) - 0.657) < 0.12
    assert abs(np.mean(np.abs(pulls) < 2.0) - 0.924) < 0.07
    assert abs(np.mean(pulls)) < 0.3
    assert np.mean(exponents) == pytest.approx(1.0, abs=0.06)


def test_a_wrapped_trajectory_is_unwrapped_in_a_skewed_cell():
    rng = np.random.default_rng(2)
    free = walk(rng, 200, 5, 0.4) + 5.0
    cell = np.array([[9.0, 0, 0], [3.0, 8.0, 0], [0, 1.0, 10.0]])
    wrapped = (np.linalg.solve(cell.T, free[..., None])[..., 0] % 1.0) @ cell
    motion = Motion(
        numbers=np.full(5, 18),
        masses=np.ones(5),
        pbc=np.ones(3, dtype=bool),
        positions=wrapped,
        cells=np.broadcast_to(cell, (200, 3, 3)),
    )
    found = unwrapped(motion)
    np.testing.assert_allclose(found - found[0], free - free[0], atol=1e-9)
    # The same when it was never wrapped.
    motion = Motion(motion.numbers, motion.masses, motion.pbc, free, motion.cells)
    found = unwrapped(motion)
    np.testing.assert_allclose(found - found[0], free - free[0], atol=1e-9)


def test_atoms_that_rest_in_a_cell_that_breathes_do_not_diffuse():
    # An atom far outside, unwrapped, would follow the barostat by its whole distance.
    rng = np.random.default_rng(3)
    scale = 1.0 + 0.01 * rng.normal(size=400)
    cells = scale[:, None, None] * 10.0 * np.eye(3)
    positions = np.array([[0.2, 0.3, 0.1], [0.4, 12.3, 0.6]]) @ cells
    motion = Motion(
        np.full(2, 18), np.ones(2), np.ones(3, dtype=bool), positions, cells
    )
    found = diffusion(unwrapped(motion), 1.0)
    assert found.msd.max() < 3 * 2 * 0.1**2 * 2  # twice the jitter of the images
    assert abs(found.coefficient.value) < 4 * found.coefficient.error


def test_the_activation_energy_is_recovered_with_its_error():
    rng, energy, prefactor = np.random.default_rng(11), 0.35, 20.0
    t = np.array([500.0, 600.0, 750.0, 900.0, 1200.0])
    relative = np.array([0.3, 0.2, 0.1, 0.05, 0.03])
    pulls, probabilities = [], []
    for _ in range(400):
        d = prefactor * np.exp(-energy / (KB * t) + relative * rng.normal(size=5))
        points = [Mean(v, r * v, 10) for v, r in zip(d, relative, strict=True)]
        fit = arrhenius(t, points)
        pulls.append((fit.activation_energy - energy) / fit.activation_error)
        probabilities.append(fit.probability)
    assert abs(np.mean(np.abs(pulls) < 1.0) - 0.683) < 0.07
    assert abs(np.mean(np.abs(pulls) < 2.0) - 0.954) < 0.032
    assert np.mean(probabilities) == pytest.approx(0.5, abs=0.05)


def test_the_shift_of_periodic_images():
    # Water at 298 K, eta 0.855 mPa s, L 18.6 angstrom: 0.39e-9 m^2/s (2.837 kT / 6 pi
    # eta L by hand: 2.837297 * 4.1143e-21 / (6 pi * 0.855e-3 * 18.6e-10) = 3.894e-10).
    shift = finite_size_shift(298.0, 0.855 * MPAS, 18.6) * PS  # angstrom^2/ps = 1e-8
    assert shift * 1e-8 == pytest.approx(3.894e-10, rel=1e-3)


def test_the_temperature_of_velocities():
    rng, n = np.random.default_rng(5), 50
    masses = rng.uniform(1.0, 60.0, size=n)
    spread = np.sqrt(KB * 400.0 / masses)[None, :, None]
    velocities = rng.normal(size=(2000, n, 3)) * spread + 0.5  # with a drift
    motion = Motion(
        np.full(n, 18),
        masses,
        np.ones(3, dtype=bool),
        velocities,
        np.ones((2000, 3, 3)),
        velocities,
    )
    # Standard error 400 sqrt(2 / 147 / 2000) = 1.04 K.
    assert temperatures(motion).mean() == pytest.approx(400.0, abs=4.2)


@pytest.fixture
def walks(tmp_path):
    """Write walks of one energy at three temperatures, without times or velocities."""
    rng, paths = np.random.default_rng(1), []
    for t in (600.0, 800.0, 1000.0):
        d = 30.0 * np.exp(-0.3 / (KB * t))  # angstrom^2/ps
        x = walk(rng, 600, 8, np.sqrt(2 * d * 0.1)) + 6.0
        images = [Atoms("Li4Na4", x[0] * 0 + p, cell=[12] * 3, pbc=True) for p in x]
        for atoms in images:
            atoms.wrap()
        paths.append(str(tmp_path / f"{t:.0f}.traj"))
        write(paths[-1], images)
    return paths


def test_the_command_finds_the_activation_energy(walks, tmp_path, capsys):
    prefix = str(tmp_path / "out")
    arguments = ["--interval-fs", "100", "--keep-drift", "-o", prefix, "--json"]
    temperature = ["--temperature-K", "600", "800", "1000"]
    assert main(["analyse", "msd", *walks, *temperature, *arguments]) == 0
    record = json.loads(capsys.readouterr().out)
    found = {r["name"]: r for r in record["results"]}
    for species in ("Li", "Na"):
        energy = found[f"activation energy of {species}"]
        assert abs(energy["value"] - 0.3) < 3 * energy["error"] < 0.2
    true = 30.0 * np.exp(-0.3 / (KB * 800.0))
    d = found["D of Li at 800 K"]
    assert abs(d["value"] - true) < 4 * d["error"]
    assert (tmp_path / "out-diffusion.csv").read_text().startswith("trajectory,species")
    assert (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([], "carries no times: say how far apart its frames are, --interval-fs"),
        (["--interval-fs", "100", "--species", "K"], "K is not there; it holds Li, Na"),
        (["--interval-fs", "100", "--temperature-K", "3", "4"], "2 values for 1 traj"),
        (["--interval-fs", "100", "--frames", "0:1"], "1 of 600 frames are too few"),
        (["--interval-fs", "100", "--fit-ps", "50", "60"], "fewer than two lags"),
        (["--interval-fs", "100", "--viscosity-mPas", "1"], "give --temperature-K"),
    ],
)
def test_what_is_missing_is_one_line(walks, more, says, capsys):
    assert main(["analyse", "msd", walks[0], *more]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_several_trajectories_need_their_temperatures(walks, capsys):
    assert main(["analyse", "msd", *walks, "--interval-fs", "100"]) == 2
    assert "its temperature is not known: give" in capsys.readouterr().err


def test_a_crystal_at_rest_is_said_not_to_diffuse(tmp_path, capsys):
    rng, images = np.random.default_rng(4), []
    for _ in range(60):
        atoms = bulk("Cu", cubic=True)
        atoms.positions += 0.05 * rng.normal(size=(4, 3))
        images.append(atoms)
    write(tmp_path / "cu.traj", images)
    arguments = ["analyse", "msd", str(tmp_path / "cu.traj"), "--interval-fs", "10"]
    assert main([*arguments, "-o", str(tmp_path / "out")]) == 0
    assert "the atoms do not diffuse" in capsys.readouterr().out
