"""From labelled structures to a model file: what fit and refit share."""

from __future__ import annotations

import argparse
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeGuard

import numpy as np
from pydantic import ValidationError

from otf.build import build_model
from otf.commands.accuracy import accuracy_of, print_accuracy
from otf.commands.model_card import words_of_laws
from otf.configuration import species_of
from otf.deploy.provenance import (
    record_of_data,
    record_of_fit,
    record_of_laws,
)
from otf.deploy.saved_model import save_model
from otf.errors import InputError
from otf.learning.laws import Laws
from otf.models.batch import solve_dataset
from otf.models.blind import FEWEST, BlindParts
from otf.models.interface import RowWeights
from otf.models.stress_offset import stress_energy_offset
from otf.recording import versions
from otf.settings.settings import Settings
from otf.settings.wording import wording
from otf.threads import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from otf.commands.accuracy import Accuracy
    from otf.commands.dataset import Dataset, Frame
    from otf.commands.stages import Stages
    from otf.configuration import IntArray
    from otf.models.bayesian_linear import BayesianLinear

Stress = Literal["auto", "yes", "no"]
STRESS = ("auto", "yes", "no")
REFERENCES = 1000
SECTIONS = ("descriptor", "regression", "baseline")
# What a run needs beside the model. A fit has no use for it, the settings insist.
_UNUSED: dict[str, object] = {
    "structure": {"file": "unused"},
    "reference": {"calculator": "unused"},
    "dynamics": {"stages": [{"steps": 1, "temperature_K": 300.0}]},
}


@dataclass(frozen=True)
class Basis:
    """How many local references a fit takes.

    Attributes
    ----------
    limit : of each element, None for no limit
    bound : smallest spilling worth a reference
    cur_epsilon : redundant ones below this share of the largest eigenvalue are dropped
    """

    limit: int | None
    bound: float = 1e-8
    cur_epsilon: float | None = None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments fit and refit have in common."""
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="MODEL", help="model file"
    )
    add_input(parser)
    parser.add_argument(
        "--stress",
        choices=STRESS,
        help="train stresses: unless they contradict the energies, always, or never "
        "(default: regression.train_stress of the input file, else auto)",
    )
    parser.add_argument(
        "--mix-references",
        action="store_true",
        help="take labels of different references together: those of all but the most "
        "frequent one are shifted by a constant for each element, found by the fit",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the errors as JSON, for programs"
    )


def add_input(parser: argparse.ArgumentParser) -> None:
    """Declare the argument that names settings of the model."""
    parser.add_argument(
        "--input",
        type=Path,
        metavar="TOML",
        help="input file whose [descriptor], [regression] and [baseline] are taken",
    )


def add_model(parser: argparse.ArgumentParser, *, references: int) -> None:
    """Declare the arguments of commands that fit to parts of the data."""
    add_references(parser, default=references)
    add_input(parser)
    parser.add_argument(
        "--stress", choices=STRESS, help="train stresses, as in otf-md fit"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def add_references(
    parser: argparse.ArgumentParser, *, default: int = REFERENCES
) -> None:
    """Declare the argument that limits the local references."""
    parser.add_argument(
        "--references",
        type=count,
        default=default,
        help="most local references of an element (default: %(default)s)",
    )


def count(text: str) -> int:
    """Return a whole number above 0 of the command line."""
    if not text.isdecimal() or int(text) < 1:
        msg = f"expected a whole number above 0, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def share(text: str) -> float:
    """Return a number above 0 and below 1 of the command line."""
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not 0.0 < value < 1.0:
        msg = f"expected a number above 0 and below 1, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return value


def model_settings(path: Path | None) -> Settings:
    """Return the settings of an input file that need not describe a run.

    Sections it lacks have their defaults; ``reference`` is None unless given.

    Raises
    ------
    InputError
        When the file cannot be read, or says something that cannot be.
    """
    if path is None:
        return Settings.model_validate(_UNUSED).model_copy(update={"reference": None})
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = str(error).splitlines()[0]
        msg = f"{path} cannot be read as an input file: {reason}"
        raise InputError(msg) from None
    try:
        settings = Settings.model_validate({**_UNUSED, **data})
    except ValidationError as error:
        raise InputError("\n".join(wording(error, name=path.name))) from None
    if "reference" not in data:
        settings = settings.model_copy(update={"reference": None})
    return settings.in_folder(path.parent)


def settings_of_model(metadata: Mapping[str, object], path: Path) -> Settings:
    """Return the settings a model was fitted with, as its file records them.

    Raises
    ------
    InputError
        When the file does not say, or says what is no longer understood.
    """
    known = metadata.get("input")
    if not _is_map(known):
        msg = f"{path} does not say what it was fitted with: fit it again"
        raise InputError(msg)
    defaults, sections = model_settings(None), {}
    for name in SECTIONS:
        plain = getattr(defaults, name).model_dump(mode="json")
        # Some keys may be given only beside others: a default one was not given.
        sections[name] = {k: v for k, v in known[name].items() if v != plain.get(k)}
    try:
        settings = Settings.model_validate({**_UNUSED, **sections})
    except ValidationError as error:
        raise InputError("\n".join(wording(error, name=path.name))) from None
    return settings.model_copy(update={"reference": None})


def _is_map(value: object) -> TypeGuard[Mapping[str, Mapping[str, object]]]:
    return isinstance(value, dict) and all(k in value for k in SECTIONS)


def fitted_model(
    settings: Settings,
    frames: Sequence[Frame],
    *,
    levels: IntArray | None = None,
    basis: Basis,
    stress: Stress | None,
    stages: Stages,
) -> BayesianLinear:
    """Return a model fitted to a data set, as ``calibrated_model`` without its laws."""
    model = _prepared(settings, frames, levels, stress=stress, stages=stages)
    _fit(model, frames, levels=levels, basis=basis, stages=stages)
    return model


def calibrated_model(
    settings: Settings,
    frames: Sequence[Frame],
    *,
    levels: IntArray | None = None,
    basis: Basis,
    stress: Stress | None,
    stages: Stages,
) -> tuple[BayesianLinear, Laws | None]:
    """Return a model fitted to a data set, and what its deviations are worth.

    That is found from parts left out in turn, and None where there are too few frames.

    Parameters
    ----------
    levels
        (F,) reference of every frame, 0 for the one the model predicts; None for one.
    stress
        None for what the settings say.
    """
    model = _prepared(settings, frames, levels, stress=stress, stages=stages)
    blind = BlindParts(model, frames) if len(frames) >= FEWEST else None
    _fit(model, frames, levels=levels, basis=basis, blind=blind, stages=stages)
    if blind is None:
        return model, None
    with one_blas_thread():
        found = blind.judged(stages)
    return model, Laws.of_blind(found, model.descriptor.species)


def _prepared(
    settings: Settings,
    frames: Sequence[Frame],
    levels: IntArray | None,
    *,
    stress: Stress | None,
    stages: Stages,
) -> BayesianLinear:
    """Return an empty model that knows whether stresses are fitted."""
    model = build_model(settings, species_of([c for c, _ in frames]))
    # Stresses are compared with energies, so those must be of one reference.
    one = frames
    if levels is not None:
        one = [frame for frame, level in zip(frames, levels, strict=True) if level == 0]
    decide_stress(model, settings, one, stress=stress, stages=stages)
    return model


def _fit(
    model: BayesianLinear,
    frames: Sequence[Frame],
    *,
    levels: IntArray | None,
    basis: Basis,
    blind: BlindParts | None = None,
    stages: Stages,
) -> None:
    solve_dataset(
        model,
        frames,
        levels=levels,
        n_references=basis.limit,
        bound=basis.bound,
        cur_epsilon=basis.cur_epsilon,
        watcher=blind,
        progress=stages,
    )


def decide_stress(
    model: BayesianLinear,
    settings: Settings,
    frames: Sequence[Frame],
    *,
    stress: Stress | None,
    stages: Stages,
) -> None:
    """Set the weight of the stress rows of an empty model, and say when it is 0."""
    wish = stress or settings.regression.train_stress
    weights = model.weights
    weight = 0.0 if wish == "no" else settings.regression.weight_stress
    if wish == "auto" and weight > 0.0 and _has_stress(frames):
        stages("stress", 0, 1)
        offset = stress_energy_offset(model, frames)
        if offset.is_significant:
            stages.note(f"{offset.message} (--stress yes)")
            weight = 0.0
    model.weights = RowWeights(weights.energy, weights.force, weight)


def decided_stress(
    settings: Settings,
    frames: Sequence[Frame],
    *,
    stress: Stress | None,
    stages: Stages,
) -> Stress:
    """Return yes or no, once for all fits to parts of a data set."""
    model = build_model(settings, species_of([c for c, _ in frames]))
    decide_stress(model, settings, frames, stress=stress, stages=stages)
    return "yes" if model.weights.stress > 0.0 else "no"


def finish(
    model: BayesianLinear,
    data: Dataset,
    settings: Settings,
    *,
    output: Path,
    command: str,
    sources: Sequence[Path],
    stages: Stages,
    laws: Laws | None = None,
) -> Accuracy:
    """Measure the training errors of a fitted model, and write its file.

    Parameters
    ----------
    laws
        Of the deviations of this very model; another fit has other deviations.
    """
    fitted = model.fitted
    accuracy = accuracy_of(
        fitted.predict, data, n_local_references=model.n_references, progress=stages
    )
    total = accuracy.total
    save_model(
        output,
        fitted,
        proof=data.configurations,
        metadata={
            "command": command,
            "data": [path.name for path in sources],
            **record_of_data(
                data.frames, reference=data.reference, description=data.description
            ),
            **({} if model.report is None else record_of_fit(model.report)),
            "mixed_references": [asdict(shift) for shift in data.shifts],
            "n_local_references": model.n_references,
            "stress_trained": model.weights.stress > 0.0 and _has_stress(data.frames),
            "training_energy_rmse_meV_per_atom": total.energy_rmse_meV_per_atom,
            "training_force_rmse_eV_per_A": total.force_rmse_eV_per_A,
            "training_stress_rmse_GPa": total.stress_rmse_GPa,
            **record_of_laws(laws),
            "input": {
                k: getattr(settings, k).model_dump(mode="json") for k in SECTIONS
            },
            "versions": versions(),
        },
    )
    stages.close()
    return accuracy


def report(
    accuracy: Accuracy,
    model: BayesianLinear,
    arguments: argparse.Namespace,
    lines: Iterable[str] = (),
    *,
    laws: Laws | None,
) -> None:
    """Print the training errors, and for people some lines and where the model lies."""
    print_accuracy(accuracy, as_json=arguments.json, more=record_of_laws(laws))
    if arguments.json:
        return
    few = f" (fewer than {FEWEST} structures to leave out)" if laws is None else ""
    print(f"Calibration {words_of_laws(laws)}{few}.")
    for line in lines:
        print(line)
    if model.weights.stress == 0.0 and accuracy.total.stress_rmse_GPa is not None:
        print("Stresses were not trained.")
    print(f"Wrote {arguments.output}.")


def _has_stress(frames: Sequence[Frame]) -> bool:
    return any(labels.stress_mask.any() for _, labels in frames)
