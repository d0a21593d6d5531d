"""Every thermostat and barostat against the ensemble it stands for.

    python ensembles.py WORK [measure | table] [--only PAIR ...] [--steps 20000]

The tests of M. R. Shirts (J. Chem. Theory Comput. 9, 909 (2013), doi 10.1021/ct300688p)
by his program physical_validation (`pip install physical_validation`), on a dense fluid
of 108 argon atoms:

- the kinetic energy against its law (Kolmogorov-Smirnov; mean and width);
- the ratio of the distributions at two temperatures, two pressures, and both at once,
  against the slope that is known, at the distance the program proposes;
- the error of the conserved quantity against the square of the time step.

Mistakes are planted, and must be found. `measure` makes the trajectories, each of which
is a file in WORK that is not made again; `table` judges what is there. Without a word
both. The names of --only are those of the first column.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import sys
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.build import bulk
from numba import njit

from otf.build import build_sampler, build_schedule, initial_state
from otf.dynamics.conservation import conserved_energy
from otf.dynamics.constraints import degrees_of_freedom
from otf.dynamics.respa import Remembered
from otf.dynamics.sampler import evaluate
from otf.dynamics.verlet import VelocityVerlet
from otf.kernels import load
from otf.potential import Memoryless, Prediction
from otf.settings import load_settings
from otf.units import GPA, KB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otf.configuration import Configuration, FloatArray
    from otf.dynamics.sampler import Sampler
    from otf.dynamics.schedule import Target
    from otf.potential import Potential
    from otf.state import State

EPSILON, SIGMA = 0.0104, 3.40  # eV and angstrom, argon
# Angstrom: where the potential begins to fade, and where it ends; the narrowest cell
# is twice as wide.
FADES, ENDS = 6.2, 7.4
EDGE = 5.8  # angstrom, of the four atoms the fluid is melted from
TEMPERATURE, PRESSURE = 150.0, 0.1  # K, GPa
TIMESTEP = 10.0  # fs
SAMPLED = 10  # steps between two samples
BINS = 8  # of a histogram
BEGINNING = 0.1  # the share of a trajectory that is left out
NEAR = 4.6, 5.4  # the same of what is fast where there are two time steps
CONSERVING_FS = (8.0, 4.0, 2.0)
CONSERVING_PS = 2.0  # short enough for the paths to stay together

THERMOSTATS = {
    "langevin": 'thermostat = "langevin"\nfriction_per_ps = 2.0',
    "nose-hoover": 'thermostat = "nose-hoover"\ntime_constant_fs = 200.0',
    "csvr": 'thermostat = "csvr"\ntime_constant_fs = 100.0',
}
# What is fast is given by hand: the file is not there.
TWO_STEPS = 'respa = { inner_steps = 4, fast = "near.h5" }'
BAROSTATS = {
    "cell-rescaling, langevin": 'barostat = "cell-rescaling"\nfriction_per_ps = 2.0\n'
    "compressibility_per_GPa = 1.0",
    "cell-rescaling, csvr": 'barostat = "cell-rescaling"\nthermostat = "csvr"\n'
    "compressibility_per_GPa = 1.0",
    "parrinello-rahman, langevin": 'barostat = "parrinello-rahman"\n'
    "friction_per_ps = 2.0",
    "mtk, nose-hoover": 'barostat = "mtk"\ntime_constant_fs = 200.0',
}
CONSERVING = {
    "nve": 'ensemble = "NVE"',
    "nve, two time steps": f'ensemble = "NVE"\n{TWO_STEPS}',
    "nvt, nose-hoover": f'ensemble = "NVT"\n{THERMOSTATS["nose-hoover"]}',
    "npt, mtk": f'ensemble = "NPT"\nbarostat_time_fs = 500.0\n'
    f"{BAROSTATS['mtk, nose-hoover']}",
    "nph": 'ensemble = "NPH"\nbarostat_time_fs = 500.0',
    "(nve, energy that jumps)": 'ensemble = "NVE"',
}
INPUT = """
seed = {seed}

[structure]
file = "argon.extxyz"

[reference]
calculator = "lennard-jones"

[dynamics]
timestep_fs = {timestep}
initial_temperature_K = {start}
{dynamics}

[[dynamics.stages]]
steps = {steps}
{conditions}
"""


# -------------------------------------------------------------------------- the fluid
@njit(cache=True)
def _fluid(positions, edges, fades, ends, forces):  # type: ignore[no-untyped-def]
    """Add the forces of a fading Lennard-Jones fluid; return energy and virial."""
    energy, virial = 0.0, np.zeros(6)
    d, per_edge = np.empty(3), 1.0 / edges
    for i in range(len(positions)):
        for j in range(i):
            square = 0.0
            for k in range(3):
                d[k] = positions[i, k] - positions[j, k]
                d[k] -= edges[k] * math.floor(d[k] * per_edge[k] + 0.5)
                square += d[k] * d[k]
            if square >= ends * ends:
                continue
            r = math.sqrt(square)
            s = (SIGMA * SIGMA / square) ** 3
            value = 4.0 * EPSILON * (s * s - s)
            slope = -24.0 * EPSILON * (2.0 * s * s - s) / r
            if r > fades:
                x = (r - fades) / (ends - fades)
                fade = 1.0 - x * x * x * (10.0 - 15.0 * x + 6.0 * x * x)
                fall = -30.0 * x * x * (1.0 - x) ** 2 / (ends - fades)
                slope = slope * fade + value * fall
                value *= fade
            energy += value
            for k in range(3):
                pull = -slope * d[k] / r
                forces[i, k] += pull
                forces[j, k] -= pull
            virial[0] += slope * d[0] * d[0] / r
            virial[1] += slope * d[1] * d[1] / r
            virial[2] += slope * d[2] * d[2] / r
            virial[3] += slope * d[1] * d[2] / r
            virial[4] += slope * d[0] * d[2] / r
            virial[5] += slope * d[0] * d[1] / r
    return energy, virial


@dataclass(frozen=True)
class Argon(Memoryless):
    """The fluid as a potential; the cell must be a box wider than twice the reach.

    Attributes
    ----------
    fades, ends : angstrom
    """

    fades: float = FADES
    ends: float = ENDS

    def of(self, c: Configuration) -> Prediction:
        edges = np.diag(c.cell).copy()
        assert edges.min() > 2.0 * ENDS
        assert np.count_nonzero(c.cell) == 3
        forces = np.zeros_like(c.positions)
        energy, virial = _fluid(c.positions, edges, self.fades, self.ends, forces)
        return Prediction(energy, forces, virial / c.volume)


# ------------------------------------------------------------------- planted mistakes
@dataclass(frozen=True)
class WeakCoupling:
    """Berendsen's thermostat: the mean of the kinetic energy is right, its width not.

    It stands in for a thermostat of ours, and has its motion.
    """

    thermostat: Any
    relaxation_time: float

    @property
    def motion(self) -> Any:
        """Return that of the thermostat it replaces."""
        return self.thermostat.motion

    def step(
        self, state: State, last: Prediction, potential: Potential, target: Target
    ) -> tuple[State, Prediction]:
        """Make one step."""
        moved, found = VelocityVerlet(self.motion).step(state, last, potential, target)
        wanted = 0.5 * KB * target.temperature
        wanted *= degrees_of_freedom(moved, fix_centre_of_mass=True)
        share = self.motion.timestep / self.relaxation_time
        scale = math.sqrt(1.0 + share * (wanted / moved.kinetic_energy - 1.0))
        return replace(moved, momenta=scale * moved.momenta), found


def without_noise(seed: int, stream: int, step: int, n: int) -> FloatArray:
    """Return what makes a barostat Berendsen's."""
    return np.zeros(n)


def plant(mistake: str, sampler: Any) -> Sampler:
    """Return the integrator with a mistake, as it is where none is named."""
    if mistake == "weak coupling":
        return WeakCoupling(sampler, 20.0 * sampler.motion.timestep)
    if mistake == "cell without noise":
        return replace(sampler, noise=without_noise)
    assert not mistake
    return sampler


# ------------------------------------------------------------------------ the samples
@dataclass(frozen=True)
class Case:
    """A row of the table.

    Attributes
    ----------
    name : first column
    dynamics : lines of the input file
    ensemble : "NVT" or "NPT"
    mistake : what is planted, empty for nothing
    like : name of the row that proposes the distances, of which half is taken; empty
        for its own. With widths that are far too small nothing would overlap
    """

    name: str
    dynamics: str
    ensemble: str
    mistake: str = ""
    like: str = ""


CASES = [
    *(Case(name, lines, "NVT") for name, lines in THERMOSTATS.items()),
    *(Case(name, lines, "NPT") for name, lines in BAROSTATS.items()),
    Case("(Berendsen thermostat)", THERMOSTATS["csvr"], "NVT", "weak coupling"),
    Case(
        "(Berendsen barostat)",
        BAROSTATS["cell-rescaling, langevin"],
        "NPT",
        "cell without noise",
        "cell-rescaling, langevin",
    ),
    *(
        Case(f"{name}, two time steps", f"{lines}\n{TWO_STEPS}", "NVT")
        for name, lines in THERMOSTATS.items()
    ),
]


def prepare(work: Path) -> None:
    """Write the crystal the fluid is melted from."""
    work.mkdir(parents=True, exist_ok=True)
    bulk("Ar", "fcc", a=EDGE, cubic=True).repeat(3).write(work / "argon.extxyz")


def written(
    work: Path, name: str, dynamics: str, conditions: str, **values: float
) -> Path:
    """Return an input file."""
    filled = {"seed": 1, "timestep": TIMESTEP, "start": TEMPERATURE, **values}
    path = work / f"{name}.toml"
    path.write_text(INPUT.format(dynamics=dynamics, conditions=conditions, **filled))
    return path


def trajectory(
    path: Path, *, mistake: str = "", every: int, fades: float = FADES
) -> dict[str, FloatArray]:
    """Return what is looked at along the run of an input file."""
    settings = load_settings(path)
    state, potential = initial_state(settings), Argon(fades)
    fast = Remembered(Argon(*NEAR))
    sampler = build_sampler(settings, state, load("cpu"), cutoff=ENDS, fast=fast)
    sampler = plant(mistake, sampler)
    schedule = build_schedule(settings)
    last = evaluate(potential, state)
    seen = []
    while state.step < schedule.steps:
        state, last = sampler.step(state, last, potential, schedule.target(state.step))
        if state.step % every == 0:
            energies = (
                state.kinetic_energy,
                last.energy,
                conserved_energy(state, last),
            )
            seen.append((*energies, state.configuration.volume))
    names = ("kinetic", "potential", "conserved", "volume")
    return dict(zip(names, np.array(seen).T, strict=True))


def sampled(
    work: Path, case: Case, temperature: float, pressure: float, steps: int
) -> dict[str, FloatArray] | None:
    """Return the samples of a state point; None when they are to be read and missing.

    Parameters
    ----------
    steps
        To make where no file holds them; 0 only reads.
    """
    key = f"{case.name} {temperature:.2f}K {pressure:.5f}GPa"
    path = work / f"{plain(key)}.npz"
    if not path.exists():
        if not steps:
            return None
        conditions = f"temperature_K = {temperature}"
        dynamics = f'ensemble = "{case.ensemble}"\n{case.dynamics}'
        if case.ensemble == "NPT":
            conditions += f"\npressure_GPa = {pressure}"
            dynamics += "\nbarostat_time_fs = 500.0"
        # No two state points share their noise.
        seed = hash((round(100 * temperature), round(1e5 * pressure))) % 2**31
        file = written(work, path.stem, dynamics, conditions, steps=steps, seed=seed)
        begin = time.monotonic()
        found = trajectory(file, mistake=case.mistake, every=SAMPLED)
        _save(path, found)
        print(f"{path.stem}: {time.monotonic() - begin:.0f} s", flush=True)
    with np.load(path) as stored:
        start = int(BEGINNING * len(stored["kinetic"]))
        return {name: stored[name][start:] for name in stored.files}


def plain(name: str) -> str:
    """Return the name of a file."""
    return name.replace(", ", "-").translate(str.maketrans(" ", "_", "()"))


def _save(path: Path, arrays: dict[str, FloatArray]) -> None:
    aside = path.with_suffix(".part.npz")
    np.savez(aside, **arrays)
    os.replace(aside, path)


# -------------------------------------------------------------------------- the tests
def simulation(
    found: dict[str, FloatArray],
    ensemble: str,
    temperature: float,
    pressure: float,
    *,
    held: int = 3,
) -> Any:
    """Return samples as physical_validation wants them.

    Parameters
    ----------
    held
        Degrees of freedom of the whole that do not move.
    """
    import physical_validation as pv

    n = 4 * 3**3
    units = pv.data.UnitData(
        kb=KB,
        energy_str="eV",
        energy_conversion=96.48533,
        length_str="A",
        length_conversion=0.1,
        volume_str="A^3",
        volume_conversion=1e-3,
        temperature_str="K",
        temperature_conversion=1.0,
        pressure_str="eV/A^3",
        pressure_conversion=1602176.634,
        time_str="fs",
        time_conversion=1e-3,
    )
    of_cell = (
        {"pressure": pressure * GPA}
        if ensemble == "NPT"
        else {"volume": float(found["volume"][0])}
    )
    return pv.data.SimulationData(
        units=units,
        dt=TIMESTEP,
        system=pv.data.SystemData(
            natoms=n,
            nconstraints=0,
            ndof_reduction_tra=held,
            ndof_reduction_rot=0,
            mass=np.full(n, 39.948),
        ),
        ensemble=pv.data.EnsembleData(
            ensemble=ensemble, natoms=n, temperature=temperature, **of_cell
        ),
        observables=pv.data.ObservableData(
            kinetic_energy=found["kinetic"],
            potential_energy=found["potential"],
            total_energy=found["kinetic"] + found["potential"],
            volume=found["volume"],
        ),
    )


def points(work: Path, case: Case, steps: int) -> dict[str, Any]:
    """Return the samples of all state points of a case that are there or can be made.

    The distances are those physical_validation proposes from the first.
    """
    import physical_validation as pv

    first = sampled(work, case, TEMPERATURE, PRESSURE, steps)
    if first is None:
        return {}
    found = {"first": simulation(first, case.ensemble, TEMPERATURE, PRESSURE)}
    model = next((other for other in CASES if other.name == case.like), case)
    alike = sampled(work, model, TEMPERATURE, PRESSURE, steps)
    if alike is None:
        return found
    proposed = pv.ensemble.estimate_interval(
        simulation(alike, case.ensemble, TEMPERATURE, PRESSURE), verbosity=0
    )
    wanted = {"hot": (proposed["dT"], 0.0)}
    if case.ensemble == "NPT":
        wanted["wide"] = (0.0, proposed["dP"] / GPA)
    for name, (hotter, wider) in wanted.items():
        share = 0.5 if case.like else 1.0
        t = round(TEMPERATURE + share * min(hotter, 0.3 * TEMPERATURE), 1)
        p = round(PRESSURE - share * min(wider, 0.5 * PRESSURE), 4)
        samples = sampled(work, case, t, p, steps)
        if samples is not None:
            found[name] = simulation(samples, case.ensemble, t, p)
    return found


def judged(found: dict[str, Any]) -> str:
    """Return the cells of a row after the first."""
    import physical_validation as pv

    cells = [of_kinetic(found["first"])]
    # The cells of the hot and the wide point are both larger: at once they overlap.
    for one, other in (("first", "hot"), ("first", "wide"), ("hot", "wide")):
        if one not in found or other not in found:
            cells.append("")
            continue
        pair = found[one], found[other]
        try:
            with wide_bins():
                off = pv.ensemble.check(*pair, verbosity=0, bootstrap_seed=1)
            words = ", ".join(f"{x:.2f}" for x in off)
        except pv.util.error.InputError:
            words = "too few samples"
        cells.append(f"{words} ({distance(*pair)})")
    return " | ".join(cells)


def distance(one: Any, other: Any) -> str:
    """Return how far apart two state points are."""
    a, b, apart = one.ensemble, other.ensemble, []
    if a.temperature != b.temperature:
        apart.append(f"{b.temperature - a.temperature:+.1f} K")
    if a.pressure != b.pressure:
        apart.append(f"{(b.pressure - a.pressure) / GPA:+.4f} GPa")
    return ", ".join(apart)


def of_degrees(work: Path) -> list[str]:
    """Return the rows of the three thermostats together, counted right and wrong."""
    found = [
        sampled(work, case, TEMPERATURE, PRESSURE, 0)
        for case in CASES
        if case.name in THERMOSTATS
    ]
    parts = [one for one in found if one is not None]
    if len(parts) < len(THERMOSTATS):
        return []
    whole = {name: np.concatenate([one[name] for one in parts]) for name in parts[0]}
    counts = {"3N - 3, all three": 3, "(3N, all three)": 0}
    rows = []
    for name, held in counts.items():
        data = simulation(whole, "NVT", TEMPERATURE, PRESSURE, held=held)
        rows.append(f"{name} | {of_kinetic(data)} | | |")
    return rows


@contextmanager
def wide_bins() -> Iterator[None]:
    """Let physical_validation sort into few bins.

    It fits a line to the logarithms of 40 bins first and stops where they are not
    filled. What it returns is the likelihood of all samples, which knows no bins.
    """
    from physical_validation.util import ensemble

    check = ensemble.check_1d
    ensemble.check_1d = lambda **given: check(**{**given, "nbins": BINS})
    try:
        yield
    finally:
        ensemble.check_1d = check


def of_kinetic(data: Any) -> str:
    """Return the cells of the kinetic energy."""
    import physical_validation as pv

    p = pv.kinetic_energy.distribution(data, strict=True, verbosity=0)
    mean, width = pv.kinetic_energy.distribution(
        data, strict=False, verbosity=0, bootstrap_seed=1
    )
    return f"{p:.2g} | {mean:.2f}, {width:.2f}"


# ----------------------------------------------------------------------- conservation
def conserving(work: Path, name: str, measure: bool) -> str | None:
    """Return the row of a conserved quantity, None when its runs are missing."""
    import physical_validation as pv

    runs = []
    for timestep in CONSERVING_FS:
        path = work / f"conserved-{plain(name)}-{timestep:g}fs.npz"
        if not path.exists():
            if not measure:
                return None
            conditions = ""
            if "NVE" not in CONSERVING[name] and "NPH" not in CONSERVING[name]:
                conditions = f"temperature_K = {TEMPERATURE}"
            if "NP" in CONSERVING[name]:
                conditions += f"\npressure_GPa = {PRESSURE}"
            steps = round(1000.0 * CONSERVING_PS / timestep)
            # Of the first velocities half goes into the melting crystal.
            file = written(
                work,
                path.stem,
                CONSERVING[name],
                conditions,
                steps=steps,
                timestep=timestep,
                start=2.0 * TEMPERATURE
                if "NVT" not in CONSERVING[name]
                else TEMPERATURE,
            )
            jumps = "jumps" in name
            _save(path, trajectory(file, every=1, fades=ENDS if jumps else FADES))
        with np.load(path) as stored:
            data = simulation(
                dict(stored),
                "NPT" if "NP" in CONSERVING[name] else "NVT",
                TEMPERATURE,
                PRESSURE,
            )
            data.dt = timestep
            data.observables.constant_of_motion = stored["conserved"]
            runs.append(data)
    widths = [float(r.observables.constant_of_motion.std()) for r in runs]
    off = pv.integrator.convergence(runs, verbose=False)
    ratios = [a / b for a, b in itertools.pairwise(widths)]
    return (
        f"{name} | {', '.join(f'{1000 * w:.4f}' for w in widths)} | "
        f"{', '.join(f'{r:.2f}' for r in ratios)} | {off:.3f}"
    )


# ------------------------------------------------------------------------------- main
def main() -> None:
    """Run what was asked for, all without a word."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder for what is written")
    parser.add_argument("task", nargs="?", choices=["measure", "table"])
    parser.add_argument("--only", nargs="*", default=None, metavar="PAIR")
    parser.add_argument("--steps", type=int, default=20_000)
    arguments = parser.parse_args()
    try:
        import physical_validation  # noqa: F401 - asked for before hours of work
    except ImportError:
        sys.exit("physical_validation is missing: pip install physical_validation")
    warnings.filterwarnings("ignore")
    work = arguments.work.resolve()
    prepare(work)
    steps = 0 if arguments.task == "table" else arguments.steps
    cases = [c for c in CASES if arguments.only is None or c.name in arguments.only]
    found = {case.name: points(work, case, steps) for case in cases}
    names = [n for n in CONSERVING if arguments.only is None or n in arguments.only]
    rows = [conserving(work, name, steps > 0) for name in names]
    if arguments.task == "measure":
        return
    print(
        "| | p of the kinetic energy | its mean, width | two temperatures | "
        "two pressures | both |\n|---|---|---|---|---|---|"
    )
    for name, data in found.items():
        if data:
            print(f"| {name} | {judged(data)} |", flush=True)
    for line in of_degrees(work):
        print(f"| {line}")
    print(
        "\n| | width of the conserved quantity at "
        f"{', '.join(f'{t:g}' for t in CONSERVING_FS)} fs (meV) | ratios | "
        "off dt^2 |\n|---|---|---|---|"
    )
    for row in rows:
        if row is not None:
            print(f"| {row} |")


if __name__ == "__main__":
    main()
