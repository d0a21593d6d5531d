"""Dispersion baselines: a dimer by hand, derivatives, the programs themselves."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk, graphene, molecule
from ase.units import Bohr

from otf.configuration import Configuration
from otf.errors import InputError
from otf.models.baselines.alone import BaselinePotential
from otf.models.baselines.dispersion_d2 import SCALE, DispersionD2, published
from otf.models.baselines.dispersion_wheels import DispersionD3, DispersionD4
from otf.testing import check_forces

PERIODIC = np.ones(3, dtype=bool)
CELLS = {
    "orthorhombic": np.diag([5.2, 6.1, 7.3]),
    "triclinic": np.array([[5.5, 0.0, 0.0], [1.4, 5.9, 0.0], [-1.1, 2.0, 6.2]]),
    "smaller than the cutoff": np.diag([3.0, 3.2, 2.9]),
}


def d2(species=(1, 6, 18), **options):
    return DispersionD2(*published(species), scale=SCALE["pbe"], **options)


def dimer(distance, numbers=(18, 18)):
    return Configuration(
        numbers=np.array(numbers),
        positions=np.array([[0.0, 0.0, 0.0], [0.0, 0.0, distance]]),
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, dtype=bool),
    )


def disordered(cell, seed=0):
    rng = np.random.default_rng(seed)
    grid = 0.5 * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
    return Configuration(
        numbers=np.array([6, 1, 6, 18, 6]),
        positions=(grid + rng.normal(scale=0.05, size=(5, 3))) @ cell,
        cell=cell,
        pbc=PERIODIC,
    )


def energy(baseline, configuration):
    return baseline.evaluate(configuration).energies.sum()


# ------------------------------------------------------------------------------- D2
def test_d2_of_an_argon_dimer_by_hand():
    # C6 = 4.61 J nm^6/mol = 47.77928 eV A^6, R0 = 2 * 1.595 A, PBE: s6 = 0.75, d = 20.
    r = 3.8
    c6 = 4.61 * 1e6 / 96485.33212
    damping = 1.0 / (1.0 + np.exp(-20.0 * (r / 3.19 - 1.0)))
    expected = -0.75 * c6 / r**6 * damping
    assert expected == pytest.approx(-0.0116472, abs=1e-7)
    assert energy(d2(), dimer(r)) == pytest.approx(expected, rel=1e-6)


def test_d2_mixes_elements_by_the_geometric_mean():
    r, c6 = 3.0, np.sqrt(0.14 * 1.75) * 1e6 / 96485.33212
    damping = 1.0 / (1.0 + np.exp(-20.0 * (r / (1.001 + 1.452) - 1.0)))
    found = energy(d2(), dimer(r, (1, 6)))
    assert found == pytest.approx(-0.75 * c6 / r**6 * damping, rel=1e-6)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_d2_forces_and_stress_are_derivatives_of_the_energy(cell):
    check_forces(BaselinePotential(d2(cutoff=9.0)), disordered(cell), tolerance=1e-7)


@pytest.mark.parametrize("where", [6.4, 8.0, 0.2 * 3.19, 0.3 * 3.19])
def test_d2_has_two_continuous_derivatives_where_it_ends(where):
    baseline = d2(cutoff=8.0)

    def jump(h):
        def second(r):
            return (
                energy(baseline, dimer(r + h))
                - 2 * energy(baseline, dimer(r))
                + energy(baseline, dimer(r - h))
            ) / h**2

        return abs(second(where + 2 * h) - second(where - 2 * h))

    # Of a continuous second derivative the difference shrinks with the distance.
    assert jump(1e-3) < 0.4 * jump(4e-3)


def test_d2_is_absent_beyond_the_cutoff_and_where_atoms_meet():
    assert energy(d2(cutoff=8.0), dimer(8.0)) == 0.0
    assert energy(d2(), dimer(0.1)) == 0.0
    assert -1e-3 < energy(d2(), dimer(0.9)) < 0.0


def test_d2_sums_over_all_images():
    # Argon, fcc: a lattice sum of 14.4539 per distance^6 (known to 1e-8).
    spacing = 9.0  # far enough for the damping to be 1
    atoms = bulk("Ar", "fcc", a=spacing * np.sqrt(2.0))
    found = energy(d2(cutoff=90.0), Configuration.from_atoms(atoms))
    c6 = 0.75 * 4.61 * 1e6 / 96485.33212
    expected = -0.5 * c6 * 14.4539210438 / spacing**6
    # What lies beyond the cutoff is 4 pi sqrt(2) spacing^3/(3 r^3) of spacing^-6.
    tail = 4 * np.pi * np.sqrt(2.0) / 3.0 * (9.0 / 81.0) ** 3 / 14.4539
    assert found == pytest.approx(expected, rel=1.5 * tail)


def test_d2_needs_both_parameters_of_an_element():
    with pytest.raises(InputError, match="atomic number 79"):
        DispersionD2({79: 400.0}, {}, scale=1.0)


# ------------------------------------------------------------------------- D3 and D4
WHEELS = {"dftd3": DispersionD3, "dftd4": DispersionD4}


@pytest.fixture(params=WHEELS)
def package(request):
    pytest.importorskip(
        f"{request.param}.interface", reason=f"needs pip install {request.param}"
    )
    return request.param


def calculator(package, **options):
    """Return the ASE calculator of the program itself."""
    if package == "dftd3":
        from dftd3.ase import DFTD3

        return DFTD3(method="PBE", damping="d3bj", **options)
    from dftd4.ase import DFTD4

    return DFTD4(method="PBE", **options)


def shaken(atoms, seed=0):
    atoms.rattle(0.1, seed=seed)
    return atoms


SYSTEMS = {
    "molecule": lambda: shaken(molecule("C6H6")),
    "crystal": lambda: shaken(bulk("Ar", "fcc", a=5.3, cubic=True)),
    "layer": lambda: shaken(graphene(vacuum=5.0)),
}


def same(values, atoms):
    assert values.energies.sum() == pytest.approx(
        atoms.get_potential_energy(), rel=1e-10
    )
    np.testing.assert_allclose(values.forces, atoms.get_forces(), atol=1e-12)
    if atoms.pbc.all():
        np.testing.assert_allclose(
            values.strain_derivative / atoms.cell.volume,
            atoms.get_stress(),
            atol=1e-12,
        )


@pytest.mark.parametrize("system", SYSTEMS)
def test_values_are_those_of_the_program(package, system):
    atoms = SYSTEMS[system]()
    atoms.calc = calculator(package)
    same(WHEELS[package]("PBE").evaluate(Configuration.from_atoms(atoms)), atoms)


def test_a_cutoff_ends_smoothly(package):
    atoms = SYSTEMS["crystal"]()
    cutoff, three = 12.0, min(12.0, 40 * Bohr)
    atoms.calc = calculator(
        package,
        realspace_cutoff={
            "disp2": cutoff,
            "disp3": three,
            "width2": 0.1 * cutoff,
            "width3": 0.1 * three,
        },
    )
    baseline = WHEELS[package]("PBE", cutoff=cutoff)
    c = Configuration.from_atoms(atoms)
    same(baseline.evaluate(c), atoms)
    check_forces(BaselinePotential(baseline), c, tolerance=1e-6)


def test_parameters_of_a_functional_may_be_given(package):
    # Published for PBE.
    parameters = {
        "dftd3": {"s8": 0.7875, "a1": 0.4289, "a2": 4.4407, "s9": 0.0},
        "dftd4": {"s8": 0.95948085, "a1": 0.38574991, "a2": 4.80688534},
    }[package]
    c = Configuration.from_atoms(SYSTEMS["molecule"]())
    one, other = (
        WHEELS[package](*arguments) for arguments in (("PBE",), (None, parameters))
    )
    assert energy(one, c) == pytest.approx(energy(other, c), rel=1e-9)


def test_d4_knows_the_charge_of_a_molecule():
    pytest.importorskip("dftd4.interface", reason="needs pip install dftd4")
    c = Configuration.from_atoms(SYSTEMS["molecule"]())
    neutral, ion = (energy(DispersionD4("PBE"), replace(c, charge=q)) for q in (0, 1))
    assert abs(neutral - ion) > 1e-3


def test_an_unknown_functional_is_one_line(package):
    with pytest.raises(InputError, match=r"refuses its parameters: .*dispersion\]"):
        WHEELS[package]("nonsense")
    with pytest.raises(InputError, match=r"refuses its parameters: .*a2"):
        WHEELS[package](None, {"s8": 1.0, "a1": 0.4})


def test_an_element_without_parameters_is_refused(package):
    with pytest.raises(InputError, match="atomic number 110"):
        WHEELS[package]("PBE").evaluate(dimer(3.0, (110, 1)))


@pytest.mark.parametrize("package", WHEELS)
def test_a_missing_program_says_how_to_install_it(package, monkeypatch):
    monkeypatch.setitem(sys.modules, f"{package}.interface", None)
    with pytest.raises(InputError, match=f"pip install {package} "):
        WHEELS[package]("PBE")
