"""Infrared bands of oscillators whose place and intensity are known."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from otf.analysis.infrared import infrared
from otf.analysis.vibrations import PER_CM, THZ
from otf.cli import main
from otf.errors import InputError
from otf.store.motion import Motion
from otf.units import FS, KB

# Published conversions: (D/A)^2/amu to km/mol, e A to D, km/mol to cm a molecule.
KM_PER_MOL = 42.2561
DEBYE = 4.80320
CM_A_MOLECULE = 1.660539e-19
MASSES = np.array([1.0, 35.0])
REDUCED = MASSES.prod() / MASSES.sum()
INTERVAL = 1.0 * FS


def pair(thz=50.0, temperature=300.0, n_frames=8192, drift=0.0):
    """Return velocities of two atoms that vibrate alike along three axes."""
    t = INTERVAL * np.arange(n_frames)
    phases = np.array([0.3, 1.1, 2.5])
    speed = np.sqrt(2.0 * KB * temperature / REDUCED)
    relative = speed * np.cos(2.0 * np.pi * thz * THZ * t[:, None] + phases)
    shares = np.array([-MASSES[1], MASSES[0]]) / MASSES.sum()
    velocities = relative[:, None, :] * shares[:, None] + drift
    return Motion(
        numbers=np.array([1, 17]),
        masses=MASSES,
        pbc=np.ones(3, dtype=bool),
        positions=np.zeros((n_frames, 2, 3)),
        cells=np.broadcast_to(10 * np.eye(3), (n_frames, 3, 3)),
        velocities=velocities,
    )


def test_an_oscillator_absorbs_at_its_frequency_what_the_double_harmonic_says():
    found = infrared(pair(), INTERVAL, {1: 0.2, 17: -0.2})
    (band,) = found.bands
    assert band.position == pytest.approx(50.0 * PER_CM, abs=0.1 * found.resolution)
    expected = 3.0 * KM_PER_MOL * (0.2 * DEBYE) ** 2 / REDUCED
    # What is below a hundredth of the peak is no part of a band.
    assert band.intensity == pytest.approx(expected, rel=5e-3)
    assert found.total == pytest.approx(expected, rel=1e-3)
    assert found.temperature == pytest.approx(300.0, rel=1e-3)


def test_intensities_of_harmonic_vibrations_do_not_know_the_temperature():
    charges = {1: 0.2, 17: -0.2}
    cold, hot = (infrared(pair(temperature=t), INTERVAL, charges) for t in (10, 900))
    np.testing.assert_allclose(cold.intensity, hot.intensity, atol=1e-9)


def test_an_ion_that_flies_through_the_cell_does_not_absorb():
    still, flying = (
        infrared(pair(drift=d), INTERVAL, {1: 0.2, 17: 0.8}) for d in (0.0, 0.05)
    )
    np.testing.assert_allclose(flying.intensity, still.intensity, atol=1e-9)


@pytest.mark.parametrize("apart", [30.0, 6.0])  # THz; bands meet at the second
def test_two_oscillators_are_two_bands(apart):
    slow, fast = pair(30.0), pair(30.0 + apart)
    both = Motion(
        numbers=np.array([1, 17, 1, 17]),
        masses=np.tile(MASSES, 2),
        pbc=slow.pbc,
        positions=np.zeros((slow.n_frames, 4, 3)),
        cells=slow.cells,
        velocities=np.concatenate([slow.velocities, fast.velocities], axis=1),
    )
    found = infrared(both, INTERVAL, {1: 0.2, 17: -0.2})
    positions = [band.position for band in found.bands]
    expected = np.array([30.0, 30.0 + apart]) * PER_CM
    np.testing.assert_allclose(positions, expected, atol=0.1 * found.resolution)
    slower, faster = (band.intensity for band in found.bands)
    assert slower == pytest.approx(faster, rel=1e-2)


def test_the_absorption_coefficient_is_the_cross_section_in_the_volume():
    found = infrared(pair(), INTERVAL, {1: 0.2, 17: -0.2})
    alpha, error = found.coefficient(1000.0)
    cubic_cm = 1000.0 * 1e-24
    expected = found.intensity * CM_A_MOLECULE / cubic_cm
    np.testing.assert_allclose(alpha, expected, rtol=1e-5)
    assert (error >= 0.0).all()


@pytest.mark.parametrize(
    ("charges", "says"),
    [({1: 0.2}, "no charge is given"), ({1: 0.0, 17: 0.0}, "does not change")],
)
def test_without_charges_nothing_absorbs(charges, says):
    with pytest.raises(InputError, match=says):
        infrared(pair(n_frames=64), INTERVAL, charges)


@pytest.fixture
def chloride(tmp_path):
    motion, images = pair(n_frames=128), []
    for velocities in motion.velocities:
        atoms = Atoms("HCl", [[0, 0, 0], [1.3, 0, 0]], cell=[10] * 3, pbc=True)
        atoms.set_masses(MASSES)
        atoms.set_velocities(velocities)
        images.append(atoms)
    write(tmp_path / "hcl.traj", images)
    return tmp_path / "hcl.traj"


def test_the_command_tells_bands_and_writes_the_spectrum(chloride, tmp_path, capsys):
    arguments = ["analyse", "infrared", str(chloride), "--interval-fs", "1"]
    out = ["-o", str(tmp_path / "out"), "--json"]
    assert main([*arguments, "--charges", "H=0.2", "Cl=-0.1", *out]) == 0
    record = json.loads(capsys.readouterr().out)
    assert any("sum to 0.1 e" in note for note in record["notes"])
    names = [one["name"] for one in record["results"]]
    assert "band 1" in names
    header = (tmp_path / "out.csv").read_text().partition("\n")[0]
    assert "intensity_km_per_mol_cm" in header
    assert "n_alpha_per_cm" in header
    assert (tmp_path / "out.svg").exists()


@pytest.mark.parametrize(
    ("charges", "says"),
    [
        (["H=0.2"], "hcl.traj: no charge is given for Cl: add Cl=E to --charges"),
        (["H=0.2", "Cl=-0.2", "O=1"], "there is no O: remove it"),
        (["H:0.2"], "'H:0.2' is no element and charge"),
        (["X=0.2"], "'X=0.2' is no element and charge"),
        (["H=nan"], "'H=nan' is no element and charge"),
    ],
)
def test_wrong_charges_are_one_line(chloride, charges, says, capsys):
    arguments = ["analyse", "infrared", str(chloride), "--interval-fs", "1"]
    assert main([*arguments, "--charges", *charges]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
