"""Extended tight binding: a real electronic structure behind the reference."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk, molecule
from tblite.ase import TBLite

from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.calculators.serving import evaluate
from otf.calculators.worker import Order, Worker
from otf.configuration import Configuration
from otf.errors import ReferenceFailure
from otf.testing import derivative, strained
from otf.threads import one_openmp_thread
from otf.units import GPA


def tblite(**arguments):
    return Reference(make_calculator("tblite", arguments))


@pytest.fixture(scope="module")
def salt():
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.rattle(0.1, seed=2)
    shear = np.eye(3) + 0.02 * np.random.default_rng(3).normal(size=(3, 3))
    atoms.set_cell(atoms.cell.array @ shear, scale_atoms=True)
    return Configuration.from_atoms(atoms)


@pytest.fixture(scope="module")
def silicon():
    atoms = bulk("Si", "diamond", a=5.43, cubic=True)
    atoms.rattle(0.08, seed=1)
    shear = np.eye(3) + 0.02 * np.random.default_rng(3).normal(size=(3, 3))
    atoms.set_cell(atoms.cell.array @ shear, scale_atoms=True)
    return Configuration.from_atoms(atoms)


@pytest.mark.parametrize("name", ["salt", "silicon"])
def test_labels_are_those_of_a_direct_call(name, request, tmp_path):
    c = request.getfixturevalue(name)
    given = {"method": "GFN1-xTB"}
    code = make_calculator("tblite", given)
    reference = Reference(code, caller=Worker(Order("tblite", given, tmp_path)))
    labels = reference.label(c)
    reference.close()
    with one_openmp_thread("tblite"):
        direct = evaluate(TBLite(method="GFN1-xTB", verbosity=0), c.to_atoms())
    assert labels.energy == pytest.approx(direct["energy"], abs=1e-8)
    np.testing.assert_allclose(labels.forces, direct["forces"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(labels.stress, direct["stress"], rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", ["salt", "silicon"])
def test_forces_and_stress_are_gradients(name, request):
    c = request.getfixturevalue(name)
    reference = tblite()
    labels = reference.label(c)

    def energy_moved(x):
        positions = c.positions.copy()
        positions[3, 1] += x
        return reference.label(c.moved(positions)).energy

    direction = np.array([1.0, -0.4, 0.2, 0.7, -0.5, 0.9])

    def energy_strained(x):
        return reference.label(strained(c, x * direction)).energy

    # The SCF is converged to 1e-6 hartree; other codes show the same scatter.
    assert labels.forces[3, 1] == pytest.approx(
        -derivative(energy_moved, 5e-3), abs=6e-4
    )
    slope = derivative(energy_strained, 2e-3) / c.volume / GPA
    assert labels.stress @ direction / GPA == pytest.approx(slope, abs=5e-3)


def test_labels_do_not_remember_the_call_before(salt):
    reference = tblite()
    with one_openmp_thread("tblite"):
        fresh = reference.label(salt)
        reference.label(strained(salt, np.array([0.02, 0, 0, 0, 0.01, 0])))
        again = reference.label(salt)
    assert again.energy == fresh.energy
    np.testing.assert_array_equal(again.forces, fresh.forces)
    np.testing.assert_array_equal(again.stress, fresh.stress)


def test_the_charge_of_a_structure_reaches_the_electrons():
    hydroxyl = Configuration.from_atoms(molecule("OH"))
    reference = tblite()
    radical = reference.label(replace(hydroxyl, spin=2)).energy
    anion = reference.label(replace(hydroxyl, charge=-1.0, spin=1)).energy
    assert anion < radical - 1.0  # the hydroxide ion is bound by electron volts
    # The charge of one structure does not stay for the next.
    assert reference.label(replace(hydroxyl, spin=2)).energy == radical


def test_initial_charges_are_the_charge_when_none_is_given():
    hydroxyl = Configuration.from_atoms(molecule("OH"))
    bare = replace(hydroxyl, magnetic_moments=np.zeros(2))
    reference = tblite()
    by_atoms = reference.label(replace(bare, initial_charges=np.array([-1.0, 0.0])))
    assert by_atoms.energy == reference.label(replace(bare, charge=-1.0)).energy


def test_multiplicity_and_moments_reach_the_electrons():
    oxygen = replace(Configuration.from_atoms(molecule("O2")), magnetic_moments=None)
    reference = tblite(spin_polarization=1.0)
    singlet = reference.label(replace(oxygen, spin=1)).energy
    triplet = reference.label(replace(oxygen, spin=3)).energy
    assert triplet < singlet  # Hund
    moments = replace(oxygen, magnetic_moments=np.array([1.0, 1.0]))
    assert reference.label(moments).energy == triplet


def test_overlapping_atoms_are_kept_from_a_code_that_would_answer(salt):
    # Without the gate tblite returns 1e5 eV and says nothing.
    reference = Reference(make_calculator("tblite"), shortest_contact=0.01, retries=0)
    positions = salt.positions.copy()
    positions[1] = positions[0] + [0.0, 0.0, 0.04]
    with pytest.raises(ReferenceFailure, match="eV/angstrom"):
        reference.label(salt.moved(positions))
