"""How cells may deform, and what presses on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from npt_systems import Membrane, argon, argon_potential, at_rest_in, gas
from scipy.linalg import expm

from otf.dynamics.cell import (
    CellFreedom,
    fixed_angles,
    isotropic,
    of_components,
    triangular,
)
from otf.dynamics.pressure import CellMotion, Load
from otf.dynamics.sampler import evaluate
from otf.dynamics.schedule import Target
from otf.errors import InputError
from otf.potential import Untrusted
from otf.testing import derivative

FULL = ("xx", "yy", "zz", "yz", "xz", "xy")
SKEW = np.array([[4.0, 0.0, 0.0], [1.0, 3.5, 0.0], [-0.7, 0.4, 5.0]])
FREEDOMS = {
    "isotropic": isotropic(),
    "orthorhombic": of_components(FULL[:3]),
    "full": of_components(FULL),
    "monoclinic": of_components(("xx", "yy", "zz", "xz")),
    "along z": of_components(("zz",)),
    "shear": of_components(("xy",)),
    "fixed angles": fixed_angles(SKEW),
}
EVERY_FREEDOM = pytest.mark.parametrize("name", FREEDOMS)


@EVERY_FREEDOM
def test_generators_are_orthonormal_and_only_the_first_changes_the_volume(name):
    B = FREEDOMS[name].generators
    products = np.einsum("iab,jab->ij", B, B)
    np.testing.assert_allclose(products, np.eye(len(B)), atol=1e-14)
    traces = FREEDOMS[name].traces
    np.testing.assert_allclose(traces[1:], 0.0, atol=1e-14)
    first = {"along z": 1.0, "shear": 0.0}.get(name, 3.0**0.5)
    assert traces[0] == pytest.approx(first)


@EVERY_FREEDOM
def test_generators_are_lower_triangular_bit_by_bit(name):
    assert not np.triu(FREEDOMS[name].generators, 1).any()


def test_the_dimension_is_that_of_the_free_components():
    sizes = {name: len(f.generators) for name, f in FREEDOMS.items()}
    assert sizes == {
        "isotropic": 1,
        "orthorhombic": 3,
        "full": 6,
        "monoclinic": 4,
        "along z": 1,
        "shear": 1,
        "fixed angles": 3,
    }


def test_fixed_angles_are_what_the_freedom_of_the_lengths_keeps():
    freedom = fixed_angles(SKEW)
    cell = SKEW @ expm(freedom.strain(np.array([0.3, -0.2, 0.4])))
    unit = cell / np.linalg.norm(cell, axis=1)[:, None]
    before = SKEW / np.linalg.norm(SKEW, axis=1)[:, None]
    np.testing.assert_allclose(unit @ unit.T, before @ before.T, atol=1e-14)
    assert np.ptp(np.linalg.norm(cell, axis=1) / np.linalg.norm(SKEW, axis=1)) > 0.3


def measure_by_jacobians(freedom, direction):
    """Return the growth of left over right invariant measure, by finite differences."""
    B = freedom.generators
    flat = B.reshape(len(B), 9)

    def log_jacobian(t, side):
        g = expm(t * direction)
        images = [side(g, b).ravel() for b in B]
        return np.linalg.slogdet(np.array(images) @ flat.T)[1]

    left = derivative(lambda t: log_jacobian(t, lambda g, b: g @ b), 1e-3)
    right = derivative(lambda t: log_jacobian(t, lambda g, b: b @ g), 1e-3)
    # d_L t = dt/|t -> g t|, d_R t = dt/|t -> t g|
    return right - left


@EVERY_FREEDOM
def test_the_measure_is_the_quotient_of_the_invariant_ones(name):
    freedom = FREEDOMS[name]
    expected = [measure_by_jacobians(freedom, b) for b in freedom.generators]
    np.testing.assert_allclose(freedom.measure, expected, atol=1e-8)


def test_the_measure_of_the_full_cell_is_2_0_and_minus_2():
    freedom = of_components(FULL)
    growth = np.einsum("k,kab->ab", freedom.measure, freedom.generators)
    np.testing.assert_allclose(growth, np.diag([2.0, 0.0, -2.0]), atol=1e-14)


def test_components_that_make_another_are_refused():
    with pytest.raises(InputError, match="xy and yz together make xz"):
        of_components(("xx", "yy", "zz", "xy", "yz"))


def turned_argon():
    state = argon(strain=0.05 * np.random.default_rng(3).normal(size=(3, 3)))
    cell = state.configuration.cell[[1, 2, 0]]
    return replace(state, configuration=replace(state.configuration, cell=cell))


def test_turning_keeps_lengths_energies_and_handedness():
    before, potential = turned_argon(), argon_potential()
    after = triangular(before)
    a, b = before.configuration, after.configuration
    assert not np.triu(b.cell, 1).any()
    assert (np.diag(b.cell)[:2] > 0.0).all()
    np.testing.assert_allclose(b.cell @ b.cell.T, a.cell @ a.cell.T, rtol=1e-12)
    assert np.linalg.det(b.cell) == pytest.approx(np.linalg.det(a.cell))
    turn = np.linalg.lstsq(a.positions, b.positions)[0]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1.0)
    np.testing.assert_allclose(after.momenta, before.momenta @ turn, atol=1e-12)
    first, second = evaluate(potential, before), evaluate(potential, after)
    assert second.energy == pytest.approx(first.energy, rel=1e-12)


def test_a_left_handed_cell_stays_left_handed():
    state = argon()
    flipped = replace(state.configuration, cell=5.3 * np.eye(3)[[1, 0, 2]])
    turned = triangular(replace(state, configuration=flipped)).configuration
    np.testing.assert_allclose(turned.cell, 5.3 * np.diag([1.0, 1.0, -1.0]), atol=1e-14)


def test_a_triangular_cell_is_not_touched():
    state = at_rest_in(argon(), SKEW)
    assert triangular(state) is state


@pytest.mark.parametrize("pressure", [(0.3, 0.3, 0.3), (0.1, -0.2, 0.5)])
def test_work_of_the_load_is_the_derivative_of_its_energy(pressure):
    load = Load(SKEW)
    cell = SKEW @ expm(0.1 * np.tril(np.random.default_rng(1).normal(size=(3, 3))))
    for a in range(3):
        for b in range(a + 1):
            unit = np.zeros((3, 3))
            unit[a, b] = 1.0
            expected = derivative(
                lambda t, unit=unit: load.energy(cell @ expm(t * unit), pressure), 1e-3
            )
            assert load.work(cell, pressure)[a, b] == pytest.approx(expected, abs=1e-9)


def test_pressures_that_differ_are_those_of_the_first_cell():
    work = Load(SKEW).work(SKEW, (0.1, 0.2, 0.6))
    np.testing.assert_allclose(work, 70.0 * np.diag([0.1, 0.2, 0.6]), atol=1e-12)


@EVERY_FREEDOM
def test_the_pull_is_minus_the_derivative_of_enthalpy_and_kinetic_energy(name):
    potential, target = argon_potential(), Target(20.0, (0.01, 0.02, -0.01))
    state = argon(strain=0.03 * np.tril(np.random.default_rng(5).normal(size=(3, 3))))
    cell = CellMotion(freedom=FREEDOMS[name], load=Load(SKEW))

    def energy(t, along):
        moved, _ = cell.deformed(state, t * cell.freedom.strain(along))
        return (
            evaluate(potential, moved).energy
            + moved.kinetic_energy
            + cell.load_energy(moved, target)
        )

    found = cell.pull(state, evaluate(potential, state).stress, target)
    for unit, value in zip(np.eye(len(found)), found, strict=True):
        expected = -derivative(lambda t, unit=unit: energy(t, unit), 1e-4)
        assert value == pytest.approx(expected, abs=1e-7)


def test_stress_of_the_elastic_cell_is_that_of_its_energy():
    state = at_rest_in(gas(edge=1.1), np.diag([1.1, 0.9, 1.0]) + 0.1 * np.eye(3, k=-1))
    cell = CellMotion(freedom=FREEDOMS["full"], load=Load(np.eye(3)))
    potential = Membrane(3.0)

    def energy(t, along):
        moved, _ = cell.deformed(state, t * cell.freedom.strain(along))
        return evaluate(potential, moved).energy + moved.kinetic_energy

    target = Target(1.0, (0.0, 0.0, 0.0))
    found = cell.pull(state, evaluate(potential, state).stress, target)
    for unit, value in zip(np.eye(6), found, strict=True):
        expected = -derivative(lambda t, unit=unit: energy(t, unit), 1e-4)
        assert value == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("bad", [0.051, np.nan])
def test_a_cell_that_strains_too_much_is_reported(bad):
    cell = CellMotion(freedom=isotropic(), load=Load(np.eye(3)), largest_strain=0.05)
    with pytest.raises(Untrusted, match=r"in one step, the limit is 0\.05"):
        cell.deformed(gas(), bad * np.eye(3))


def test_impossible_guards_are_refused():
    with pytest.raises(InputError, match="must be positive, got 0"):
        CellMotion(freedom=isotropic(), load=Load(np.eye(3)), largest_strain=0.0)


def test_no_matrices_make_no_freedom():
    assert CellFreedom.spanned([]).generators.shape == (0, 3, 3)
