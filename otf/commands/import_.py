"""otf-md import: labelled structures of other programs into extended XYZ."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from otf.commands.conversion import (
    READABLE,
    add_sources,
    format_name,
    joined,
    print_summary,
    read_sources,
)
from otf.commands.dataset import require_writable
from otf.store.extxyz import write_frames
from otf.store.formats import FORMATS


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    names = "\n".join(f"  {name:<12} {kind.title}" for name, kind in FORMATS.items())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "formats, told by the content of a file:\n"
        f"{names}\n\n"
        "Frames whose SCF cycle did not converge are left out and counted. Labels a\n"
        "file does not have stay missing. Energies are eV, forces eV/A, stresses\n"
        "eV/A^3 with tension positive, whatever the units of the source."
    )
    add_sources(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="XYZ",
        help="extended XYZ file to write, gzipped when its name ends in .gz",
    )
    parser.add_argument(
        "--fingerprint",
        type=fingerprint_name,
        metavar="NAME",
        help="name for what labelled frames that do not say it, such as PBE-500eV; "
        "frames of different names are not mixed (default: none, taken to belong to "
        "whatever they are put together with)",
    )
    parser.add_argument(
        "--format",
        metavar="NAME",
        help="format of the files (default: told by the content of each)",
    )


def fingerprint_name(text: str) -> str:
    """Return a name that can stand in for a fingerprint."""
    if not re.fullmatch(r"[\w.+/()-]+", text):
        msg = f"expected letters, digits and . + - / ( ) without spaces, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return text


def main(arguments: argparse.Namespace) -> int:
    """Read all files, write one, and say what was found."""
    require_writable(arguments.output, *arguments.files)
    kind = arguments.format and format_name(arguments.format, READABLE)
    sources = read_sources(arguments.files, arguments.elements, kind=kind)
    reading = joined(sources)
    name = arguments.fingerprint or ""
    named = {name: f"named: {name}"} if name else {}
    write_frames(
        arguments.output,
        reading.frames,
        fingerprints=[mark or name for mark in reading.fingerprints],
        groups=reading.groups,
        descriptions=named | reading.descriptions,
    )
    print_summary(sources, arguments.output, "extxyz", as_json=arguments.json)
    return 0
