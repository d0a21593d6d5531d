"""Facts, duplicates and outliers of labelled structures."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from scipy.spatial.transform import Rotation

from otf.analysis.duplicates import duplicates_of
from otf.analysis.outliers import (
    beyond_fences,
    energy_residuals,
    too_close,
    unbalanced,
)
from otf.calculators.reference import to_labels
from otf.calculators.serving import evaluate as exact
from otf.commands.doctor import facts_of_frame
from otf.configuration import VOIGT, Configuration, Labels
from otf.units import GPA


def copper(seed=0):
    """Return a rattled, sheared cell of copper with its labels."""
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(
        atoms.cell[:] @ (np.eye(3) + 0.03 * np.eye(3, k=1)), scale_atoms=True
    )
    atoms.rattle(0.05, seed=seed)
    configuration = Configuration.from_atoms(atoms)
    return configuration, to_labels(exact(EMT(), atoms), configuration)


def moved(frame, rotation):
    """Return the frame rotated, shifted and with its atoms in another order."""
    c, labels = frame
    order = np.array([2, 0, 3, 1])
    xx, yy, zz, yz, xz, xy = labels.stress
    tensor = rotation.T @ [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]] @ rotation
    stress = np.array([tensor[a, b] for a, b in VOIGT])
    c = replace(c, positions=((c.positions + 0.7) @ rotation)[order])
    c = replace(c, cell=c.cell @ rotation)
    return c, Labels(labels.energy, (labels.forces @ rotation)[order], stress)


TURNS = [Rotation.from_euler("xyz", [0.3, 1.0, 2.0]).as_matrix(), np.diag([1, 1, -1.0])]


@pytest.mark.parametrize("rotation", TURNS, ids=["rotation", "reflection"])
def test_a_moved_structure_is_a_duplicate_with_the_same_labels(rotation):
    frames = [copper(), copper(seed=1), moved(copper(), rotation)]
    (found,) = duplicates_of([facts_of_frame(frame) for frame in frames])
    assert found.members == (0, 2)
    assert found.differing == ()


@pytest.mark.parametrize("name", ["energy", "forces", "stress"])
def test_a_duplicate_with_another_label_names_it(name):
    c, labels = copper()
    value = getattr(labels, name)
    other = replace(labels, **{name: value + 0.1 if name == "energy" else -2 * value})
    (found,) = duplicates_of([facts_of_frame((c, y)) for y in (labels, other)])
    assert found.differing == (name,)


def test_structures_that_differ_by_a_hundredth_angstrom_are_no_duplicates():
    c, labels = copper()
    shift = np.zeros((4, 3))
    shift[0, 0] = 0.01
    other = c.moved(c.positions + shift)
    assert duplicates_of([facts_of_frame((x, labels)) for x in (c, other)]) == []


def test_a_charged_molecule_is_no_duplicate_of_the_neutral_one():
    water = Configuration.from_atoms(molecule("H2O"))
    labels = Labels(-14.0, np.zeros((3, 3)), np.full(6, np.nan))
    frames = [(water, labels), (replace(water, charge=1.0), labels)]
    assert duplicates_of([facts_of_frame(frame) for frame in frames]) == []


def test_facts_have_the_units_they_say():
    facts = facts_of_frame(copper())
    perfect = bulk("Cu", cubic=True)
    assert facts.formula == "Cu"
    assert facts.volume == pytest.approx(perfect.get_volume() / 4)
    assert facts.density == pytest.approx(8.97, abs=0.01)  # 63.55 amu, a = 3.61 A
    assert facts.stress == pytest.approx(copper()[1].stress / GPA)
    assert facts.contact.distance < 2.56  # of the perfect crystal
    assert facts.net_force < 1e-12


def test_a_molecule_has_no_volume():
    labels = Labels(-14.0, np.zeros((3, 3)), np.full(6, np.nan))
    facts = facts_of_frame((Configuration.from_atoms(molecule("H2O")), labels))
    assert facts.formula == "H2O"
    assert np.isnan([facts.volume, facts.density]).all()


def test_atoms_that_are_too_close_and_forces_that_do_not_cancel_are_seen():
    c, labels = copper()
    positions = c.positions.copy()
    positions[0] = positions[1] + [0.9, 0.0, 0.0]
    pushed = replace(labels, forces=labels.forces + 0.1)
    frames = [(c, labels), (c.moved(positions), labels), (c, pushed)]
    facts = [facts_of_frame(frame) for frame in frames]
    assert too_close(facts).tolist() == [False, True, False]
    assert unbalanced(facts).tolist() == [False, False, True]
    assert set(facts[1].contact.atoms) == {0, 1}


def test_energies_that_follow_from_the_composition_are_no_outliers():
    def frame(symbol, energy):
        atoms = bulk(symbol, "fcc", a=4.0, cubic=True)
        c = Configuration.from_atoms(atoms)
        return c, Labels(4 * energy, np.zeros((4, 3)), np.full(6, np.nan))

    frames = [frame("Cu", -3.0), frame("Cu", -3.0), frame("Au", -50.0)]
    residuals = energy_residuals([facts_of_frame(f) for f in frames])
    np.testing.assert_allclose(residuals, 0.0, atol=1e-9)


def test_far_values_are_beyond_the_fences_and_a_second_cluster_is_not():
    values = np.random.default_rng(0).normal(size=100)
    values[3], values[4] = 20.0, np.nan
    assert np.flatnonzero(beyond_fences(values, least=0.1)).tolist() == [3]
    values[50:60] = 20.0
    assert not beyond_fences(values, least=0.1).any()


def test_where_most_values_are_equal_a_small_step_is_not_far():
    values = np.zeros(100)
    values[3], values[4] = 0.05, 0.2
    assert np.flatnonzero(beyond_fences(values, least=0.1)).tolist() == [4]
