"""otf-md sweep: one input at many temperatures, pressures, seeds and structures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from otf.analysis.libraries import library
from otf.build_respa import require_sound_fast
from otf.commands.analyses.outcome import paths_of, record_of, write_outcome
from otf.commands.check import (
    require_sound_model,
    require_sound_reference,
)
from otf.commands.ending import SIGNALLED
from otf.commands.fitting import count
from otf.commands.run_page import write_run_page
from otf.commands.sound_structures import sound_structures
from otf.commands.sweep_page import write_page_of
from otf.commands.sweep_reading import results_of
from otf.commands.sweep_summary import in_words, outcome_of
from otf.errors import InputError
from otf.progress import Progress, duration
from otf.settings import load_settings
from otf.settings.members import members_of
from otf.stopping import StopRequest
from otf.store.disk import explained, write_text
from otf.store.lock import Lock
from otf.store.run_reader import RunView
from otf.store.schema import SweepFolder
from otf.sweeping import End, end_of, is_finished, require_same_run, run_members
from otf.threads import available_cores

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from otf.commands.analyses.outcome import Outcome
    from otf.settings import Settings
    from otf.settings.members import Member
    from otf.store.schema import RunFolder
    from otf.sweeping import Standing


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("input", type=Path, help="the input file, with a [sweep]")
    parser.add_argument(
        "--jobs",
        type=count,
        metavar="N",
        help="runs at a time, each with one thread unless OMP_NUM_THREADS says "
        "otherwise (default: the cores)",
    )


def main(arguments: argparse.Namespace) -> int:
    """Run what is not finished yet, and print what all runs come to."""
    settings = load_settings(arguments.input)
    members = sound_members(settings, arguments.input.name)
    for name in ("pymbar.timeseries", "pyscal3"):
        library(name)  # missed at the start, not after the last run
    folder = SweepFolder(settings.directory)
    hours = settings.limits.walltime_h
    with explained(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
    progress = Progress(settings.dynamics.timestep_fs)
    together = settings.sweep is not None and settings.sweep.share_model
    if together and arguments.jobs is not None:
        msg = (
            "--jobs: one process moves all runs that share a model; leave it out "
            f"({arguments.input.name}: sweep.share_model)"
        )
        raise InputError(msg)
    text = arguments.input.read_text(encoding="utf-8")
    with (
        Lock(folder.lock, work="a sweep"),
        StopRequest(
            folder.stop, walltime=None if hours is None else 3600.0 * hours
        ) as stop,
    ):
        for member in members:
            require_same_run(member, folder.member(member.name))
        write_text(folder.input, text)
        if together:
            ends, reason = _together(members, folder, progress, stop)
        else:
            ends, reason = run_members(
                [(member, folder.member(member.name)) for member in members],
                jobs=arguments.jobs or available_cores(),
                stop=stop,
                tell=_teller(progress),
            )
    progress.close()
    results = results_of(settings, folder, members, ends)
    outcome = outcome_of(settings, results)
    record = record_of(outcome, "sweep", {"title": settings.title})
    write_outcome(outcome, folder.results, record)
    print(in_words(results))
    for note in outcome.notes:
        print(f"note: {note}")
    print(f"results    {', '.join(map(str, files_of(outcome, folder)))}")
    write_page_of(settings, folder, results, folder.report)
    print(f"report     {folder.report}")
    if reason is not None:
        print(
            f"stopped by {reason}; go on with 'otf-md sweep {arguments.input}'",
        )
        return 0 if stop.signal is None else SIGNALLED + stop.signal
    return 1 if any(result.end.problem for result in results) else 0


def files_of(outcome: Outcome, folder: SweepFolder) -> list[Path]:
    """Return the files that hold the results."""
    paths = paths_of(folder.results)
    return [p for s, p in paths.items() if outcome.panels or s in ("csv", "json")]


def sound_members(settings: Settings, name: str) -> list[Member]:
    """Return the runs of a sweep, with all that concerns each looked at.

    Raises
    ------
    InputError
        When there is no sweep, or a run of it is not possible.
    """
    if settings.sweep is None:
        msg = (
            f"there is no [sweep] in {name}: add one, or use 'otf-md run {name}' "
            f"({name}: sweep)"
        )
        raise InputError(msg)
    members = members_of(settings)
    for configuration in sound_structures(settings.sweep, members):
        require_sound_reference(settings, configuration)
        require_sound_fast(settings, configuration)
    require_sound_model(settings)
    return members


def _together(
    members: Sequence[Member],
    folder: SweepFolder,
    progress: Progress,
    stop: StopRequest,
) -> tuple[list[End], str | None]:
    """Let all runs learn together, and return how each stands at the end."""
    from otf.walkers import walk  # numba compiles on import

    reason = None
    if not is_finished(folder.shared):
        reason = walk(
            members, folder, progress=progress, stop=stop, tell=_teller(progress)
        )
    ends = [end_of(folder.member(member.name)) for member in members]
    progress.close()
    view = RunView.load(folder.shared.path)
    pages = _finished(members, ends, folder)
    if view.finish is not None:
        pages.append(folder.shared)
    _write_pages(pages, progress)
    if view.finish is not None:
        word = "converged" if view.finish.converged else "not converged"
        print(f"verdict    {word}: {view.finish.reason}")
        print(f"model      {folder.shared.model}")
    print(f"calls      {len(view.labels)} reference calls of all runs")
    return ends, reason


def _finished(
    members: Sequence[Member], ends: Sequence[End], folder: SweepFolder
) -> list[RunFolder]:
    return [
        folder.member(member.name)
        for member, end in zip(members, ends, strict=True)
        if end.finished
    ]


def _write_pages(folders: Sequence[RunFolder], progress: Progress) -> None:
    """Write the pages of finished runs that have none yet."""
    missing = [folder for folder in folders if not folder.report.exists()]
    for k, folder in enumerate(missing):
        progress.say(f"page {k + 1} of {len(missing)}")
        write_run_page(RunView.load(folder.path), folder.report)
    progress.close()


def _teller(progress: Progress) -> Callable[[Standing], None]:
    """Return what prints the one line of progress."""
    begun: list[tuple[float, int]] = []

    def tell(s: Standing) -> None:
        now = time.monotonic()
        if not begun:
            begun.append((now, s.step))
        seconds, made = now - begun[0][0], s.step - begun[0][1]
        parts = [f"{s.done} of {s.members} runs finished", f"{s.running} running"]
        if s.failed:
            parts.append(f"{s.failed} failed")
        parts.append(f"step {s.step}/{s.steps} of all")
        if s.calls is not None:
            parts.append(f"{s.calls} calls")
        if made > 0 and s.running:
            parts.append(f"ETA {duration((s.steps - s.step) * seconds / made)}")
        progress.say(" | ".join(parts))

    return tell
