"""otf-md analyse order: bond order parameters and structures around atoms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from otf.analysis.averages import mean_of, means_of
from otf.analysis.order import (
    STRUCTURES,
    Surroundings,
    order_along,
    sublattice,
)
from otf.analysis.rdf import pair_distributions
from otf.commands.analyses.inputs import (
    add_interval,
    add_trajectory,
    configurations_of,
    motion_of,
    positive,
    species_number,
    times_ps,
)
from otf.commands.analyses.outcome import Outcome, Quantity
from otf.commands.fitting import count
from otf.errors import InputError
from otf.report.drawing import Curve, Lines

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike

    from otf.analysis.order import Order
    from otf.configuration import Configuration, FloatArray

LINE = "Steinhardt order parameters, share of solid, structures around atoms"
DEGREES: Final = (4, 6)
MOST_FRAMES: Final = 20  # for the first minimum of g(r)
BINS: Final = 60
LARGEST_DEGREE: Final = 12


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_trajectory(parser)
    add_interval(parser)
    parser.add_argument(
        "--species",
        nargs="+",
        metavar="A",
        help="look at these atoms only, as if the others were not there (default: all)",
    )
    near = parser.add_mutually_exclusive_group()
    near.add_argument(
        "--cutoff-A",
        type=positive,
        metavar="R",
        help="atoms closer than this are neighbours (default: first minimum of g(r))",
    )
    near.add_argument(
        "--neighbors",
        type=count,
        metavar="N",
        help="the nearest N atoms are neighbours, such as 12 for fcc, 14 for bcc",
    )
    parser.add_argument(
        "--degrees",
        nargs="+",
        type=count,
        default=list(DEGREES),
        metavar="L",
        help="l of the order parameters (default: 4 6)",
    )


def analyse(arguments: argparse.Namespace) -> Outcome:
    """Return order parameters, structures and the share of solid.

    Raises
    ------
    InputError
        When a species is not there, or neighbours cannot be told.
    """
    path: Path = arguments.trajectory
    degrees = list(dict.fromkeys(arguments.degrees))
    if max(degrees) > LARGEST_DEGREE:
        msg = f"--degrees go up to {LARGEST_DEGREE}, got {max(degrees)}"
        raise InputError(msg)
    motion = motion_of(path, arguments.frames)
    wanted = arguments.species and [
        species_number(symbol, motion, path) for symbol in arguments.species
    ]
    frames = [sublattice(c, wanted) for c in configurations_of(motion)]
    if arguments.cutoff_A is None and arguments.neighbors is None:
        if not motion.pbc.all():
            msg = (
                f"{path} is not periodic in three directions, so neighbours cannot be "
                "told from g(r): give --cutoff-A or --neighbors"
            )
            raise InputError(msg)
        surroundings = Surroundings(cutoff=_first_minimum(frames, path))
    else:
        surroundings = Surroundings(arguments.cutoff_A, arguments.neighbors)
    try:
        found = order_along(frames, degrees, surroundings)
    except InputError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from error
    times = times_ps(motion, arguments.interval_fs, arguments.frames)
    known = motion.times is not None or arguments.interval_fs is not None
    axis = "time (ps)" if known else "frame"
    columns: dict[str, ArrayLike] = {"time_ps" if known else "frame": times}
    for k, degree in enumerate(degrees):
        columns[f"q{degree}"] = found.plain[:, :, k].mean(axis=1)
        columns[f"q{degree}_averaged"] = found.averaged[:, :, k].mean(axis=1)
    traces = {"solid": found.solid}
    traces |= {name: found.structures[:, k] for k, name in enumerate(STRUCTURES)}
    columns |= {name.replace(" ", "_"): share for name, share in traces.items()}
    seen = [Curve(name, times, share) for name, share in traces.items() if share.any()]
    histogram, panel = _distributions(degrees, found)
    return Outcome(
        _quantities(found, degrees, surroundings),
        {"order": columns, "distribution": histogram},
        [panel, Lines(axis, "share of atoms", seen, y_limits=(0.0, 1.05))],
    )


def _quantities(
    found: Order, degrees: Sequence[int], surroundings: Surroundings
) -> list[Quantity]:
    out = []
    if surroundings.cutoff is not None:
        out.append(Quantity("cutoff", surroundings.cutoff, unit="Å"))
    out.append(_mean("neighbours of an atom", found.neighbors))
    for k, degree in enumerate(degrees):
        out += [
            _mean(f"q{degree}", found.plain[:, :, k].mean(axis=1)),
            _mean(f"averaged q{degree}", found.averaged[:, :, k].mean(axis=1)),
        ]
    out.append(_mean("solid share", found.solid))
    out += [
        _mean(f"{name} share", found.structures[:, k])
        for k, name in enumerate(STRUCTURES)
        if found.structures[:, k].any()
    ]
    return out


def _first_minimum(frames: list[Configuration], path: Path) -> float:
    """Return where the first shell of atoms that count as alike ends."""
    (found,) = pair_distributions(frames[:: max(1, len(frames) // MOST_FRAMES)])
    if found.shell is None:
        msg = (
            f"{path}: g(r) has no first minimum within half the cell, so neighbours "
            "cannot be told: give --cutoff-A or --neighbors"
        )
        raise InputError(msg)
    return found.shell.end


def _mean(name: str, series: FloatArray) -> Quantity:
    mean = mean_of(series)
    return Quantity(name, mean.value, mean.error)


def _distributions(
    degrees: Sequence[int], found: Order
) -> tuple[dict[str, ArrayLike], Lines]:
    """Return densities of the order parameters with their errors."""
    top = max(float(found.plain.max()), float(found.averaged.max())) * 1.02
    edges = np.linspace(0.0, top, BINS + 1)
    middle = 0.5 * (edges[1:] + edges[:-1])
    columns: dict[str, ArrayLike] = {"q": middle}
    curves = []
    for values, word in ((found.plain, ""), (found.averaged, "averaged ")):
        for k, degree in enumerate(degrees):
            rows = [np.histogram(v[:, k], edges, density=True)[0] for v in values]
            density, error = means_of(np.array(rows))
            name = f"{word}q{degree}"
            columns[name.replace(" ", "_")] = density
            columns[f"{name.replace(' ', '_')}_error"] = error
            curves.append(Curve(name, middle, density, error, form="steps"))
    return columns, Lines("order parameter", "density", curves, from_zero=True)
