"""otf-md data: look at labelled structures before they are trusted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from otf.analysis.data_findings import findings
from otf.commands.conversion import add_sources, left_out, read_sources
from otf.commands.data_summary import as_json, summary
from otf.commands.dataset import require_writable
from otf.commands.doctor import examine
from otf.commands.fitting import add_input, add_references, model_settings
from otf.commands.stages import Stages
from otf.report.data_page import write_data_page

if TYPE_CHECKING:
    import argparse

REFERENCES = 300


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_sources(parser)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="PAGE", help="HTML page to write"
    )
    add_input(parser)
    add_references(parser, default=REFERENCES)
    parser.add_argument(
        "--no-model",
        action="store_true",
        help="do not compare the labels with a model, which takes most of the time",
    )


def main(arguments: argparse.Namespace) -> int:
    """Print what was found, and write the page."""
    if arguments.output is not None:
        require_writable(arguments.output, *arguments.files)
    settings = model_settings(arguments.input)
    sources = read_sources(arguments.files, arguments.elements, kind=None)
    stages = Stages()
    for source in sources:
        for line in [*left_out(source.reading), *source.reading.notes]:
            stages.note(f"{source.path}: {line}")
    data = examine(
        sources,
        settings,
        n_references=arguments.references,
        ask_model=not arguments.no_model,
        stages=stages,
    )
    stages.close()
    found = findings(data)
    print(as_json(data, found) if arguments.json else "\n".join(summary(data, found)))
    if arguments.output is not None:
        write_data_page(data, found, arguments.output)
        if not arguments.json:
            print(f"Wrote {arguments.output}.")
    return 0
