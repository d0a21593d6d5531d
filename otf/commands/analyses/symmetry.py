"""otf-md analyse symmetry: the space group of the mean structure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.analysis.symmetry import TOLERANCES, mean_structure, space_groups, widest
from otf.commands.analyses.inputs import (
    add_trajectory,
    motion_of,
    positive,
    require_periodic,
    symbols,
)
from otf.commands.analyses.outcome import Outcome, Quantity
from otf.report.drawing import Curve, Lines

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from otf.analysis.symmetry import SpaceGroup

LINE = "space group of the mean structure against the tolerance, through spglib"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_trajectory(parser)
    parser.add_argument(
        "--tolerances-A",
        nargs="+",
        type=positive,
        metavar="D",
        help="of positions (default: 25 of them from 0.001 to 1)",
    )


def analyse(arguments: argparse.Namespace) -> Outcome:
    """Return the space groups.

    Raises
    ------
    InputError
        When the system is not periodic, or spglib is not installed.
    """
    path: Path = arguments.trajectory
    motion = motion_of(path, arguments.frames)
    require_periodic(motion, path, "a space group")
    structure = mean_structure(motion)
    tolerances = sorted(arguments.tolerances_A or TOLERANCES)
    groups = space_groups(structure, tolerances)
    limit = structure.uncertainty
    run = widest(groups, limit if np.isfinite(limit) else 0.0)
    quantities = [Quantity("uncertainty of mean positions", limit, unit="Å")]
    notes = []
    if run:
        first, last = run[0], run[-1]
        quantities += [
            Quantity("space group", float(first.number)),
            Quantity("from a tolerance of", first.tolerance, unit="Å"),
            Quantity("to a tolerance of", last.tolerance, unit="Å"),
            Quantity("atoms of the primitive cell", float(first.n_primitive)),
        ]
        notes.append(f"space group {first.number} is {first.symbol or 'not found'}")
    else:
        notes.append(
            "the mean positions are less certain than the largest tolerance: no space "
            "group can be told, average over more frames"
        )
    notes += _steps(groups)
    positions = structure.fractions @ structure.cell
    return Outcome(
        quantities,
        {
            "groups": {
                "tolerance_A": [g.tolerance for g in groups],
                "space_group": [g.number for g in groups],
                "symbol": [g.symbol for g in groups],
                "operations": [g.n_operations for g in groups],
                "primitive_atoms": [g.n_primitive for g in groups],
            },
            "mean": {
                "species": symbols(structure.numbers.tolist()),
                "x_A": positions[:, 0],
                "y_A": positions[:, 1],
                "z_A": positions[:, 2],
                "error_A": structure.error,
            },
            "cell": {
                "x_A": structure.cell[:, 0],
                "y_A": structure.cell[:, 1],
                "z_A": structure.cell[:, 2],
            },
        },
        [_panel(groups, limit)],
        notes=notes,
    )


def _steps(groups: Sequence[SpaceGroup]) -> list[str]:
    """Return one line that says which groups follow each other."""
    out: list[str] = []
    last = None
    for group in groups:
        if group.number and group.number != last:
            out.append(f"{group.symbol} ({group.number}) from {group.tolerance:.2g} Å")
            last = group.number
    return ["; ".join(out)] if out else []


def _panel(groups: Sequence[SpaceGroup], limit: float) -> Lines:
    tolerance = np.array([g.tolerance for g in groups])
    number = np.array([float(g.number) if g.number else np.nan for g in groups])
    marks: dict[float, str] = {}
    if np.isfinite(limit) and limit > 0.0:
        marks[limit] = "uncertainty"
    curves = [Curve("", tolerance, number, form="points", color=0)]
    for symbol in dict.fromkeys(g.symbol for g in groups if g.number):
        x = np.array([g.tolerance for g in groups if g.symbol == symbol])
        y = [float(g.number) for g in groups if g.symbol == symbol]
        curves.append(Curve(symbol, x, np.array(y)))
    return Lines(
        "tolerance (Å)",
        "number of the space group",
        curves,
        verticals=marks,
        logarithmic=(True, False),
        y_limits=(0.0, 235.0),
    )
