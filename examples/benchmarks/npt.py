"""Constant pressure against LAMMPS, and against the reference.

    python npt.py WORK [lammps] [learn] [--steps 20000]

`lammps`    edge and thermal expansion of an argon crystal (Lennard-Jones with shifted
            force), every barostat here and `fix npt` there. Needs the packages lammps
            and mpich.
`learn`     a run at constant pressure learns the same crystal; then the volume of its
            model in a run without reference, and the volume of the reference.

Every number comes with its standard error, from blocks.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.build import bulk
from scipy.optimize import minimize_scalar

from otf.build import build_sampler, build_schedule, initial_state
from otf.calculators.exact import ExactPotential
from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.dynamics.sampler import evaluate
from otf.kernels import load
from otf.settings import load_settings
from otf.store.run_reader import RunView
from otf.testing import blocking

if TYPE_CHECKING:
    from otf.configuration import FloatArray

LEARNING_STEPS = 3000
EDGE = 5.3  # angstrom, near that of no pressure
CUTOFF = 2.5  # sigma
PAIRS = {
    "cell-rescaling, langevin": 'barostat = "cell-rescaling"',
    "cell-rescaling, csvr": 'barostat = "cell-rescaling"\nthermostat = "csvr"',
    "parrinello-rahman, langevin": 'barostat = "parrinello-rahman"',
    "mtk, nose-hoover": 'barostat = "mtk"',
}
DYNAMICS = """
seed = {seed}

[structure]
file = "argon.extxyz"

{potential}

[dynamics]
timestep_fs = 5.0
ensemble = "NPT"
cell = "{cell}"
barostat_time_fs = {time}
{barostat}

[[dynamics.stages]]
steps = {steps}
temperature_K = {temperature}
pressure_GPa = {pressure}

[output]
trajectory_interval = 1000
thermo_interval = 5
checkpoint_interval = 1000
"""
EXACT = '[reference]\ncalculator = "lennard-jones"'
SLOW_CELL = "\ncompressibility_per_GPa = 0.5"  # about that of argon


def prepare(work: Path, copies: int) -> None:
    """Write the crystal."""
    work.mkdir(parents=True, exist_ok=True)
    bulk("Ar", "fcc", a=EDGE, cubic=True).repeat(copies).write(work / "argon.extxyz")


def written(work: Path, name: str, **values: object) -> Path:
    """Return an input file for the crystal."""
    defaults = {
        "seed": 1,
        "potential": EXACT,
        "cell": "isotropic",
        "pressure": 0.0,
        "temperature": 40.0,
        "time": 500.0,
        "barostat": PAIRS["cell-rescaling, langevin"],
    }
    values = {**defaults, **values}
    if "cell-rescaling" in str(values["barostat"]):
        values["barostat"] = f"{values['barostat']}{SLOW_CELL}"
    path = work / f"{name}.toml"
    path.write_text(DYNAMICS.format(**values))
    return path


def exact_potential() -> ExactPotential:
    """Return the reference as a potential."""
    arguments = {"cutoff_sigma": CUTOFF}
    return ExactPotential(Reference(make_calculator("lennard-jones", arguments)))


def trajectory(path: Path, *, discard: float = 0.1) -> dict[str, FloatArray]:
    """Return the volumes of every step of an exact run, and the number of atoms."""
    settings = load_settings(path)
    state, potential = initial_state(settings), exact_potential()
    sampler = build_sampler(settings, state, load("cpu"), cutoff=8.5)
    schedule = build_schedule(settings)
    last = evaluate(potential, state)
    volumes = []
    while state.step < schedule.steps:
        state, last = sampler.step(state, last, potential, schedule.target(state.step))
        volumes.append(state.configuration.volume)
    start = int(discard * len(volumes))
    return {
        "volume": np.array(volumes[start:]),
        "atoms": np.array(state.configuration.n_atoms),
    }


def edges(volumes: FloatArray, n_atoms: int) -> FloatArray:
    """Return the edges of the cubic cell of four atoms, angstrom."""
    return np.cbrt(4.0 * volumes / n_atoms)


def edge_at_rest(work: Path) -> float:
    """Return the edge of least energy, angstrom."""
    state = initial_state(load_settings(written(work, "rest", steps=1)))
    potential, c = exact_potential(), state.configuration

    def energy(a: float) -> float:
        scaled = bulk("Ar", "fcc", a=a, cubic=True).repeat(
            round((c.n_atoms / 4) ** (1 / 3))
        )
        found = type(c).from_atoms(scaled)
        return potential.predict([found], step=0)[0].energy

    return float(minimize_scalar(energy, bounds=(5.1, 5.5), options={"xatol": 1e-6}).x)


# ----------------------------------------------------------------------------- LAMMPS
def lammps_edges(copies: int, temperature: float, steps: int, seed: int) -> FloatArray:
    """Return the edges along `fix npt` of LAMMPS with the same potential."""
    from lammps import lammps

    epsilon, sigma = 0.0104, 3.40
    program = lammps(cmdargs=["-log", "none", "-screen", "none"])
    program.commands_string(f"""
units metal
atom_style atomic
lattice fcc {EDGE}
region box block 0 {copies} 0 {copies} 0 {copies}
create_box 1 box
create_atoms 1 box
mass 1 39.948
pair_style lj/smooth/linear {CUTOFF * sigma}
pair_coeff 1 1 {epsilon} {sigma}
neighbor 1.0 bin
timestep 0.005
velocity all create {2.0 * temperature} {seed} mom yes rot no dist gaussian
fix 1 all npt temp {temperature} {temperature} 0.1 iso 0.0 0.0 0.5
thermo 1000
""")
    found = []
    program.command(f"run {steps // 10}")
    for _ in range(9 * steps // 50):
        program.command("run 5 pre no post no")
        found.append(program.get_thermo("vol"))
    n = program.get_natoms()
    program.close()
    assert n == 4 * copies**3  # an atom lost would pass for a vacancy
    return edges(np.array(found), n)


def compare_with_lammps(work: Path, steps: int) -> None:
    """Print edges and expansions of both programs."""
    copies, temperature = 3, 40.0
    prepare(work, copies)
    rest = edge_at_rest(work)
    print(f"edge at rest {rest:.5f} A")
    theirs = np.concatenate(
        [lammps_edges(copies, temperature, 2 * steps, seed) for seed in (11, 12)]
    )
    a, da = blocking(theirs)
    print(
        f"{'LAMMPS fix npt':<30} a({temperature:g} K) {a:.5f} +- {da:.5f} A, "
        f"expansion {a - rest:.5f} A, s.e. {da / (a - rest):.1%}",
        flush=True,
    )
    for name, barostat in PAIRS.items():
        path = written(
            work, "lammps", steps=steps, temperature=temperature, barostat=barostat
        )
        begin = time.monotonic()
        found = trajectory(path)
        b, db = blocking(edges(found["volume"], int(found["atoms"])))
        apart = (b - a) / np.hypot(da, db)
        print(
            f"{name:<30} a({temperature:g} K) {b:.5f} +- {db:.5f} A, expansion "
            f"{b - rest:.5f} A, s.e. {db / (b - rest):.1%}, {apart:+.2f} combined s.e. "
            f"from LAMMPS ({time.monotonic() - begin:.0f} s)",
            flush=True,
        )


# --------------------------------------------------------------------------- learning
def otf_md(*arguments: object) -> None:
    """Run a command; its words go to the terminal."""
    command = [sys.executable, "-m", "otf.cli", *map(str, arguments)]
    subprocess.run(command, check=True)


def learn(work: Path, steps: int) -> None:
    """Learn at constant pressure; print the volumes of the model and the reference."""
    prepare(work, 2)
    learning = work / "learn"
    shutil.rmtree(learning, ignore_errors=True)
    learning.mkdir()
    shutil.copy(work / "argon.extxyz", learning)
    descriptor = (
        "\n\n[learning]\nmax_force_error_eV_per_A = 0.02\nmax_stress_error_GPa = 0.02"
        "\n\n[regression]\nnoise_force_eV_per_A = 0.01\nnoise_stress_GPa = 0.01"
        "\nnoise_energy_eV_per_atom = 0.0002\nnoise_floor_force_eV_per_A = 0.001"
        "\nnoise_floor_energy_eV_per_atom = 0.00002"
        "\n\n[descriptor]\nn_max = 6\nl_max = 2\ncutoff_three_body_A = 5.5"
        "\ncutoff_two_body_A = 8.5\nn_max_two_body = 12"
    )
    path = written(
        learning,
        "input",
        steps=LEARNING_STEPS,
        potential=EXACT + descriptor,
        cell="full",
    )
    otf_md("run", path)
    view = RunView.load(learning / "run")
    assert view.finish is not None  # else the command had failed
    print(f"verdict: {view.finish.reason}; {len(view.labels)} labels")
    for seed in (1, 2):
        production = learning / f"production-{seed}"
        production.mkdir()
        shutil.copy(work / "argon.extxyz", production)
        model = '[potential]\nmodel = "../run/model.h5"'
        otf_md(
            "run",
            written(production, "input", seed=seed, steps=steps, potential=model),
        )
    learned = np.concatenate(
        [
            RunView.load(learning / f"production-{s}" / "run").thermo["volume_A3"][
                steps // 50 :
            ]
            for s in (1, 2)
        ]
    )
    exact = np.concatenate(
        [
            trajectory(written(work, "exact", seed=s, steps=steps))["volume"]
            for s in (3, 4)
        ]
    )
    (a, da), (b, db) = blocking(learned), blocking(exact)
    print(f"volume of the learned model  {a:.2f} +- {da:.2f} A^3")
    print(
        f"volume of the reference      {b:.2f} +- {db:.2f} A^3: "
        f"{(a - b) / np.hypot(da, db):+.2f} combined s.e., {a / b - 1.0:+.3%}"
    )


TASKS = {"lammps": compare_with_lammps, "learn": learn}


def main() -> None:
    """Run what was asked for, all without a word."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder for what is written")
    parser.add_argument("tasks", nargs="*", choices=[*TASKS, []], default=[])
    parser.add_argument("--steps", type=int, default=20_000)
    arguments = parser.parse_args()
    for name in arguments.tasks or TASKS:
        print(f"--- {name}", flush=True)
        TASKS[name](arguments.work.resolve(), arguments.steps)


if __name__ == "__main__":
    main()
