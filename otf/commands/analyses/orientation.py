"""otf-md analyse orientation: where molecules point, and how long they remember it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.analysis.orientation import (
    directions,
    orientational_order,
    reorientation,
    sphere_map,
    time_to_fall,
)
from otf.commands.analyses.inputs import (
    add_interval,
    add_trajectory,
    motion_of,
    positive,
    species_number,
    times_ps,
)
from otf.commands.analyses.outcome import Outcome, Quantity
from otf.errors import InputError
from otf.report.drawing import Curve, Lines
from otf.report.sphere import Globe

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from numpy.typing import ArrayLike

    from otf.analysis.orientation import OrientationalOrder, Reorientation, SphereMap
    from otf.report.drawing import Panel

LINE = "maps of the directions of molecules, and their reorientation"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_trajectory(parser)
    add_interval(parser)
    parser.add_argument(
        "--vector",
        nargs=2,
        required=True,
        metavar=("A", "B"),
        help="species: from every A to the B it is bonded to, their mean where there "
        "are several, such as C N of methylammonium or O H of water",
    )
    parser.add_argument(
        "--bond-A",
        type=positive,
        metavar="R",
        help="longest bond (default: 1.25 times the sum of the covalent radii)",
    )


def analyse(arguments: argparse.Namespace) -> Outcome:
    """Return the map, order parameters and correlations.

    Raises
    ------
    InputError
        When a species is not there, or not bonded.
    """
    path: Path = arguments.trajectory
    motion = motion_of(path, arguments.frames)
    start, end = (species_number(a, motion, path) for a in arguments.vector)
    try:
        units = directions(motion, start, end, bond=arguments.bond_A)
    except InputError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from error
    found = sphere_map(units)
    order = orientational_order(units)
    times = times_ps(motion, arguments.interval_fs, arguments.frames)
    known = motion.times is not None or arguments.interval_fs is not None
    unit = "ps" if known else "frames"
    memory = None
    if len(times) > 1:
        memory = reorientation(units, float(np.diff(times).mean()))
    quantities = [Quantity("molecules", float(units.shape[1])), *_order(order)]
    tables: dict[str, dict[str, ArrayLike]] = {"map": _map(found)}
    panels: list[Panel] = [
        Globe(
            found.heights,
            found.angles,
            found.density,
            "density (1: no preference)",
            f"{arguments.vector[0]} to {arguments.vector[1]}",
        )
    ]
    if memory is not None:
        quantities += _times(memory, unit)
        tables["memory"] = _memory(memory, unit)
        panels.append(_panel(memory, unit))
    return Outcome(quantities, tables, panels)


def _order(order: OrientationalOrder) -> list[Quantity]:
    out = [
        Quantity(f"{name} order", mean.value, mean.error)
        for name, mean in (
            ("polar", order.polar),
            ("nematic", order.nematic),
            ("cubic", order.cubic),
        )
    ]
    director = order.director * (1.0 if order.director.sum() >= 0.0 else -1.0)
    return out + [
        Quantity(f"director {axis}", float(value))
        for axis, value in zip("xyz", director, strict=True)
    ]


def _times(memory: Reorientation, unit: str) -> list[Quantity]:
    out = []
    for word, curve, error in (
        ("first", memory.first, memory.first_error),
        ("second", memory.second, memory.second_error),
    ):
        middle = time_to_fall(memory.lags, curve)
        if np.isfinite(middle):
            # Where the curve moved by its error crosses.
            ends = [time_to_fall(memory.lags, curve + s * error) for s in (-1.0, 1.0)]
            spread = np.nanmax(np.abs(np.array(ends) - middle))
            out.append(
                Quantity(
                    f"1/e time of {word} degree",
                    middle,
                    float(spread) if np.isfinite(ends).all() else np.nan,
                    unit,
                )
            )
    return out


def _map(found: SphereMap) -> dict[str, ArrayLike]:
    z = 0.5 * (found.heights[1:] + found.heights[:-1])
    phi = 0.5 * (found.angles[1:] + found.angles[:-1])
    return {
        "z": np.repeat(z, len(phi)),
        "phi_deg": np.tile(np.degrees(phi), len(z)),
        "density": found.density.ravel(),
        "density_error": found.error.ravel(),
    }


def _memory(memory: Reorientation, unit: str) -> dict[str, ArrayLike]:
    return {
        f"lag_{unit}": memory.lags,
        "first": memory.first,
        "first_error": memory.first_error,
        "second": memory.second,
        "second_error": memory.second_error,
    }


def _panel(memory: Reorientation, unit: str) -> Lines:
    curves = [
        Curve("first degree", memory.lags, memory.first, memory.first_error),
        Curve("second degree", memory.lags, memory.second, memory.second_error),
    ]
    return Lines(f"lag ({unit})", "correlation of directions", curves, horizontals=(0,))
