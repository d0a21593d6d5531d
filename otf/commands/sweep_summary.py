"""What the runs of a sweep come to: tables for people, spreadsheets and programs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from otf.analysis.run_means import QUANTITIES, RunMeans, means_of_run, over_replicas
from otf.commands.analyses.outcome import Outcome, with_error
from otf.settings.structures import first_configuration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

    from otf.settings import Settings
    from otf.settings.members import Member
    from otf.store.schema import SweepFolder
    from otf.sweeping import End

EQUILIBRATION = 5  # the first part of so many of the last stage is left out of means
_HEADS = {
    "temperature_K": "T (K)",
    "pressure_GPa": "P (GPa)",
    "volume_A3_per_atom": "V (Å³/atom)",
    "energy_eV_per_atom": "E (eV/atom)",
}


@dataclass(frozen=True, eq=False)
class Result:
    """One run of a sweep.

    Attributes
    ----------
    member : what it was asked
    end : how it stands
    means : NaN where it is not finished
    """

    member: Member
    end: End
    means: RunMeans

    @property
    def word(self) -> str:
        """Return how it stands in a word."""
        if self.end.problem:
            return "failed"
        return "finished" if self.end.finished else "not finished"


def results_of(
    settings: Settings,
    folder: SweepFolder,
    members: Sequence[Member],
    ends: Sequence[End],
) -> list[Result]:
    """Return the results of all runs, with means of those that are finished."""
    first = first_step_of_means(settings)
    results = []
    for member, end in zip(members, ends, strict=True):
        means = RunMeans()
        if end.finished:
            means = means_of_run(
                folder.member(member.name),
                first_step=first,
                n_atoms=first_configuration(member.settings).n_atoms,
            )
        results.append(Result(member, end, means))
    return results


def first_step_of_means(settings: Settings) -> int:
    """Return the step after which rows of the last stage count for means."""
    assert settings.sweep is not None  # the caller has a sweep
    last = settings.dynamics.stages[-1].steps
    left_out = settings.sweep.equilibration_steps
    if left_out is None:
        left_out = last // EQUILIBRATION
    return settings.dynamics.n_steps - last + left_out


def replicas_of(results: Sequence[Result]) -> list[tuple[Member, list[Result]]]:
    """Return runs that differ in their seeds alone, with the first member of each."""
    groups: dict[tuple[object, ...], list[Result]] = {}
    for result in results:
        m = result.member
        key = (m.structure, m.pressure_GPa, m.temperature_K)
        groups.setdefault(key, []).append(result)
    return [(group[0].member, group) for group in groups.values()]


def outcome_of(settings: Settings, results: Sequence[Result]) -> Outcome:
    """Return the tables of a sweep."""
    columns = _asked([r.member for r in results])
    if settings.sweep is not None and settings.sweep.seeds:
        columns["seed"] = np.array([r.member.seed for r in results])
    columns["status"] = [r.word for r in results]
    tables = {"runs": {**columns, **_means([r.means for r in results])}}
    if any(len(group) > 1 for _, group in replicas_of(results)):
        groups = replicas_of(results)
        tables["replicas"] = {
            **_asked([member for member, _ in groups]),
            "finished": [sum(r.end.finished for r in group) for _, group in groups],
            **_means([_over(group) for _, group in groups]),
        }
    notes = [
        f"{r.member.name} failed: {r.end.problem}" for r in results if r.end.problem
    ]
    last = settings.dynamics.stages[-1]
    if last.temperature_end_K is not None or last.pressure_end_GPa is not None:
        notes.append("the last stage is a ramp: means are over all of it")
    return Outcome((), tables, (), notes=notes)


def in_words(results: Sequence[Result]) -> str:
    """Return the table for people, replicas below their runs."""
    rows = [("", *_HEADS.values(), "")]
    for member, group in replicas_of(results):
        rows += [(r.member.name, *_cells(r.means), r.word) for r in group]
        if len(group) > 1:
            n = sum(r.end.finished for r in group)
            name = member.name.rpartition("-")[0] or "all"
            rows.append((f"mean of {name}", *_cells(_over(group)), f"{n} replicas"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _over(group: Sequence[Result]) -> RunMeans:
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
