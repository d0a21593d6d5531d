"""otf-md resume: go on with a run that was stopped or killed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from otf.commands.ending import conclude
from otf.errors import InputError, StoreError
from otf.progress import Progress
from otf.settings.loading import load_run_settings
from otf.store.checkpoint import load_newest
from otf.store.schema import RunFolder

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", type=Path, help="the folder of the run")


def main(arguments: argparse.Namespace) -> int:
    """Resume the run and print how it ended."""
    folder = RunFolder(arguments.folder)
    if not folder.input.is_file():
        raise StoreError(
            f"{folder.path}: there is no run in this folder (no {folder.input.name}); "
            "give the folder that otf-md run wrote"
        )
    saved = load_newest(folder)
    if saved is not None and "turn" in saved.counters:
        raise InputError(
            f"{folder.path}: this run learns together with others of a sweep; go on "
            "with 'otf-md sweep' and the input file of the sweep"
        )
    settings = load_run_settings(folder.input)
    from otf.run import resume  # numba compiles on import; a wrong input need not wait

    progress = Progress(settings.dynamics.timestep_fs)
    return conclude(resume(folder, settings, progress), folder.path)
