"""What the folders of a sweep hold: how each run stands, and what it came to."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from ase.data import atomic_numbers

from otf.analysis.phase import phase_of
from otf.analysis.run_means import RunMeans, means_of_run
from otf.commands.analyses.inputs import configurations_of
from otf.commands.analyses.outcome import paths_of
from otf.commands.sweep_results import Result
from otf.errors import StoreError
from otf.settings.members import members_of
from otf.store import journal as journals
from otf.store.entries import Decision, Finish, Label
from otf.store.motion import read_motion
from otf.store.run_reader import standing
from otf.store.thermo import last_step
from otf.sweeping import End, end_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.settings import Settings
    from otf.settings.members import Member
    from otf.store.schema import RunFolder, SweepFolder

EQUILIBRATION = 5  # the first part of so many of the last stage is left out of means
MOST_FRAMES = 20  # that a phase is found from


def results_so_far(settings: Settings, folder: SweepFolder) -> list[Result]:
    """Return the results of all runs as their folders tell them, at any time."""
    members = members_of(settings)
    ends = [end_of(folder.member(member.name)) for member in members]
    known = _problems(folder)
    results = results_of(settings, folder, members, ends)
    return [
        replace(r, end=End(finished=False, problem=known[r.member.name, r.steps]))
        if r.word == "not finished" and (r.member.name, r.steps) in known
        else r
        for r in results
    ]


def _problems(folder: SweepFolder) -> dict[tuple[str, int], str]:
    """Return the problems the sweep wrote down at its end, by run and its last step.

    A run that was taken up again has made other steps, or has a problem of its own.
    """
    path = paths_of(folder.results)["json"]
    try:
        runs = json.loads(path.read_text())["tables"]["runs"]
        rows = zip(runs["run"], runs["steps"], runs["problem"], strict=True)
        return {(name, steps): problem for name, steps, problem in rows if problem}
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ):  # none yet, or of an earlier version
        return {}


def results_of(
    settings: Settings,
    folder: SweepFolder,
    members: Sequence[Member],
    ends: Sequence[End],
) -> list[Result]:
    """Return the results of all runs, with means of those that are finished."""
    return [
        _result(settings, folder.member(member.name), member, end)
        for member, end in zip(members, ends, strict=True)
    ]


def _result(settings: Settings, folder: RunFolder, member: Member, end: End) -> Result:
    nothing = Result(member, end, RunMeans(), steps=last_step(folder.thermo))
    try:
        calls, converged = _learned(settings, folder)
        begun = replace(nothing, calls=calls, converged=converged)
        return _with_means(begun, settings, folder) if end.finished else begun
    except StoreError as error:  # a damaged folder is one failed run
        return replace(nothing, end=End(finished=False, problem=str(error)))


def _learned(settings: Settings, folder: RunFolder) -> tuple[int | None, bool | None]:
    """Return the calls of a run and the verdict on them, as its journal has them."""
    if not settings.is_learning or not folder.journal.is_file():
        return None, None
    assert settings.sweep is not None  # the caller has a sweep
    entries = standing(journals.read(folder.journal))
    # The labels of runs that learn together are in another folder.
    calls = (
        sum(isinstance(entry, Decision) for entry in entries)
        if settings.sweep.share_model
        else sum(isinstance(entry, Label) and not entry.cached for entry in entries)
    )
    finishes = [entry for entry in entries if isinstance(entry, Finish)]
    return calls, finishes[-1].converged if finishes else None


def _with_means(result: Result, settings: Settings, folder: RunFolder) -> Result:
    """Return the result of a finished run with its means and its phase."""
    first = first_step_of_means(settings)
    motion = read_motion(folder.path)
    assert motion.times is not None  # a run writes them
    start = int(
        np.searchsorted(motion.times, (first + 0.5) * settings.dynamics.timestep)
    )
    kept = max(1, (motion.n_frames - start) // MOST_FRAMES)
    frames = configurations_of(motion.part(slice(start, None, kept)))
    return replace(
        result,
        means=means_of_run(folder, first_step=first, n_atoms=len(motion.numbers)),
        phase=phase_of(frames, _phase_species(settings)),
        steps=settings.dynamics.n_steps,
    )


def _phase_species(settings: Settings) -> list[int] | None:
    """Return the atomic numbers whose order gives the phase; None for all."""
    assert settings.sweep is not None  # the caller has a sweep
    return [atomic_numbers[s] for s in settings.sweep.phase_species] or None


def first_step_of_means(settings: Settings) -> int:
    """Return the step after which rows of the last stage count for means."""
    assert settings.sweep is not None  # the caller has a sweep
    last = settings.dynamics.stages[-1].steps
    left_out = settings.sweep.equilibration_steps
    if left_out is None:
        left_out = last // EQUILIBRATION
    return settings.dynamics.n_steps - last + left_out
