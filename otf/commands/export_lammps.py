"""otf-md export lammps: a model for pair_style mliap unified of LAMMPS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ase.data import chemical_symbols

from otf.commands.dataset import require_exists, require_writable
from otf.commands.fitting import count
from otf.deploy.lammps_file import LammpsFile, require_name, write_example
from otf.deploy.saved_model import load_model
from otf.errors import InputError
from otf.store.model_file import read_model

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", type=Path, help="model file")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="file for LAMMPS to load, such as name.mliap; beside it in.name and "
        "data.name, an example, are written where they are not there yet",
    )
    parser.add_argument(
        "--spilling-every",
        type=count,
        metavar="N",
        help="write the spilling of all atoms at every N-th evaluation",
    )
    parser.add_argument(
        "--spilling-file",
        metavar="FILE",
        help="where LAMMPS shall write it, seen from its working folder; MPI processes "
        "add .0, .1, ... (default: name.spilling)",
    )


def main(arguments: argparse.Namespace) -> int:
    """Write the file, and an example unless there is one."""
    output: Path = arguments.output
    require_exists(arguments.model)
    require_name(output)
    require_writable(output, arguments.model)
    if arguments.spilling_file is not None and arguments.spilling_every is None:
        msg = "--spilling-file needs --spilling-every N, the evaluations between lines"
        raise InputError(msg)
    model = load_model(arguments.model)
    try:
        model.require_pairs()
    except InputError as error:
        msg = (
            f"{arguments.model}: {error}; LAMMPS cannot run it: fit a model without "
            "it, or drive this one by otf-md run or otf-md serve"
        )
        raise InputError(msg) from error
    LammpsFile(
        content=arguments.model.read_bytes(),
        name=output.name,
        spilling_every=arguments.spilling_every or 0,
        spilling_file=arguments.spilling_file or f"{output.stem}.spilling",
    ).write(output)
    symbols = " ".join(chemical_symbols[z] for z in model.descriptor.species)
    print(f"Wrote {output}: elements {symbols}, cutoff {model.descriptor.cutoff} A.")
    example, data = (output.with_name(f"{x}.{output.stem}") for x in ("in", "data"))
    there = [path for path in (example, data) if path.exists()]
    if there:
        print(f"{there[0]} is there already and stays as it is.")
    else:
        write_example(
            example, model=output, data=data, file=read_model(arguments.model)
        )
        print(f"Wrote {example} and {data}: lmp -in {example.name}")
    return 0
