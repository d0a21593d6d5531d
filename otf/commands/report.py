"""otf-md report: the HTML page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from otf.commands.run_page import write_run_page
from otf.store.run_reader import RunView

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run", type=Path, help="folder of a run, finished or not")
    parser.add_argument(
        "-o", "--output", type=Path, help="the page (default: report.html in the run)"
    )


def main(arguments: argparse.Namespace) -> int:
    """Write the page and say where it lies."""
    view = RunView.load(arguments.run)
    output: Path = arguments.output or view.folder.report
    write_run_page(view, output)
    print(f"Wrote {output}.")
    return 0
