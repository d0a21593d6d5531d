"""otf-md analyse tilts: rotations of the octahedra of perovskites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from otf.analysis.averages import mean_of, means_of
from otf.analysis.tilts import octahedral_tilts
from otf.commands.analyses.inputs import (
    add_interval,
    add_trajectory,
    motion_of,
    require_periodic,
    species_number,
    times_ps,
)
from otf.commands.analyses.outcome import Outcome, Quantity
from otf.errors import InputError
from otf.report.drawing import Curve, Lines

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from numpy.typing import ArrayLike

    from otf.analysis.tilts import Tilts

LINE = "tilt angles of octahedra, in phase and in antiphase"
AXES: Final = ("x", "y", "z")
BINS: Final = 61


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_trajectory(parser)
    add_interval(parser)
    parser.add_argument(
        "--octahedra",
        nargs=2,
        required=True,
        metavar=("B", "X"),
        help="species in the centre and at the corners, such as Pb I",
    )


def analyse(arguments: argparse.Namespace) -> Outcome:
    """Return tilts about the pseudo-cubic axes.

    Raises
    ------
    InputError
        When a species is not there, or does not make octahedra.
    """
    path: Path = arguments.trajectory
    motion = motion_of(path, arguments.frames)
    require_periodic(motion, path, "a network of octahedra")
    center, ligand = (species_number(a, motion, path) for a in arguments.octahedra)
    try:
        tilts = octahedral_tilts(motion, center, ligand)
    except InputError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from error
    times = times_ps(motion, arguments.interval_fs, arguments.frames)
    known = motion.times is not None or arguments.interval_fs is not None
    sizes = np.abs(tilts.angles).mean(axis=1)
    columns: dict[str, ArrayLike] = {"time_ps" if known else "frame": times}
    columns |= {f"tilt_{a}_deg": sizes[:, k] for k, a in enumerate(AXES)}
    histogram, panel = _distribution(tilts)
    traces = [Curve(f"about {a}", times, sizes[:, k]) for k, a in enumerate(AXES)]
    return Outcome(
        _quantities(tilts),
        {"tilts": columns, "distribution": histogram},
        [panel, Lines("time (ps)" if known else "frame", "mean tilt (°)", traces)],
    )


def _quantities(tilts: Tilts) -> list[Quantity]:
    out = []
    static, agreement = tilts.amplitude(), tilts.correlation()
    for k, name in enumerate(AXES):
        size = mean_of(np.abs(tilts.angles[:, :, k]).mean(axis=1))
        along, still = agreement[k][k], static[k]
        out += [
            Quantity(f"tilt about {name}", size.value, size.error, "°"),
            Quantity(f"static tilt about {name}", still.value, still.error, "°"),
            Quantity(f"agreement along {name}", along.value, along.error),
        ]
    return out


def _distribution(tilts: Tilts) -> tuple[dict[str, ArrayLike], Lines]:
    """Return the densities of tilts about each axis with their errors."""
    top = max(1.0, float(np.abs(tilts.angles).max()) * 1.02)
    edges = np.linspace(-top, top, BINS + 1)
    middle = 0.5 * (edges[1:] + edges[:-1])
    columns: dict[str, ArrayLike] = {"tilt_deg": middle}
    curves = []
    for k, name in enumerate(AXES):
        rows = [np.histogram(a[:, k], edges, density=True)[0] for a in tilts.angles]
        density, error = means_of(np.array(rows))
        columns |= {f"about_{name}_per_deg": density, f"about_{name}_error": error}
        curves.append(Curve(f"about {name}", middle, density, error, form="steps"))
    return columns, Lines("tilt (°)", "density (1/°)", curves, from_zero=True)
