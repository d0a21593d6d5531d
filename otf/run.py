"""A run from the input file to its verdict: build, step, write, roll back, stop."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from otf.build import (
    KnownLabels,
    build_device,
    build_learning,
    build_production,
    build_reference,
    build_row_memory,
    build_sampler,
    build_schedule,
    initial_state,
    known_labels,
    restored_learning,
    restored_production,
)
from otf.build_baseline import require_sound_baseline
from otf.deploy.saved_model import save_model
from otf.dynamics.ahead import pace, steps_ahead
from otf.dynamics.constraints import temperature
from otf.dynamics.sampler import evaluate
from otf.errors import InputError, RunStopped, StoreError
from otf.kernels import load
from otf.learning.potential import LearningPotential
from otf.learning.queue import under
from otf.potential import Prediction, Untrusted
from otf.progress import Progress, Status
from otf.recording import (
    JournalBook,
    JournalLog,
    StepWriter,
    record_of_run,
    versions,
)
from otf.rollback import Memory, Ring
from otf.stopping import StopRequest
from otf.store.checkpoint import Checkpoint
from otf.store.entries import Finish, Rollback, Stage, Start
from otf.store.run_files import RunFiles, has_begun
from otf.store.schema import RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otf.calculators.executor import ReferencePool
    from otf.calculators.reference import Reference
    from otf.dynamics.sampler import Sampler
    from otf.dynamics.schedule import Schedule
    from otf.kernels import Backend
    from otf.learning.audit import Verdict
    from otf.learning.production import ProductionPotential
    from otf.settings import Settings
    from otf.state import State

logger = logging.getLogger(__name__)

# A temperature this many times the largest planned one is no fluctuation.
EXPLOSION = 10.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes
    ----------
    step, steps : made and planned
    stopped : why it ended early, None when it is complete
    signal : number of the signal that stopped it, None without one
    verdict : on the model; None in production and for a run that is not complete
    n_calls : reference calls, 0 in production
    """

    step: int
    steps: int
    stopped: str | None
    signal: int | None
    verdict: Verdict | None
    n_calls: int


@dataclass(frozen=True)
class _Clock:
    """Wall time of a run over all its processes."""

    earlier: float = 0.0
    begun: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Return the seconds so far."""
        return self.earlier + time.monotonic() - self.begun


@dataclass(frozen=True, eq=False)
class _Parts:
    """Everything a run is made of."""

    settings: Settings
    files: RunFiles
    potential: LearningPotential | ProductionPotential
    sampler: Sampler
    schedule: Schedule
    ring: Ring
    writer: StepWriter
    progress: Progress
    stop: StopRequest
    clock: _Clock
    backend: Backend

    @property
    def learns(self) -> bool:
        """Return whether the potential is learning, so that the run can go back."""
        return isinstance(self.potential, LearningPotential)

    @property
    def poll(self) -> int:
        """Return the steps that may be made ahead; a decision to learn is a look."""
        return 1 if self.learns else self.backend.poll

    @property
    def threshold(self) -> float:
        """Return t, NaN in production."""
        if isinstance(self.potential, LearningPotential):
            return self.potential.policy.threshold
        return float("nan")


# ------------------------------------------------------------------ start and resume
def run(settings: Settings, input_text: str, progress: Progress) -> Outcome:
    """Start a run in the folder the input file names.

    Raises
    ------
    InputError
        When the input cannot be run.
    StoreError
        When the folder holds a run already, or the disk fails.
    RunStopped, ReferenceFailure
        When the run cannot go on; what was saved can be resumed.
    """
    folder = RunFolder(settings.directory)
    if has_begun(folder):
        raise StoreError(
            f"{folder.path}: there is a run in this folder; go on with "
            f"'otf-md resume {folder.path}', or give another output.directory"
        )
    # What the calculator cannot do is found before the folder is made.
    with (
        _prepared(settings, progress) as start,
        RunFiles(folder) as files,
        _stop_request(settings, folder) as stop,
    ):
        files.save_input(input_text)
        return _begin(settings, input_text, start, files, progress, stop)


@dataclass(frozen=True, eq=False)
class _Beginning:
    """What a run starts from.

    Attributes
    ----------
    state : the first
    reference : started already; None in production
    fingerprint : of the reference
    known : labels of earlier runs
    """

    state: State
    reference: Reference | ReferencePool | None = None
    fingerprint: str = ""
    known: KnownLabels = field(default_factory=KnownLabels)


@contextmanager
def _prepared(settings: Settings, progress: Progress) -> Iterator[_Beginning]:
    """Yield what a run starts from; the process of its reference ends with it."""
    state = initial_state(settings)
    build_device(settings, state.configuration)
    reference = build_reference(settings, watch=progress.labels)
    if reference is None:
        yield _Beginning(state)
        return
    try:
        reference.require(state.configuration)
        require_sound_baseline(settings, state.configuration)
        if reference.code.notice:
            progress.note(f"note: {reference.code.notice}")
        fingerprint = reference.fingerprint(state.configuration)
        description = reference.description(state.configuration)
        known = known_labels(settings, fingerprint, description)
        yield _Beginning(state, reference, fingerprint, known)
    finally:
        reference.close()


def _begin(
    settings: Settings,
    input_text: str,
    start: _Beginning,
    files: RunFiles,
    progress: Progress,
    stop: StopRequest,
) -> Outcome:
    files.journal.write(
        Start(
            input_text=input_text,
            versions=versions(),
            fingerprint=start.fingerprint,
            configuration=start.state.configuration,
            seed=settings.seed,
        )
    )
    with _assembled(
        settings, files, start.state, progress, stop, reference=start.reference
    ) as parts:
        files.save(_unevaluated(start.state))
        return _from_first_step(parts, start.state, start.known)


def resume(folder: RunFolder, settings: Settings, progress: Progress) -> Outcome:
    """Go on with a run; it makes the steps it would have made.

    Raises
    ------
    StoreError
        When there is nothing to go on with.
    """
    if not folder.journal.exists():
        raise StoreError(f"{folder.path}: there is no run in this folder")
    with RunFiles(folder) as files, _stop_request(settings, folder) as stop:
        if files.is_new:  # killed before its first word
            text = folder.input.read_text()
            with _prepared(settings, progress) as start:
                return _begin(settings, text, start, files, progress, stop)
        checkpoint = files.resume(versions())
        if checkpoint is None or not checkpoint.counters.get("evaluated"):
            state = initial_state(settings) if checkpoint is None else checkpoint.state
            with _assembled(settings, files, state, progress, stop) as parts:
                return _from_first_step(parts, state, _known_again(parts, state))
        state = checkpoint.state
        with _assembled(settings, files, state, progress, stop, checkpoint) as parts:
            here = parts.backend.here
            state, prediction = state.of(here), checkpoint.prediction.of(here)
            parts.ring.restore(under(checkpoint.potential, "ring"), checkpoint.state)
            if state.step >= parts.schedule.steps:
                return _finish(parts, state, prediction)
            return _go(parts, state, prediction)


def _stop_request(settings: Settings, folder: RunFolder) -> StopRequest:
    hours = settings.limits.walltime_h
    return StopRequest(folder.stop, walltime=None if hours is None else 3600.0 * hours)


@contextmanager
def _assembled(
    settings: Settings,
    files: RunFiles,
    state: State,
    progress: Progress,
    stop: StopRequest,
    checkpoint: Checkpoint | None = None,
    *,
    reference: Reference | ReferencePool | None = None,
) -> Iterator[_Parts]:
    """Yield the parts of a run; the process of its reference ends with them."""
    parts = _assemble(settings, files, state, progress, stop, checkpoint, reference)
    try:
        yield parts
    finally:
        if isinstance(parts.potential, LearningPotential):
            parts.potential.reference.close()


def _assemble(
    settings: Settings,
    files: RunFiles,
    state: State,
    progress: Progress,
    stop: StopRequest,
    checkpoint: Checkpoint | None,
    reference: Reference | ReferencePool | None,
) -> _Parts:
    configuration = state.configuration
    potential: LearningPotential | ProductionPotential
    device = build_device(settings, configuration)
    if settings.is_learning:
        reference = reference or build_reference(settings, watch=progress.labels)
        assert reference is not None  # the settings refuse to learn without one
        book = JournalBook(files.journal, reference.fingerprint, reference.description)
        reference.keep_labels_in(book)
        log = JournalLog(files, reference.fingerprint)
        rows = build_row_memory(settings, files.folder)
        if checkpoint is None:
            potential = build_learning(
                settings, configuration, reference, log, allocate=rows
            )
        else:
            potential = restored_learning(
                settings, configuration, reference, log, checkpoint, allocate=rows
            )
        backend, cutoff = load(device), potential.model.descriptor.cutoff
    else:
        potential = (
            build_production(settings, device)
            if checkpoint is None
            else restored_production(settings, checkpoint, device)
        )
        backend, cutoff = potential.model.backend, potential.cutoff
    if not backend.is_host:
        progress.note(f"the atoms move on {backend.name}")
    sampler = build_sampler(settings, state, backend, cutoff=cutoff)
    writer = StepWriter(
        files,
        backend,
        trajectory_interval=settings.output.trajectory_interval,
        thermo_interval=settings.output.thermo_interval,
        fix_centre_of_mass=sampler.motion.fix_centre_of_mass,
    )
    schedule = build_schedule(settings)
    earlier = 0.0 if checkpoint is None else checkpoint.counters.get("wall_s", 0.0)
    clock = _Clock(float(str(earlier)))
    return _Parts(
        settings=settings,
        files=files,
        potential=potential,
        sampler=sampler,
        schedule=schedule,
        ring=Ring(),
        writer=writer,
        progress=progress,
        stop=stop,
        clock=clock,
        backend=backend,
    )


def _known_again(parts: _Parts, state: State) -> KnownLabels:
    """Return the labels to start from, for a run killed before its first step."""
    if not isinstance(parts.potential, LearningPotential):
        return KnownLabels()
    reference, structure = parts.potential.reference, state.configuration
    return known_labels(
        parts.settings,
        reference.fingerprint(structure),
        reference.description(structure),
    )


def _from_first_step(parts: _Parts, state: State, known: KnownLabels) -> Outcome:
    potential = parts.potential
    if known.frames and isinstance(potential, LearningPotential):
        parts.progress.note(f"learning {len(known.frames)} labelled structures")
        potential.learn(
            known.frames,
            state.step,
            start=state.configuration,
            references=known.references,
        )
    parts.files.frames.begin(state)
    state = state.of(parts.backend.here)
    try:
        prediction = evaluate(parts.potential, state)
    except Untrusted as trouble:
        raise InputError(
            f"the first structure cannot be simulated: {trouble.reason} "
            "(structure.file)"
        ) from None
    _note_stage(parts, state)
    parts.writer.write(state, prediction, parts.threshold)
    _save(parts, state, prediction)
    return _go(parts, state, prediction)


# ------------------------------------------------------------------------- the loop
def _go(parts: _Parts, state: State, prediction: Prediction) -> Outcome:
    n_sound = 0  # steps ahead since one took too much for granted
    while state.step < parts.schedule.steps:
        if (reason := parts.stop.reason()) is not None:
            _save(parts, state, prediction)
            return _stopped(parts, state, reason)
        n_ahead = pace(n_sound, min(parts.poll, parts.schedule.steps - state.step))
        trail = []
        if n_ahead > 1:
            step = partial(_moved, parts)
            watch = parts.backend.watch
            trail = steps_ahead(step, state, prediction, n_ahead, watch)
        for state, prediction in trail:
            _note(parts, state, prediction)
        n_sound += len(trail)
        if len(trail) < n_ahead:
            n_sound = 0 if n_ahead > 1 else n_sound + 1
            state, prediction = _step(parts, state, prediction)
        _show(parts, state, prediction)
    return _finish(parts, state, prediction)


def _moved(
    parts: _Parts, state: State, prediction: Prediction
) -> tuple[State, Prediction]:
    target = parts.schedule.target(state.step)
    state, prediction = parts.sampler.step(state, prediction, parts.potential, target)
    _require_no_explosion(parts, state)
    return state, prediction


def _step(
    parts: _Parts, state: State, prediction: Prediction
) -> tuple[State, Prediction]:
    """Make one step and write it, or go back to where the potential was trusted."""
    try:
        state, prediction = _moved(parts, state, prediction)
    except Untrusted as trouble:
        return _roll_back(parts, state, trouble)
    _note(parts, state, prediction)
    return state, prediction


def _note(parts: _Parts, state: State, prediction: Prediction) -> None:
    """Write and remember what is due after a step."""
    parts.writer.write(state, prediction, parts.threshold)
    if state.step in parts.schedule.ends[:-1]:
        _note_stage(parts, state)
    if parts.learns and state.step % parts.ring.interval == 0:
        parts.ring.remember(_memory(parts, state, prediction))
    if state.step % parts.settings.output.checkpoint_interval == 0:
        _save(parts, state, prediction)


def _note_stage(parts: _Parts, state: State) -> None:
    index = parts.schedule.stage_index(state.step)
    stage = parts.schedule.stages[index]
    parts.files.journal.write(Stage(step=state.step, name=stage.name))


def _memory(parts: _Parts, state: State, prediction: Prediction) -> Memory:
    known = prediction.uncertainty
    trusted = (
        known is not None and known.error is not None and known.error <= parts.threshold
    )
    energy = float(prediction.model_energy)
    here = state.of(parts.backend.host)
    return Memory(here, energy, trusted, parts.files.thermo.size)


def _require_no_explosion(parts: _Parts, state: State) -> None:
    planned = max(
        max(s.temperature_start, s.temperature_end) for s in parts.schedule.stages
    )
    planned = max(planned, parts.settings.dynamics.start_temperature, 300.0)
    now = temperature(state, fix_centre_of_mass=parts.sampler.motion.fix_centre_of_mass)
    if not parts.backend.watch.holds(now < EXPLOSION * planned):
        raise Untrusted(
            state.configuration, f"the temperature exploded to {float(now):.3g} K"
        )


def _roll_back(
    parts: _Parts, state: State, trouble: Untrusted
) -> tuple[State, Prediction]:
    """Restore the newest trusted state, learn from what came after, and go on."""
    potential = parts.potential
    if not isinstance(potential, LearningPotential):
        raise RunStopped(
            f"step {state.step + 1}: {trouble.reason}; the model must not be trusted "
            "there: learn on from this point (learning.start_from)"
        )
    memory, later = parts.ring.go_back(trouble.reason, step=state.step)
    frames = [
        c.moved(parts.backend.host(c.positions))
        for c in (*later, state.configuration, trouble.configuration)
    ]
    labelled = potential.learn_after_rollback(frames, memory.state.step)
    back = memory.state.of(parts.backend.here)
    parts.files.journal.write(
        Rollback(
            step=state.step,
            to_step=back.step,
            reason=trouble.reason,
            stream=back.stream,
            labelled=labelled,
        )
    )
    parts.files.frames.invalidate(back.step)
    parts.files.thermo.truncate(memory.thermo_size)
    parts.progress.note(
        f"step {state.step}: {trouble.reason}; back to step {back.step} with "
        f"{labelled} more labels"
    )
    prediction = evaluate(potential, back)
    work = float(prediction.model_energy) - memory.energy
    state = replace(back, learning_work=back.learning_work + work)
    # The table is shorter now than the last checkpoint counts on.
    _save(parts, state, prediction)
    return state, prediction


def _show(parts: _Parts, state: State, prediction: Prediction) -> None:
    known = prediction.uncertainty
    error = float("nan")
    if known is not None and known.error is not None:
        error = known.error
    potential = parts.potential
    calls, under_way = None, 0
    if isinstance(potential, LearningPotential):
        calls, under_way = potential.n_calls, potential.n_under_way
    parts.progress.update(
        Status(
            step=state.step,
            steps=parts.schedule.steps,
            temperature=parts.writer.temperature(state),
            calls=calls,
            error=error,
            threshold=parts.threshold,
            under_way=under_way,
        ),
        last=state.step >= parts.schedule.steps,
    )


# ------------------------------------------------------------------------- the ends
def _unevaluated(state: State) -> Checkpoint:
    n = state.configuration.n_atoms
    nothing = Prediction(float("nan"), np.zeros((n, 3)), np.zeros(6))
    return Checkpoint(state, nothing, counters={"evaluated": False})


def _save(parts: _Parts, state: State, prediction: Prediction) -> None:
    potential = parts.potential
    arrays = {f"potential/{k}": v for k, v in potential.state().items()}
    arrays |= {f"ring/{k}": v for k, v in parts.ring.state().items()}
    host = parts.backend.host
    parts.files.save(
        Checkpoint(
            state.of(host),
            prediction.of(host),
            potential=arrays,
            model=potential.model_arrays(),
            generation=potential.generation,
            counters={"evaluated": True, "wall_s": parts.clock.seconds},
        )
    )


def _stopped(parts: _Parts, state: State, reason: str) -> Outcome:
    if isinstance(parts.potential, LearningPotential):
        # Paid for; the resumed run takes them in at the steps they are due.
        parts.potential.wait_for_labels()
    parts.progress.note(
        f"stopped at step {state.step} by {reason}; go on with "
        f"'otf-md resume {parts.files.folder.path}'"
    )
    return Outcome(
        step=state.step,
        steps=parts.schedule.steps,
        stopped=reason,
        signal=parts.stop.signal,
        verdict=None,
        n_calls=parts.potential.n_calls,
    )


def _finish(parts: _Parts, state: State, prediction: Prediction) -> Outcome:
    potential = parts.potential
    if not isinstance(potential, LearningPotential):
        _save(parts, state, prediction)
        parts.files.journal.write(
            Finish(step=state.step, converged=None, reason="production run complete")
        )
        return Outcome(state.step, parts.schedule.steps, None, None, None, 0)
    verdict = potential.finish(state.step)
    _save(parts, state, prediction)
    save_model(
        parts.files.folder.model,
        potential.model.fitted,
        proof=[frame.configuration for frame in potential.model.training.frames],
        metadata=record_of_run(parts.settings, potential, verdict),
    )
    parts.files.journal.write(
        Finish(step=state.step, converged=verdict.converged, reason=verdict.reason)
    )
    return Outcome(
        state.step, parts.schedule.steps, None, None, verdict, potential.n_calls
    )
