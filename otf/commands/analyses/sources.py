"""Where analyses of structures get energies from: a model or a calculator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ase import Atoms

from otf.calculators.registry import make_calculator
from otf.commands.analyses.inputs import motion_of
from otf.commands.dataset import require_exists
from otf.commands.evaluate import require_known_species
from otf.configuration import Configuration
from otf.deploy.ase import OTFCalculator
from otf.deploy.saved_model import load_model
from otf.errors import InputError
from otf.learning.production import ProductionPotential

if TYPE_CHECKING:
    import argparse

    from otf.calculators.code import Calculator


def add_source(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Declare the model or the calculator."""
    source = parser.add_mutually_exclusive_group(required=required)
    source.add_argument("--model", type=Path, metavar="FILE", help="model file")
    source.add_argument(
        "--calculator",
        metavar="NAME",
        help="calculator with its default arguments, by the names of [reference]: emt, "
        "lennard-jones, stillinger-weber, tblite, ..., or module:Class",
    )


def has_source(arguments: argparse.Namespace) -> bool:
    """Return whether a model or a calculator was given."""
    return arguments.model is not None or arguments.calculator is not None


def structure_of(path: Path, chosen: slice) -> Atoms:
    """Return the last of the chosen frames, without a calculator.

    Raises
    ------
    InputError
        When there is none.
    """
    motion = motion_of(path, chosen)
    return Atoms(
        numbers=motion.numbers,
        positions=motion.positions[-1],
        cell=motion.cells[-1],
        pbc=motion.pbc,
    )


def calculator_for(
    arguments: argparse.Namespace, structures: list[Atoms]
) -> Calculator:
    """Return an ASE calculator that knows the elements of the structures.

    Raises
    ------
    InputError
        When there is no such file or calculator, or it does not know an element.
    StoreError
        When the model cannot be read.
    """
    configurations = [Configuration.from_atoms(atoms) for atoms in structures]
    if arguments.model is not None:
        require_exists(arguments.model)
        model = load_model(arguments.model)
        require_known_species(model, configurations, arguments.model)
        # Flagged once, not stopped: a curve that leaves the known is still a curve.
        return OTFCalculator(ProductionPotential(model, stop=False))
    try:
        code = make_calculator(arguments.calculator)
        for c in configurations:
            code.require_elements(frozenset(c.numbers.tolist()))
        return code.build()
    except InputError as error:
        text = str(error).replace("(input file: [reference] calculator)", "").strip()
        msg = f"--calculator: {text}"
        raise InputError(msg) from error
