"""Systems whose volumes and cells are known, and the barostats that move them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ase.build import bulk

from otf.calculators.exact import ExactPotential
from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.configuration import VOIGT, Configuration
from otf.dynamics.barostats import StochasticCellRescaling
from otf.dynamics.conservation import conserved_energy
from otf.dynamics.extended_cell import (
    ConstantEnthalpy,
    LangevinParrinelloRahman,
    MartynaTobiasKlein,
)
from otf.dynamics.pressure import CellMotion, Load
from otf.dynamics.sampler import evaluate
from otf.dynamics.schedule import Target
from otf.dynamics.thermostats import Langevin, StochasticVelocityRescaling
from otf.dynamics.velocities import with_random_velocities
from otf.dynamics.verlet import Motion
from otf.potential import Prediction
from otf.state import State
from otf.units import FS, KB

UNIT = Target(1.0 / KB, (1.0, 1.0, 1.0))
PAIRS = ("cell-rescaling", "cell-rescaling with csvr", "parrinello-rahman", "mtk")


def barostat(
    name,
    freedom,
    cell,
    *,
    timestep,
    time=1.0,
    compressibility=0.5,
    temperature=1.0 / KB,
    **motion,
):
    """Return a barostat whose times are all ``time``."""
    motion = Motion(timestep=timestep, **motion)
    moving = CellMotion(freedom=freedom, load=Load(cell))
    langevin = Langevin(motion, 1.0 / time)
    if name.startswith("cell-rescaling"):
        csvr = StochasticVelocityRescaling(motion, time)
        return StochasticCellRescaling(
            thermostat=csvr if "csvr" in name else langevin,
            cell=moving,
            relaxation_time=time,
            compressibility=compressibility,
        )
    if name == "constant enthalpy":
        return ConstantEnthalpy(
            motion=motion, cell=moving, relaxation_time=time, temperature=temperature
        )
    if name == "parrinello-rahman":
        return LangevinParrinelloRahman(
            thermostat=langevin, cell=moving, friction=1.0 / time, relaxation_time=time
        )
    return MartynaTobiasKlein(
        motion=motion, cell=moving, thermostat_time=time, relaxation_time=time
    )


def visit(sampler, state, potential, n_steps, *, look, target=UNIT):
    """Return the last state, and what ``look`` sees of every state and prediction."""
    prediction = evaluate(potential, state)
    seen = []
    for _ in range(n_steps):
        state, prediction = sampler.step(state, prediction, potential, target)
        seen.append(look(state, prediction))
    return state, np.array(seen)


def volume(state, prediction):
    return state.configuration.volume


def conserved(state, prediction):
    return conserved_energy(state, prediction)


class Gas:
    """Atoms that do not see each other."""

    def predict(self, configurations, *, step, use_labels=True):
        return [
            Prediction(0.0, np.zeros_like(c.positions), np.zeros(6))
            for c in configurations
        ]


class Membrane(Gas):
    """A gas in an elastic cell, U = stiffness/4 sum_ab (G - 1)_ab^2, G = h h^T.

    The energy knows lengths and angles of the cell only, and all three vectors alike.
    """

    def __init__(self, stiffness):
        self.stiffness = stiffness

    def predict(self, configurations, *, step, use_labels=True):
        return [self._predict(c) for c in configurations]

    def _predict(self, c):
        away = c.cell @ c.cell.T - np.eye(3)
        energy = 0.25 * self.stiffness * float((away**2).sum())
        virial = self.stiffness * c.cell.T @ away @ c.cell
        stress = np.array([virial[a, b] for a, b in VOIGT]) / c.volume
        return Prediction(energy, np.zeros_like(c.positions), stress)


def gas(n=5, *, edge=6.0 ** (1.0 / 3.0), seed=1, fix_centre_of_mass=True):
    """Return n atoms of mass 1 in a cube, at kT = 1."""
    configuration = Configuration(
        numbers=np.ones(n, dtype=np.int64),
        positions=np.random.default_rng(0).uniform(0.0, edge, (n, 3)),
        cell=edge * np.eye(3),
        pbc=np.ones(3, dtype=np.bool_),
    )
    state = State(
        configuration=configuration,
        momenta=np.zeros((n, 3)),
        masses=np.ones(n),
        free=np.ones((n, 3), dtype=np.bool_),
        step=0,
        time=0.0,
        seed=seed,
    )
    return with_random_velocities(
        state, 1.0 / KB, fix_centre_of_mass=fix_centre_of_mass
    )


def argon(edge=5.3, *, copies=(2, 2, 2), temperature=20.0, seed=1, strain=None):
    """Return a crystal of argon, its cell and atoms multiplied by 1 + strain."""
    atoms = bulk("Ar", "fcc", a=edge, cubic=True).repeat(copies)
    if strain is not None:
        atoms.set_cell(atoms.cell[:] @ (np.eye(3) + strain), scale_atoms=True)
    n = len(atoms)
    state = State(
        configuration=Configuration.from_atoms(atoms),
        momenta=np.zeros((n, 3)),
        masses=atoms.get_masses(),
        free=np.ones((n, 3), dtype=np.bool_),
        step=0,
        time=0.0,
        seed=seed,
    )
    return with_random_velocities(state, temperature)


def argon_potential(cutoff_sigma=2.0):
    """Return Lennard-Jones argon whose forces end smoothly."""
    arguments = {"tail": "switched", "cutoff_sigma": cutoff_sigma}
    return ExactPotential(Reference(make_calculator("lennard-jones", arguments)))


def in_femtoseconds(time):
    return time * FS


def at_rest_in(state, cell):
    """Return the state with its cell and positions taken to another cell."""
    c = state.configuration
    taken = np.linalg.solve(c.cell, cell)
    moved = replace(c, positions=c.positions @ taken, cell=np.array(cell))
    return replace(state, configuration=moved)
