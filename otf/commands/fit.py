"""otf-md fit: a model from labelled structures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otf.commands.dataset import add_data, read_dataset, require_writable
from otf.commands.fitting import (
    Basis,
    add_options,
    add_references,
    calibrated_model,
    finish,
    model_settings,
    report,
)
from otf.commands.mixing import on_its_level, shift_lines
from otf.commands.stages import Stages

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_data(parser)
    add_references(parser)
    add_options(parser)


def main(arguments: argparse.Namespace) -> int:
    """Fit, write the model, and print the training errors."""
    require_writable(arguments.output, *arguments.data)
    settings = model_settings(arguments.input)
    data = read_dataset(arguments.data, mix=arguments.mix_references)
    stages = Stages()
    model, laws = calibrated_model(
        settings,
        data.frames,
        levels=data.levels,
        basis=Basis(limit=arguments.references),
        stress=arguments.stress,
        stages=stages,
    )
    data = on_its_level(model, data)
    accuracy = finish(
        model,
        data,
        settings,
        output=arguments.output,
        command="fit",
        sources=arguments.data,
        stages=stages,
        laws=laws,
    )
    report(accuracy, model, arguments, shift_lines(data), laws=laws)
    return 0
