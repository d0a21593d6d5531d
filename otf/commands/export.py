"""otf-md export: labelled structures for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from otf.commands.conversion import (
    WRITABLE,
    add_sources,
    format_name,
    joined,
    print_summary,
    read_sources,
)
from otf.commands.dataset import require_writable
from otf.errors import InputError
from otf.store.formats import FORMATS

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_sources(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="file to write, for deepmd the folder to make",
    )
    parser.add_argument(
        "--format",
        required=True,
        metavar="NAME",
        help=f"one of {', '.join(WRITABLE)}",
    )


def main(arguments: argparse.Namespace) -> int:
    """Read all files, write them in one format, and say what was found."""
    kind = format_name(arguments.format, WRITABLE)
    if arguments.output.is_dir():
        msg = f"{arguments.output} is there already: give the output another name"
        raise InputError(msg)
    require_writable(arguments.output, *arguments.files)
    sources = read_sources(arguments.files, arguments.elements, kind=None)
    write = FORMATS[kind].write
    assert write is not None  # kind is one of WRITABLE
    write(arguments.output, joined(sources))
    print_summary(sources, arguments.output, kind, as_json=arguments.json)
    return 0
