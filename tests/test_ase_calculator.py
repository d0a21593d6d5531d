"""The calculator for foreign drivers."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, PropertyNotImplementedError
from ase.md.verlet import VelocityVerlet as AseVelocityVerlet
from ase.optimize import BFGS

from otf.deploy.ase import OTFCalculator
from otf.dynamics.sampler import evaluate
from otf.dynamics.schedule import Target
from otf.dynamics.verlet import Motion, VelocityVerlet
from otf.errors import OTFError
from otf.potential import Prediction, Untrusted
from otf.testing import LennardJones, at_rest

POSITIONS = np.array([[0, 0, 0], [1.2, 0, 0], [0.3, 1.1, 0.1], [0.5, 0.4, 1.0]])


def four_atoms(calculator, cell=None):
    atoms = Atoms("H4", positions=POSITIONS, cell=cell, pbc=cell is not None)
    atoms.set_masses(np.ones(4))
    atoms.calc = calculator
    return atoms


class Recorder(LennardJones):
    """Lennard-Jones with a stress, that writes down how it was asked."""

    def predict(self, configurations, *, step, use_labels=True):
        asked = self.__dict__.setdefault("asked", [])
        asked.append((len(configurations), step, use_labels))
        right = self.of(configurations[0])
        return [Prediction(right.energy, right.forces, np.arange(6.0))]


def test_results_are_those_of_the_potential():
    atoms = four_atoms(OTFCalculator(Recorder()), cell=10.0 * np.eye(3))
    expected = Recorder().of(at_rest(POSITIONS).configuration)
    assert atoms.get_potential_energy() == expected.energy
    assert atoms.get_potential_energy(force_consistent=True) == expected.energy
    assert (atoms.get_forces() == expected.forces).all()
    assert (atoms.get_stress() == np.arange(6.0)).all()


def test_the_stress_of_a_molecule_is_not_offered():
    with pytest.raises(PropertyNotImplementedError):
        four_atoms(OTFCalculator(Recorder())).get_stress()


@pytest.mark.parametrize("use_labels", [True, False])
def test_the_clock_counts_new_configurations(use_labels):
    potential = Recorder()
    calculator = OTFCalculator(potential, use_labels=use_labels, first_step=5)
    atoms = four_atoms(calculator)
    atoms.get_forces()
    atoms.get_potential_energy()
    atoms.rattle(0.01)
    atoms.get_forces()
    assert potential.asked == [(1, 5, use_labels), (1, 6, use_labels)]
    assert calculator.step == 7
    assert calculator.prediction.energy == atoms.get_potential_energy()


def test_verlet_of_ase_gives_the_trajectory_of_ours():
    atoms = four_atoms(OTFCalculator(LennardJones()))
    AseVelocityVerlet(atoms, timestep=0.005).run(100)
    state, sampler = at_rest(POSITIONS), VelocityVerlet(Motion(timestep=0.005))
    last = evaluate(LennardJones(), state)
    for _ in range(100):
        state, last = sampler.step(state, last, LennardJones(), Target(0.0))
    np.testing.assert_allclose(
        atoms.positions, state.configuration.positions, atol=1e-11
    )


def test_relaxation_of_ase_finds_the_tetrahedron():
    atoms = four_atoms(OTFCalculator(LennardJones()))
    assert BFGS(atoms, logfile=None).run(fmax=1e-6, steps=100)
    assert atoms.get_potential_energy() == pytest.approx(-6.0, abs=1e-9)


def test_an_untrusted_configuration_ends_as_one_clear_error():
    class Refusing(LennardJones):
        def predict(self, configurations, *, step, use_labels=True):
            if step == 2:
                raise Untrusted(configurations[0], "atoms 0 and 1 are 0.2 A apart")
            return super().predict(configurations, step=step)

    atoms = four_atoms(OTFCalculator(Refusing()))
    with pytest.raises(OTFError, match=r"^step 2: atoms 0 and 1 are") as caught:
        AseVelocityVerlet(atoms, timestep=0.005).run(100)
    assert isinstance(caught.value, CalculationFailed)
    assert "\n" not in str(caught.value)
