"""otf-md bench: how fast a model is on this machine."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from otf.commands.cost import peak_memory
from otf.commands.dataset import require_exists
from otf.commands.evaluate import require_known_species
from otf.commands.fitting import count
from otf.commands.stages import Stages
from otf.configuration import Configuration
from otf.deploy.saved_model import load_model
from otf.errors import InputError
from otf.kernels import Backend, Device, DeviceMissing, load
from otf.settings.structures import read_atoms
from otf.threads import thread_count

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from otf.configuration import FloatArray
    from otf.models.posterior import KernelPosterior

    Step = Callable[[Configuration], object]

HOST = load("cpu")
STEPS = 20
WARM_UP = 2  # steps that are not counted
DISPLACEMENT = 0.01  # angstrom, along each axis in one step
SECONDS_PER_DAY = 86_400.0
FS_PER_NS = 1e6
LABELS = {
    "step": "energy, forces, stress",
    "step_with_uncertainty": "+ screen of every atom",
    "step_with_local_uncertainty": "+ deviation on all references",
}
HEAD = (
    f"{'us per atom and step':<30}{'wall clock':>18}{'processor':>18}{'ns/day':>10}",
    f"{'':<30}{'median':>9}{'minimum':>9}{'median':>9}{'minimum':>9}{'at 1 fs':>10}",
)


@dataclass(frozen=True)
class Timing:
    """Microseconds an atom and step takes, over the counted steps.

    Attributes
    ----------
    wall_median, wall_minimum : wall clock
    cpu_median, cpu_minimum : processor time of all threads
    """

    wall_median: float
    wall_minimum: float
    cpu_median: float
    cpu_minimum: float

    @classmethod
    def of(cls, rows: FloatArray) -> Timing:
        """Return the summary of (k, 2), wall clock and processor of each step."""
        (wall, cpu), (least_wall, least_cpu) = np.median(rows, axis=0), rows.min(axis=0)
        return cls(float(wall), float(least_wall), float(cpu), float(least_cpu))


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", type=Path, help="model file")
    parser.add_argument("structure", type=Path, help="any structure file ASE reads")
    parser.add_argument(
        "--repeat",
        type=count,
        nargs=3,
        default=(1, 1, 1),
        metavar="N",
        help="copies of the structure along each axis (default: 1 1 1)",
    )
    parser.add_argument(
        "--steps",
        type=count,
        default=STEPS,
        metavar="K",
        help="steps of each kind to time (default: %(default)s)",
    )
    parser.add_argument(
        "--device",
        choices=get_args(Device),
        default="cpu",
        help="where to run it (default: %(default)s)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the times as JSON, for programs"
    )


def main(arguments: argparse.Namespace) -> int:
    """Time the model on moving copies of the structure."""
    for path in (arguments.model, arguments.structure):
        require_exists(path)
    atoms = read_atoms(arguments.structure).repeat(arguments.repeat)
    begin = time.perf_counter()
    try:
        model = load_model(arguments.model, backend=arguments.device)
    except DeviceMissing as error:
        raise InputError(f"{error} (--device)") from None
    backend = model.backend
    configuration = Configuration.from_atoms(atoms)
    require_known_species(model, [configuration], arguments.model)
    configuration = configuration.moved(backend.here(configuration.positions))
    steps = steps_of(model)
    frames = moving(configuration, seed=0, backend=backend)
    steps["step"](next(frames))
    backend.wait()
    first_call = time.perf_counter() - begin
    timings: dict[str, Timing] = {}
    stages = Stages()
    for name, step in steps.items():
        stages(f"timing: {LABELS[name]}", len(timings), len(steps))
        rows = measured(step, frames, n_steps=arguments.steps, backend=backend)
        timings[name] = Timing.of(rows)
    stages.close()
    result: dict[str, object] = {
        **{f"us_per_atom_{name}": t.wall_median for name, t in timings.items()},
        "n_atoms": configuration.n_atoms,
        "n_local_references": model.references.n_references,
        "threads": thread_count(),
        "device": arguments.device,
        "processor": backend.name,
        "form": model.form,
        "peak_memory_MB": round(peak_memory() / 1e6, 1),
        "first_call_seconds": round(first_call, 3),
        "us_per_atom": {name: asdict(t) for name, t in timings.items()},
    }
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        print("\n".join(table(result, timings, n_atoms=configuration.n_atoms)))
    return 0


def steps_of(model: KernelPosterior) -> dict[str, Step]:
    """Return what a step computes: a prediction, alone or with its uncertainty."""
    return {
        "step": model.predict,
        "step_with_uncertainty": model.predict_screened,
        "step_with_local_uncertainty": model.predict_measured,
    }


def moving(
    configuration: Configuration, *, seed: int, backend: Backend = HOST
) -> Iterator[Configuration]:
    """Yield the structure with displacements that add up, as those of dynamics do.

    What is remembered between steps, such as neighbours within a skin, is then used
    and renewed as it would be in a run.
    """
    generator = np.random.default_rng(seed)
    positions = configuration.positions
    while True:
        noise = generator.normal(scale=DISPLACEMENT, size=positions.shape)
        positions = positions + backend.here(noise)
        yield configuration.moved(positions)


def measured(
    step: Step,
    frames: Iterator[Configuration],
    *,
    n_steps: int,
    backend: Backend = HOST,
) -> FloatArray:
    """Return microseconds per atom, wall clock and processor, of each step, (k, 2).

    The first few steps are made, but not counted.
    """
    rows = []
    for k in range(WARM_UP + n_steps):
        frame = next(frames)
        backend.wait()
        wall, cpu = time.perf_counter(), time.process_time()
        step(frame)
        backend.wait()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        if k >= WARM_UP:
            rows.append((wall, cpu))
    return 1e6 / frame.n_atoms * np.array(rows)


def ns_per_day(us_per_atom: float, n_atoms: int) -> float:
    """Return the length of dynamics a day gives, in ns, with a time step of 1 fs."""
    seconds = 1e-6 * us_per_atom * n_atoms
    return SECONDS_PER_DAY / seconds / FS_PER_NS


def table(
    result: dict[str, object], timings: dict[str, Timing], *, n_atoms: int
) -> Iterator[str]:
    """Yield the lines people read."""
    threads = result["threads"]
    yield (
        f"{n_atoms} atoms, {result['n_local_references']} local references, "
        f"{result['form']} form, {result['processor']}, "
        f"{threads} {'thread' if threads == 1 else 'threads'}"
    )
    yield from HEAD
    for name, t in timings.items():
        yield (
            f"{LABELS[name]:<30}{t.wall_median:>9.1f}{t.wall_minimum:>9.1f}"
            f"{t.cpu_median:>9.1f}{t.cpu_minimum:>9.1f}"
            f"{ns_per_day(t.wall_median, n_atoms):>10.3g}"
        )
    yield (
        f"first call after {result['first_call_seconds']} s, at most "
        f"{result['peak_memory_MB']} MB of memory"
    )
