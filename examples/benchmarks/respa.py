"""What two time steps are worth: energy errors and processor time of silicon and argon.

    python respa.py [silicon] [argon]

`silicon`  a model of 1000 references and a cheap one of the same labels, which is the
           fast force: 216 atoms at 1000 K.
`argon`    a model of Lennard-Jones forces beyond the dispersion D3(BJ) of PBE; what is
           learned is the fast force, the dispersion the slow one: 108 atoms at 60 K.
           Needs the package dftd3.

Every row starts from the same state and is as long. The error is the root mean square
deviation of the conserved energy from its mean. The gain is the time of plain dynamics
at the time step that would make the same error, by its square law, over the time of the
row; beside it that over plain dynamics at the usual step.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from ase.build import bulk
from floor import rattled_silicon

from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.configuration import Configuration
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.dynamics.conservation import conserved_energy
from otf.dynamics.respa import ModelForces, Remembered, Respa
from otf.dynamics.sampler import evaluate
from otf.dynamics.schedule import Target
from otf.dynamics.velocities import with_random_velocities
from otf.dynamics.verlet import Motion, VelocityVerlet
from otf.learning.production import ProductionPotential
from otf.models.baselines.dispersion_wheels import DispersionD3
from otf.models.baselines.interface import NoBaseline
from otf.models.batch import fit_dataset
from otf.models.bayesian_linear import BayesianLinear
from otf.models.covariance import Polynomial
from otf.state import State
from otf.units import FS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otf.configuration import Labels
    from otf.dynamics.sampler import Sampler
    from otf.models.baselines.interface import Baseline
    from otf.models.posterior import KernelPosterior

COMPILED = 3  # steps before the clock starts
EQUILIBRATION = 200  # steps


@dataclass(frozen=True, eq=False)
class Material:
    """What moves, and with what.

    Attributes
    ----------
    name : for the heading
    state : the first, warm
    model : asked at every long step
    fast : gives the fast force
    usual : fs, a common time step
    plain : fs, time steps of plain dynamics
    split : long time steps in fs with the number of short ones
    picoseconds : of every row
    """

    name: str
    state: State
    model: KernelPosterior
    fast: KernelPosterior
    usual: float
    plain: Sequence[float]
    split: Sequence[tuple[float, int]]
    picoseconds: float


@dataclass(frozen=True)
class Row:
    """What a way of moving costs.

    Attributes
    ----------
    error : meV/atom, of the conserved energy
    cost : processor seconds a picosecond
    """

    error: float
    cost: float


def fitted(
    frames: Sequence[tuple[Configuration, Labels]],
    *,
    exponent: int = 4,
    n_references: int = 1000,
    baseline: Baseline | None = None,
    **descriptor: float,
) -> KernelPosterior:
    """Return a model of labelled frames."""
    species = tuple(sorted({int(z) for z in frames[0][0].numbers}))
    model = BayesianLinear(
        PowerSpectrum(species=species, **descriptor),
        covariance=Polynomial(exponent),
        baseline=baseline or NoBaseline(),
    )
    fit_dataset(model, frames, n_references=n_references)
    return model.fitted


def labelled(
    calculator: str, structures: Sequence[Configuration], **arguments: object
) -> list[tuple[Configuration, Labels]]:
    """Return structures with what a calculator says of them."""
    reference = Reference(make_calculator(calculator, arguments))
    return [(c, reference.label(c)) for c in structures]


def warm(configuration: Configuration, mass: float, temperature: float) -> State:
    """Return a state with random velocities."""
    n = configuration.n_atoms
    state = State(
        configuration=configuration,
        momenta=np.zeros((n, 3)),
        masses=np.full(n, mass),
        free=np.ones((n, 3), dtype=bool),
        step=0,
        time=0.0,
        seed=1,
    )
    return with_random_velocities(state, temperature)


def silicon() -> Material:
    """Return silicon with a cheap model of the same labels."""
    structures = []
    for seed in range(24):
        c = rattled_silicon(2, seed=seed)
        noise = np.random.default_rng(seed).normal(size=(64, 3))
        structures.append(c.moved(c.positions + 0.005 * seed * noise))
    frames = labelled("stillinger-weber", structures)
    cheap = {"cutoff_three_body": 4.0, "cutoff_two_body": 4.5, "n_max": 4, "l_max": 3}
    return Material(
        name="silicon, 216 atoms, 1000 K; fast: a cheap model",
        state=warm(rattled_silicon(3, seed=1), 28.085, 1000.0),
        model=fitted(frames),
        fast=fitted(frames, exponent=2, n_max_two_body=6, **cheap),
        usual=2.0,
        plain=(1.0, 2.0, 4.0),
        split=((4.0, 2), (8.0, 4), (12.0, 6), (16.0, 8), (20.0, 10)),
        picoseconds=0.6,
    )


def argon() -> Material:
    """Return argon whose dispersion is a slow baseline."""
    structures = []
    for seed in range(12):
        atoms = bulk("Ar", "fcc", a=5.2 + 0.03 * seed, cubic=True).repeat(3)
        atoms.rattle(0.05 + 0.02 * seed, seed=seed)
        structures.append(Configuration.from_atoms(atoms))
    frames = labelled("lennard-jones", structures)
    small = {"n_max": 6, "l_max": 2, "cutoff_three_body": 5.5, "cutoff_two_body": 8.5}
    dispersion = DispersionD3("PBE", {}, cutoff=None)
    model = fitted(frames, n_references=400, baseline=dispersion, **small)
    crystal = bulk("Ar", "fcc", a=5.4, cubic=True).repeat(3)
    crystal.rattle(0.05, seed=1)
    return Material(
        name="argon, 108 atoms, 60 K; fast: what is learned beyond D3(BJ)",
        state=warm(Configuration.from_atoms(crystal), 39.948, 60.0),
        model=model,
        fast=replace(model, baseline=NoBaseline()),
        usual=5.0,
        plain=(5.0, 10.0),
        split=((10.0, 2), (20.0, 4)),
        picoseconds=1.0,
    )


def made(
    sampler: Sampler, potential: ProductionPotential, state: State, picoseconds: float
) -> tuple[State, Row]:
    """Return the last state and what it cost to get there."""
    prediction = evaluate(potential, state)
    target, energies = Target(0.0), []
    steps = round(1000.0 * picoseconds * FS / sampler.motion.timestep)
    begun = time.process_time()
    for k in range(COMPILED + steps):
        if k == COMPILED:
            begun = time.process_time()
        state, prediction = sampler.step(state, prediction, potential, target)
        energies.append(conserved_energy(state, prediction))
    cost = (time.process_time() - begun) / picoseconds
    error = 1000.0 * float(np.std(energies)) / state.configuration.n_atoms
    return state, Row(error, cost)


def measured(material: Material) -> None:
    """Print the table of a material."""
    print(f"\n{material.name}", flush=True)
    potential = ProductionPotential(material.model, stop=False)
    verlet = VelocityVerlet(Motion(timestep=material.usual * FS))
    length = EQUILIBRATION * material.usual / 1000.0
    state, _ = made(verlet, potential, material.state, length)
    ask = {"whole": potential, "fast": ModelForces(material.fast)}
    for name, one in ask.items():
        seconds = shortest(lambda one=one: evaluate(one, state))
        per_atom = 1e6 * seconds / state.configuration.n_atoms
        print(f"{name} force: {per_atom:.1f} us an atom")
    off = (
        evaluate(potential, state).forces
        - material.fast.predict(state.configuration).forces
    )
    whole = evaluate(potential, state).forces
    print(
        f"slow force {np.sqrt((off**2).mean()):.4f}, whole "
        f"{np.sqrt((whole**2).mean()):.4f} eV/A, root mean squares"
    )
    print(f"{'':<22}{'meV/atom':>10}{'s/ps':>9}{'gain, equal error':>19}{'usual':>8}")
    rows: dict[float, Row] = {}
    for h in material.plain:
        sampler = VelocityVerlet(Motion(timestep=h * FS))
        _, rows[h] = made(sampler, potential, state, material.picoseconds)
    usual = rows[material.usual]
    for h, row in rows.items():
        show(f"plain, {h:g} fs", row, usual, material.usual)
    for long, n in material.split:
        motion = Motion(timestep=long * FS)
        inner = VelocityVerlet(replace(motion, timestep=motion.timestep / n))
        fast = Remembered(ModelForces(material.fast))
        sampler = Respa(motion=motion, inner=inner, fast=fast, inner_steps=n)
        _, row = made(sampler, potential, state, material.picoseconds)
        show(f"{long:g} fs, {n} short", row, usual, material.usual)


def shortest(call: Callable[[], object], times: int = 10) -> float:
    """Return the least processor seconds of a call."""
    taken = []
    for _ in range(times):
        begun = time.process_time()
        call()
        taken.append(time.process_time() - begun)
    return min(taken)


def show(name: str, row: Row, usual: Row, timestep: float) -> None:
    """Print a row beside plain dynamics at the usual time step (fs)."""
    same = timestep * (row.error / usual.error) ** 0.5
    plain = usual.cost * timestep / same
    print(
        f"{name:<22}{row.error:>10.5f}{row.cost:>9.2f}{plain / row.cost:>19.2f}"
        f"{usual.cost / row.cost:>8.2f}",
        flush=True,
    )


MATERIALS = {"silicon": silicon, "argon": argon}


def main() -> None:
    """Print the tables that were asked for, all without a word."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("materials", nargs="*", choices=[*MATERIALS, []], default=[])
    arguments = parser.parse_args()
    for name in arguments.materials or MATERIALS:
        measured(MATERIALS[name]())


if __name__ == "__main__":
    main()
