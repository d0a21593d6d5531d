"""Phonons against closed forms, published values and another program."""

import json

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.io import write
from ase.phonons import Phonons as AsePhonons

from otf.analysis.phonons import phonons
from otf.calculators.registry import make_calculator
from otf.cli import main
from otf.units import FS

THZ = 1e-3 / FS


def test_a_crystal_of_nearest_neighbours_has_the_frequencies_of_the_closed_form():
    # Lennard-Jones cut between first and second neighbours, at its minimum: springs
    # k = 72 / 2^(1/3) eps / sigma^2 without tension. In fcc then m w^2 is 8 k for the
    # longitudinal and 4 k for the transverse modes at X, 8 k and 2 k at L.
    epsilon, sigma = 0.4, 2.3
    r0 = 2 ** (1 / 6) * sigma
    atoms = bulk("Cu", a=np.sqrt(2) * r0)
    atoms.calc = LennardJones(epsilon=epsilon, sigma=sigma, rc=1.25 * r0)
    found = phonons(atoms, supercell=(4, 4, 4), displacement=0.005)
    k = 72 / 2 ** (1 / 3) * epsilon / sigma**2
    unit = np.sqrt(k / atoms.get_masses()[0]) / (2 * np.pi) / THZ
    lines = dict(zip(found.bands.lines, range(99), strict=False))
    at = {}
    for (one, other), row in lines.items():
        at[one] = found.bands.frequency[row][0]
        at[other] = found.bands.frequency[row][-1]
    np.testing.assert_allclose(at["X"], unit * np.sqrt([4, 4, 8]), rtol=2e-4)
    np.testing.assert_allclose(at["L"], unit * np.sqrt([2, 2, 8]), rtol=2e-4)
    np.testing.assert_allclose(at["G"], 0.0, atol=1e-4)
    assert found.highest == pytest.approx(unit * np.sqrt(8), rel=1e-3)
    assert found.highest_error < 0.01 * found.highest
    step = found.dos_frequency[1] - found.dos_frequency[0]
    assert found.dos.sum() * step == pytest.approx(3.0, rel=5e-3)
    # Dulong and Petit, and nothing at zero.
    assert found.heat_capacity(np.array([3000.0]))[0] == pytest.approx(3.0, abs=0.01)
    assert found.heat_capacity(np.array([1.0]))[0] < 1e-3


def test_silicon_of_stillinger_and_weber_has_its_published_optic_mode():
    atoms = bulk("Si", a=5.430950)
    atoms.calc = make_calculator("stillinger-weber").build()
    found = phonons(atoms, supercell=(3, 3, 3))
    np.testing.assert_allclose(found.gamma[3:], 17.8326, atol=1e-3)
    assert found.sum_rule < 1e-4
    assert found.is_stable
    assert found.n_atoms == 2


def test_bands_are_those_of_another_program(tmp_path):
    # ASE's own finite displacements, for EMT copper. They go another way, so that only
    # small ones agree.
    atoms = bulk("Cu", a=3.5912)
    calculator = make_calculator("emt").build()
    other = AsePhonons(
        atoms, calculator, supercell=(4, 4, 4), delta=0.002, name=str(tmp_path / "ph")
    )
    other.run()
    other.read(acoustic=True)
    atoms.calc = calculator
    found = phonons(atoms, supercell=(4, 4, 4), displacement=0.002)
    # At points the supercell holds; between them programs interpolate in ways of their
    # own.
    points = {
        "X": [0.5, 0.0, 0.5],
        "W": [0.5, 0.25, 0.75],
        "L": [0.5, 0.5, 0.5],
    }
    theirs = other.band_structure(list(points.values()), verbose=False)  # eV
    ends = zip(found.bands.lines, found.bands.frequency, strict=True)
    ours = {name[0]: f[0] for name, f in ends}
    for name, expected in zip(points, theirs, strict=True):
        np.testing.assert_allclose(
            np.sort(ours[name]), np.sort(expected) / 4.135667696e-3, rtol=1e-5
        )


def test_the_command_writes_bands_and_density(tmp_path, capsys):
    write(tmp_path / "cu.xyz", bulk("Cu", a=3.6))
    arguments = ["analyse", "phonons", str(tmp_path / "cu.xyz"), "--calculator", "emt"]
    arguments += ["--supercell", "3", "3", "3", "-o", str(tmp_path / "out"), "--json"]
    assert main(arguments) == 0
    record = json.loads(capsys.readouterr().out)
    found = {r["name"]: r for r in record["results"]}
    assert 5.0 < found["highest frequency"]["value"] < 9.0
    assert found["zero-point energy"]["unit"] == "meV/atom"
    assert set(record["tables"]["bands"]) >= {"line", "branch_3_THz"}
    assert (tmp_path / "out-dos.csv").exists()


def test_an_unstable_crystal_is_said_to_be_one(tmp_path, capsys):
    # Simple cubic copper collapses.
    write(tmp_path / "sc.xyz", bulk("Cu", "sc", a=2.4))
    arguments = ["analyse", "phonons", str(tmp_path / "sc.xyz"), "--calculator", "emt"]
    arguments += ["--keep-cell", "-o", str(tmp_path / "out"), "--supercell", *"333"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "are imaginary" in out
    assert "zero-point" not in out


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([], "one of the arguments --model --calculator is required"),
        (["--calculator", "stillinger-weber"], "has no parameters for Cu"),
        (["--calculator", "emt", "--supercell", "2", "2"], "expected 3 arguments"),
        (["--calculator", "emt", "--displacement-A", "1"], "must be at most 0.2"),
    ],
)
def test_what_cannot_be_is_one_line(more, says, tmp_path, capsys):
    write(tmp_path / "cu.xyz", bulk("Cu", a=3.6))
    assert main(["analyse", "phonons", str(tmp_path / "cu.xyz"), *more]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
