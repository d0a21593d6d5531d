"""otf-md init: a commented input file for a structure."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from otf.errors import InputError
from otf.settings.structures import read_atoms
from otf.settings.template import commented_input

if TYPE_CHECKING:
    import argparse

    from ase import Atoms

HEAVIEST_OF_TBLITE = 86  # GFN1-xTB has parameters up to radon
SMALLEST_EDGE = 9.0  # angstrom; below it atoms meet their own images
MOST_ATOMS = 128  # copies are not made beyond what a first run can afford
TIMESTEPS = ((2.0, 0.5), (20.0, 1.0), (math.inf, 2.0))  # lightest mass (amu), fs


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("structure", type=Path, help="any structure file ASE reads")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("input.toml"),
        help="the input file to write (default: %(default)s)",
    )
    parser.add_argument(
        "--temperature-K",
        type=float,
        default=300.0,
        help="temperature of the run (default: %(default)s)",
    )
    parser.add_argument(
        "--steps", type=int, default=10_000, help="its length (default: %(default)s)"
    )


def main(arguments: argparse.Namespace) -> int:
    """Write the input file and say what comes next."""
    output: Path = arguments.output
    if arguments.steps < 1:
        msg = f"--steps must be at least 1, got {arguments.steps}"
        raise InputError(msg)
    if not 0.0 <= arguments.temperature_K < math.inf:
        msg = f"--temperature-K must be at least 0, got {arguments.temperature_K}"
        raise InputError(msg)
    text = input_for(
        arguments.structure,
        output,
        temperature=arguments.temperature_K,
        steps=arguments.steps,
    )
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        msg = f"{output} exists already: remove it, or give another name with -o"
        raise InputError(msg) from None
    except OSError as error:
        msg = f"{output} cannot be written: {error.strerror}"
        raise InputError(msg) from None
    print(f"Wrote {output}. Next: otf-md check {output}, then otf-md run {output}.")
    return 0


def input_for(structure: Path, output: Path, *, temperature: float, steps: int) -> str:
    """Return an input file with choices that suit the structure.

    Raises
    ------
    InputError
        When the structure cannot be read.
    """
    atoms = read_atoms(structure)
    copies = enough_copies(atoms)
    formula = atoms.repeat(copies).get_chemical_formula(mode="metal")
    chosen: dict[str, dict[str, object]] = {
        "": {"title": f"{formula} at {temperature:g} K", "seed": 1},
        "structure": {
            "file": Path(os.path.relpath(structure, output.parent)).as_posix(),
            "repeat": copies,
        },
        "learning": {"policy": "calibrated", "max_force_error_eV_per_A": 0.3},
        "dynamics": {
            "timestep_fs": timestep(atoms),
            "ensemble": "NVT",
            "thermostat": "langevin",
        },
        "output": {"directory": "run"},
    }
    if atoms.numbers.max() <= HEAVIEST_OF_TBLITE:
        chosen["reference"] = {
            "calculator": "tblite",
            "arguments": {"method": "GFN1-xTB"},
        }
    stages: list[dict[str, object]] = [{"steps": steps, "temperature_K": temperature}]
    return commented_input(chosen, stages=stages, name=output.name)


def timestep(atoms: Atoms) -> float:
    """Return a time step in fs that resolves the vibrations of the lightest atom."""
    lightest = float(atoms.get_masses().min())
    return next(step for bound, step in TIMESTEPS if lightest < bound)


def enough_copies(atoms: Atoms) -> list[int]:
    """Return how often to repeat a crystal along each axis.

    Every periodic height of the cell shall reach `SMALLEST_EDGE`, as long as the atoms
    stay below `MOST_ATOMS`; axes that are not periodic are left alone.
    """
    if not atoms.pbc.any():
        return [1, 1, 1]
    reciprocal = np.linalg.norm(atoms.cell.complete().reciprocal(), axis=1)
    for edge in np.arange(SMALLEST_EDGE, 0.0, -1.0):
        copies = np.where(atoms.pbc, np.ceil(edge * reciprocal - 1e-9), 1).astype(int)
        if len(atoms) * copies.prod() <= MOST_ATOMS:
            return [int(n) for n in np.maximum(copies, 1)]
    return [1, 1, 1]
