"""The runs of a sweep, each in a process of its own.

A run is begun by writing its input into its folder, and goes on, then or later, by
``otf-md resume``. So a sweep that was killed needs no memory: what its folders hold
says which runs are over, and all others are resumed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from otf.errors import InputError, StoreError
from otf.settings.continuing import changed_keys
from otf.store import journal as journals
from otf.store.checkpoint import load_newest
from otf.store.disk import write_text
from otf.store.entries import Finish
from otf.store.lock import is_locked
from otf.store.run_files import RunFiles, has_begun
from otf.store.run_reader import standing
from otf.store.thermo import last_step
from otf.threads import LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otf.settings.members import Member
    from otf.stopping import StopRequest
    from otf.store.schema import RunFolder

GLANCE = 0.2  # seconds between two looks at the processes
_ERROR = "otf-md: error: "
_BEGINS = "$ otf-md resume "  # what a process prints follows this line


@dataclass(frozen=True)
class End:
    """How a run of a sweep stands.

    Attributes
    ----------
    finished : whether all its steps are made
    problem : why it failed, in one line; empty for one that did not
    running : whether a process works on it now
    """

    finished: bool
    problem: str = ""
    running: bool = False


@dataclass(frozen=True)
class Standing:
    """Where a sweep stands.

    Attributes
    ----------
    done, failed, running, members : runs
    step, steps : made and planned, of all runs
    calls : reference calls of all; None where nobody counts them together
    """

    done: int
    failed: int
    running: int
    members: int
    step: int
    steps: int
    calls: int | None = None


@dataclass(frozen=True, eq=False)
class _Child:
    member: Member
    folder: RunFolder
    process: subprocess.Popen[bytes]


def run_members(
    members: Sequence[tuple[Member, RunFolder]],
    *,
    jobs: int,
    stop: StopRequest,
    tell: Callable[[Standing], None],
) -> tuple[list[End], str | None]:
    """Run what is not finished, so many at a time; a failure stops no other run.

    Parameters
    ----------
    members
        With their folders.
    jobs
        Processes at a time.
    stop
        Asked all the time; then every run saves a checkpoint and ends.
    tell
        Called all the time.

    Returns
    -------
    ends : in the order of the members
    reason : why the sweep was stopped, None when it was not

    Raises
    ------
    InputError
        When a folder holds a run with another input.
    """
    ends: dict[str, End] = {}
    for member, folder in members:
        try:
            prepare(member, folder)
            if is_finished(folder):
                ends[member.name] = End(finished=True)
        except StoreError as error:  # a damaged folder is one failed run
            ends[member.name] = End(finished=False, problem=str(error))
    waiting = deque(pair for pair in members if pair[0].name not in ends)
    steps = {m.name: m.settings.dynamics.n_steps for m, _ in members}
    made = {m.name: last_step(folder.thermo) for m, folder in members}
    children: list[_Child] = []
    reason: str | None = None
    with ExitStack() as stack:
        stack.callback(lambda: _end(children))
        while children or (waiting and reason is None):
            if reason is None and (reason := stop.reason()) is not None:
                _signal(children)
            _fill(children, waiting, jobs if reason is None else 0)
            for child in [c for c in children if c.process.poll() is not None]:
                children.remove(child)
                ends[child.member.name] = _end_of(child)
            for child in children:
                made[child.member.name] = last_step(child.folder.thermo)
            finished = [name for name, end in ends.items() if end.finished]
            made |= {name: steps[name] for name in finished}
            tell(
                Standing(
                    done=len(finished),
                    failed=sum(bool(end.problem) for end in ends.values()),
                    running=len(children),
                    members=len(members),
                    step=sum(made.values()),
                    steps=sum(steps.values()),
                )
            )
            if children or waiting:
                time.sleep(GLANCE)
    unfinished = End(finished=False)
    return [ends.get(member.name, unfinished) for member, _ in members], reason


def prepare(member: Member, folder: RunFolder) -> None:
    """Write the input of a run into its folder, unless it is there.

    Raises
    ------
    InputError
        When there is one that asks for another run.
    StoreError
        When the disk fails.
    """
    require_same_run(member, folder)
    if folder.input.is_file() and folder.journal.exists():
        # What may change has an effect in the process of the run, which reads it here.
        write_text(folder.input, member.input_text)
        return
    if not folder.input.is_file() and has_begun(folder):
        raise StoreError(f"{folder.path}: holds a run that is none of this sweep")
    with RunFiles(folder) as files:  # makes the journal, with nothing in it
        files.save_input(member.input_text)


def require_same_run(member: Member, folder: RunFolder) -> None:
    """Raise InputError when a folder was begun with an input that asks for another."""
    if not folder.input.is_file():
        return
    changed = changed_keys(folder.input.read_text(), member.input_text)
    if changed:
        raise InputError(
            f"{folder.path} was begun with another input: give the sweep another "
            f"output.directory, or the input it had (changed: {', '.join(changed)})"
        )


def is_finished(folder: RunFolder) -> bool:
    """Return whether a run has made all its steps."""
    if not folder.journal.is_file():
        return False
    entries = standing(journals.read(folder.journal))
    return any(isinstance(entry, Finish) for entry in entries)


def end_of(folder: RunFolder) -> End:
    """Return how a run stands, as its folder alone tells.

    What only the process of the sweep saw, such as a run that was killed, is not told.
    """
    try:
        if is_finished(folder):
            return End(finished=True)
        saved = load_newest(folder)
    except StoreError as error:  # a damaged folder is one failed run
        return End(finished=False, problem=str(error))
    # Of runs that learn together; its folder is held as long as any of them moves.
    problem = "" if saved is None else str(saved.counters.get("problem", ""))
    if problem or is_locked(folder.lock):
        return End(finished=False, problem=problem, running=not problem)
    return End(finished=False, problem=_errors(folder))


def _fill(
    children: list[_Child], waiting: deque[tuple[Member, RunFolder]], jobs: int
) -> None:
    """Start what has a place; what a process of before still holds comes later."""
    for _ in range(len(waiting)):
        if len(children) >= jobs:
            return
        member, folder = waiting.popleft()
        if is_locked(folder.lock):
            waiting.append((member, folder))
        else:
            children.append(_start(member, folder))


def _start(member: Member, folder: RunFolder) -> _Child:
    environment = dict(os.environ)
    # One thread each: as many runs as cores need no more, and bits depend on it.
    for name in (LIMIT, "NUMBA_NUM_THREADS"):
        environment.setdefault(name, "1")
    command = [sys.executable, "-m", "otf.sweep_member", str(folder.path)]
    with folder.printed.open("ab") as printed:
        printed.write(f"{_BEGINS}{folder.path}\n".encode())
        printed.flush()
        process = subprocess.Popen(
            [*command, str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env=environment,
            # Ctrl-C is for the sweep, which hands it on once.
            start_new_session=True,
        )
        return _Child(member, folder, process)


def _end_of(child: _Child) -> End:
    """Return how a process ended that is no more."""
    try:
        if is_finished(child.folder):
            return End(finished=True)
    except StoreError as error:
        return End(finished=False, problem=str(error))
    code = child.process.returncode
    if code in (0, 128 + signal.SIGTERM):  # it was asked to stop
        return End(finished=False)
    if said := _errors(child.folder):
        return End(finished=False, problem=said)
    how = f"by signal {-code}" if code < 0 else f"with code {code}"
    return End(
        finished=False, problem=f"its process ended {how}, see {child.folder.printed}"
    )


def _errors(folder: RunFolder) -> str:
    """Return the errors the last process of a run printed; empty without any."""
    if not folder.printed.is_file():
        return ""
    text = folder.printed.read_bytes().decode(errors="replace")
    lines = text.rpartition(_BEGINS)[2].splitlines()
    return "; ".join(
        line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)
    )


def _signal(children: Sequence[_Child]) -> None:
    for child in children:
        child.process.send_signal(signal.SIGTERM)


def _end(children: Sequence[_Child]) -> None:
    """Let processes that are left save what they have."""
    _signal(children)
    for child in children:
        child.process.wait()
