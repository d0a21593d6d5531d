"""The phase of a run in a word, and the map of phases."""

import numpy as np
import pytest
from ase.build import bulk

from otf.analysis.phase import phase_of
from otf.configuration import Configuration
from otf.report.phase_map import edges

# Displacements of a crystal near its melting point are a tenth of the distance of
# neighbours (Lindemann): this much along x, y and z each.
LINDEMANN = 0.1 / np.sqrt(3.0)
CRYSTALS = {
    "fcc": (bulk("Cu", cubic=True) * (4, 4, 4), 2.55),
    "bcc": (bulk("Fe", cubic=True) * (5, 5, 5), 2.48),
    "hcp": (bulk("Mg", "hcp", a=3.2, c=3.2 * np.sqrt(8 / 3)) * (5, 5, 3), 3.2),
    "cubic diamond": (bulk("Si", cubic=True) * (3, 3, 3), 2.35),
    "solid": (bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (2, 2, 2), 2.82),
}


@pytest.mark.parametrize("name", CRYSTALS)
def test_crystals_at_their_melting_point_have_the_name_of_their_structure(name):
    crystal, distance = CRYSTALS[name]
    crystal = crystal.copy()
    crystal.rattle(LINDEMANN * distance, seed=1)
    phase = phase_of([Configuration.from_atoms(crystal)])
    assert phase.name == name
    assert phase.solid > 0.9


def test_the_phase_may_be_that_of_one_kind_of_ions():
    salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (3, 3, 3)
    salt.rattle(LINDEMANN * 2.82, seed=1)
    hot = [Configuration.from_atoms(salt)]
    assert [phase_of(hot, z).name for z in (None, [11], [17])] == [
        "solid",
        "fcc",
        "fcc",
    ]
    # A superionic crystal: anions stay where they are, cations are anywhere.
    cations = salt.numbers == 11
    rng = np.random.default_rng(4)
    salt.positions[cations] = rng.random((cations.sum(), 3)) @ salt.cell.array
    superionic = [Configuration.from_atoms(salt)]
    names = [phase_of(superionic, species).name for species in (None, [11], [17])]
    assert names == ["disordered", "disordered", "fcc"]


def packed(n, length, rng):
    """Return spheres of diameter 1 in a periodic box, put in at random."""
    placed = np.empty((0, 3))
    while len(placed) < n:
        new = rng.uniform(0, length, 3)
        apart = placed - new
        apart -= length * np.round(apart / length)
        if not len(placed) or (apart**2).sum(axis=1).min() > 1.0:
            placed = np.vstack([placed, new])
    return placed


def test_spheres_put_in_at_random_are_disordered():
    # Packing fraction 0.3; 0.38 is where this way of filling comes to its end.
    n = 216
    length = (n * np.pi / 6 / 0.3) ** (1 / 3)
    positions = packed(n, length, np.random.default_rng(2))
    c = Configuration(
        np.full(n, 18), 3.4 * positions, 3.4 * length * np.eye(3), np.ones(3, bool)
    )
    phase = phase_of([c])
    assert (phase.name, phase.named) == ("disordered", 0.0)
    assert phase.solid < 0.1


def test_what_has_no_shells_has_no_phase():
    cluster = bulk("Cu", cubic=True)
    cluster.pbc = False
    assert phase_of([Configuration.from_atoms(cluster)]) is None
    assert phase_of([]) is None


def test_cells_of_a_map_meet_half_way():
    assert edges([300, 600, 1200]).tolist() == [150, 450, 900, 1500]
    assert edges([5.0]).tolist() == [4.5, 5.5]
