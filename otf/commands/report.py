"""otf-md report: the HTML page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from otf.commands.run_page import write_run_page
from otf.errors import InputError
from otf.store.run_reader import RunView
from otf.store.schema import SHARED, RunFolder

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run", type=Path, help="folder of a run, finished or not")
    parser.add_argument(
        "-o", "--output", type=Path, help="the page (default: report.html in the run)"
    )


def runs_below(path: Path) -> list[Path]:
    """Return the runs in a folder that is none itself, as of a sweep or coexistence."""
    folder = RunFolder(path)
    if folder.journal.exists() or not path.is_dir():
        return []
    # Runs of a sweep lie in its folder, those of a coexistence one level deeper.
    below = [p for pattern in ("*/", "*/*/") for p in path.glob(pattern)]
    runs = sorted(p for p in below if RunFolder(p).journal.is_file())
    # The first to look at is what all runs of a sweep have learned.
    return sorted(runs, key=lambda p: p.name != SHARED)


def main(arguments: argparse.Namespace) -> int:
    """Write the page and say where it lies.

    Raises
    ------
    InputError
        When the folder is that of several runs.
    StoreError
        When there is no run, or a file cannot be read or written.
    """
    if runs := runs_below(arguments.run):
        msg = (
            f"{arguments.run} holds {len(runs)} runs and is none: give one of them, "
            f"such as {runs[0]}"
        )
        raise InputError(msg)
    view = RunView.load(arguments.run)
    output: Path = arguments.output or view.folder.report
    write_run_page(view, output)
    print(f"Wrote {output}.")
    return 0
