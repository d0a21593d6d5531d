"""otf-md analyse: what trajectories say, with error bars."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otf.commands.analyses import (
    critical,
    elastic,
    eos,
    infrared,
    lattice,
    msd,
    order,
    orientation,
    phases,
    phonons,
    rdf,
    symmetry,
    tilts,
    vdos,
)
from otf.commands.analyses.outcome import (
    in_words,
    paths_of,
    record_of,
    require_prefix,
    write_outcome,
)

if TYPE_CHECKING:
    import argparse
    from types import ModuleType

KINDS: Final[dict[str, ModuleType]] = {
    "rdf": rdf,
    "msd": msd,
    "vdos": vdos,
    "infrared": infrared,
    "lattice": lattice,
    "order": order,
    "tilts": tilts,
    "elastic": elastic,
    "phonons": phonons,
    "eos": eos,
    "orientation": orientation,
    "phases": phases,
    "critical": critical,
    "symmetry": symmetry,
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the kinds and their arguments."""
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    for name, module in KINDS.items():
        line: str = module.LINE
        sentence = f"{line[0].upper()}{line[1:]}."
        kind = kinds.add_parser(name, help=line, description=sentence)
        module.configure(kind)
        kind.add_argument(
            "-o",
            "--output",
            type=Path,
            default=Path(name),
            metavar="PREFIX",
            help=f"path and first part of the names of the files, written as .csv, "
            f".json, .png and .svg (default: {name})",
        )
        kind.add_argument(
            "--json",
            action="store_true",
            help="print the numbers as JSON, for programs",
        )


def main(arguments: argparse.Namespace) -> int:
    """Analyse, write the files, and print what was found."""
    given = arguments.trajectory
    inputs: list[Path] = given if isinstance(given, list) else [given]
    require_prefix(arguments.output, *inputs)
    outcome = KINDS[arguments.kind].analyse(arguments)
    record = record_of(
        outcome, arguments.kind, {"trajectory": [str(path) for path in inputs]}
    )
    write_outcome(outcome, arguments.output, record)
    if arguments.json:
        print(json.dumps(record, indent=2))
        return 0
    print(in_words(outcome))
    names = ", ".join(path.suffix for path in paths_of(arguments.output).values())
    print(f"Wrote {arguments.output} with {names}.")
    return 0
