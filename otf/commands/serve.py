"""otf-md serve: a model as the force provider of i-PI."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from otf.commands.dataset import require_exists
from otf.commands.evaluate import require_known_species
from otf.commands.fitting import count
from otf.configuration import Configuration
from otf.deploy.ipi import serve
from otf.deploy.saved_model import load_model
from otf.errors import InputError
from otf.learning.production import ProductionPotential
from otf.settings.model import Production
from otf.settings.structures import read_atoms

if TYPE_CHECKING:
    import argparse

logger = logging.getLogger(__name__)

DEFAULTS = Production()
LAST_PORT = 65535


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", type=Path, help="model file")
    parser.add_argument(
        "structure",
        type=Path,
        help="structure file with the elements in the order of the driver",
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--unix", metavar="NAME", help="Unix socket of the driver, its <address>"
    )
    where.add_argument(
        "--port", type=count, metavar="N", help="port of the driver, its <port>"
    )
    parser.add_argument(
        "--host", default="localhost", help="beside --port (default: %(default)s)"
    )
    parser.add_argument(
        "--check-interval",
        type=count,
        default=DEFAULTS.check_interval,
        metavar="N",
        help="structures between two looks at the spilling (default: %(default)s)",
    )
    parser.add_argument(
        "--max-spilling",
        type=float,
        default=DEFAULTS.max_spilling,
        metavar="S",
        help="largest trusted spilling of any atom (default: %(default)s)",
    )
    parser.add_argument(
        "--flag",
        action="store_true",
        help="go on, with a warning, where the spilling is larger",
    )


def main(arguments: argparse.Namespace) -> int:
    """Answer the driver until it ends."""
    check(arguments)
    for path in (arguments.model, arguments.structure):
        require_exists(path)
    atoms = read_atoms(arguments.structure)
    model = load_model(arguments.model)
    structure = Configuration.from_atoms(atoms)
    require_known_species(model, [structure], arguments.model)
    model.predict(structure)  # compiles before the driver waits
    potential = ProductionPotential(
        model,
        max_spilling=arguments.max_spilling,
        check_interval=arguments.check_interval,
        stop=not arguments.flag,
    )
    n_structures = serve(
        potential,
        atoms,
        address=arguments.unix or (arguments.host, arguments.port),
    )
    flagged = f", {potential.n_flagged} flagged" if potential.n_flagged else ""
    print(f"the driver has ended after {n_structures} structures{flagged}")
    return 0


def check(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be, before any work.

    Raises
    ------
    InputError
        When a value is out of range.
    """
    if arguments.port is not None and arguments.port > LAST_PORT:
        msg = f"--port must be at most {LAST_PORT}, got {arguments.port}"
        raise InputError(msg)
    if not 0.0 <= arguments.max_spilling <= 1.0:
        msg = f"--max-spilling must lie in [0, 1], got {arguments.max_spilling:g}"
        raise InputError(msg)
