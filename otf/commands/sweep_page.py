"""The page of a sweep, from its results and its input file."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import TYPE_CHECKING

from otf.commands.sweep_picture import pictures_of
from otf.commands.sweep_reading import results_so_far
from otf.commands.sweep_results import common_phase, replicas_of, set_name
from otf.commands.sweep_summary import notes_of, over_finished
from otf.errors import InputError, StoreError
from otf.report.page import formula_of
from otf.report.sweep_page import write_sweep_page
from otf.report.sweep_view import Axis, ReplicaSet, SweepRun, SweepView
from otf.settings import load_run_settings
from otf.store import journal as journals
from otf.store.entries import Start, from_record
from otf.store.lock import is_locked
from otf.store.run_files import has_begun
from otf.store.run_reader import RunView

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from otf.commands.sweep_results import Result
    from otf.settings import Settings
    from otf.store.schema import RunFolder, SweepFolder


def write_page_so_far(folder: SweepFolder, path: Path) -> None:
    """Write the page of a sweep as its folder tells it, at any time.

    Raises
    ------
    InputError
        When the input file of the sweep is damaged, or of another version.
    StoreError
        When the page cannot be written.
    """
    settings = load_run_settings(folder.input)
    if settings.sweep is None:
        msg = f"there is no [sweep] in {folder.input}: restore it (sweep)"
        raise InputError(msg)
    write_page_of(settings, folder, results_so_far(settings, folder), path)


def write_page_of(
    settings: Settings, folder: SweepFolder, results: Sequence[Result], path: Path
) -> None:
    """Write the page of a sweep with these results.

    Raises
    ------
    StoreError
        When the page cannot be written.
    """
    write_sweep_page(view_of(settings, folder, results, path.parent), path)


def view_of(
    settings: Settings, folder: SweepFolder, results: Sequence[Result], place: Path
) -> SweepView:
    """Return what a page in a folder shows."""
    shared = _shared(folder)
    return SweepView(
        title=settings.title or f"Sweep of {len(results)} runs",
        subtitle=_subtitle(settings, folder, results),
        running=is_locked(folder.lock),
        axes=_axes(settings),
        runs=[_run(r, folder.member(r.member.name), place) for r in results],
        sets=_sets(results),
        n_steps=settings.dynamics.n_steps,
        pictures=pictures_of(results),
        input_text=folder.input.read_text(),
        notes=notes_of(settings),
        shared=shared,
        shared_page=None if shared is None else _page(folder.shared, place),
    )


def _subtitle(
    settings: Settings, folder: SweepFolder, results: Sequence[Result]
) -> str:
    """Return one line on what the runs are, and where the sweep lies."""
    dynamics = settings.dynamics
    first = {r.member.structure: folder.member(r.member.name) for r in results[::-1]}
    formulas = dict.fromkeys(_formula(one) for one in first.values())
    picoseconds = dynamics.n_steps * dynamics.timestep_fs / 1000.0
    parts = [
        f"{len(results)} runs",
        ", ".join(formula for formula in formulas if formula),
        f"{dynamics.ensemble}, {picoseconds:.4g} ps each",
        f"folder {folder.path.resolve().name}",
    ]
    return " · ".join(part for part in parts if part)


def _formula(folder: RunFolder) -> str:
    """Return what a run moves; empty where it has not begun, or is damaged."""
    if not has_begun(folder):
        return ""
    try:
        first = next(iter(journals.read(folder.journal)), None)
        entry = None if first is None else from_record(first)
    except StoreError:  # said of the run itself
        return ""
    return formula_of(entry.configuration) if isinstance(entry, Start) else ""


def _axes(settings: Settings) -> list[Axis]:
    sweep = settings.sweep
    assert sweep is not None  # the caller has a sweep
    axes = [
        Axis("temperatures", [f"{t:g}" for t in sweep.temperatures_K], "K"),
        Axis("pressures", [f"{p:g}" for p in sweep.pressures_GPa], "GPa"),
        Axis("structures", sweep.structures),
        Axis("seeds", [str(seed) for seed in sweep.seeds]),
    ]
    return [axis for axis in axes if axis.values]


def _run(result: Result, folder: RunFolder, place: Path) -> SweepRun:
    return SweepRun(
        name=result.member.name,
        state=result.word,
        means=result.means,
        phase=result.phase.name if result.phase else "",
        steps=result.steps,
        calls=result.calls,
        verdict=result.verdict,
        problem=result.end.problem,
        page=_page(folder, place),
    )


def _page(folder: RunFolder, place: Path) -> PurePath | None:
    """Return the page of a run as seen from a folder, None where there is none."""
    if not folder.report.is_file():
        return None
    return PurePath(os.path.relpath(folder.report, place))


def _sets(results: Sequence[Result]) -> list[ReplicaSet]:
    groups = replicas_of(results)
    if all(len(group) == 1 for _, group in groups):
        return []
    sets = []
    for member, group in groups:
        n = sum(r.end.finished for r in group)
        phase, of_it = common_phase(group)
        sets.append(
            ReplicaSet(
                name=set_name(member),
                n_runs=len(group),
                n_finished=n,
                means=over_finished(group),
                phase=f"{phase}, {of_it} of {n}" if 0 < of_it < n else phase,
            )
        )
    return sets


def _shared(folder: SweepFolder) -> RunView | None:
    """Return what runs that learn together have learned so far, if they do."""
    if not has_begun(folder.shared):
        return None
    return RunView.load(folder.shared.path)
