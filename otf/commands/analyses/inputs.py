"""What analyses of trajectories are given: frames, times, species."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from otf.commands.dataset import require_exists
from otf.configuration import Configuration
from otf.errors import InputError
from otf.store.motion import read_motion
from otf.units import FS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import FloatArray
    from otf.store.motion import Motion

_SLICE = re.compile(r"(-?\d+)?:(-?\d+)?(?::(\d+))?")
UNEVEN = 1e-3  # of the mean interval between frames
PS = 1e3 * FS  # one picosecond in internal time


def add_trajectory(parser: argparse.ArgumentParser, *, many: bool = False) -> None:
    """Declare the trajectory and which frames of it are used."""
    parser.add_argument(
        "trajectory",
        type=Path,
        nargs="+" if many else None,
        help="folder of a run, H5MD file, or any trajectory that ASE reads"
        + ("; several of one system" if many else ""),
    )
    parser.add_argument(
        "--frames",
        type=frames,
        default=slice(None),
        metavar="START:STOP:STEP",
        help="frames to use, counted as in Python: 100: leaves out the first hundred, "
        "-500: takes the last five hundred (default: all)",
    )


def add_interval(parser: argparse.ArgumentParser) -> None:
    """Declare the time between frames, for files that do not say it."""
    parser.add_argument(
        "--interval-fs",
        type=positive,
        metavar="FS",
        help="time between two frames of the file, where it carries no times",
    )


def add_temperatures(parser: argparse.ArgumentParser) -> None:
    """Declare temperatures for trajectories whose velocities do not say them."""
    parser.add_argument(
        "--temperature-K",
        type=positive,
        nargs="+",
        metavar="T",
        help="of every trajectory (default: that of its velocities)",
    )


def given_temperatures(arguments: argparse.Namespace) -> list[float | None]:
    """Return one temperature for each trajectory, K; None where none was given.

    Raises
    ------
    InputError
        When there are more or fewer than trajectories.
    """
    n, given = len(arguments.trajectory), arguments.temperature_K
    if given is None:
        return [None] * n
    if len(given) != n:
        msg = f"--temperature-K has {len(given)} values for {n} trajectories"
        raise InputError(msg)
    return list(given)


def frames(text: str) -> slice:
    """Return the slice that a text like 10:100:2 means.

    Raises
    ------
    argparse.ArgumentTypeError
        When it means none.
    """
    match = _SLICE.fullmatch(text)
    if match is None or match[3] == "0":
        msg = f"{text!r} is no range of frames, such as 100: or 0:500:5"
        raise argparse.ArgumentTypeError(msg)
    return slice(*(int(word) if word else None for word in match.groups()))


def positive(text: str) -> float:
    """Return a positive number.

    Raises
    ------
    argparse.ArgumentTypeError
        When it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not (value > 0.0 and np.isfinite(value)):
        msg = f"{text!r} is no positive number"
        raise argparse.ArgumentTypeError(msg)
    return value


def motion_of(path: Path, chosen: slice, *, fewest: int = 1) -> Motion:
    """Return the chosen frames of a trajectory.

    Raises
    ------
    InputError
        When there is nothing at the path, or too few frames are left.
    """
    require_exists(path)
    motion = read_motion(path)
    part = motion.part(chosen)
    if part.n_frames < fewest:
        of = "" if part.n_frames == motion.n_frames else f" of {motion.n_frames}"
        msg = (
            f"{path}: {part.n_frames}{of} frames are too few, this analysis needs at "
            f"least {fewest}"
        )
        raise InputError(msg)
    return part


def configurations_of(motion: Motion) -> list[Configuration]:
    """Return the frames as configurations."""
    return [
        Configuration(motion.numbers, positions, cell, motion.pbc)
        for positions, cell in zip(motion.positions, motion.cells, strict=True)
    ]


def interval_of(
    motion: Motion, path: Path, given_fs: float | None, chosen: slice
) -> float:
    """Return the time between frames, internal time.

    Raises
    ------
    InputError
        When neither the file nor the user says it, both do, or it varies.
    """
    if motion.times is None:
        if given_fs is None:
            msg = (
                f"{path} carries no times: say how far apart its frames are, "
                "--interval-fs"
            )
            raise InputError(msg)
        return given_fs * FS * (chosen.step or 1)
    if given_fs is not None:
        msg = f"{path} carries the times of its frames: leave --interval-fs out"
        raise InputError(msg)
    steps = np.diff(motion.times)
    mean = float(steps.mean())
    if mean <= 0.0 or float(np.abs(steps - mean).max()) > UNEVEN * mean:
        msg = (
            f"{path}: its frames are {steps.min() / FS:g} to {steps.max() / FS:g} fs "
            "apart; equal distances are needed: choose such a part with --frames"
        )
        raise InputError(msg)
    return mean


def times_ps(motion: Motion, given_fs: float | None, chosen: slice) -> FloatArray:
    """Return the times of frames in ps, their numbers where no time is known."""
    if motion.times is not None:
        return motion.times / PS
    if given_fs is not None:
        return np.arange(motion.n_frames) * given_fs * 1e-3 * (chosen.step or 1)
    return np.arange(motion.n_frames, dtype=np.float64)


def species_number(symbol: str, motion: Motion, path: Path) -> int:
    """Return the atomic number of a species of the trajectory.

    Raises
    ------
    InputError
        When it is no element, or the trajectory does not hold it.
    """
    held = [chemical_symbols[z] for z in sorted(set(motion.numbers.tolist()))]
    if symbol not in held:
        what = "is no element" if symbol not in atomic_numbers else "is not there"
        msg = f"{path}: {symbol} {what}; it holds {', '.join(held)}"
        raise InputError(msg)
    return int(atomic_numbers[symbol])


def require_periodic(motion: Motion, path: Path, what: str) -> None:
    """Raise InputError when the system is not periodic in three directions."""
    if not motion.pbc.all() or not (motion.volumes > 0.0).all():
        msg = (
            f"{path} is not periodic in three directions, which {what} needs: give "
            "the trajectory a cell, with pbc in all directions"
        )
        raise InputError(msg)


def symbols(numbers: Sequence[int]) -> list[str]:
    """Return the symbols of atomic numbers."""
    return [str(chemical_symbols[z]) for z in numbers]
