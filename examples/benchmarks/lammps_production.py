"""Our molecular dynamics and LAMMPS with the same model: agreement, and time per step.

    python lammps_production.py MODEL WORK [--copies 4 8] [--steps 40] [--processes 1 2]

MODEL is a file of a silicon model, such as speed.py leaves. LAMMPS is the program lmp
on the PATH, built as docs/lammps.md tells; `import lammps` must work in its Python.
Diamond silicon of 8 copies^3 atoms displaced by 0.1 A: energy, forces and pressure of
that frame are compared, then it moves with 300 K and steps of 1 fs at constant energy,
here and in LAMMPS in turn, both with a skin of 1 A and one thread a process. LAMMPS'
time is its own "Loop time", its processor time what it says of the share in that.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.io.lammpsdata import write_lammps_data
from floor import rattled_silicon

from otf.cli import main as otf_md
from otf.deploy.saved_model import load_model
from otf.dynamics.velocities import with_random_velocities
from otf.dynamics.verlet import Motion, VelocityVerlet
from otf.learning.production import ProductionPotential
from otf.state import State
from otf.units import FS

if TYPE_CHECKING:
    from otf.configuration import Configuration

ROUNDS = 3
TEMPERATURE = 300.0  # K
NKTV2P = 1.6021765e6  # bar angstrom^3/eV, LAMMPS' own
HEAD = """units metal
atom_style atomic
newton on
read_data atoms
pair_style mliap unified model.mliap 0
pair_coeff * * Si
neighbor 1.0 bin
thermo_style custom step pe pxx pyy pzz
thermo_modify format float %.16g
"""
FRAME = """dump 1 all custom 1 forces fx fy fz
dump_modify 1 sort id format float %.16g
run 0
"""
DYNAMICS = """velocity all create {temperature} 4711
timestep 0.001
fix 1 all nve
run {steps}
"""


@dataclass(frozen=True)
class Times:
    """Seconds of wall clock and processor."""

    wall: float
    cpu: float


def lammps(folder: Path, text: str, n_processes: int = 1) -> str:
    """Run LAMMPS on an input and return what it printed."""
    (folder / "in.run").write_text(text)
    command = ["lmp", "-in", "in.run", "-log", "none"]
    if n_processes > 1:
        command = ["mpirun", "-n", str(n_processes), *command]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **threads}, stdout=subprocess.PIPE
    )
    printed = done.stdout.decode()
    if done.returncode:
        sys.exit(printed)
    return printed


def compare(folder: Path, c: Configuration, model) -> str:
    """Return how far LAMMPS is from our prediction of a frame."""
    printed, expected = lammps(folder, HEAD + FRAME), model.predict(c)
    lines = (folder / "forces").read_text().splitlines()[9:]
    forces = np.array([line.split() for line in lines], dtype=float)
    row = printed[printed.index("   Step") :].splitlines()[1]
    _, energy, *pressures = map(float, row.split())
    wanted = -NKTV2P * expected.stress[:3]
    return (
        f"forces within {np.abs(forces - expected.forces).max():.1e} eV/A, energy "
        f"{abs(energy - expected.energy) / c.n_atoms:.1e} eV/atom, pressure "
        f"{np.abs(pressures - wanted).max() / np.abs(wanted).max():.1e} of itself"
    )


def in_lammps(folder: Path, n_steps: int, n_processes: int) -> Times:
    """Time steps of LAMMPS; the processor time is that of all processes."""
    text = DYNAMICS.format(temperature=TEMPERATURE, steps=n_steps)
    printed = lammps(folder, HEAD + text, n_processes)
    wall = float(re.search(r"Loop time of ([\d.]+)", printed).group(1))
    share = 0.01 * float(re.search(r"([\d.]+)% CPU use", printed).group(1))
    return Times(wall, share * wall * n_processes)


def here(model, c: Configuration, n_steps: int) -> Times:
    """Time steps of our own dynamics."""
    masses = c.to_atoms().get_masses()
    free, momenta = np.ones((c.n_atoms, 3), dtype=bool), np.zeros((c.n_atoms, 3))
    state = State(c, momenta, masses, free, step=0, time=0.0, seed=1)
    state = with_random_velocities(state, TEMPERATURE)
    verlet, potential = (
        VelocityVerlet(Motion(timestep=FS)),
        ProductionPotential(model, check_interval=10**9, stop=False),
    )
    prediction = model.predict(c)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(n_steps):
        state, prediction = verlet.step(state, prediction, potential, None)
    return Times(time.perf_counter() - wall, time.process_time() - cpu)


def best(times: list[Times], n_atoms: int, n_steps: int) -> Times:
    """Return the shortest times, microseconds per atom and step."""
    unit = 1e6 / (n_atoms * n_steps)
    return Times(unit * min(t.wall for t in times), unit * min(t.cpu for t in times))


def measure(folder: Path, c: Configuration, model, arguments) -> None:
    """Print the times of one size."""
    n_steps = arguments.steps
    rounds: dict[str, list[Times]] = {}
    for _ in range(ROUNDS):
        rounds.setdefault("own dynamics", []).append(here(model, c, n_steps))
        for n in arguments.processes:
            name = f"LAMMPS, {n} process" + ("es" if n > 1 else "")
            rounds.setdefault(name, []).append(in_lammps(folder, n_steps, n))
    found = {name: best(times, c.n_atoms, n_steps) for name, times in rounds.items()}
    ours = found["own dynamics"]
    for name, t in found.items():
        print(
            f"  {name:<20} wall {t.wall:6.1f}  processor {t.cpu:6.1f} us/atom/step, "
            f"ratios to own {t.wall / ours.wall:.2f} and {t.cpu / ours.cpu:.2f}",
            flush=True,
        )


def main() -> None:
    """Compare and time all sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("work", type=Path, help="folder for files, made if need be")
    parser.add_argument("--copies", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    exported = str(arguments.work / "model.mliap")
    if otf_md(["export", "lammps", str(arguments.model), "-o", exported]):
        sys.exit("the model was not exported")
    model = load_model(arguments.model)
    for copies in arguments.copies:
        c = rattled_silicon(copies, seed=1)
        with (arguments.work / "atoms").open("w") as file:
            write_lammps_data(file, c.to_atoms(), specorder=["Si"], masses=True)
        print(f"{c.n_atoms} atoms: {compare(arguments.work, c, model)}", flush=True)
        measure(arguments.work, c, model, arguments)


if __name__ == "__main__":
    main()
