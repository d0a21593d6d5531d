"""How far a model melts from its reference, without a border of crystal and melt.

    python melting_shift.py phases WORK [--repeat 3 3 3] [--steps 30000]
    python melting_shift.py own WORK --model MODEL [--steps 17000]
    python melting_shift.py shift WORK --model MODEL [MODEL ...]

Each with `--material aluminium` for that of M. I. Mendelev; without it the silicon of
Stillinger and Weber.

`phases`  crystal and melt of the reference, each alone, at the estimate of its melting
          temperature and no pressure, in LAMMPS. No model was fitted to them.
`own`     what `otf-md sweep` needs to let a model move the same crystal and melt.
`shift`   errors of models on these frames with their sign, and by how much they move
          the melting temperature: to first and second order from frames of the
          reference; where the model has moved the phases, to second order from its own
          frames and to all orders from both.

Every simulation is kept in WORK as it ends, and is not made twice. All tasks need the
packages lammps and mpich, `shift` the extra `analysis`.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from two_phases_lammps import (
    FRAMES,
    Parser,
    Simulated,
    add_task,
    configurations,
    count,
    crystal_of,
    follow,
    labels,
    number_of_frames,
    once,
)

from otf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from two_phases_lammps import Material

    from otf.analysis.averages import Mean
    from otf.configuration import Configuration, FloatArray, Labels
    from otf.models.posterior import KernelPosterior

    Frames = list[tuple[Configuration, Labels]]

PHASES = ("crystal", "melt")
RESTING = 5000  # steps of the reference that are left out
OWN_RESTING = 2000  # and of the model, which starts from a frame of the reference
OWN = """title = "Crystal and melt, moved by the model"

[structure]
file = "crystal.extxyz"

[potential]
model = {model}
on_untrusted = "flag"

[dynamics]
timestep_fs = {timestep}
ensemble = "NPT"
barostat_time_fs = 500.0

[[dynamics.stages]]
steps = {steps}
temperature_K = {T}
pressure_GPa = 0.0

[sweep]
structures = ["crystal.extxyz", "melt.extxyz"]

[output]
directory = "own"
trajectory_interval = {interval}
"""


def at_rest(material: Material) -> str:
    """Return the ensemble of the estimate and no pressure."""
    return f"npt temp {material.estimate} {material.estimate} 0.1 iso 0 0 1.0"


def preparation(material: Material, phase: str) -> list[tuple[str, int]]:
    """Return the ensembles a phase of the reference goes through before it counts."""
    T, hot = material.estimate, material.melting_whole
    rest = (at_rest(material), RESTING)
    if phase == "crystal":
        return [rest]
    return [
        (f"nvt temp {hot} {hot} 0.1", 6000),
        (f"npt temp {hot} {T} 0.1 iso 0 0 1.0", 8000),
        rest,
    ]


def simulate(material: Material, work: Path, arguments: argparse.Namespace) -> None:
    """Make crystal and melt of the reference."""
    positions, edges = crystal_of(material, arguments.repeat or material.bulk)
    first = {"crystal": material.estimate, "melt": material.melting_whole}
    for k, phase in enumerate(PHASES):
        once(
            work,
            f"bulk-{phase}",
            material,
            positions,
            edges,
            [*preparation(material, phase), (at_rest(material), arguments.steps)],
            temperature=2.0 * first[phase],
            seed=21 + k,
        )


def reference_frames(material: Material, work: Path, phase: str) -> list[Configuration]:
    """Return a phase of the reference, from where it rests."""
    skip = sum(steps for _, steps in preparation(material, phase)) // FRAMES
    run = Simulated.load(work / f"bulk-{phase}.npz")
    return configurations(material, run)[skip:]  # one at least: see number_of_frames


# --------------------------------------------------------- phases the model has moved
def own_runs(work: Path, model: Path) -> Path:
    """Return where a model moves crystal and melt."""
    return work / f"own-{model.stem}"


def prepare(material: Material, work: Path, arguments: argparse.Namespace) -> None:
    """Write what otf-md sweep needs to let a model move crystal and melt."""
    from otf.store.extxyz import write_frames

    model: Path = arguments.model
    last = {phase: reference_frames(material, work, phase)[-1] for phase in PHASES}
    text = OWN.format(
        model=json.dumps(str(model.resolve(strict=True))),
        timestep=round(1e3 * material.timestep, 6),
        steps=arguments.steps,
        T=material.estimate,
        interval=FRAMES,
    )
    folder = own_runs(work, model)
    path = folder / "input.toml"
    if path.exists() and path.read_text() != text:
        msg = f"{path} is of another model or length: remove {folder} or name it anew"
        raise InputError(msg)
    folder.mkdir(exist_ok=True)
    for phase, configuration in last.items():
        write_frames(
            folder / f"{phase}.extxyz",
            [(configuration, labels(material, configuration))],
        )
    path.write_text(text)
    print(f"otf-md sweep {path} --jobs 1")


def own_frames(work: Path, model: Path, phase: str) -> list[Configuration]:
    """Return what a model made of a phase, from where it rests; nothing without it.

    Raises
    ------
    InputError
        When another model of that name has moved the phases.
    """
    from otf.commands.analyses.inputs import configurations_of
    from otf.store.motion import read_motion

    folder = own_runs(work, model)
    run = folder / "own" / phase
    if not run.exists():
        return []
    moved = tomllib.loads((folder / "input.toml").read_text())["potential"]["model"]
    if Path(moved) != model.resolve():
        msg = f"{folder} is of {moved}, not of {model}: remove it or name it anew"
        raise InputError(msg)
    return configurations_of(read_motion(run))[OWN_RESTING // FRAMES :]


# ------------------------------------------------------------------ the free energies
def leaving(differences: FloatArray, kT: float) -> Mean:
    """Return the free energy of leaving the ensemble of frames, to second order.

    Parameters
    ----------
    differences
        (F,) eV, the other energy less that of the ensemble.
    kT
        eV.

    Notes
    -----
    -kT ln <exp(-dU/kT)> at constant pressure is <dU> - var(dU)/2kT to second order
    [1]_. The variance of m independent values is known to sqrt(2/m) of itself.

    References
    ----------
    .. [1] D. Alfe, G. D. Price, M. J. Gillan, Iron under Earth's core conditions,
       Phys. Rev. B 65, 165118 (2002), doi 10.1103/PhysRevB.65.165118.
    """
    from otf.analysis.averages import mean_of

    mean = mean_of(differences)
    second = float(np.var(differences, ddof=1)) / (2.0 * kT)
    error = float(np.hypot(mean.error, second * np.sqrt(2.0 / mean.n_independent)))
    return replace(mean, value=mean.value - second, error=error)


def bennett(off: FloatArray, back: FloatArray, kT: float) -> Mean:
    """Return the change of the free energy to all orders, eV.

    Parameters
    ----------
    off, back
        (F,) and (B,) eV, model less reference, over frames of the reference and of the
        model; each frame is taken for independent.
    kT
        eV.

    References
    ----------
    .. [1] C. H. Bennett, Efficient estimation of free energy differences from Monte
       Carlo data, J. Comput. Phys. 22, 245 (1976),
       doi 10.1016/0021-9991(76)90078-4.
    """
    from otf.analysis.averages import Mean
    from otf.analysis.libraries import library

    found = library("pymbar.other_estimators").bar(off / kT, -back / kT)
    return Mean(
        kT * float(found["Delta_f"]),
        kT * float(found["dDelta_f"]),
        float(len(off) + len(back)),
    )


def changes(off: FloatArray, back: FloatArray | None, kT: float) -> dict[str, Mean]:
    """Return every estimate of the free energy of a model less that of its reference.

    Parameters
    ----------
    off, back
        (F,) and (B,) eV, model less reference, over frames of the reference and, where
        there are such, of the model.
    kT
        eV.
    """
    from otf.analysis.averages import mean_of

    found = {"first order": mean_of(off), "second order": leaving(off, kT)}
    if back is not None:
        there = leaving(-back, kT)
        found["second order from its own frames"] = replace(there, value=-there.value)
        found["all orders"] = bennett(off, back, kT)
    return found


# ------------------------------------------------------------------- what it comes to
def labelled(material: Material, frames: Sequence[Configuration]) -> Frames:
    """Return frames with what the reference says of them."""
    return [(frame, labels(material, frame)) for frame in frames]


def compare(model: KernelPosterior, frames: Frames, title: str) -> FloatArray:
    """Return energies (F,) of a model less the reference, eV, and print all errors.

    Raises
    ------
    InputError
        When one frame is left, or none.
    """
    from ase.units import GPa

    from otf.analysis.averages import mean_of

    if len(frames) < 2:
        msg = f"{title}: {len(frames)} frames are too few, give more --steps"
        raise InputError(msg)
    n = frames[0][0].n_atoms
    pairs = [(model.predict(c), known) for c, known in frames]
    off = np.array([p.energy - known.energy for p, known in pairs])
    forces = np.concatenate([p.forces - known.forces for p, known in pairs])
    pressure = np.mean([(known.stress - p.stress)[:3].mean() for p, known in pairs])
    mean = mean_of(off)
    print(
        f"{title}, {len(off)} frames: energy {1e3 * mean.value / n:+.2f} +- "
        f"{1e3 * mean.error / n:.2f} meV/atom, force RMSE "
        f"{np.sqrt((forces**2).mean()):.4f} eV/A, pressure {pressure / GPa:+.3f} GPa"
    )
    return off


def shift(material: Material, work: Path, arguments: argparse.Namespace) -> None:
    """Print errors of models in either phase, and how far they melt from the reference.

    Notes
    -----
    At the melting temperature T of the reference its phases have the same free energy.
    With the heat of melting L, a difference d of the change between melt and crystal
    moves the melting temperature by T d/L.
    """
    from ase.units import kB

    from otf.deploy.saved_model import load_model

    T = material.estimate
    models = {path: load_model(path) for path in arguments.model}
    known = {
        phase: labelled(material, reference_frames(material, work, phase))
        for phase in PHASES
    }
    crystal, melt = (
        np.mean([y.energy / len(y.forces) for _, y in known[phase]]) for phase in PHASES
    )
    print(f"heat of melting {1e3 * (melt - crystal):.1f} meV/atom")
    for path, model in models.items():
        print(f"{path.name}: {model.form}, {model.references.n_references} references")
        own = {
            phase: labelled(material, own_frames(work, path, phase)) for phase in PHASES
        }
        found = {}
        for phase in PHASES:
            off = compare(model, known[phase], phase)
            back = (
                compare(model, own[phase], f"its own {phase}")
                if all(own.values())
                else None
            )
            found[phase] = changes(off, back, kB * T)
        n = known["crystal"][0][0].n_atoms
        for order, solid in found["crystal"].items():
            liquid = found["melt"][order]
            moved = T / (melt - crystal) * (liquid.value - solid.value) / n
            error = T / (melt - crystal) * np.hypot(liquid.error, solid.error) / n
            print(
                f"{order}: crystal {1e3 * solid.value / n:+.3f} +- "
                f"{1e3 * solid.error / n:.3f}, melt {1e3 * liquid.value / n:+.3f} +- "
                f"{1e3 * liquid.error / n:.3f} meV/atom; melts {moved:+.1f} +- "
                f"{abs(error):.1f} K from the reference"
            )


def main() -> None:
    """Read the command line and run."""
    parser = Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tasks = parser.add_subparsers(required=True, metavar="task")
    phases = add_task(tasks, "phases", simulate)
    phases.add_argument("--repeat", type=count, nargs=3, help="cubic cells")
    phases.add_argument("--steps", type=number_of_frames, default=30000)
    own = add_task(tasks, "own", prepare)
    own.add_argument("--model", type=Path, required=True)
    own.add_argument("--steps", type=number_of_frames, default=17000)
    add_task(tasks, "shift", shift).add_argument(
        "--model", type=Path, required=True, nargs="+", help="fitted to the reference"
    )
    follow(parser)


if __name__ == "__main__":
    main()
