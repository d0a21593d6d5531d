"""What the analyses of velocities share: their arguments, errors and a warning."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from otf.analysis.vibrations import FEWEST_FRAMES, SEGMENTS, THZ
from otf.commands.analyses.inputs import (
    add_interval,
    add_trajectory,
    interval_of,
    motion_of,
)
from otf.commands.fitting import count
from otf.errors import InputError
from otf.units import FS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from otf.configuration import FloatArray
    from otf.store.motion import Motion

SEEN: Final = 1e-3  # of the largest value; beyond it a picture ends
FAST: Final = 0.8  # of the highest frequency frames can tell


def add_spectrum(parser: argparse.ArgumentParser) -> None:
    """Declare the trajectory and the parts it is cut into."""
    add_trajectory(parser)
    add_interval(parser)
    parser.add_argument(
        "--segments",
        type=count,
        default=SEGMENTS,
        help="parts of the trajectory that are averaged; more give smaller errors and "
        f"a coarser spectrum (default: {SEGMENTS})",
    )


def spectral_motion(arguments: argparse.Namespace) -> Motion:
    """Return the frames; InputError when there is nothing or too few are left."""
    return motion_of(arguments.trajectory, arguments.frames, fewest=2 * FEWEST_FRAMES)


def spectral_interval(motion: Motion, arguments: argparse.Namespace) -> float:
    """Return the time between frames, internal time; any without velocities.

    Those are told to be missing first, for without them times are asked for in vain.

    Raises
    ------
    InputError
        When the times are not known, or vary.
    """
    if motion.velocities is None:
        return 1.0
    return interval_of(
        motion, arguments.trajectory, arguments.interval_fs, arguments.frames
    )


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Put the name of the file before what is said about it."""
    try:
        yield
    except InputError as error:
        text = str(error)
        msg = text if text.startswith(str(path)) else f"{path}: {text}"
        raise InputError(msg) from error


def folded(frequency: FloatArray, density: FloatArray, interval: float) -> list[str]:
    """Return a warning where frames are too far apart for what vibrates.

    Parameters
    ----------
    frequency
        (k,) THz
    density
        (k,)
    interval
        Between frames, internal time.
    """
    highest = 0.5 / interval / THZ
    fast = frequency > FAST * highest
    if density[fast].sum() <= SEEN * density.sum():
        return []
    return [
        f"there is weight up to {highest:.3g} THz, the fastest that frames "
        f"{interval / FS:g} fs apart can tell: faster vibrations may be folded in, "
        "store more frames"
    ]
