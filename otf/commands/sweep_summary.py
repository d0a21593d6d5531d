"""What the runs of a sweep come to: tables for people, spreadsheets and programs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from otf.analysis.run_means import QUANTITIES, RunMeans, over_replicas
from otf.commands.analyses.outcome import Outcome, with_error
from otf.commands.sweep_picture import panels_of
from otf.commands.sweep_results import Result, common_phase, replicas_of, set_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

    from otf.settings import Settings
    from otf.settings.members import Member

_HEADS = {
    "temperature_K": "T (K)",
    "pressure_GPa": "P (GPa)",
    "volume_A3_per_atom": "V (Å³/atom)",
    "energy_eV_per_atom": "E (eV/atom)",
}


def outcome_of(settings: Settings, results: Sequence[Result]) -> Outcome:
    """Return the tables of a sweep."""
    columns: dict[str, ArrayLike] = {"run": [r.member.name for r in results]}
    columns |= _asked([r.member for r in results])
    if settings.sweep is not None and settings.sweep.seeds:
        columns["seed"] = np.array([r.member.seed for r in results])
    columns["status"] = [r.word for r in results]
    columns["problem"] = [r.end.problem for r in results]
    columns["steps"] = [r.steps for r in results]
    if settings.is_learning:
        columns["calls"] = [r.calls or 0 for r in results]
        columns["verdict"] = [r.verdict for r in results]
    columns["phase"] = [r.phase.name if r.phase else "" for r in results]
    columns["solid_share"] = [r.phase.solid if r.phase else math.nan for r in results]
    tables = {"runs": {**columns, **_means([r.means for r in results])}}
    if any(len(group) > 1 for _, group in replicas_of(results)):
        groups = replicas_of(results)
        tables["replicas"] = {
            **_asked([member for member, _ in groups]),
            "finished": [sum(r.end.finished for r in group) for _, group in groups],
            "phase": [common_phase(group)[0] for _, group in groups],
            "of_this_phase": [common_phase(group)[1] for _, group in groups],
            **_means([over_finished(group) for _, group in groups]),
        }
    notes = [
        f"{r.member.name} failed: {r.end.problem}" for r in results if r.end.problem
    ]
    notes += notes_of(settings)
    return Outcome((), tables, panels_of(results), columns=2, notes=notes)


def notes_of(settings: Settings) -> list[str]:
    """Return what a reader of the means must know, one sentence each."""
    last = settings.dynamics.stages[-1]
    if last.temperature_end_K is not None or last.pressure_end_GPa is not None:
        return ["the last stage is a ramp: means are over all of it"]
    return []


def in_words(results: Sequence[Result]) -> str:
    """Return the table for people, replicas below their runs."""
    rows = [("", *_HEADS.values(), "phase", "")]
    for member, group in replicas_of(results):
        rows += [
            (r.member.name, *_cells(r.means), r.phase.name if r.phase else "", r.word)
            for r in group
        ]
        if len(group) > 1:
            n = sum(r.end.finished for r in group)
            name = set_name(member)
            phase, of_it = common_phase(group)
            word = f"{phase}, {of_it} of {n}" if 0 < of_it < n else phase
            rows.append(
                (
                    f"mean of {name}",
                    *_cells(over_finished(group)),
                    word,
                    f"{n} replicas",
                )
            )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def over_finished(group: Sequence[Result]) -> RunMeans:
    """Return the means over the replicas that are finished."""
    return over_replicas([r.means for r in group if r.end.finished])


def _asked(members: Sequence[Member]) -> dict[str, ArrayLike]:
    """Return the columns of the values that vary, seeds left out."""
    columns: dict[str, ArrayLike] = {}
    if any(m.structure for m in members):
        columns["structure"] = [m.structure for m in members]
    if any(m.pressure_GPa is not None for m in members):
        columns["set_pressure_GPa"] = np.array([m.pressure_GPa for m in members])
    if any(m.temperature_K is not None for m in members):
        columns["set_temperature_K"] = np.array([m.temperature_K for m in members])
    return columns


def _means(means: Sequence[RunMeans]) -> Mapping[str, ArrayLike]:
    columns: dict[str, ArrayLike] = {}
    for name in QUANTITIES:
        columns[name] = [getattr(m, name).value for m in means]
        columns[f"{name}_error"] = [getattr(m, name).error for m in means]
    return columns


def _cells(means: RunMeans) -> list[str]:
    found = [getattr(means, name) for name in QUANTITIES]
    return ["" if math.isnan(m.value) else with_error(m.value, m.error) for m in found]
