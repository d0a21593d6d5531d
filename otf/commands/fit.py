"""otf-md fit: a model from labelled structures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from otf.commands.dataset import read_dataset, require_writable
from otf.commands.fitting import (
    Basis,
    add_options,
    count,
    finish,
    fitted_model,
    model_settings,
    report,
)
from otf.commands.stages import Stages

if TYPE_CHECKING:
    import argparse

REFERENCES = 1000


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "data",
        type=Path,
        nargs="+",
        help="extended XYZ files (also .gz) with labels, or folders of runs",
    )
    parser.add_argument(
        "--references",
        type=count,
        default=REFERENCES,
        help="most local references of an element (default: %(default)s)",
    )
    add_options(parser)


def main(arguments: argparse.Namespace) -> int:
    """Fit, write the model, and print the training errors."""
    require_writable(arguments.output, *arguments.data)
    settings = model_settings(arguments.input)
    data = read_dataset(arguments.data)
    stages = Stages()
    model = fitted_model(
        settings,
        data.frames,
        basis=Basis(limit=arguments.references),
        stress=arguments.stress,
        stages=stages,
    )
    accuracy = finish(
        model,
        data,
        settings,
        output=arguments.output,
        command="fit",
        sources=arguments.data,
        stages=stages,
    )
    report(accuracy, model, arguments)
    return 0
