"""otf-md coexistence: the melting temperature by two phases in one cell."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from otf.analysis.averages import mean_of
from otf.analysis.coexistence import (
    agreement,
    averaged_order,
    boundary_between,
    closed_shells,
    crossing,
    drifting,
    pooled,
    profile,
    rate_of,
    settling,
    shares,
)
from otf.commands.analyses.inputs import PS, configurations_of
from otf.commands.analyses.outcome import (
    Outcome,
    Quantity,
    in_words,
    record_of,
    with_error,
    write_outcome,
)
from otf.commands.check import require_sound_model
from otf.commands.coexistence_runs import (
    Protocol,
    Runs,
    RunStops,
    along_third,
    at_mean_cell,
    equilibration_of,
    first_crystal,
    lower_half,
    mean_cell,
    require_a_verdict,
    start_name,
    with_room,
)
from otf.commands.ending import SIGNALLED
from otf.errors import InputError
from otf.progress import Progress
from otf.report.drawing import Curve, Lines
from otf.settings import load_settings
from otf.store.motion import read_motion
from otf.store.thermo import read_thermo

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from otf.analysis.coexistence import Boundary, Rate, Settling
    from otf.configuration import Configuration, FloatArray
    from otf.report.drawing import Panel
    from otf.store.schema import RunFolder

SLICES = 20
SAMPLES = 10  # frames of either phase that tell them apart
MOST_FRAMES = 400  # of a run that is judged
DEEP = (0.6, 0.9)  # of the cell: well inside the half that melted
FAR = 0.05  # of the estimate


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("input", type=Path, help="the input file, with [coexistence]")
    parser.add_argument(
        "--plan",
        action="store_true",
        help="print the runs with their steps, and make none",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print the numbers as JSON, for programs",
    )


def main(arguments: argparse.Namespace) -> int:
    """Make the runs that are not there yet, and print the melting temperatures.

    Raises
    ------
    InputError
        When the input has no [coexistence], or half of the crystal does not melt.
    """
    begun = time.monotonic()
    settings = load_settings(arguments.input)
    section = settings.coexistence
    if section is None:
        raise InputError(
            f"{arguments.input}: [coexistence] is missing: give an estimate of the "
            "melting temperature (coexistence.temperature_K)"
        )
    require_a_verdict(settings, section)
    crystal = first_crystal(settings)
    protocols = [
        Protocol(settings, pressure, estimate)
        for pressure, estimate in zip(section.pressures, section.estimates, strict=True)
    ]
    if arguments.plan:
        print("\n".join(planned(protocols, crystal)))
        return 0
    require_sound_model(settings)
    try:
        melted = [
            _melted(Runs(protocol, begun=begun), protocol, crystal)
            for protocol in protocols
        ]
    except RunStops as stop:
        Progress(settings.dynamics.timestep_fs).note(
            f"or with all of them: 'otf-md coexistence {arguments.input}'"
        )
        return 0 if stop.signal is None else SIGNALLED + stop.signal
    outcome = outcome_of(melted, section.method)
    prefix = settings.directory / section.method
    record = record_of(outcome, f"coexistence, {section.method}", {})
    write_outcome(outcome, prefix, record)
    print(json.dumps(record, indent=2) if arguments.json else in_words(outcome))
    if not arguments.json:
        print(f"picture  {prefix.with_suffix('.png')}")
    return 0


def planned(protocols: Sequence[Protocol], crystal: Configuration) -> list[str]:
    """Return the runs as lines."""
    lines = [f"{crystal.n_atoms} atoms"]
    total = 0
    for protocol in protocols:
        for plan in protocol.plans():
            lines.append(f"{protocol.place}/{plan.name}  {plan.steps} steps")
            total += plan.steps
    picoseconds = total * protocols[0].settings.dynamics.timestep_fs * 1e-3
    return [*lines, f"{total} steps, {picoseconds:g} ps"]


# ---------------------------------------------------------------- from runs to numbers
@dataclass(frozen=True, eq=False)
class Trace:
    """A run that is judged.

    Attributes
    ----------
    start : K
    replica : counted from 0
    begin : ps, from where it is judged at constant enthalpy
    times, temperatures, pressures : (T,) ps, K, and GPa in the mean of the axes
    share_times, crystal : (F,) ps and crystalline shares
    profile : (slices,) crystalline share along the cell in the last tenth
    """

    start: float
    replica: int
    begin: float
    times: FloatArray
    temperatures: FloatArray
    pressures: FloatArray
    share_times: FloatArray
    crystal: FloatArray
    profile: FloatArray

    @property
    def name(self) -> str:
        """Return the temperature it started at, and which of several it is."""
        again = f", replica {self.replica + 1}" if self.replica else ""
        return f"{self.start:g} K{again}"


@dataclass(frozen=True, eq=False)
class Melted:
    """All that was found at one pressure.

    Attributes
    ----------
    pressure : GPa
    estimate : K
    boundary : between the phases
    traces : from low to high starts
    """

    pressure: float
    estimate: float
    boundary: Boundary
    traces: Sequence[Trace]


def _melted(runs: Runs, protocol: Protocol, crystal: Configuration) -> Melted:
    """Make the runs at a pressure."""
    section = protocol.settings.coexistence
    assert section is not None  # the command refused an input without it
    neighbors = section.neighbors or closed_shells(crystal)
    first = protocol.crystal()
    runs.carry_out(first, crystal)
    solid = at_mean_cell(runs.last(first), mean_cell(runs.folder(first).path, 0.5))
    liquid = protocol.liquid()
    runs.carry_out(liquid, solid)
    free = 0.5 * section.crystal_steps / liquid.steps
    held = lower_half(crystal)
    melt = protocol.melt(np.flatnonzero(held).tolist())
    room = mean_cell(runs.folder(liquid).path, free)
    runs.carry_out(melt, with_room(solid, held, room))
    boundary = _boundary(runs.folder(first), runs.folder(melt), neighbors)
    traces: list[Trace] = []
    picoseconds = protocol.settings.dynamics.timestep_fs * 1e-3
    begin = equilibration_of(section) * picoseconds
    for start in protocol.starts:
        join, judged = protocol.join(*start), protocol.judged(*start)
        runs.carry_out(join, runs.last(melt))
        runs.carry_out(judged, runs.last(join))
        traces.append(_trace(runs.folder(judged), *start, begin, boundary))
    return Melted(protocol.pressure, protocol.estimate, boundary, traces)


def _boundary(crystal: RunFolder, melt: RunFolder, neighbors: int) -> Boundary:
    """Return what tells the phases apart in these simulations."""
    solid = configurations_of(read_motion(crystal.path))
    solid = solid[len(solid) // 2 :]
    liquid = configurations_of(read_motion(melt.path))[-SAMPLES:]
    found = []
    for c in liquid:
        s = along_third(c)
        deep = (s > DEEP[0]) & (s < DEEP[1])
        found.append(averaged_order(c, neighbors)[deep])
    return boundary_between(
        np.concatenate([averaged_order(c, neighbors) for c in solid[-SAMPLES:]]),
        np.concatenate(found),
        neighbors=neighbors,
    )


def _trace(
    folder: RunFolder, start: float, replica: int, begin: float, boundary: Boundary
) -> Trace:
    thermo = read_thermo(folder.thermo)
    motion = read_motion(folder.path)
    motion = motion.part(slice(None, None, -(-motion.n_frames // MOST_FRAMES)))
    assert motion.times is not None  # a run knows its times
    frames = configurations_of(motion)
    try:
        crystal = shares(frames, boundary)
    except InputError as error:
        raise InputError(
            f"{folder.path}: {error}; the phases came apart, look at the trajectory "
            "and at what the model knows of low densities"
        ) from error
    return Trace(
        start,
        replica,
        begin,
        thermo["time_fs"] * 1e-3,
        thermo["temperature_K"],
        thermo["pressure_GPa"],
        motion.times / PS,
        crystal,
        profile(frames[-max(1, len(frames) // 10) :], boundary, slices=SLICES),
    )


# ------------------------------------------------------------------------ the verdicts
def outcome_of(melted: Sequence[Melted], method: str) -> Outcome:
    """Return the melting temperatures with their verdicts, tables and a picture."""
    judge = _at_enthalpy if method == "enthalpy" else _by_velocity
    found = [judge(one) for one in melted]
    quantities = [q for one in found for q in one.quantities]
    notes = [note for one in found for note in one.notes]
    tables: dict[str, dict[str, ArrayLike]] = {
        "line": {
            "pressure_GPa": [one.pressure for one in melted],
            "melting_K": [one.value for one in found],
            "melting_error_K": [one.error for one in found],
            "settled": [one.sound for one in found],
        }
    }
    panels: list[Panel] = []
    for one, verdict in zip(melted, found, strict=True):
        name = f"{one.pressure:g}GPa"
        tables[f"shares-{name}"] = _shares_table(one.traces)
        panels += verdict.panels
    if len(melted) > 1:
        panels.append(_line([one.pressure for one in melted], found))
    return Outcome(quantities, tables, panels, columns=3, notes=notes)


@dataclass(frozen=True, eq=False)
class Verdict:
    """A melting temperature, and whether it is one.

    Attributes
    ----------
    value, error : K
    sound : whether it may be taken for the melting temperature
    quantities, notes : in words
    panels : of the picture
    """

    value: float
    error: float
    sound: bool
    quantities: Sequence[Quantity]
    notes: Sequence[str]
    panels: Sequence[Panel]


def _at_enthalpy(one: Melted) -> Verdict:
    at = f" at {one.pressure:g} GPa"
    judged = [
        settling(t.times, t.temperatures, t.share_times, t.crystal, begin=t.begin)
        for t in one.traces
    ]
    starts: dict[float, list[Settling]] = {}
    for trace, j in zip(one.traces, judged, strict=True):
        starts.setdefault(trace.start, []).append(j)
    together = agreement(
        [pooled([j.temperature for j in replicas]) for replicas in starts.values()]
    )
    quantities, unsettled = [], []
    for trace, j in zip(one.traces, judged, strict=True):
        name = f"from {trace.name}{at}"
        mean = j.temperature
        quantities += [
            Quantity(f"temperature {name}", mean.value, mean.error, "K"),
            Quantity(f"drift {name}", j.drift, j.drift_error, "K/ps"),
            _along_the_borders(trace, one.pressure, name),
            Quantity(f"crystalline share {name}, least", j.crystal[0]),
            Quantity(f"crystalline share {name}, most", j.crystal[1]),
        ]
        if j.gone:
            unsettled.append(f"not settled {name}: {j.gone}")
    for start, replicas in starts.items():
        here = [j for j in replicas if not j.gone]
        if here and (drift := drifting(here)):
            unsettled.append(f"not settled from {start:g} K{at}: {drift}")
    if not together.agree:
        unsettled.append(f"the starts{at} do not agree: give more steps")
    sound = not unsettled
    quantities.append(_melting(one, together.value, together.error, sound))
    notes = [*unsettled, *_on_the_estimate(one, together.value)]
    return Verdict(
        together.value,
        together.error,
        sound,
        quantities,
        notes,
        [_temperatures(one, judged), _shares_panel(one), _profile_panel(one)],
    )


def _along_the_borders(trace: Trace, pressure: float, name: str) -> Quantity:
    """Return the pressure along x and y where the run is judged, GPa.

    That along z is the one that was set, so it is (3 p - P)/2 of the mean p of all. The
    stress of the borders and a strained crystal make it another.
    """
    late = trace.pressures[trace.times >= trace.begin]
    mean = mean_of(1.5 * late - 0.5 * pressure)
    return Quantity(f"pressure along the borders {name}", mean.value, mean.error, "GPa")


def _by_velocity(one: Melted) -> Verdict:
    at = f" at {one.pressure:g} GPa"
    names, temperatures, rates, notes = [], [], [], []
    for trace in one.traces:
        rate = rate_of(trace.share_times, trace.crystal)
        if rate is None:
            notes.append(f"a phase is gone too soon at {trace.name}{at}")
            continue
        names.append(trace.name)
        temperatures.append(trace.start)
        rates.append(rate)
    found = crossing(np.array(temperatures), rates)
    quantities = [
        Quantity(f"growth at {name}{at}", 1e3 * r.value, 1e3 * r.error, "1/ns")
        for name, r in zip(names, rates, strict=True)
    ]
    quantities += [
        Quantity(f"chi2 of the line{at}", found.misfit),
        _melting(one, found.temperature, found.error, found.is_found),
    ]
    if not found.is_found:
        notes.append(f"no melting temperature{at}: {found.reason}")
    notes += _on_the_estimate(one, found.temperature)
    line = found.slope * (np.array(temperatures) - found.temperature)
    panels = [
        _rates(np.array(temperatures), rates, line, at),
        _shares_panel(one),
        _profile_panel(one),
    ]
    return Verdict(
        found.temperature, found.error, found.is_found, quantities, notes, panels
    )


def _melting(one: Melted, value: float, error: float, sound: bool) -> Quantity:
    word = "melting temperature" if sound else "not settled, mean"
    return Quantity(f"{word} at {one.pressure:g} GPa", value, error, "K")


def _on_the_estimate(one: Melted, value: float) -> list[str]:
    if abs(value - one.estimate) <= FAR * one.estimate:
        return []
    return [
        f"the cell across the borders is that of the crystal at the estimate of "
        f"{one.estimate:g} K, more than {FAR:.0%} away: take {value:.0f} for "
        "temperature_K in another output.directory"
    ]


# ------------------------------------------------------------------------- the picture
def _shares_table(traces: Sequence[Trace]) -> dict[str, ArrayLike]:
    fewest = min(len(t.crystal) for t in traces)
    table: dict[str, ArrayLike] = {"time_ps": traces[0].share_times[:fewest]}
    return table | {
        f"from_{start_name(t.start, t.replica)}": t.crystal[:fewest] for t in traces
    }


def _shares_panel(one: Melted) -> Lines:
    curves = [Curve(f"from {t.name}", t.share_times, t.crystal) for t in one.traces]
    return Lines(
        "time (ps)",
        "crystalline share of the atoms",
        curves,
        title=f"{one.pressure:g} GPa",
        y_limits=(0.0, 1.0),
    )


def _profile_panel(one: Melted) -> Lines:
    middles = (np.arange(SLICES) + 0.5) / SLICES
    curves = [Curve(f"from {t.name}", middles, t.profile) for t in one.traces]
    return Lines(
        "place along the third cell vector",
        "crystalline share at the end",
        curves,
        title=f"{one.pressure:g} GPa",
        y_limits=(0.0, 1.0),
    )


def _temperatures(one: Melted, judged: Sequence[Settling]) -> Lines:
    curves = []
    for trace, j in zip(one.traces, judged, strict=True):
        n = max(1, len(trace.times) // 100)
        rows = len(trace.times) // n * n
        x, y = (
            series[:rows].reshape(-1, n).mean(axis=1)
            for series in (trace.times, trace.temperatures)
        )
        words = with_error(j.temperature.value, j.temperature.error)
        curves.append(Curve(f"from {trace.name}: {words} K", x, y))
    return Lines("time (ps)", "temperature (K)", curves, title=f"{one.pressure:g} GPa")


def _rates(
    temperatures: FloatArray, rates: Sequence[Rate], line: FloatArray, at: str
) -> Lines:
    values = np.array([1e3 * r.value for r in rates])
    errors = np.array([1e3 * r.error for r in rates])
    return Lines(
        "temperature (K)",
        "growth of the crystal (1/ns)",
        [
            Curve("simulated", temperatures, values, errors, form="points"),
            Curve("line", temperatures, 1e3 * line),
        ],
        title=at.strip(),
        horizontals=(0.0,),
    )


def _line(pressures: Sequence[float], found: Sequence[Verdict]) -> Lines:
    return Lines(
        "pressure (GPa)",
        "melting temperature (K)",
        [
            Curve(
                "",
                np.array(pressures),
                np.array([one.value for one in found]),
                np.array([one.error for one in found]),
                form="points",
            )
        ],
        title="melting line",
    )
