"""otf-md analyse msd: displacements, diffusion, activation energy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from otf.analysis.averages import BLOCKS, mean_of
from otf.analysis.diffusion import (
    FEWEST_FRAMES,
    arrhenius,
    diffusion,
    finite_size_shift,
)
from otf.analysis.thermal import temperatures, without_drift
from otf.analysis.unwrapping import unwrapped
from otf.commands.analyses.inputs import (
    PS,
    add_interval,
    add_temperatures,
    add_trajectory,
    given_temperatures,
    interval_of,
    motion_of,
    positive,
    species_number,
    symbols,
)
from otf.commands.analyses.outcome import Outcome, Quantity
from otf.commands.fitting import count
from otf.errors import InputError
from otf.report.drawing import Curve, Lines
from otf.units import FS, GPA, KB

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike

    from otf.analysis.averages import Mean
    from otf.analysis.diffusion import Arrhenius, Diffusion
    from otf.store.motion import Motion

LINE = "mean square displacements, diffusion coefficients, activation energies"
MPAS: Final = 1e-12 * GPA * 1e15 * FS  # one millipascal second in internal units
DIFFUSIVE: Final = 0.1  # largest distance of the exponent from 1
CUBIC: Final = 1e-2  # largest relative difference of edges of a cubic cell
LIKELY: Final = 0.01  # below this a straight line does not describe the points


@dataclass(frozen=True, eq=False)
class Point:
    """Diffusion of one species in one trajectory.

    Attributes
    ----------
    path : of the trajectory
    species : symbol
    temperature : K, NaN where it is not known
    found : what the analysis gave
    coefficient : angstrom^2/ps, with the correction for periodic images where asked for
    """

    path: Path
    species: str
    temperature: float
    found: Diffusion
    coefficient: Mean


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_trajectory(parser, many=True)
    add_interval(parser)
    add_temperatures(parser)
    parser.add_argument(
        "--species",
        nargs="+",
        metavar="A",
        help="species to follow (default: all)",
    )
    parser.add_argument(
        "--fit-ps",
        nargs=2,
        type=positive,
        metavar=("FROM", "TO"),
        help="lags of the straight line (default: the last four fifths of half a "
        "block)",
    )
    parser.add_argument(
        "--blocks",
        type=count,
        default=BLOCKS,
        help="parts of the trajectory whose scatter gives the error "
        f"(default: {BLOCKS})",
    )
    parser.add_argument(
        "--keep-drift",
        action="store_true",
        help="do not take out the motion of the centre of mass",
    )
    parser.add_argument(
        "--viscosity-mPas",
        type=positive,
        metavar="ETA",
        help="of a liquid in a cubic cell: add what periodic images take from its "
        "diffusion (Yeh and Hummer)",
    )


def analyse(arguments: argparse.Namespace) -> Outcome:
    """Return displacements and coefficients, with several trajectories the energy.

    Raises
    ------
    InputError
        When frames, times or temperatures are missing.
    """
    given = given_temperatures(arguments)
    points: list[Point] = []
    for path, temperature in zip(arguments.trajectory, given, strict=True):
        motion = motion_of(path, arguments.frames, fewest=2 * FEWEST_FRAMES)
        points += _points(motion, path, temperature, arguments)
    quantities, notes = [], _notes(points, arguments)
    for point in points:
        c, f = point.coefficient, point.found
        label = _label(point, points)
        quantities += [
            Quantity(f"D of {label}", c.value, c.error, "Å²/ps"),
            Quantity(f"exponent of {label}", f.exponent.value, f.exponent.error),
        ]
    panels = [_msd_panel(points)]
    tables: dict[str, dict[str, ArrayLike]] = {"msd": _table(points)}
    if len(arguments.trajectory) > 1:
        tables["diffusion"] = _coefficients(points)
        curves: list[Curve] = []
        for species in dict.fromkeys(p.species for p in points):
            used, fit = _fit(points, species, notes)
            if fit is None:
                continue
            curves += _arrhenius_curves(used, fit, len(curves) // 2)
            quantities += _fit_quantities(species, fit)
            if fit.probability < LIKELY:
                notes.append(
                    f"the points of {species} scatter more about the line than their "
                    f"errors allow (probability {fit.probability:.1g}): one activation "
                    "energy does not describe them"
                )
        if curves:
            panels.append(
                Lines("1000 K / T", "D (Å²/ps)", curves, logarithmic=(False, True))
            )
    return Outcome(quantities, tables, panels, notes=notes)


def _points(
    motion: Motion, path: Path, temperature: float | None, arguments: argparse.Namespace
) -> list[Point]:
    interval = interval_of(motion, path, arguments.interval_fs, arguments.frames)
    measured = temperatures(motion)
    if temperature is None:
        temperature = float("nan") if measured is None else mean_of(measured).value
    wanted = arguments.species or symbols(sorted(set(motion.numbers.tolist())))
    numbers = [species_number(symbol, motion, path) for symbol in wanted]
    positions = unwrapped(motion)
    if not arguments.keep_drift:
        positions = without_drift(positions, motion.masses)
    window = arguments.fit_ps and tuple(PS * t for t in arguments.fit_ps)
    shift = _shift(motion, path, temperature, arguments.viscosity_mPas)
    out = []
    for symbol, number in zip(wanted, numbers, strict=True):
        try:
            found = diffusion(
                positions[:, motion.numbers == number],
                interval,
                n_blocks=arguments.blocks,
                window=window,
            )
        except InputError as error:
            msg = f"{path}: {error}"
            raise InputError(msg) from error
        c = found.coefficient
        scaled = type(c)((c.value + shift) * PS, c.error * PS, c.n_independent)
        out.append(Point(path, symbol, temperature, found, scaled))
    return out


def _shift(
    motion: Motion, path: Path, temperature: float, viscosity: float | None
) -> float:
    if viscosity is None:
        return 0.0
    cell = motion.cells.mean(axis=0)
    length = abs(float(np.linalg.det(cell))) ** (1.0 / 3.0)
    cubic = np.allclose(cell @ cell.T, length**2 * np.eye(3), atol=CUBIC * length**2)
    if not (motion.pbc.all() and cubic):
        msg = (
            f"{path}: the correction for periodic images holds for a cubic cell, which "
            "this is not: leave --viscosity-mPas out"
        )
        raise InputError(msg)
    if not np.isfinite(temperature):
        msg = (
            f"{path}: the correction for periodic images needs the temperature, and "
            "there are no velocities: give --temperature-K"
        )
        raise InputError(msg)
    return finite_size_shift(temperature, viscosity * MPAS, length)


def _notes(points: Sequence[Point], arguments: argparse.Namespace) -> list[str]:
    notes = []
    for point in points:
        exponent = point.found.exponent
        if abs(exponent.value - 1.0) > max(DIFFUSIVE, 2.0 * exponent.error):
            notes.append(
                f"{_label(point, points)}: displacements grow as t^{exponent.value:.2f}"
                " in the window of the fit, not as t: the atoms do not diffuse, or the "
                "trajectory is too short to see it"
            )
    if arguments.viscosity_mPas is None:
        notes.append(
            "in a liquid periodic images take 2.837 kT/(6 pi eta L) from D; "
            "--viscosity-mPas adds it"
        )
    return notes


def _label(point: Point, points: Sequence[Point]) -> str:
    """Return the species, with what tells trajectories apart where there are more."""
    if len({p.path for p in points}) == 1:
        return point.species
    if np.isfinite(point.temperature):
        return f"{point.species} at {point.temperature:.0f} K"
    return f"{point.species} in {point.path}"


def _msd_panel(points: Sequence[Point]) -> Lines:
    curves = []
    for point in points:
        f = point.found
        curves.append(Curve(_label(point, points), f.lags / PS, f.msd, f.error))
    window = points[0].found.window
    return Lines(
        "lag (ps)",
        "mean square displacement (Å²)",
        curves,
        verticals={window[0] / PS: "fit", window[1] / PS: ""},
        from_zero=True,
    )


def _table(points: Sequence[Point]) -> dict[str, ArrayLike]:
    n = [len(p.found.lags) for p in points]
    return {
        "trajectory": np.repeat([str(p.path) for p in points], n),
        "species": np.repeat([p.species for p in points], n),
        "lag_ps": np.concatenate([p.found.lags / PS for p in points]),
        "msd_A2": np.concatenate([p.found.msd for p in points]),
        "msd_error_A2": np.concatenate([p.found.error for p in points]),
    }


def _coefficients(points: Sequence[Point]) -> dict[str, ArrayLike]:
    return {
        "trajectory": [str(p.path) for p in points],
        "species": [p.species for p in points],
        "temperature_K": [p.temperature for p in points],
        "D_A2_per_ps": [p.coefficient.value for p in points],
        "D_error_A2_per_ps": [p.coefficient.error for p in points],
    }


def _fit(
    points: Sequence[Point], species: str, notes: list[str]
) -> tuple[list[Point], Arrhenius | None]:
    mine = [p for p in points if p.species == species]
    unknown = [str(p.path) for p in mine if not np.isfinite(p.temperature)]
    if unknown:
        msg = (
            f"{unknown[0]} has no velocities, so its temperature is not known: give "
            "--temperature-K, one for each trajectory"
        )
        raise InputError(msg)
    used = [p for p in mine if p.coefficient.value > 2.0 * p.coefficient.error]
    notes.extend(
        f"{_label(p, points)}: D is within two errors of zero and left out of the "
        "activation energy"
        for p in mine
        if p not in used
    )
    if len({p.temperature for p in used}) < 2:
        notes.append(f"{species} diffuses at fewer than two temperatures")
        return used, None
    coefficients = [p.coefficient for p in used]
    return used, arrhenius([p.temperature for p in used], coefficients)


def _fit_quantities(species: str, fit: Arrhenius) -> list[Quantity]:
    error = fit.prefactor * fit.log_prefactor_error
    return [
        Quantity(
            f"activation energy of {species}",
            fit.activation_energy,
            fit.activation_error,
            "eV",
        ),
        Quantity(f"D_0 of {species}", fit.prefactor, error, "Å²/ps"),
    ]


def _arrhenius_curves(used: Sequence[Point], fit: Arrhenius, color: int) -> list[Curve]:
    t = np.array([p.temperature for p in used])
    d = np.array([p.coefficient.value for p in used])
    error = np.array([p.coefficient.error for p in used])
    line = np.linspace(t.min(), t.max(), 100)
    fitted = fit.prefactor * np.exp(-fit.activation_energy / (KB * line))
    energy = Quantity("", fit.activation_energy, fit.activation_error, "eV")
    name = f"{used[0].species}, {energy}"
    return [
        Curve(name, 1000.0 / t, d, error, form="points", color=color),
        Curve("", 1000.0 / line, fitted, color=color),
    ]
