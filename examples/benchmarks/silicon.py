"""Silicon heated through melting: what both silicon benchmarks share.

Stillinger-Weber silicon, 64 atoms at the volume of 0 K, Langevin, 2 fs: 300 K, a ramp
to 3500 K, a hold there, down to 2200 K, and a hold in the melt. Reference frames come
from trajectories of their own, driven by the reference itself; whether they are solid
or molten is asserted, because 64 atoms do not melt below about 3000 K.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.build import bulk
from ase.io import write

from otf.analysis.errors import error_report
from otf.calculators.exact import ExactPotential
from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.configuration import Configuration, Labels
from otf.dynamics.registry import INTEGRATORS
from otf.dynamics.sampler import evaluate
from otf.dynamics.schedule import Schedule, Stage
from otf.dynamics.velocities import with_random_velocities
from otf.dynamics.verlet import Motion
from otf.state import State
from otf.units import FS

LATTICE = 5.43095  # angstrom, 0 K
STAGES = (
    (2000, 300.0, 300.0),
    (6000, 300.0, 3500.0),
    (4000, 3500.0, 3500.0),
    (2000, 3500.0, 2200.0),
    (8000, 2200.0, 2200.0),
)
TIMESTEP_FS = 2.0
FRICTION_PER_PS = 10.0
FRAMES, SPACING = 200, 20

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Frames = list[tuple[Configuration, Labels]]

INPUT = """title = "{name} through melting, seed {seed}"
seed = {seed}

[structure]
file = "start.xyz"

[reference]
calculator = "{calculator}"

{sections}
[dynamics]
timestep_fs = {timestep}
friction_per_ps = {friction}
{stages}
[output]
directory = "run"
trajectory_interval = 20
thermo_interval = 10
checkpoint_interval = 2000
"""


@dataclass(frozen=True, eq=False)
class Material:
    """What is learned, and how exactly it is known."""

    name: str
    calculator: str
    start: Configuration
    reference: Callable[[], Reference]
    sections: str  # of the input file


SILICON = Material(
    name="silicon",
    calculator="stillinger-weber",
    start=Configuration.from_atoms(
        bulk("Si", "diamond", a=LATTICE, cubic=True).repeat(2)
    ),
    reference=lambda: Reference(make_calculator("stillinger-weber", {})),
    sections="",  # the defaults
)


def write_input(
    material: Material, folder: Path, seed: int, stages=STAGES, *, extra: str = ""
) -> Path:
    """Write structure and input of a learning run; return the input's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "start.xyz", material.start.to_atoms())
    table = "".join(
        f"\n[[dynamics.stages]]\nsteps = {steps}\ntemperature_K = {start}\n"
        f"temperature_end_K = {end}\n"
        for steps, start, end in stages
    )
    path = folder / "input.toml"
    path.write_text(
        INPUT.format(
            name=material.name,
            calculator=material.calculator,
            seed=seed,
            sections=material.sections + extra,
            timestep=TIMESTEP_FS,
            friction=FRICTION_PER_PS,
            stages=table,
        )
    )
    return path


def exact_trajectory(
    material: Material, stages, seed: int, *, last: int, every: int = SPACING
) -> Frames:
    """Return labelled frames of the last steps of an exact trajectory."""
    n = material.start.n_atoms
    calculator = material.reference()
    potential = ExactPotential(calculator)
    sampler = INTEGRATORS["langevin"](
        Motion(timestep=TIMESTEP_FS * FS), FRICTION_PER_PS / (1000 * FS)
    )
    masses = material.start.to_atoms().get_masses()
    free = np.ones((n, 3), dtype=bool)
    state = State(material.start, np.zeros((n, 3)), masses, free, 0, 0.0, seed)
    state = with_random_velocities(state, stages[0][1])
    schedule = Schedule(tuple(Stage(*stage) for stage in stages))
    prediction = evaluate(potential, state)
    frames = []
    while state.step < schedule.steps:
        target = schedule.target(state.step)
        state, prediction = sampler.step(state, prediction, potential, target)
        if state.step > schedule.steps - last and state.step % every == 0:
            frames.append((state.configuration, calculator.label(state.configuration)))
    return frames


def displacement(material: Material, c: Configuration) -> float:
    """Return the mean square displacement from the lattice sites, angstrom^2."""
    shift = c.positions - material.start.positions
    shift -= shift.mean(axis=0)
    return float((shift**2).sum(axis=1).mean())


def test_frames() -> dict[str, Frames]:
    """Return 200 frames each of the solid at 300 and 1200 K and the melt at 2200 K.

    Raises
    ------
    AssertionError
        When a solid has melted or the melt has not.
    """
    last = FRAMES * SPACING
    out = {
        f"{t} K": exact_trajectory(SILICON, [(1000 + last, t, t)], 9000 + t, last=last)
        for t in (300, 1200)
    }
    for frames in out.values():
        assert max(displacement(SILICON, c) for c, _ in frames) < 0.1
    melting = [(2000, 300, 3500), (10000, 3500, 3500), (2000, 3500, 2200)]
    melt = exact_trajectory(
        SILICON, [*melting, (2000 + last, 2200, 2200)], 9002, last=last
    )
    # In the melt the displacement goes on growing, in a hot solid it would not.
    assert displacement(SILICON, melt[-1][0]) > 20.0
    out["melt"] = melt
    return out


def stage_name(step: int) -> str:
    """Return the name of the stage a step belongs to."""
    end = 0
    for steps, start, finish in STAGES:
        end += steps
        if step <= end:
            return (
                f"{start:.0f} K" if start == finish else f"{start:.0f}-{finish:.0f} K"
            )
    return "end"


def errors_on(model, frames: dict[str, Frames]) -> dict[str, dict[str, float]]:
    """Return the errors of a model on every set of frames."""
    return {
        name: asdict(
            error_report([model.predict(c) for c, _ in part], [y for _, y in part])
        )
        for name, part in frames.items()
    }


def save_json(path: Path, data: object) -> None:
    """Write results for later tables."""
    path.write_text(json.dumps(data, indent=1))
