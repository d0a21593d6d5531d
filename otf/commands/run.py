"""otf-md run: molecular dynamics that learns its force field."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from otf.commands.check import (
    require_sound_model,
    require_stages,
)
from otf.commands.ending import conclude
from otf.commands.sound_structures import sound_configuration
from otf.errors import InputError
from otf.progress import Progress
from otf.settings import load_settings

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("input", type=Path, help="the input file")


def main(arguments: argparse.Namespace) -> int:
    """Run the input file and print how it ended."""
    settings = load_settings(arguments.input)
    if settings.sweep is not None:
        raise InputError(
            f"{arguments.input.name} holds many runs: run them with 'otf-md sweep "
            f"{arguments.input}', or remove [sweep] ({arguments.input.name}: sweep)"
        )
    require_stages(settings, arguments.input)
    sound_configuration(settings)
    require_sound_model(settings)
    from otf.run import run  # numba compiles on import; a wrong input need not wait

    progress = Progress(settings.dynamics.timestep_fs)
    outcome = run(settings, arguments.input.read_text(), progress)
    return conclude(outcome, settings.directory)
