"""otf-md evaluate: a model against labelled structures."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from ase.data import chemical_symbols

from otf.commands.accuracy import accuracy_of, print_accuracy
from otf.commands.dataset import add_data, read_dataset, require_exists
from otf.commands.fitting import count
from otf.commands.stages import Stages
from otf.commands.stated import lines_of, record_of, statement_of
from otf.deploy.provenance import laws_of
from otf.deploy.saved_model import load_model
from otf.errors import InputError
from otf.store.model_file import read_model

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from otf.configuration import Configuration
    from otf.models.posterior import KernelPosterior

logger = logging.getLogger(__name__)

DEVIATIONS = 100  # structures; their shares are then known to a few per cent


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", type=Path, help="model file")
    add_data(parser)
    parser.add_argument(
        "--deviations",
        type=count,
        default=DEVIATIONS,
        metavar="N",
        help="compare errors with the deviations the model states on at most so many "
        "structures, evenly spread: one costs some hundred predictions (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the errors as JSON, for programs"
    )


def main(arguments: argparse.Namespace) -> int:
    """Print the errors of the model."""
    require_exists(arguments.model)
    data = read_dataset(arguments.data)
    model = load_model(arguments.model)
    laws = laws_of(read_model(arguments.model).metadata)
    require_known_species(model, data.configurations, arguments.model)
    warn_of_compositions(model, data.configurations)
    stages = Stages()
    accuracy = accuracy_of(
        model.predict,
        data,
        n_local_references=model.references.n_references,
        progress=stages,
    )
    stated = statement_of(
        model, laws, data.frames, limit=arguments.deviations, progress=stages
    )
    stages.close()
    print_accuracy(
        accuracy, as_json=arguments.json, more={"deviations": record_of(stated)}
    )
    if not arguments.json:
        print("\n".join(["", *lines_of(stated)]))
    return 0


def require_known_species(
    model: KernelPosterior, configurations: Sequence[Configuration], path: Path
) -> None:
    """Raise InputError when a structure holds an element the model never saw."""
    known = model.descriptor.species
    for k, configuration in enumerate(configurations):
        unknown = sorted({int(z) for z in configuration.numbers} - set(known))
        if unknown:
            msg = (
                f"structure {k} holds {_symbols(unknown)}, but {path} knows "
                f"{_symbols(known)} only: fit a model to labels with all elements"
            )
            raise InputError(msg)


def warn_of_compositions(
    model: KernelPosterior, configurations: Sequence[Configuration]
) -> None:
    """Warn once of structures whose energies the training cannot have determined."""
    found = [
        model.composition_warning(configuration) for configuration in configurations
    ]
    outside = [text for text in found if text is not None]
    if not outside:
        return
    logger.warning(
        "%d of %d structures: %s", len(outside), len(configurations), outside[0]
    )


def _symbols(numbers: Sequence[int]) -> str:
    return ", ".join(chemical_symbols[z] for z in numbers)
