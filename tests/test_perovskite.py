"""The reference of the example of a perovskite: its gradients and its double well."""

import sys
from dataclasses import replace
from importlib import util
from pathlib import Path

import numpy as np
import pytest

from otf.configuration import VOIGT, Configuration
from otf.errors import InputError

FOLDER = Path(__file__).parents[1] / "examples" / "perovskite"


def imported(name):
    spec = util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = util.module_from_spec(spec)
    sys.modules[name] = module  # numba and dataclasses look for it by name
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tilting():
    yield imported("tilting")
    del sys.modules["tilting"]


@pytest.fixture(scope="module")
def script(tilting):
    yield imported("transition")
    del sys.modules["transition"]


@pytest.fixture(scope="module")
def calculator(tilting):
    return tilting.TiltingPerovskite()


def test_forces_and_virial_are_the_gradient(tilting, calculator):
    atoms = tilting.crystal(7.0)
    # So far that bonds fade out, and that angles are far from those at rest.
    atoms.rattle(0.4, seed=2)
    c = Configuration.from_atoms(atoms)
    _, forces, virial = calculator.evaluate(c)
    step = 1e-4

    def slope(moved):
        # Central differences of fourth order.
        e = [calculator.evaluate(moved(k * step))[0] for k in (-2, -1, 1, 2)]
        return (e[0] - 8.0 * e[1] + 8.0 * e[2] - e[3]) / (12.0 * step)

    largest = np.abs(forces).max()
    for atom in range(10):
        for axis in range(3):
            unit = np.zeros_like(c.positions)
            unit[atom, axis] = 1.0
            found = -slope(lambda h, u=unit: replace(c, positions=c.positions + h * u))
            assert found == pytest.approx(forces[atom, axis], abs=1e-8 * largest)
    for component, (a, b) in enumerate(VOIGT):
        strain = np.zeros((3, 3))
        strain[a, b] += 0.5
        strain[b, a] += 0.5

        def strained(h, e=strain):
            f = np.eye(3) + h * e
            return replace(c, positions=c.positions @ f, cell=c.cell @ f)

        assert slope(strained) == pytest.approx(
            virial[component], abs=1e-8 * np.abs(virial).max()
        )


def test_a_rigid_tilt_has_the_energy_of_its_bridges(tilting):
    """The double well alone: least where s = 1 - cos(2 tilt) is that at rest."""
    rest, bend = 0.025, 0.8
    none = dict.fromkeys(("bond_depth", "edge_depth", "shell", "cage_depth"), 0.0)
    bridges = tilting.TiltingPerovskite(bend=bend, bend_at_rest=rest, **none)

    def energy(tilt):  # of a cell: two of its three corners are bent
        c = Configuration.from_atoms(tilting.crystal(tilt))
        return bridges.evaluate(c)[0] / 8.0

    # Edges along x and y are equal, so the angle of a bridge is 180 - 2 tilt.
    bottom = 0.5 * np.degrees(np.arccos(1.0 - rest))
    assert energy(0.0) == pytest.approx(0.0, abs=1e-12)
    assert energy(bottom) == pytest.approx(-2.0 * bend * rest / 2.0, rel=1e-12)
    assert energy(-bottom) == pytest.approx(energy(bottom), rel=1e-12)


def test_tilts_in_antiphase_make_the_deepest_well(tilting, calculator):
    def energy(tilt, **options):
        c = Configuration.from_atoms(tilting.crystal(tilt, **options))
        return calculator.evaluate(c)[0] / 8.0

    straight = energy(0.0, edges=(6.22, 6.22, 6.34))
    tilted = min(energy(t) for t in (6.0, 7.0, 8.0))
    assert straight - tilted > 0.02  # eV, about kT at 250 K
    assert min(energy(t, in_phase=True) for t in (6.0, 7.0, 8.0)) > tilted + 0.01


def test_the_stretched_crystal_tilts_about_z_alone(tilting, calculator):
    """A frozen tilt of the straight crystal costs energy about x, and gains about z."""

    def energy(angle, axis):
        atoms = tilting.crystal(0.0, edges=(6.22, 6.22, 6.34))
        lead = atoms.positions[atoms.numbers == 82]
        for i in np.flatnonzero(atoms.numbers == 53):
            bond = atoms.positions[i] - lead[i // 5]
            sign = (-1) ** int(
                np.round(2.0 * lead[i // 5] / atoms.cell.lengths()).sum()
            )
            turn = sign * np.radians(angle) * np.eye(3)[axis]
            atoms.positions[i] += np.cross(turn, bond)
        return calculator.evaluate(Configuration.from_atoms(atoms))[0] / 8.0

    assert energy(4.0, axis=2) < energy(0.0, axis=2) - 0.005
    assert energy(4.0, axis=0) > energy(0.0, axis=0) + 0.005


def test_other_elements_are_refused(tilting, calculator):
    atoms = tilting.crystal(0.0)
    atoms.symbols[0] = "Rb"
    with pytest.raises(InputError, match="Cs, Pb and I only, got Z = 37"):
        calculator.evaluate(Configuration.from_atoms(atoms))


def simulations(script, work, kind, critical, beta, seed):
    """Write the order parameter of a known law, either sign, with white noise."""
    rng = np.random.default_rng(seed)
    for temperature in np.linspace(180.0, 280.0, 8):
        square = 40.0 * ((critical - temperature) / 100.0) ** (2.0 * beta)
        order = np.zeros((4000, 3))
        order[:, 2] = rng.choice((-1.0, 1.0), 4000) * np.sqrt(
            square * (1.0 + 0.1 * rng.standard_normal(4000))
        )
        known = script.Simulated(temperature, seed, order, np.full((4000, 3), 6.2))
        known.save(work / f"{kind}-160-{temperature:g}K-seed{seed}.npz")


def test_the_verdict_finds_the_law_and_tells_two_laws_apart(script, tmp_path, capsys):
    simulations(script, tmp_path, "reference", 300.0, 0.3, seed=1)
    simulations(script, tmp_path, "reference", 300.0, 0.3, seed=2)
    simulations(script, tmp_path, "learned", 306.0, 0.3, seed=3)
    for kind, critical in (("reference", 300.0), ("learned", 306.0)):
        fit = script.transition(tmp_path, kind, 160).fit
        for found, true in ((fit.critical_temperature, critical), (fit.beta, 0.3)):
            assert abs(found.value - true) < 4.0 * found.error
        assert fit.critical_temperature.error < 1.0
    script.judge(tmp_path, script.Size((2, 2, 1)), None)
    told = capsys.readouterr().out
    temperature, beta = (
        next(line for line in told.splitlines() if line.startswith(name))
        for name in ("critical_temperature", "beta")
    )
    assert temperature.endswith("not equal")
    assert beta.endswith(" equal")
    assert not beta.endswith("not equal")
