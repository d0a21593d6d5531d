"""otf-md analyse phases: jumps in heating, cooling and holding, and hysteresis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from otf.analysis.averages import blocks
from otf.analysis.change_points import CONFIDENCE, FEWEST, change_points
from otf.analysis.lattice import UNITS, lattice_parameters
from otf.analysis.thermal import temperatures
from otf.commands.analyses.inputs import (
    add_interval,
    add_trajectory,
    motion_of,
    positive,
    require_periodic,
    times_ps,
)
from otf.commands.analyses.outcome import Outcome, Quantity
from otf.commands.fitting import share
from otf.errors import InputError
from otf.report.drawing import Curve, Lines

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike

    from otf.analysis.change_points import ChangePoint
    from otf.configuration import FloatArray
    from otf.store.motion import Motion

LINE = "jumps of volume, lattice or energy with their confidence, hysteresis"
ENERGY: Final = "energy"
RAMP: Final = 10.0, 5.0  # K and standard errors by which a ramp differs from rest
WIDTHS: Final = 3.92  # standard errors in an interval of 95 %
PARTS: Final = 200  # points of a curve


@dataclass(frozen=True, eq=False)
class Trace:
    """A quantity along a trajectory, with the jumps that were found in it.

    Attributes
    ----------
    path : of the trajectory
    times : (T,) ps, or numbers of frames
    values : (T,)
    start, end : temperatures of the straight line through T(t), K; NaN when not known
    is_ramp : whether they differ
    jumps : in order
    """

    path: Path
    times: FloatArray
    values: FloatArray
    start: float
    end: float
    is_ramp: bool
    jumps: Sequence[ChangePoint]

    def temperature(self, index: float) -> float:
        """Return the temperature at a frame, from the straight line."""
        share = index / max(len(self.times) - 1, 1)
        return self.start + (self.end - self.start) * share

    def place(self, jump: ChangePoint) -> tuple[float, float]:
        """Return where a jump is and its error, K on a ramp and else as times are."""
        if self.is_ramp:
            width = self.temperature(jump.high) - self.temperature(jump.low)
            return self.temperature(jump.index), abs(width) / WIDTHS
        step = (self.times[-1] - self.times[0]) / max(len(self.times) - 1, 1)
        at = self.times[0] + step * jump.index
        return float(at), float(step * (jump.high - jump.low)) / WIDTHS


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_trajectory(parser, many=True)
    add_interval(parser)
    parser.add_argument(
        "--quantity",
        choices=(*UNITS, ENERGY),
        help="what is looked at (default: volume, energy for a fixed cell)",
    )
    parser.add_argument(
        "--confidence",
        type=share,
        default=CONFIDENCE,
        help="of every jump: noise alone shows one more seldom "
        f"(default: {CONFIDENCE})",
    )
    parser.add_argument(
        "--ramp-K",
        nargs="+",
        type=positive,
        metavar="T",
        help="first and last temperature of every trajectory (default: those of its "
        "velocities)",
    )


def analyse(arguments: argparse.Namespace) -> Outcome:
    """Return the jumps of every trajectory.

    Raises
    ------
    InputError
        When frames or energies are missing, or temperatures do not match.
    """
    paths: list[Path] = arguments.trajectory
    ramps = arguments.ramp_K
    if ramps is not None and len(ramps) != 2 * len(paths):
        msg = (
            f"--ramp-K needs two temperatures for each of {len(paths)} trajectories, "
            f"got {len(ramps)} in all"
        )
        raise InputError(msg)
    motions = [motion_of(path, arguments.frames, fewest=FEWEST) for path in paths]
    name = arguments.quantity
    if name is None:
        fixed = all(float(np.ptp(m.cells, axis=0).max()) == 0.0 for m in motions)
        name = ENERGY if fixed else "volume"
    traces = []
    for k, (path, motion) in enumerate(zip(paths, motions, strict=True)):
        given = None if ramps is None else (ramps[2 * k], ramps[2 * k + 1])
        values = _values(motion, path, name)
        times = times_ps(motion, arguments.interval_fs, arguments.frames)
        traces.append(_trace(path, motion, times, values, given, arguments.confidence))
    known = motions[0].times is not None or arguments.interval_fs is not None
    unit = "eV/atom" if name == ENERGY else UNITS[name]
    return _outcome(traces, name, unit, "ps" if known else "frames")


def _values(motion: Motion, path: Path, name: str) -> FloatArray:
    if name == ENERGY:
        if motion.energies is None:
            msg = f"{path} holds no energies: choose another --quantity"
            raise InputError(msg)
        return motion.energies / len(motion.numbers)
    require_periodic(motion, path, f"--quantity {name}")
    return lattice_parameters(motion.cells)[name]


def _trace(
    path: Path,
    motion: Motion,
    times: FloatArray,
    values: FloatArray,
    given: tuple[float, float] | None,
    confidence: float,
) -> Trace:
    start, end, is_ramp = _ramp(motion, given)
    if float(np.ptp(values)) <= 1e-12 * float(np.abs(values).max()):
        msg = f"{path}: the quantity does not vary: choose another --quantity"
        raise InputError(msg)
    try:
        jumps = change_points(values, confidence=confidence, degree=1 if is_ramp else 0)
    except InputError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from error
    return Trace(path, times, values, start, end, is_ramp, jumps)


def _ramp(
    motion: Motion, given: tuple[float, float] | None
) -> tuple[float, float, bool]:
    """Return the ends of T(t), and whether they differ."""
    if given is not None:
        return (*given, abs(given[1] - given[0]) >= RAMP[0])
    measured = temperatures(motion)
    if measured is None:
        return float("nan"), float("nan"), False
    x = np.linspace(0.0, 1.0, len(measured))
    (slope, level), covariance = np.polyfit(x, measured, 1, cov=True)
    significant = abs(slope) > max(RAMP[0], RAMP[1] * float(np.sqrt(covariance[0, 0])))
    return float(level), float(level + slope), bool(significant)


def _outcome(traces: Sequence[Trace], name: str, unit: str, clock: str) -> Outcome:
    quantities, notes = [], []
    for trace in traces:
        where = f" of {trace.path.stem}" if len(traces) > 1 else ""
        if not trace.jumps:
            notes.append(f"no jump of {name} stands out of the noise{where}")
        for k, jump in enumerate(trace.jumps):
            number = f" {k + 1}" if len(trace.jumps) > 1 else ""
            at, error = trace.place(jump)
            quantities += [
                Quantity(f"jump{number}{where} at", at, error, _unit(trace, clock)),
                Quantity(f"jump{number}{where} of {name}", jump.size, jump.error, unit),
                Quantity(f"jump{number}{where} by chance", jump.probability),
            ]
    quantities += _hysteresis(traces, notes)
    return Outcome(
        quantities,
        {"trace": _trace_table(traces, name), "jumps": _jump_table(traces)},
        [_panel(traces, name, unit, clock)],
        notes=notes,
    )


def _unit(trace: Trace, clock: str) -> str:
    return "K" if trace.is_ramp else clock


def _largest(traces: Sequence[Trace], *, up: bool) -> tuple[float, float] | None:
    """Return the place of the most certain jump of heating or cooling ramps."""
    candidates = [
        (abs(jump.size) / jump.error, trace.place(jump))
        for trace in traces
        if trace.is_ramp and (trace.end > trace.start) == up
        for jump in trace.jumps
    ]
    return max(candidates)[1] if candidates else None


def _hysteresis(traces: Sequence[Trace], notes: list[str]) -> list[Quantity]:
    heating, cooling = _largest(traces, up=True), _largest(traces, up=False)
    if heating is None or cooling is None:
        return []
    width, error = heating[0] - cooling[0], float(np.hypot(heating[1], cooling[1]))
    if width > 2.0 * error:
        notes.append(
            "heating jumps later than cooling: the transition is of first order, and "
            "its temperature lies in between"
        )
    return [
        Quantity("hysteresis", width, error, "K"),
        Quantity("its middle", heating[0] - 0.5 * width, 0.5 * error, "K"),
    ]


def _trace_table(traces: Sequence[Trace], name: str) -> dict[str, ArrayLike]:
    column = name.replace("/", "_over_")
    return {
        "trajectory": np.repeat(
            [str(t.path) for t in traces], [len(t.times) for t in traces]
        ),
        "time": np.concatenate([t.times for t in traces]),
        "temperature_K": np.concatenate(
            [np.linspace(t.start, t.end, len(t.times)) for t in traces]
        ),
        column: np.concatenate([t.values for t in traces]),
    }


def _jump_table(traces: Sequence[Trace]) -> dict[str, ArrayLike]:
    rows = [(t, j) for t in traces for j in t.jumps]
    return {
        "trajectory": [str(t.path) for t, _ in rows],
        "frame": [j.index for _, j in rows],
        "frame_low": [j.low for _, j in rows],
        "frame_high": [j.high for _, j in rows],
        "place": [t.place(j)[0] for t, j in rows],
        "place_error": [t.place(j)[1] for t, j in rows],
        "size": [j.size for _, j in rows],
        "size_error": [j.error for _, j in rows],
        "probability": [j.probability for _, j in rows],
    }


def _panel(traces: Sequence[Trace], name: str, unit: str, clock: str) -> Lines:
    ramps = all(trace.is_ramp for trace in traces)
    curves, marks = [], {}
    for trace in traces:
        parts = blocks(len(trace.values), PARTS)
        middle = np.array([0.5 * (p.start + p.stop - 1) for p in parts])
        y = np.array([trace.values[p].mean() for p in parts])
        if ramps:
            x = np.array([trace.temperature(m) for m in middle])
        else:
            x = np.interp(middle, np.arange(len(trace.times)), trace.times)
        curves.append(Curve(trace.path.stem, x, y))
        for jump in trace.jumps:
            at = trace.place(jump)[0] if ramps else float(trace.times[jump.index])
            marks[at] = trace.path.stem if len(traces) > 1 else "jump"
    axis = "temperature (K)" if ramps else f"time ({clock})"
    label = f"{name} ({unit})" if unit else name
    return Lines(axis, label, curves, verticals=marks)
