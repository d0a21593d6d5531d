from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import vesin

from otf.configuration import Configuration
from otf.errors import InputError
from otf.kernels import Backend
from otf.neighbors import NeighborList, complete_cell

CUTOFF = 4.0


def configuration(positions, cell, pbc):
    positions = np.asarray(positions, dtype=float)
    return Configuration(
        np.full(len(positions), 14),
        positions,
        np.asarray(cell, dtype=float),
        np.asarray(pbc, dtype=bool),
    )


def random_case(seed, pbc, *, scale=4.0, spread=6.0, n=6):
    rng = np.random.default_rng(seed)
    cell = scale * (np.eye(3) + 0.3 * rng.normal(size=(3, 3)))
    return configuration(rng.uniform(-spread, spread, (n, 3)), cell, pbc)


CASES = {
    "triclinic": random_case(0, [1, 1, 1]),
    "smaller than the cutoff": random_case(1, [1, 1, 1], scale=2.5, n=3),
    "atoms many cells outside": random_case(2, [1, 1, 1], spread=15.0),
    "slab": random_case(3, [1, 1, 0]),
    "wire": random_case(4, [0, 0, 1]),
    "molecule in a cell it leaves": random_case(5, [0, 0, 0], scale=1.0, spread=3.0),
    "no cell": configuration(
        random_case(6, [0] * 3).positions, np.zeros((3, 3)), [0] * 3
    ),
    "slab without a third vector": configuration(
        random_case(7, [1, 1, 0]).positions,
        [[4.0, 0.5, 0.0], [-1.0, 3.5, 0.2], [0.0, 0.0, 0.0]],
        [1, 1, 0],
    ),
    "slab with a vector along its plane": configuration(
        random_case(8, [1, 0, 1]).positions,
        [[4.2, 0.0, 0.0], [4.2, 0.0, 0.0], [0.0, 0.0, 5.0]],
        [1, 0, 1],
    ),
    "one atom in a small cell": configuration(
        [[0.3, 0.2, 0.1]], 2.4 * np.eye(3), [1] * 3
    ),
}


def all_pairs(c, cutoff):
    """Return (i, j, vector) by trying every image that can be near enough."""
    inverse = np.linalg.inv(np.where(c.pbc[:, None], c.cell, complete_cell(c)))
    # |shift| <= (cutoff + extent of the atoms) / distance of the lattice planes
    reach = cutoff + np.linalg.norm(np.ptp(c.positions, axis=0))
    most = np.ceil(reach * np.linalg.norm(inverse, axis=0)).astype(int) * c.pbc
    found = []
    for shift in product(*(range(-k, k + 1) for k in most)):
        image = c.positions + np.array(shift) @ c.cell
        for i in range(c.n_atoms):
            vectors = image - c.positions[i]
            near = np.linalg.norm(vectors, axis=1) < cutoff
            if shift == (0, 0, 0):
                near[i] = False
            found += [(i, j, *vectors[j]) for j in np.flatnonzero(near)]
    return found


def ordered(rows):
    table = np.array(rows, dtype=float).reshape(-1, 5)
    return table[np.lexsort(np.round(table, 6).T)]


@pytest.mark.parametrize("name", CASES)
def test_pairs_are_those_of_an_exhaustive_search(name):
    c = CASES[name]
    pairs = NeighborList(CUTOFF).pairs(c)
    first = np.repeat(np.arange(c.n_atoms), np.diff(pairs.first))
    got = np.column_stack([first, pairs.neighbor, pairs.vector])
    expected = all_pairs(c, CUTOFF)
    assert pairs.n_pairs == len(expected) > 0
    np.testing.assert_allclose(ordered(got), ordered(expected), atol=1e-12)
    np.testing.assert_allclose(
        pairs.distance, np.linalg.norm(pairs.vector, axis=1), rtol=1e-14
    )


@pytest.mark.parametrize("name", CASES)
def test_pairs_found_on_a_gpu_are_those_of_the_cpu(name, emulated):
    backend = Backend(np, emulated(order="random"))
    got, expected = (
        NeighborList(CUTOFF, backend=b).pairs(CASES[name]) for b in (backend, None)
    )
    for part in ("first", "neighbor"):
        assert getattr(got, part).tolist() == getattr(expected, part).tolist()
    for part in ("vector", "distance"):
        a, b = getattr(got, part), getattr(expected, part)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


def test_pairs_of_many_atoms_found_on_a_gpu_are_those_of_the_cpu(emulated):
    """Several cells along every axis, which see each other across the boundary."""
    c = random_case(11, [1, 1, 0], scale=25.0, spread=12.0, n=600)
    got, expected = (
        NeighborList(CUTOFF, backend=b).pairs(c)
        for b in (Backend(np, emulated()), None)
    )
    assert got.first.tolist() == expected.first.tolist()
    assert got.neighbor.tolist() == expected.neighbor.tolist()
    np.testing.assert_allclose(got.vector, expected.vector, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_pairs_are_sorted_by_centre_and_neighbour(name):
    c = CASES[name]
    pairs = NeighborList(CUTOFF).pairs(c)
    first = np.repeat(np.arange(c.n_atoms), np.diff(pairs.first))
    key = first * c.n_atoms + pairs.neighbor
    assert (np.diff(key) >= 0).all()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("step", [0.05, 0.3, 2.0])
def test_pairs_do_not_depend_on_what_was_asked_before(name, step):
    rng = np.random.default_rng(3)
    finder, c = NeighborList(CUTOFF), CASES[name]
    for _ in range(6):
        c = c.moved(c.positions + step * rng.normal(size=c.positions.shape))
        fresh, again = NeighborList(CUTOFF).pairs(c), finder.pairs(c)
        for part in ("first", "neighbor", "vector", "distance"):
            assert np.array_equal(getattr(again, part), getattr(fresh, part))


def test_the_finder_is_asked_again_only_when_an_atom_left_half_the_skin(monkeypatch):
    asked = []
    find = vesin.NeighborList
    monkeypatch.setattr(
        vesin, "NeighborList", lambda **words: asked.append(1) or find(**words)
    )
    finder, c = NeighborList(CUTOFF, skin=1.0), CASES["triclinic"]
    one = np.zeros_like(c.positions)
    one[0, 0] = 1.0
    for shift in (0.0, 0.49, -0.49):
        finder.pairs(c.moved(c.positions + shift * one))
    assert len(asked) == 1
    finder.pairs(c.moved(c.positions + 0.51 * one))
    assert len(asked) == 2


def deformed(c, deformation):
    return replace(c, positions=c.positions @ deformation, cell=c.cell @ deformation)


PERIODIC = [name for name, c in CASES.items() if c.pbc.all()]


@pytest.mark.parametrize("name", PERIODIC)
@pytest.mark.parametrize("step", [0.003, 0.02, 0.1])
def test_pairs_of_a_cell_that_deforms_do_not_depend_on_what_was_asked(name, step):
    rng = np.random.default_rng(4)
    finder, c = NeighborList(CUTOFF), CASES[name]
    for _ in range(12):
        c = deformed(c, np.eye(3) + step * rng.normal(size=(3, 3)))
        c = c.moved(c.positions + 0.5 * step * rng.normal(size=c.positions.shape))
        fresh, again = NeighborList(CUTOFF).pairs(c), finder.pairs(c)
        for part in ("first", "neighbor", "vector", "distance"):
            assert np.array_equal(getattr(again, part), getattr(fresh, part))


def test_the_finder_is_asked_again_when_the_cell_shrank_by_the_skin(monkeypatch):
    asked = []
    find = vesin.NeighborList
    monkeypatch.setattr(
        vesin, "NeighborList", lambda **words: asked.append(1) or find(**words)
    )
    finder, c = NeighborList(CUTOFF, skin=1.0), CASES["triclinic"]
    # A distance of 5 A becomes one of 4 A at a factor of 0.8.
    for factor in (1.0, 1.3, 0.81):
        finder.pairs(deformed(c, factor * np.eye(3)))
    assert len(asked) == 1
    finder.pairs(deformed(c, 0.79 * np.eye(3)))
    assert len(asked) == 2
    # Between planes that slide atoms come nearer as well.
    finder.pairs(deformed(c, np.eye(3) + 0.6 * np.eye(3, k=-1)))
    assert len(asked) == 3
    slab = replace(CASES["slab"], cell=1.001 * CASES["slab"].cell)
    finder.pairs(CASES["slab"])
    finder.pairs(slab)
    assert len(asked) == 5


def test_a_pair_at_the_cutoff_is_left_out():
    dimer = configuration([[0, 0, 0], [0, 0, CUTOFF]], np.zeros((3, 3)), [0] * 3)
    inside = dimer.moved(np.array([[0, 0, 0], [0, 0, np.nextafter(CUTOFF, 0)]]))
    assert NeighborList(CUTOFF).pairs(dimer).n_pairs == 0
    assert NeighborList(CUTOFF).pairs(inside).n_pairs == 2


def test_an_isolated_atom_has_no_pairs():
    atom = configuration([[1.0, 2.0, 3.0]], np.zeros((3, 3)), [0] * 3)
    pairs = NeighborList(CUTOFF).pairs(atom)
    assert pairs.n_pairs == 0
    assert pairs.first.tolist() == [0, 0]
    assert pairs.vector.shape == (0, 3)


@pytest.mark.parametrize(
    ("cell", "pbc", "message"),
    [
        (np.diag([4.0, 0.0, 4.0]), [1, 1, 1], "zero or infinite length"),
        (np.diag([4.0, np.nan, 4.0]), [0, 1, 0], "zero or infinite length"),
        ([[4, 0, 0], [4, 0, 0], [0, 0, 4]], [1, 1, 0], "parallel"),
    ],
)
def test_a_periodic_axis_needs_a_proper_vector(cell, pbc, message):
    c = configuration([[0, 0, 0]], cell, pbc)
    with pytest.raises(InputError, match=message):
        NeighborList(CUTOFF).pairs(c)


def test_broken_positions_are_named():
    c = configuration([[0, 0, np.nan]], np.eye(3), [1] * 3)
    with pytest.raises(InputError, match="NaN"):
        NeighborList(CUTOFF).pairs(c)


def test_the_cutoff_must_be_positive():
    with pytest.raises(InputError, match="positive"):
        NeighborList(0.0)
