"""Melting of silicon and aluminium by coexistence, in LAMMPS and judged here.

    python coexistence.py lammps WORK [--repeat 4 4 10] [--steps 125000] [--replicas 1]
    python coexistence.py velocity WORK [--repeat 4 4 10] [--steps 25000]
    python coexistence.py verdict WORK [--equilibration-ps 50]

Each with `--material aluminium` for that of M. I. Mendelev; without it the silicon of
Stillinger and Weber.

`lammps`    the protocol of `otf-md coexistence` in LAMMPS: the crystal at no pressure,
            half of it melted in the room of its melt, joined above and below the
            estimate, and let go at constant enthalpy. Needs the packages lammps and
            mpich.
`velocity`  the same two phases at several temperatures, with the temperature held.
`verdict`   what the simulations say, by the functions of `otf-md coexistence`. Needs
            the extra `analysis`.

Every simulation is kept in WORK as it ends, and is not made twice. The answer for
silicon is known: 1691(20) K by J. Q. Broughton, X. P. Li, Phys. Rev. B 35, 9120 (1987),
doi 10.1103/PhysRevB.35.9120. How far a model melts from its reference, without a
border, says `melting_shift.py`.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np
from two_phases_lammps import (
    FRAMES,
    ROWS,
    Parser,
    Simulated,
    add_task,
    configurations,
    count,
    crystal_of,
    follow,
    number_of_frames,
    once,
)

from otf.commands.coexistence_runs import with_room
from otf.configuration import Configuration
from otf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from two_phases_lammps import Material

    from otf.analysis.coexistence import Boundary, Settling

STARTS = {1: "above", -1: "below"}


def chosen(names: Iterable[str], only: str | None) -> list[str]:
    """Return the names of the simulations to make."""
    every = list(names)
    if only is None:
        return every
    if only not in every:
        msg = f"--only {only}: there are {', '.join(every)}"
        raise InputError(msg)
    return [only]


def half_melted(material: Material, work: Path, repeat: Sequence[int]) -> Simulated:
    """Return the crystal with its upper half melted while the lower was held."""
    positions, edges = crystal_of(material, repeat)
    estimate, melting = material.estimate, material.melting
    npt = f"npt temp {estimate} {estimate} 0.1 iso 0 0 1.0"
    crystal = once(
        work,
        "crystal",
        material,
        positions,
        edges,
        [(npt, 10000)],
        temperature=2 * estimate,
    )
    half = len(crystal.edges) // 2
    mean = crystal.edges[half:].mean(axis=0)
    last = crystal.frames[-1] * mean / crystal.boxes[-1]
    hot = f"nvt temp {melting} {melting} 0.1"
    cool = f"nvt temp {melting} {estimate} 0.1"
    free = f"npt temp {estimate} {estimate} 0.1 z 0 0 1.0"
    liquid = once(
        work,
        "liquid",
        material,
        last,
        mean,
        [(hot, 8000), (cool, 8000), (free, 10000)],
        temperature=melting,
    )
    n, held = len(positions), len(positions) // 2
    length = liquid.edges[-5000 // ROWS :, 2].mean()
    start = with_room(
        Configuration(np.full(n, 1), last, np.diag(mean), np.ones(3, dtype=np.bool_)),
        np.arange(n) < held,
        np.diag([*mean[:2], length]),
    )
    return once(
        work,
        "melt",
        material,
        start.positions,
        np.diag(start.cell),
        [(hot, 8000), (cool, 8000)],
        temperature=melting,
        held=held,
    )


def settle(material: Material, work: Path, arguments: argparse.Namespace) -> None:
    """Make the runs at constant enthalpy, from above and from below."""
    runs = {
        name if k == 0 else f"{name}-{k + 1}": (sign, k)
        for k in range(arguments.replicas)
        for sign, name in STARTS.items()
    }
    names = chosen(runs, arguments.only)
    melt = half_melted(material, work, arguments.repeat)
    for name in names:
        sign, k = runs[name]
        start = material.estimate + sign * material.apart
        npt = f"npt temp {start} {start} 0.1 z 0 0 1.0"
        join = once(
            work,
            f"join-{name}",
            material,
            melt.frames[-1],
            melt.boxes[-1],
            [(npt, material.joining)],
            temperature=start,
            seed=2 + sign + 100 * k,
        )
        once(
            work,
            f"enthalpy-{name}",
            material,
            join.frames[-1],
            join.boxes[-1],
            [("nph z 0 0 1.0", arguments.steps)],
            temperature=start,
            seed=5 + sign + 100 * k,
        )


def grow(material: Material, work: Path, arguments: argparse.Namespace) -> None:
    """Make the runs whose temperature is held."""
    runs = {f"{T:g}": (k, T) for k, T in enumerate(material.temperatures)}
    names = chosen(runs, arguments.only)
    melt = half_melted(material, work, arguments.repeat)
    for name in names:
        k, T = runs[name]
        npt = f"npt temp {T} {T} 0.1 z 0 0 1.0"
        once(
            work,
            f"velocity-{name}K",
            material,
            melt.frames[-1],
            melt.boxes[-1],
            [(npt, material.joining + arguments.steps)],
            temperature=T,
            seed=11 + k,
        )


# ------------------------------------------------------------------------ the verdict
def judge(material: Material, work: Path, arguments: argparse.Namespace) -> None:
    """Print what the simulations that are there say."""
    from otf.analysis.coexistence import agreement, drifting, pooled

    boundary = boundary_of(material, work)
    starts: dict[str, list[Settling]] = {}
    for path in sorted(work.glob("enthalpy-*.npz")):
        name = path.stem.removeprefix("enthalpy-")
        found = judge_one(material, path, boundary, arguments.equilibration_ps)
        starts.setdefault(name.split("-")[0], []).append(found)
    for name, replicas in starts.items():
        print(f"from {name}: {drifting(replicas) or 'no drift'}")
    if len(starts) > 1:
        means = [pooled([r.temperature for r in one]) for one in starts.values()]
        print(agreement(means))
    judge_growth(material, work, boundary)


def boundary_of(material: Material, work: Path) -> Boundary:
    """Return what parts crystal from melt, and print it."""
    from otf.analysis.coexistence import averaged_order, boundary_between

    neighbors = material.neighbors
    solid = configurations(material, Simulated.load(work / "crystal.npz"))[-10:]
    liquid = []
    for c in configurations(material, Simulated.load(work / "melt.npz"))[-10:]:
        s = c.positions[:, 2] / c.cell[2, 2]
        liquid.append(averaged_order(c, neighbors)[(s > 0.6) & (s < 0.9)])
    boundary = boundary_between(
        np.concatenate([averaged_order(c, neighbors) for c in solid]),
        np.concatenate(liquid),
        neighbors=neighbors,
    )
    print(f"{solid[0].n_atoms} atoms, {boundary}")
    return boundary


def judge_one(
    material: Material, path: Path, boundary: Boundary, equilibration: float | None
) -> Settling:
    """Print what a run at constant enthalpy says, and return it."""
    from otf.analysis.averages import mean_of
    from otf.analysis.coexistence import settling, shares

    run = Simulated.load(path)
    row, frame = ROWS * material.timestep, FRAMES * material.timestep
    times = row * np.arange(1, len(run.temperatures) + 1)
    found = settling(
        times,
        run.temperatures,
        frame * np.arange(1, len(run.frames) + 1),
        shares(configurations(material, run), boundary),
        begin=equilibration,
    )
    late = times >= (0.5 * times[-1] if equilibration is None else equilibration)
    along = mean_of(run.pressures[late, :2].mean(axis=1))
    print(
        f"from {path.stem.removeprefix('enthalpy-')}, {times[-1]:.0f} ps: "
        f"{found.temperature.value:.1f} +- {found.temperature.error:.1f} K, drift "
        f"{found.drift:+.3f} +- {found.drift_error:.3f} K/ps, crystalline "
        f"{found.crystal[0]:.2f} to {found.crystal[1]:.2f}, pressure along the borders "
        f"{along.value:.3f} +- {along.error:.3f} GPa; {found.reason or 'settled'}"
    )
    return found


def judge_growth(material: Material, work: Path, boundary: Boundary) -> None:
    """Print the rates of growth, and where they are none."""
    from otf.analysis.coexistence import crossing, rate_of, shares

    skip = material.joining // FRAMES
    temperatures, rates = [], []
    for T in material.temperatures:
        path = work / f"velocity-{T:g}K.npz"
        if not path.exists():
            continue
        seen = shares(configurations(material, Simulated.load(path)), boundary)[skip:]
        times = FRAMES * material.timestep * np.arange(len(seen))
        rate = rate_of(times, seen)
        print(f"{T:g} K: {rate}")
        if rate is not None:
            temperatures.append(T)
            rates.append(rate)
    if len(rates) > 2:
        print(crossing(np.array(temperatures), rates))


def time(text: str) -> float:
    """Return a time that is positive, ps."""
    if not float(text) > 0.0:
        msg = f"must be positive, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return float(text)


def main() -> None:
    """Read the command line and run."""
    parser = Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tasks = parser.add_subparsers(required=True, metavar="task")
    made = {"lammps": (settle, 125000), "velocity": (grow, 25000)}
    for name, (task, steps) in made.items():
        one = add_task(tasks, name, task)
        one.add_argument("--repeat", type=count, nargs=3, default=(4, 4, 10))
        one.add_argument("--steps", type=number_of_frames, default=steps)
        one.add_argument("--only", help="above, below, above-2, ...; or a temperature")
    tasks.choices["lammps"].add_argument(
        "--replicas", type=count, default=1, help="of every start"
    )
    add_task(tasks, "verdict", judge).add_argument(
        "--equilibration-ps", type=time, help="not judged (default: half of a run)"
    )
    follow(parser)


if __name__ == "__main__":
    main()
