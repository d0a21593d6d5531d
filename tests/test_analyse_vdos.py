"""Vibrational spectra of trajectories whose frequencies are known."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from otf.analysis.vibrations import THZ, vibrations
from otf.cli import main
from otf.store.motion import Motion
from otf.units import FS, KB


def chain(n_frames, interval_fs, seed=0, n=8):
    """Return velocities of a chain of n unit masses, periodic, springs of 1 eV/A^2.

    Sums of its normal modes, w = 2 sin(pi k / n) in internal units, with random phases
    and the amplitudes of equipartition; y and z rest.
    """
    rng, t = np.random.default_rng(seed), interval_fs * FS * np.arange(n_frames)
    v = np.zeros((n_frames, n, 3))
    sites = np.arange(n)
    for k in range(1, n):
        shape = (np.cos if k <= n // 2 else np.sin)(2 * np.pi * k * sites / n)
        shape /= np.linalg.norm(shape)
        w = 2.0 * np.sin(np.pi * k / n)
        motion = np.sqrt(2 * KB * 300.0) * np.cos(w * t + 2 * np.pi * rng.random())
        v[:, :, 0] += motion[:, None] * shape
    return v


def moving(velocities, numbers=None, masses=None):
    n_frames, n, _ = velocities.shape
    return Motion(
        numbers=np.full(n, 1) if numbers is None else np.array(numbers),
        masses=np.ones(n) if masses is None else np.array(masses),
        pbc=np.ones(3, dtype=bool),
        positions=np.zeros((n_frames, n, 3)),
        cells=np.broadcast_to(10 * np.eye(3), (n_frames, 3, 3)),
        velocities=velocities,
    )


def test_peaks_of_a_harmonic_chain_are_its_eigenfrequencies():
    interval = 5.0
    found = vibrations(moving(chain(8000, interval)), interval * FS, n_segments=4)
    dos, _ = found.total
    # Four different frequencies; in internal units .765, 1.414, 1.848, 2 (over 2 pi).
    expected = np.array([0.76536686, 1.41421356, 1.84775907, 2.0]) / (2 * np.pi) / THZ
    peaks = [
        k
        for k in range(1, len(dos) - 1)
        if dos[k] > dos[k - 1] and dos[k] > dos[k + 1] and dos[k] > 0.02 * dos.max()
    ]
    np.testing.assert_allclose(
        found.frequency[peaks], expected, atol=0.51 * found.resolution
    )
    # Two modes at each but the last: each holds 2/7, 2/7, 2/7, 1/7 of the weight.
    shares = [dos[k - 3 : k + 4].sum() / dos.sum() for k in peaks]
    np.testing.assert_allclose(shares, np.array([2, 2, 2, 1]) / 7, atol=0.01)


def test_the_density_integrates_to_the_degrees_of_freedom():
    found = vibrations(moving(chain(2000, 5.0)), 5.0 * FS)
    dos, _ = found.total
    assert dos.sum() * found.resolution == pytest.approx(24.0, rel=1e-12)


def test_a_light_and_a_heavy_oscillator_share_the_density_by_energy():
    # Equipartition: m v^2 is the same for both, so each has half of the weight.
    t = 2.0 * FS * np.arange(4000)
    v = np.zeros((4000, 4, 3))
    for k, (mass, thz) in enumerate([(1.0, 40.0), (100.0, 4.0)]):
        wave = np.cos(2 * np.pi * thz * THZ * t) / np.sqrt(mass)
        v[:, 2 * k, 0], v[:, 2 * k + 1, 0] = wave, -wave
    found = vibrations(moving(v, [1, 1, 47, 47], [1.0, 1.0, 100.0, 100.0]), 2.0 * FS)
    assert found.frequency[found.dos[1].argmax()] == pytest.approx(40.0, abs=0.51)
    assert found.frequency[found.dos[47].argmax()] == pytest.approx(4.0, abs=0.51)
    light, heavy = (found.dos[z].sum() * found.resolution for z in (1, 47))
    assert light == pytest.approx(6.0, rel=2e-3)
    assert heavy == pytest.approx(6.0, rel=2e-3)


def test_the_correlation_of_a_brownian_particle_decays_with_its_friction():
    # Ornstein-Uhlenbeck: <v(0) v(t)> = (kT/m) exp(-g t); D = kT / (m g) is the
    # integral, so the density at zero frequency is 12 n / g in units of the lag.
    rng, n, n_frames, interval, g = np.random.default_rng(4), 40, 8000, 1.0, 0.1
    keep = np.exp(-g * interval)
    noise = np.sqrt(KB * 300.0 * (1 - keep**2)) * rng.normal(size=(n_frames, n, 3))
    v = np.empty_like(noise)
    v[0] = np.sqrt(KB * 300.0) * rng.normal(size=(n, 3))
    for k in range(1, n_frames):
        v[k] = keep * v[k - 1] + noise[k]
    found = vibrations(moving(v), interval)
    curve, error = found.correlation[1][:30], found.correlation_error[1][:30]
    exact = np.exp(-g * found.lags[:30])
    assert np.abs((curve - exact)[1:] / error[1:]).max() < 4.5
    dos, spread = found.total
    flat = found.frequency * THZ < 0.1 * g / (2 * np.pi)  # where it is still level
    assert flat.sum() >= 2
    true = 12.0 * n / g * THZ
    k = np.flatnonzero(flat)[1:]  # the drift is taken out at zero itself
    np.testing.assert_array_less(np.abs(dos[k] - true), 4.5 * spread[k] + 0.02 * true)


@pytest.fixture
def copper(tmp_path):
    rng, images = np.random.default_rng(0), []
    for _ in range(64):
        atoms = bulk("Cu", cubic=True)
        atoms.set_velocities(0.01 * rng.normal(size=(4, 3)))
        images.append(atoms)
    write(tmp_path / "cu.traj", images)
    return tmp_path / "cu.traj"


def test_the_command_warns_of_frames_that_are_too_far_apart(copper, tmp_path, capsys):
    arguments = ["analyse", "vdos", str(copper), "--interval-fs", "10"]
    assert main([*arguments, "-o", str(tmp_path / "out"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert "folded in" in record["notes"][0]
    assert {"frequency_THz", "dos_Cu_per_THz"} <= set(record["tables"]["dos"])
    assert (tmp_path / "out-vacf.csv").exists()


def test_without_velocities_there_is_no_spectrum(tmp_path, capsys):
    write(tmp_path / "a.extxyz", [bulk("Cu")] * 40)
    assert main(["analyse", "vdos", str(tmp_path / "a.extxyz")]) == 2
    error = capsys.readouterr().err
    assert "a.extxyz: there are no velocities" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([], "cu.traj carries no times"),
        (["--interval-fs", "10", "--frames", "0:1"], "1 of 64 frames are too few"),
        (["--interval-fs", "0"], "'0' is no positive number"),
        (["--interval-fs", "10", "--segments", "0"], "whole number above 0"),
    ],
)
def test_what_is_missing_is_one_line(copper, more, says, capsys):
    assert main(["analyse", "vdos", str(copper), *more]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_atoms_at_rest_have_no_spectrum(tmp_path, capsys):
    atoms = Atoms("Ar2", positions=[[0, 0, 0], [3, 0, 0]])
    atoms.set_velocities(np.ones((2, 3)))
    write(tmp_path / "a.traj", [atoms] * 40)
    arguments = ["analyse", "vdos", str(tmp_path / "a.traj"), "--interval-fs", "1"]
    assert main(arguments) == 2
    assert "the atoms do not move" in capsys.readouterr().err
