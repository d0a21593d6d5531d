"""The tilting transition of the model perovskite, by itself and as it was learned.

    export PYTHONPATH=examples/perovskite
    python examples/perovskite/transition.py WORK reference [--repeat 2] [--only 240]
    python examples/perovskite/transition.py WORK learned --model MODEL [--repeat 2]
    python examples/perovskite/transition.py WORK verdict [--repeat 2]

`reference`  the simulations of production.toml, with the reference in place of a model.
`learned`    the same by `otf-md sweep` with a model.
`verdict`    tilts against temperature, T_c and beta of both, and a picture. Needs the
             extra `analysis`.

Every simulation is kept in WORK as it ends, and is not made twice.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tilting import TiltingPerovskite

from otf.analysis.tilts import octahedral_tilts
from otf.build import build_sampler, build_schedule, initial_state
from otf.dynamics.sampler import evaluate
from otf.kernels import load
from otf.potential import Prediction
from otf.settings import load_settings
from otf.settings.members import members_of
from otf.settings.template import plain_input
from otf.store.motion import Motion, read_motion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.analysis.tilts import Tilts
    from otf.configuration import Configuration, FloatArray, IntArray
    from otf.settings.settings import Settings

HERE = Path(__file__).parent
LEAD, IODINE = 82, 53
FRAMES = 10  # steps between two
SETTLING = 2000  # steps that means leave out


class Exact:
    """The reference as a potential of the samplers."""

    def __init__(self) -> None:
        self.calculator = TiltingPerovskite()

    def predict(
        self,
        configurations: Sequence[Configuration],
        *,
        step: int,
        use_labels: bool = True,
    ) -> list[Prediction]:
        """Return energies, forces and stresses."""
        found = [(self.calculator.evaluate(c), c.volume) for c in configurations]
        return [Prediction(e, f, virial / volume) for (e, f, virial), volume in found]


@dataclass(frozen=True, eq=False)
class Simulated:
    """What a simulation leaves.

    Attributes
    ----------
    temperature : K, of the thermostat
    order : (T, 3) degrees, mean tilts about the axes, alternating in all directions
    edges : (T, 3) angstrom, of the cell of one octahedron
    """

    temperature: float
    order: FloatArray
    edges: FloatArray

    def save(self, path: Path) -> None:
        """Write the simulation; it is whole or absent."""
        aside = path.with_suffix(".part.npz")
        np.savez(aside, **vars(self))
        aside.rename(path)

    @classmethod
    def load(cls, path: Path) -> Simulated:
        """Read a simulation."""
        with np.load(path) as data:
            return cls(float(data["temperature"]), data["order"], data["edges"])


def parity(tilts: Tilts) -> IntArray:
    """Return +1 and -1 (m,), alternating between octahedra that share a corner."""
    signs = np.zeros(len(tilts.neighbor), dtype=np.int64)
    signs[0], reached = 1, [0]
    while reached:
        i = reached.pop()
        for j in tilts.neighbor[i]:
            if j >= 0 and signs[j] == 0:
                signs[j] = -signs[i]
                reached.append(int(j))
    return signs


def simulated(motion: Motion, temperature: float) -> Simulated:
    """Return the order parameter and the edges along a trajectory."""
    tilts = octahedral_tilts(motion, LEAD, IODINE)
    signs = parity(tilts)
    order = np.einsum("m,tmk->tk", signs, tilts.angles) / len(signs)
    copies = round(len(signs) ** (1 / 3))
    edges = np.linalg.norm(motion.cells, axis=2) / copies
    return Simulated(temperature, order, edges)


def written(work: Path, name: str, repeat: int, potential: dict[str, str]) -> Path:
    """Return the input of production.toml for a size and a potential."""
    data = tomllib.loads((HERE / "production.toml").read_text())
    data["structure"] |= {
        "file": str(HERE.resolve() / data["structure"]["file"]),
        "repeat": [repeat] * 3,
    }
    del data["potential"]
    data |= potential
    data["output"] = {"directory": name, "trajectory_interval": FRAMES}
    path = work / f"{name}.toml"
    path.write_text(plain_input(data))
    return path


def exact(settings: Settings, temperature: float) -> Simulated:
    """Return a simulation by the reference."""
    state, potential = initial_state(settings), Exact()
    start = state
    sampler = build_sampler(settings, state, load("cpu"), cutoff=7.0)
    schedule = build_schedule(settings)
    last = evaluate(potential, state)
    positions, cells = [], []
    while state.step < schedule.steps:
        state, last = sampler.step(state, last, potential, schedule.target(state.step))
        if state.step % FRAMES == 0:
            positions.append(state.configuration.positions)
            cells.append(state.configuration.cell)
    c = start.configuration
    motion = Motion(
        c.numbers, start.masses, c.pbc, np.array(positions), np.array(cells)
    )
    return simulated(motion, temperature)


def run_reference(work: Path, repeat: int, only: float | None) -> None:
    """Make what is missing of the simulations by the reference."""
    name = f"reference-{repeat}"
    calculator = {"reference": {"calculator": "tilting:TiltingPerovskite"}}
    settings = load_settings(written(work, name, repeat, calculator))
    for member in members_of(settings):
        path = work / f"{name}-{member.name}.npz"
        if path.exists() or only not in (None, member.temperature_K):
            continue
        begin = time.process_time()
        exact(member.settings, member.temperature_K).save(path)
        print(f"{path.name}: {time.process_time() - begin:.0f} s", flush=True)


def run_learned(work: Path, repeat: int, model: Path) -> None:
    """Make what is missing of the simulations by a model."""
    name = f"learned-{repeat}"
    path = written(work, name, repeat, {"potential": {"model": str(model.resolve())}})
    command = [sys.executable, "-m", "otf.cli", "sweep", str(path), "--jobs", "1"]
    subprocess.run(command, check=True)
    for member in members_of(load_settings(path)):
        motion = read_motion(work / name / member.name)
        simulated(motion, member.temperature_K).save(work / f"{name}-{member.name}.npz")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("task", choices=("reference", "learned", "verdict"))
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--only", type=float, help="a temperature")
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.task == "reference":
        run_reference(arguments.work, arguments.repeat, arguments.only)
    elif arguments.task == "learned":
        run_learned(arguments.work, arguments.repeat, arguments.model)


if __name__ == "__main__":
    main()
