"""otf-md distill: a faster form of a model, fitted to the same labels.

A covariance of exponent 2 collapses to a quadratic form of the descriptor, one of
exponent 1 to a vector: their cost does not depend on the number of references. With
fewer radial functions and angular orders the neighbours cost less, too. What that does
to the errors is printed beside the speed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from otf.commands.accuracy import accuracy_of
from otf.commands.bench import Timing, measured, moving
from otf.commands.dataset import read_dataset, require_exists, require_writable
from otf.commands.evaluate import require_known_species
from otf.commands.fitting import (
    Basis,
    Stress,
    add_references,
    count,
    finish,
    fitted_model,
    settings_of_model,
)
from otf.commands.stages import Stages
from otf.configuration import Configuration
from otf.deploy.saved_model import load_model
from otf.store.model_file import read_model

if TYPE_CHECKING:
    import argparse

    from otf.analysis.errors import ErrorReport
    from otf.commands.dataset import Dataset
    from otf.models.posterior import KernelPosterior
    from otf.settings.settings import Settings

EXPONENT = 2
ATOMS = 512  # at least, in the structure the speed is measured on
STEPS = 10
HEAD = (
    f"{'':<10}{'form':<11}{'references':>11}{'energy':>10}{'force':>10}{'stress':>10}"
    f"{'speed':>16}\n"
    f"{'':<10}{'':<11}{'':>11}{'meV/atom':>10}{'eV/A':>10}{'GPa':>10}"
    f"{'us/atom/step':>16}"
)


@dataclass(frozen=True)
class Standing:
    """How wrong and how fast a model is.

    Attributes
    ----------
    form : direct, quadratic or vector
    n_local_references : of the model
    errors : on the labels
    us_per_atom_step : energy, forces and stress, median of the wall clock
    """

    form: str
    n_local_references: int
    errors: ErrorReport
    us_per_atom_step: float


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", type=Path, help="model file")
    parser.add_argument(
        "data",
        type=Path,
        nargs="+",
        help="the labels it was fitted to: files otf-md import reads, or folders of "
        "runs",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="MODEL", help="model file"
    )
    parser.add_argument(
        "--test",
        type=Path,
        nargs="+",
        metavar="DATA",
        help="labels to print the errors on (default: those of the fit)",
    )
    parser.add_argument(
        "--exponent",
        type=int,
        choices=(1, 2),
        default=EXPONENT,
        help="1 for a vector, 2 for a quadratic form (default: %(default)s)",
    )
    for name, meaning in (("n-max", "radial functions"), ("l-max", "angular orders")):
        parser.add_argument(
            f"--{name}", type=count, help=f"{meaning} (default: those of the model)"
        )
    add_references(parser)
    parser.add_argument(
        "--json", action="store_true", help="print errors and speeds as JSON"
    )


def main(arguments: argparse.Namespace) -> int:
    """Fit the faster form, write it, and print both beside each other."""
    require_exists(arguments.model)
    require_writable(arguments.output, arguments.model, *arguments.data)
    file = read_model(arguments.model)
    data = read_dataset(arguments.data)
    test = read_dataset(arguments.test) if arguments.test else data
    teacher = load_model(arguments.model)
    for known in (data, test):
        require_known_species(teacher, known.configurations, arguments.model)
    settings = faster(settings_of_model(file.metadata, arguments.model), arguments)
    stages = Stages()
    stress: Stress = "yes" if file.metadata.get("stress_trained", True) else "no"
    model = fitted_model(
        settings,
        data.frames,
        basis=Basis(limit=arguments.references),
        stress=stress,
        stages=stages,
    )
    finish(
        model,
        data,
        settings,
        output=arguments.output,
        command="distill",
        sources=arguments.data,
        stages=stages,
    )
    found = {
        name: standing(one, test, stages)
        for name, one in (("model", teacher), ("distilled", model.fitted))
    }
    stages.close()
    if arguments.json:
        print(json.dumps({k: asdict(s) for k, s in found.items()}, indent=2))
        return 0
    print(HEAD)
    for name, one in found.items():
        print(line(name, one))
    print(f"Wrote {arguments.output}.")
    return 0


def faster(settings: Settings, arguments: argparse.Namespace) -> Settings:
    """Return the settings of the model with what the command line changes."""
    descriptor = {
        key: value
        for key, value in (("n_max", arguments.n_max), ("l_max", arguments.l_max))
        if value is not None
    }
    regression = {"covariance": "polynomial", "exponent": arguments.exponent}
    return settings.model_copy(
        update={
            "descriptor": settings.descriptor.model_copy(update=descriptor),
            "regression": settings.regression.model_copy(update=regression),
        }
    )


def standing(model: KernelPosterior, data: Dataset, stages: Stages) -> Standing:
    """Return errors on labels and the speed on the largest structure, repeated."""
    accuracy = accuracy_of(
        model.predict,
        data,
        n_local_references=model.references.n_references,
        progress=stages,
    )
    frames = moving(large(data.configurations), seed=0)
    stages("timing", 0, 1)
    rows = measured(model.predict, frames, n_steps=STEPS)
    return Standing(
        form=model.form,
        n_local_references=model.references.n_references,
        errors=accuracy.total,
        us_per_atom_step=Timing.of(rows).wall_median,
    )


def large(configurations: list[Configuration]) -> Configuration:
    """Return the largest structure, repeated along its periodic axes."""
    atoms = max(configurations, key=lambda c: c.n_atoms).to_atoms()
    repeats = [1, 1, 1]
    while atoms.pbc.any() and len(atoms) * repeats[0] * repeats[1] * repeats[2] < ATOMS:
        lengths = atoms.cell.lengths() * repeats
        lengths[~atoms.pbc] = float("inf")
        repeats[int(lengths.argmin())] += 1
    return Configuration.from_atoms(atoms.repeat(repeats))


def line(name: str, one: Standing) -> str:
    """Return the line people read; mean absolute errors."""
    errors = (
        (one.errors.energy_mae_meV_per_atom, 2),
        (one.errors.force_mae_eV_per_A, 4),
        (one.errors.stress_mae_GPa, 3),
    )
    cells = "".join(
        f"{'-':>10}" if value is None else f"{value:10.{digits}f}"
        for value, digits in errors
    )
    return (
        f"{name:<10}{one.form:<11}{one.n_local_references:>11}{cells}"
        f"{one.us_per_atom_step:16.1f}"
    )
