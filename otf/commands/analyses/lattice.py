"""otf-md analyse lattice: lattice parameters against time or temperature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from otf.analysis.averages import blocks
from otf.analysis.lattice import (
    EXPANDING,
    UNITS,
    expansion,
    is_settled,
    lattice_parameters,
    point_of,
)
from otf.analysis.thermal import temperatures
from otf.commands.analyses.inputs import (
    add_interval,
    add_temperatures,
    add_trajectory,
    given_temperatures,
    motion_of,
    require_periodic,
    times_ps,
)
from otf.commands.analyses.outcome import Outcome, Quantity
from otf.commands.fitting import count
from otf.errors import InputError
from otf.report.drawing import Curve, Lines

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike

    from otf.analysis.lattice import Point
    from otf.configuration import FloatArray
    from otf.store.motion import Motion

LINE = "lattice parameters, volume and thermal expansion"
PARTS: Final = 20
FEWEST_FRAMES: Final = 4
STILL: Final = 1e-9  # relative change of a parameter that does not vary
STRAIGHT: Final = 0.01  # probability below which a line does not describe points


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_trajectory(parser, many=True)
    add_interval(parser)
    add_temperatures(parser)
    parser.add_argument(
        "--against",
        choices=("time", "temperature"),
        help="what parameters are drawn against (default: temperature for several "
        "trajectories, time for one)",
    )
    parser.add_argument(
        "--parts",
        type=count,
        default=PARTS,
        help="parts of a single trajectory against temperature, a mean of each "
        f"(default: {PARTS})",
    )
    parser.add_argument(
        "--repeat",
        nargs=3,
        type=count,
        default=(1, 1, 1),
        metavar=("NA", "NB", "NC"),
        help="unit cells along each vector of the cell: parameters are of one",
    )


def analyse(arguments: argparse.Namespace) -> Outcome:
    """Return lattice parameters with errors.

    Raises
    ------
    InputError
        When the system is not periodic, the cell fixed, or a temperature not known.
    """
    paths: list[Path] = arguments.trajectory
    motions = [
        motion_of(path, arguments.frames, fewest=FEWEST_FRAMES) for path in paths
    ]
    for path, motion in zip(paths, motions, strict=True):
        require_periodic(motion, path, "a lattice")
    if len(paths) == 1 and np.ptp(motions[0].cells, axis=0).max() == 0.0:
        msg = (
            f"{paths[0]}: the cell is the same in all frames: lattice parameters need "
            "a run in which it may change"
        )
        raise InputError(msg)
    against = arguments.against or ("time" if len(paths) == 1 else "temperature")
    if against == "time" and len(paths) > 1:
        msg = "--against time takes one trajectory: its frames have one time"
        raise InputError(msg)
    series = [lattice_parameters(m.cells, arguments.repeat) for m in motions]
    if against == "time":
        return _against_time(motions[0], series[0], arguments)
    given = given_temperatures(arguments)
    kinetic = [
        _temperature(motion, path, t)
        for motion, path, t in zip(motions, paths, given, strict=True)
    ]
    points = [
        point_of(t[part], {name: values[part] for name, values in own.items()})
        for t, own in zip(kinetic, series, strict=True)
        for part in (
            [slice(None)] if len(paths) > 1 else blocks(len(t), arguments.parts)
        )
    ]
    return _against_temperature(points)


def _temperature(motion: Motion, path: Path, given: float | None) -> FloatArray:
    if given is not None:
        return np.full(motion.n_frames, given)
    measured = temperatures(motion)
    if measured is None:
        msg = (
            f"{path} has no velocities, so its temperature is not known: give "
            "--temperature-K, one for each trajectory"
        )
        raise InputError(msg)
    return measured


def _column(name: str) -> str:
    unit = {"Å": "_A", "°": "_deg", "Å³": "_A3", "": ""}[UNITS[name]]
    return f"{name.replace('/', '_over_')}{unit}"


def _quantity(name: str, value: float, error: float) -> Quantity:
    return Quantity(name, value, error, UNITS[name])


def _varies(values: FloatArray) -> bool:
    return float(np.ptp(values)) > STILL * float(np.abs(values).max())


def _against_time(
    motion: Motion, series: Mapping[str, FloatArray], arguments: argparse.Namespace
) -> Outcome:
    times = times_ps(motion, arguments.interval_fs, arguments.frames)
    known = motion.times is not None or arguments.interval_fs is not None
    axis, column = ("time (ps)", "time_ps") if known else ("frame", "frame")
    kinetic = temperatures(motion)
    point = point_of(np.zeros(1) if kinetic is None else kinetic, series)
    quantities = [_quantity(n, m.value, m.error) for n, m in point.parameters.items()]
    columns: dict[str, ArrayLike] = {column: times}
    if kinetic is not None:
        t = point.temperature
        quantities.insert(0, Quantity("temperature", t.value, t.error, "K"))
        columns["temperature_K"] = kinetic
    columns |= {_column(name): values for name, values in series.items()}
    moving = [n for n in series if _varies(series[n]) and not is_settled(series[n])]
    notes = []
    if moving:
        notes.append(
            f"{', '.join(moving)} differ between the halves of the trajectory by more "
            "than their errors: not settled, leave out the beginning with --frames"
        )

    def panel(names: Sequence[str], label: str) -> Lines:
        return Lines(axis, label, [Curve(n, times, series[n]) for n in names])

    panels = [panel("abc", "edges (Å)"), panel(["volume"], "volume (Å³)")]
    angles = ("alpha", "beta", "gamma")
    if any(_varies(series[n]) for n in angles):
        panels.append(panel(angles, "angles (°)"))
    return Outcome(quantities, {"lattice": columns}, panels, notes=notes)


def _against_temperature(points: Sequence[Point]) -> Outcome:
    t = np.array([p.temperature.value for p in points])
    t_error = np.array([p.temperature.error for p in points])
    columns: dict[str, ArrayLike] = {"temperature_K": t, "temperature_error_K": t_error}
    values: dict[str, FloatArray] = {}
    errors: dict[str, FloatArray] = {}
    for name in UNITS:
        values[name] = np.array([p.parameters[name].value for p in points])
        errors[name] = np.array([p.parameters[name].error for p in points])
        columns[_column(name)] = values[name]
        columns[f"{_column(name)}_error"] = errors[name]
    quantities, notes, lines = [], [], {}
    for name in EXPANDING:
        if not _varies(values[name]):
            continue
        fit = expansion(points, name)
        lines[name] = fit.value + fit.slope * (t - fit.temperature)
        quantities += [
            Quantity(
                f"{name} at {fit.temperature:.0f} K",
                fit.value,
                fit.value_error,
                UNITS[name],
            ),
            Quantity(
                f"expansion of {name}", 1e6 * fit.coefficient, 1e6 * fit.error, "1e-6/K"
            ),
        ]
        if fit.probability < STRAIGHT:
            notes.append(
                f"{name} is no straight line against temperature (probability "
                f"{fit.probability:.1g}): its expansion is a mean over the range, and "
                "its error too small"
            )

    def panel(names: Sequence[str], label: str) -> Lines:
        curves = []
        for k, n in enumerate(names):
            curves.append(
                Curve(n, t, values[n], errors[n], t_error, form="points", color=k)
            )
            if n in lines:
                order = np.argsort(t)
                curves.append(Curve("", t[order], lines[n][order], color=k))
        return Lines("temperature (K)", label, curves)

    panels = [panel("abc", "edges (Å)"), panel(["volume"], "volume (Å³)")]
    if _varies(values["c/a"]):
        panels.append(panel(["c/a", "b/a"], "ratio of edges"))
    if any(_varies(values[n]) for n in ("alpha", "beta", "gamma")):
        panels.append(panel(["alpha", "beta", "gamma"], "angles (°)"))
    return Outcome(quantities, {"lattice": columns}, panels, notes=notes)
