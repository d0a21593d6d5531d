"""A run from the input file: begun or taken up again, and its parts put together."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from otf.build import (
    KnownLabels,
    build_device,
    build_learning,
    build_model,
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
from otf.build_respa import build_fast, require_sound_fast
from otf.configuration import species_of
from otf.dynamics.sampler import evaluate
from otf.errors import InputError, StoreError
from otf.kernels import load
from otf.learning.potential import LearningPotential
from otf.learning.queue import under
from otf.potential import Prediction, Untrusted
from otf.recording import (
    JournalBook,
    JournalLog,
    StepWriter,
    versions,
)
from otf.rollback import Ring
from otf.stepping import Clock, Outcome, Parts, finish, go, note_stage, save
from otf.stopping import StopRequest
from otf.store.checkpoint import Checkpoint
from otf.store.entries import Start
from otf.store.run_files import RunFiles, has_begun
from otf.store.schema import RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otf.calculators.executor import ReferencePool
    from otf.calculators.reference import Reference
    from otf.learning.production import ProductionPotential
    from otf.progress import Progress
    from otf.settings import Settings
    from otf.state import State

logger = logging.getLogger(__name__)


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
    require_sound_fast(settings, state.configuration)
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
                return finish(parts, state, prediction)
            return go(parts, state, prediction)


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
) -> Iterator[Parts]:
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
) -> Parts:
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
            model = build_model(settings, species_of([configuration]), allocate=rows)
            potential = build_learning(
                settings, configuration, reference, log, model=model
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
    fast = build_fast(settings, configuration, potential.model, files.folder)
    sampler = build_sampler(settings, state, backend, cutoff=cutoff, fast=fast)
    writer = StepWriter(
        files,
        backend,
        trajectory_interval=settings.output.trajectory_interval,
        thermo_interval=settings.output.thermo_interval,
        fix_centre_of_mass=sampler.motion.fix_centre_of_mass,
    )
    schedule = build_schedule(settings)
    earlier = 0.0 if checkpoint is None else checkpoint.counters.get("wall_s", 0.0)
    clock = Clock(float(str(earlier)))
    return Parts(
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


def _known_again(parts: Parts, state: State) -> KnownLabels:
    """Return the labels to start from, for a run killed before its first step."""
    if not isinstance(parts.potential, LearningPotential):
        return KnownLabels()
    reference, structure = parts.potential.reference, state.configuration
    return known_labels(
        parts.settings,
        reference.fingerprint(structure),
        reference.description(structure),
    )


def _from_first_step(parts: Parts, state: State, known: KnownLabels) -> Outcome:
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
    note_stage(parts, state)
    parts.writer.write(state, prediction, parts.threshold)
    save(parts, state, prediction)
    return go(parts, state, prediction)


def _unevaluated(state: State) -> Checkpoint:
    n = state.configuration.n_atoms
    nothing = Prediction(float("nan"), np.zeros((n, 3)), np.zeros(6))
    return Checkpoint(state, nothing, counters={"evaluated": False})
