"""otf-md analyse rdf: pair distributions and coordination numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otf.analysis.rdf import FARTHEST, WIDTH, pair_distributions, species_pairs
from otf.commands.analyses.inputs import (
    add_trajectory,
    configurations_of,
    motion_of,
    positive,
    require_periodic,
    species_number,
    symbols,
)
from otf.commands.analyses.outcome import Outcome, Quantity
from otf.errors import InputError
from otf.report.drawing import Curve, Lines

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

    from otf.analysis.rdf import PairDistribution

LINE = "pair distributions g(r) and coordination numbers"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_trajectory(parser)
    parser.add_argument(
        "--pair",
        nargs=2,
        action="append",
        metavar=("A", "B"),
        help="a pair of species, may be repeated (default: every pair)",
    )
    parser.add_argument(
        "--cutoff-A",
        type=positive,
        metavar="R",
        help="largest distance (default: half the smallest width of the cell, at most "
        f"{FARTHEST:g})",
    )
    parser.add_argument(
        "--width-A",
        type=positive,
        default=WIDTH,
        metavar="W",
        help=f"width of the bins (default: {WIDTH})",
    )


def analyse(arguments: argparse.Namespace) -> Outcome:
    """Return g(r) of the pairs that were asked for.

    Raises
    ------
    InputError
        When a species is not there, the system not periodic, or the cutoff too long.
    """
    path = arguments.trajectory
    motion = motion_of(path, arguments.frames)
    require_periodic(motion, path, "g(r)")
    pairs = species_pairs(motion.numbers)
    if arguments.pair is not None:
        asked = [
            sorted(species_number(symbol, motion, path) for symbol in pair)
            for pair in arguments.pair
        ]
        pairs = list(dict.fromkeys((a, b) for a, b in asked))
    try:
        found = pair_distributions(
            configurations_of(motion),
            pairs=pairs,
            cutoff=arguments.cutoff_A,
            width=arguments.width_A,
        )
    except InputError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from error
    notes = []
    if motion.n_frames == 1:
        notes.append("one frame has no error bars; more frames do")
    return Outcome(
        quantities=[q for d in found for q in _quantities(d)],
        tables={"g": _table(found)},
        panels=_panels(found),
        notes=notes,
    )


def _quantities(d: PairDistribution) -> list[Quantity]:
    a, b = symbols([d.first, d.second])
    if d.shell is None:
        return []
    shell = d.shell
    out = [
        Quantity(f"{a}-{b} first peak", shell.peak, unit="Å"),
        Quantity(f"{a}-{b} end of the first shell", shell.end, unit="Å"),
    ]
    mean = shell.second_around_first
    out.append(Quantity(f"{b} around {a}", mean.value, mean.error))
    if a != b:
        mean = shell.first_around_second
        out.append(Quantity(f"{a} around {b}", mean.value, mean.error))
    return out


def _table(found: Sequence[PairDistribution]) -> Mapping[str, ArrayLike]:
    columns: dict[str, ArrayLike] = {"r_A": found[0].distance}
    for d in found:
        a, b = symbols([d.first, d.second])
        columns |= {
            f"g_{a}_{b}": d.g,
            f"g_{a}_{b}_error": d.error,
            f"n_{b}_around_{a}": d.coordination,
            f"n_{b}_around_{a}_error": d.coordination_error,
        }
    return columns


def _panels(found: Sequence[PairDistribution]) -> list[Lines]:
    names = ["-".join(symbols([d.first, d.second])) for d in found]
    heights, counts = [], []
    for d, name in zip(found, names, strict=True):
        heights.append(Curve(name, d.distance, d.g, d.error))
        a, b = symbols([d.first, d.second])
        label = f"{b} around {a}"
        edge = d.distance + 0.5 * (d.distance[1] - d.distance[0])
        counts.append(Curve(label, edge, d.coordination, d.coordination_error))
    return [
        Lines("distance (Å)", "g(r)", heights, horizontals=(1.0,), from_zero=True),
        Lines("distance (Å)", "neighbours closer than r", counts, from_zero=True),
    ]
