"""Electrostatics of fixed charges: Madelung constants, derivatives, limits."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from otf.configuration import Configuration
from otf.errors import InputError
from otf.models.baselines.alone import BaselinePotential
from otf.models.baselines.fixed_charges import MESH_FROM, FixedCharges
from otf.testing import check_forces
from otf.units import COULOMB

CHARGES = {11: 1.0, 17: -1.0}
TIGHT = 1e-13
PERIODIC, FREE = np.ones(3, dtype=bool), np.zeros(3, dtype=bool)
FCC = 0.5 * np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]])
CELLS = {
    "orthorhombic": np.diag([5.2, 6.1, 7.3]),
    "triclinic": np.array([[5.5, 0.0, 0.0], [1.4, 5.9, 0.0], [-1.1, 2.0, 6.2]]),
    "left-handed": np.array([[0.0, 5.5, 0.0], [5.9, 1.4, 0.0], [2.0, -1.1, 6.2]]),
    "smaller than the cutoff": np.diag([3.0, 3.2, 2.9]),
}


def rocksalt(a=5.64):
    return Configuration(
        numbers=np.repeat([11, 17], 4),
        positions=a * np.concatenate([FCC, FCC + 0.5 * np.array([1, 0, 0])]),
        cell=a * np.eye(3),
        pbc=PERIODIC,
    )


def caesium_chloride(a=4.12):
    return Configuration(
        numbers=np.array([11, 17]),
        positions=a * np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]),
        cell=a * np.eye(3),
        pbc=PERIODIC,
    )


def disordered(cell, seed=0):
    """Six ions near a grid, Na2MgCl4 as it were."""
    rng = np.random.default_rng(seed)
    grid = np.array(list(product([0.0, 0.5], [0.0, 0.5], [0.0, 0.5])))[:6]
    shake = rng.normal(scale=0.04, size=(6, 3))
    return Configuration(
        numbers=np.array([11, 17, 17, 11, 17, 17]),
        positions=(grid + shake) @ cell,
        cell=cell,
        pbc=PERIODIC,
    )


def uneven(**options):
    """Return charges that cancel in ``disordered``."""
    return FixedCharges({11: 1.6, 17: -0.8}, **options)


def energy(baseline, configuration):
    return baseline.evaluate(configuration).energies.sum()


@pytest.mark.parametrize("cutoff", [None, 3.0, 5.0, 9.0])
@pytest.mark.parametrize(
    ("crystal", "nearest", "pairs", "constant"),
    [
        (rocksalt(5.64), 2.82, 4, 1.747564594633182),
        (caesium_chloride(4.12), 4.12 * np.sqrt(0.75), 1, 1.762674773070),
    ],
)
def test_madelung_constants_whatever_the_splitting(
    crystal, nearest, pairs, constant, cutoff
):
    # D. Borwein, J. M. Borwein, K. F. Taylor, J. Math. Phys. 26, 2999 (1985)
    baseline = FixedCharges(CHARGES, accuracy=1e-11, cutoff=cutoff)
    found = -energy(baseline, crystal) * nearest / (pairs * COULOMB)
    assert found == pytest.approx(constant, abs=1e-9)


def test_the_default_accuracy_is_one_millionth():
    found = -energy(FixedCharges(CHARGES), rocksalt()) * 2.82 / (4 * COULOMB)
    assert found == pytest.approx(1.747564594633182, abs=1.75e-6)


def test_the_stress_of_a_coulomb_crystal_is_its_energy_density():
    # U scales as 1/length: the trace of dU/dstrain is -U.
    values = FixedCharges(CHARGES, accuracy=TIGHT).evaluate(rocksalt())
    trace = values.strain_derivative[:3].sum()
    assert trace == pytest.approx(-values.energies.sum(), rel=1e-9)
    np.testing.assert_allclose(values.forces, 0.0, atol=1e-12)


@pytest.mark.parametrize("widths", [{}, {17: 0.7}, {11: 0.4, 17: 0.9}])
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_forces_and_stress_are_derivatives_of_the_energy(cell, widths):
    baseline = BaselinePotential(uneven(widths=widths))
    check_forces(baseline, disordered(cell), tolerance=1e-7)


@pytest.mark.parametrize("cutoff", [3.0, 4.5, 7.0])
@pytest.mark.parametrize("widths", [{}, {11: 0.4, 17: 0.9}])
def test_forces_do_not_depend_on_the_splitting(widths, cutoff):
    c = disordered(CELLS["triclinic"])
    options = {"widths": widths, "accuracy": TIGHT}
    one = uneven(**options).evaluate(c)
    other = uneven(cutoff=cutoff, **options).evaluate(c)
    np.testing.assert_allclose(other.energies, one.energies, atol=1e-9)
    np.testing.assert_allclose(other.forces, one.forces, atol=1e-9)
    np.testing.assert_allclose(
        other.strain_derivative, one.strain_derivative, atol=1e-8
    )


@pytest.mark.parametrize("accuracy", [1e-4, 1e-6, 1e-8, 1e-10])
def test_the_accuracy_is_kept(accuracy):
    c = disordered(CELLS["triclinic"])
    exact = uneven(accuracy=1e-14).evaluate(c)
    for cutoff in (None, 3.0, 6.0, 9.0):
        found = uneven(accuracy=accuracy, cutoff=cutoff).evaluate(c)
        error = np.sqrt(((found.forces - exact.forces) ** 2).mean())
        assert error < 10 * accuracy * np.abs(exact.forces).max()


def repeated(c, n):
    shifts = np.array(list(product(range(n), repeat=3)))
    return replace(
        c,
        numbers=np.tile(c.numbers, n**3),
        positions=np.concatenate([c.positions + s @ c.cell for s in shifts]),
        cell=n * c.cell,
    )


# 162 ions are summed wave by wave, 384 on a mesh.
@pytest.mark.parametrize("n", [3, 4])
@pytest.mark.parametrize("accuracy", [1e-4, 1e-6, 1e-8, 1e-10, 1e-12])
def test_many_atoms_are_summed_as_few_are(n, accuracy):
    c = disordered(CELLS["triclinic"])
    large = repeated(c, n)
    assert (large.n_atoms >= MESH_FROM) == (n == 4)
    one = uneven(accuracy=TIGHT).evaluate(c)
    many = uneven(accuracy=accuracy).evaluate(large)
    for name, exact in (
        ("energies", np.tile(one.energies, n**3)),
        ("forces", np.tile(one.forces, (n**3, 1))),
        ("strain_derivative", n**3 * one.strain_derivative),
    ):
        found = getattr(many, name)
        error = np.sqrt(((found - exact) ** 2).mean())
        assert error < 20 * max(accuracy, 1e-12) * np.abs(exact).max()


@pytest.mark.parametrize("widths", [{}, {11: 0.4, 17: 0.9}])
def test_forces_and_stress_of_a_mesh_are_derivatives_of_its_energy(widths):
    c = repeated(disordered(CELLS["triclinic"]), 4)
    rng = np.random.default_rng(5)
    c = c.moved(c.positions + rng.normal(scale=0.1, size=c.positions.shape))
    baseline = BaselinePotential(uneven(widths=widths))
    check_forces(baseline, c, tolerance=1e-7, atoms=[0, 100, 301])


def test_a_mesh_gives_the_madelung_constant():
    c = repeated(rocksalt(), 4)
    found = -energy(FixedCharges(CHARGES, accuracy=1e-11), c) * 2.82
    constant = 1.747564594633182
    assert found / (256 * COULOMB) == pytest.approx(constant, abs=1e-9)


def test_energies_of_ions_add_up_whatever_their_cell():
    # Wrapping atoms and turning the crystal change nothing.
    c = disordered(CELLS["triclinic"])
    axis, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    turned = replace(
        c, positions=(c.positions + 2 * c.cell[0]) @ axis, cell=c.cell @ axis
    )
    one, other = (uneven(accuracy=TIGHT).evaluate(x) for x in (c, turned))
    np.testing.assert_allclose(other.energies, one.energies, atol=1e-9)
    np.testing.assert_allclose(other.forces, one.forces @ axis, atol=1e-9)


def dimer(distance, **changes):
    c = Configuration(
        numbers=np.array([11, 17]),
        positions=np.array([[0.0, 0.0, 0.0], [0.0, 0.0, distance]]),
        cell=np.zeros((3, 3)),
        pbc=FREE,
    )
    return replace(c, **changes)


def test_a_molecule_is_a_direct_sum():
    values = FixedCharges(CHARGES).evaluate(dimer(2.5))
    assert values.energies.sum() == pytest.approx(-COULOMB / 2.5, rel=1e-14)
    np.testing.assert_allclose(
        values.forces[:, 2], COULOMB / 2.5**2 * np.array([1.0, -1.0]), rtol=1e-14
    )


@pytest.mark.parametrize("widths", [{}, {11: 0.4, 17: 0.9}])
def test_forces_of_a_molecule_are_derivatives_of_the_energy(widths):
    c = replace(disordered(CELLS["triclinic"]), pbc=FREE)
    check_forces(BaselinePotential(uneven(widths=widths)), c, tolerance=1e-7)


def test_a_molecule_in_a_large_box_is_a_molecule():
    # Images in a conductor lower the energy of a dipole p by 2 pi p^2/(3 V).
    side, c = 60.0, dimer(1.5)
    boxed = replace(c, cell=side * np.eye(3), pbc=PERIODIC)
    free, periodic = (
        energy(FixedCharges(CHARGES, accuracy=1e-10), x) for x in (c, boxed)
    )
    dipole = 2 * np.pi * COULOMB * 1.5**2 / (3 * side**3)
    assert periodic - free == pytest.approx(-dipole, rel=1e-2)


def test_gaussian_charges_stay_finite_where_atoms_meet():
    wide = FixedCharges(CHARGES, {11: 0.6, 17: 0.8})
    width = np.sqrt(0.6**2 + 0.8**2)
    found = energy(wide, dimer(1e-9))
    assert found == pytest.approx(-2 * COULOMB / (np.sqrt(np.pi) * width), rel=1e-9)


def test_gaussian_charges_are_points_from_afar():
    wide = FixedCharges(CHARGES, {11: 0.3, 17: 0.4}, accuracy=TIGHT)
    point = FixedCharges(CHARGES, accuracy=TIGHT)
    c = rocksalt(8.0)
    assert energy(wide, c) == pytest.approx(energy(point, c), rel=1e-10)
    c = rocksalt(2.0)
    assert energy(wide, c) > energy(point, c) + 0.1


def test_charged_cells_are_refused():
    c = replace(rocksalt(), numbers=np.repeat([11, 17], [5, 3]))
    with pytest.raises(InputError, match=r"sum to \+2 e, expected \+0.*charges_e"):
        FixedCharges(CHARGES).evaluate(c)


def test_a_charged_molecule_has_the_charge_of_its_structure():
    ions = replace(dimer(2.5), numbers=np.array([11, 11]))
    with pytest.raises(InputError, match=r"sum to \+2 e"):
        FixedCharges(CHARGES).evaluate(ions)
    found = energy(FixedCharges(CHARGES), replace(ions, charge=2.0))
    assert found == pytest.approx(COULOMB / 2.5)


def test_slabs_and_wires_are_refused():
    for pbc in ([True, True, False], [False, False, True]):
        c = replace(rocksalt(), pbc=np.array(pbc))
        with pytest.raises(InputError, match="all three directions or in none"):
            FixedCharges(CHARGES).evaluate(c)


def test_an_element_without_charge_is_refused():
    c = replace(rocksalt(), numbers=np.repeat([11, 18], 4))
    with pytest.raises(InputError, match=r"no charge for atomic number 18.*charges_e"):
        FixedCharges(CHARGES).evaluate(c)
