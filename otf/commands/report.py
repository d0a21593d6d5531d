"""otf-md report: the HTML page of a run, or of a whole sweep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from otf.commands.run_page import write_run_page
from otf.commands.sweep_page import write_page_so_far
from otf.errors import InputError
from otf.store.run_reader import RunView
from otf.store.schema import RunFolder, SweepFolder

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "run", type=Path, help="folder of a run or of a sweep, finished or not"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="the page (default: report.html in the folder)",
    )


def runs_below(path: Path) -> list[Path]:
    """Return the runs in a folder that is none itself, as of a coexistence."""
    folder = RunFolder(path)
    if folder.journal.exists() or not path.is_dir():
        return []
    # Runs of a coexistence lie one level deeper than those beside each other.
    below = [p for pattern in ("*/", "*/*/") for p in path.glob(pattern)]
    return sorted(p for p in below if RunFolder(p).journal.is_file())


def main(arguments: argparse.Namespace) -> int:
    """Write the page and say where it lies.

    Raises
    ------
    InputError
        When the folder is that of several runs and no sweep.
    StoreError
        When there is no run, or a file cannot be read or written.
    """
    sweep = SweepFolder(arguments.run)
    if sweep.input.is_file():
        page: Path = arguments.output or sweep.report
        write_page_so_far(sweep, page)
        print(f"Wrote {page}.")
        return 0
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
