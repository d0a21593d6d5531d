"""Runs that learn together: one data set, one model, one step each in turn.

All runs of the sweep are moved by one process, in a fixed order. When a run calls the
reference, all others move on with the model that has learned from it. A checkpoint is
that of all of them at one turn: every run writes its own, and the folder of what they
share, written last, makes it count. A resume takes the newest turn that all folders
have.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from otf.build import (
    build_learning,
    build_model,
    build_reference,
    build_row_memory,
    build_sampler,
    build_schedule,
    initial_state,
    known_labels,
    restored_learning,
)
from otf.build_baseline import require_sound_baseline
from otf.build_respa import build_fast, require_sound_fast
from otf.configuration import species_of
from otf.deploy.saved_model import save_model
from otf.dynamics.sampler import evaluate
from otf.errors import InputError, RunStopped, StoreError
from otf.kernels import load
from otf.learning.audit import Verdict
from otf.learning.queue import under
from otf.potential import Prediction, Untrusted
from otf.progress import Progress
from otf.recording import JournalBook, JournalLog, StepWriter, record_of_run, versions
from otf.rollback import Ring
from otf.stepping import Clock, Parts, advance, checkpoint_of, note_stage
from otf.store.checkpoint import Checkpoint, saved_turns
from otf.store.entries import Finish, Start
from otf.store.run_files import RunFiles
from otf.store.schema import SHARED
from otf.sweeping import Standing, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otf.calculators.executor import ReferencePool
    from otf.calculators.reference import Reference
    from otf.learning.events import Decision, Failure
    from otf.learning.potential import LearningPotential
    from otf.models.interface import FitReport
    from otf.settings import Settings
    from otf.settings.members import Member
    from otf.state import State
    from otf.stopping import StopRequest
    from otf.store.schema import SweepFolder

BEFORE = -1  # the turn before any structure was looked at


class _Log:
    """What one walker learns, written where it moves and where all is learned."""

    def __init__(self, own: JournalLog, shared: JournalLog) -> None:
        self._own, self._shared = own, shared

    def decision(self, decision: Decision) -> None:
        """Write a reference call to both."""
        self._own.decision(decision)
        self._shared.decision(decision)

    def retrain(self, step: int, report: FitReport, seconds: float) -> None:
        """Write a fit to both."""
        self._own.retrain(step, report, seconds)
        self._shared.retrain(step, report, seconds)

    def failure(self, failure: Failure) -> None:
        """Put a structure aside where its walker moves."""
        self._own.failure(failure)


class _Notes(Progress):
    """Lines that stay, with the name of their walker before them."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress, self._name = progress, name

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._progress.note(f"{self._name}: {text}")


@dataclass(eq=False)
class Walker:
    """One run of those that learn together.

    Attributes
    ----------
    name : of its folder
    parts : of the run
    potential : its own view of what all have learned
    state, prediction : where it is
    seen : generation of the model it moves on
    problem : why it cannot go on; empty while it can
    """

    name: str
    parts: Parts
    potential: LearningPotential
    state: State
    prediction: Prediction
    seen: int = 0
    problem: str = ""

    @property
    def is_over(self) -> bool:
        """Return whether it makes no more steps."""
        return bool(self.problem) or self.state.step >= self.parts.schedule.steps


@dataclass(frozen=True, eq=False)
class _Folders:
    """The open files of all walkers, in their order, and of what they share."""

    walkers: list[RunFiles]
    shared: RunFiles

    @property
    def all(self) -> list[RunFiles]:
        """Return the files in the order checkpoints are written: the shared last."""
        return [*self.walkers, self.shared]


class Company:
    """Walkers that take turns.

    Parameters
    ----------
    settings
        What they have in common, of the first one.
    walkers
        In the order of their turns.
    shared
        Files of what they share.
    turn
        Steps of all that were made or tried.
    """

    def __init__(
        self,
        settings: Settings,
        walkers: Sequence[Walker],
        shared: RunFiles,
        *,
        turn: int = 0,
    ) -> None:
        self.settings = settings
        self.walkers = list(walkers)
        self.turn = turn
        self._shared = shared

    @property
    def generation(self) -> int:
        """Return what grows with every change of the model."""
        return sum(w.potential.generation for w in self.walkers)

    @property
    def n_calls(self) -> int:
        """Return the reference calls of all."""
        return sum(w.potential.n_calls for w in self.walkers)

    def go(self, stop: StopRequest, tell: Callable[[Standing], None]) -> str | None:
        """Make the steps that are left; return why they were stopped, or None.

        Raises
        ------
        ReferenceFailure
            When the reference cannot go on; what was saved can be resumed.
        """
        due = False
        while not all(w.is_over for w in self.walkers):
            if (reason := stop.reason()) is not None:
                self.save()
                return reason
            place = self.turn % len(self.walkers)
            walker = self.walkers[place]
            self.turn += 1
            if not walker.is_over:
                before = walker.state.step
                self._advance(walker)
                step = walker.state.step
                # After a return the table of steps is shorter than it was saved.
                if step <= before:
                    self.save()
                due |= step % self.settings.output.checkpoint_interval == 0
            if due and place == len(self.walkers) - 1:
                self.save()
                due = False
            tell(self.standing())
        return None

    def _advance(self, walker: Walker) -> None:
        """Let a walker make a step on the present model."""
        self._follow(walker)
        try:
            walker.state, walker.prediction = advance(
                walker.parts, walker.state, walker.prediction
            )
        except (RunStopped, Untrusted) as trouble:  # the others go on
            walker.problem = str(trouble)
            walker.parts.progress.note(walker.problem)
        walker.seen = self.generation

    def _follow(self, walker: Walker) -> None:
        """Put a walker onto the model that another one has changed since its step."""
        if walker.seen == self.generation:
            return
        before = float(walker.prediction.model_energy)
        walker.prediction = walker.potential.follow(walker.state.configuration)
        work = float(walker.prediction.energy) - before
        walker.state = replace(
            walker.state, learning_work=walker.state.learning_work + work
        )
        walker.seen = self.generation

    def save(self) -> None:
        """Write a checkpoint of all; it counts once that of the shared folder stands.

        Raises
        ------
        StoreError
            When the disk is full or fails; the one before then stands.
        """
        for w in self.walkers:
            found = checkpoint_of(w.parts, w.state, w.prediction)
            own = {"turn": self.turn, "seen": w.seen, "problem": w.problem}
            w.parts.files.save(replace(found, counters={**found.counters, **own}))
        first = self.walkers[0]
        found = checkpoint_of(first.parts, first.state, first.prediction)
        self._shared.save(
            replace(
                found,
                potential={},
                model=first.potential.model_arrays(),
                generation=self.generation,
                counters={**found.counters, "turn": self.turn},
            )
        )

    def finish(self) -> None:
        """Learn what still waits, judge the model for every walker, and save it.

        Raises
        ------
        StoreError
            When the disk is full or fails.
        """
        verdicts = {
            w.name: w.potential.finish(w.state.step)
            for w in self.walkers
            if not w.problem
        }
        self.save()
        if verdicts:
            together = verdict_of_all(verdicts)
            potential = self.walkers[0].potential
            frames = potential.model.training.frames
            save_model(
                self._shared.folder.model,
                potential.model.fitted,
                proof=[frame.configuration for frame in frames],
                metadata=record_of_run(
                    self.settings,
                    potential,
                    together,
                    others=[w.parts.settings for w in self.walkers[1:]],
                ),
            )
            for w in self.walkers:
                if w.name in verdicts:
                    self._finish(w.parts.files, w.state.step, verdicts[w.name])
            self._finish(self._shared, self.walkers[0].state.step, together)

    def _finish(self, files: RunFiles, step: int, verdict: Verdict) -> None:
        files.journal.write(
            Finish(step=step, converged=verdict.converged, reason=verdict.reason)
        )

    def standing(self) -> Standing:
        """Return where the walkers are."""
        made = [w.state.step for w in self.walkers]
        return Standing(
            done=sum(w.is_over and not w.problem for w in self.walkers),
            failed=sum(bool(w.problem) for w in self.walkers),
            running=sum(not w.is_over for w in self.walkers),
            members=len(self.walkers),
            step=sum(made),
            steps=sum(w.parts.schedule.steps for w in self.walkers),
            calls=self.n_calls,
        )


def verdict_of_all(verdicts: dict[str, Verdict]) -> Verdict:
    """Return the verdict on a model that must be good for every walker."""
    every = list(verdicts.values())
    audits = sum(v.audits for v in every)
    squares = sum(v.audits * v.force_rmse**2 for v in every if v.audits)
    rmse = float(np.sqrt(squares / audits)) if audits else float("nan")
    bad = {name: v for name, v in verdicts.items() if not v.converged}
    if bad:
        name, first = next(iter(bad.items()))
        reason = f"{name}: {first.reason}"
    else:
        reason = f"all {len(every)} runs converged, audit force RMSE {rmse:.3f} eV/A"
    return Verdict(
        converged=not bad,
        calls=sum(v.calls for v in every),
        steps=sum(v.steps for v in every),
        audits=audits,
        force_rmse=rmse,
        goal=every[0].goal,
        reason=reason,
    )


# ----------------------------------------------------------------- start and resume
def walk(
    members: Sequence[Member],
    folder: SweepFolder,
    *,
    progress: Progress,
    stop: StopRequest,
    tell: Callable[[Standing], None],
) -> str | None:
    """Let the runs of a sweep learn together, from where they stand.

    Parameters
    ----------
    members
        In the order of their turns; of one set of elements.
    folder
        Of the sweep.
    progress, stop
        Of the process.
    tell
        Is told after every turn where all stand.

    Returns
    -------
    str or None
        Why the walkers were stopped; None when all their steps are made.

    Raises
    ------
    InputError
        When a structure cannot be simulated, or a folder holds another input.
    StoreError
        When another process works there, or a file is damaged.
    ReferenceFailure
        When the reference cannot go on.
    """
    common = _common(members[0])
    settings = common.settings
    for member in members:
        prepare(member, folder.member(member.name))
    prepare(common, folder.shared)
    with ExitStack() as stack:
        reference = build_reference(settings, watch=progress.labels)
        assert reference is not None  # the settings refuse to share without one
        stack.callback(reference.close)
        states = [initial_state(member.settings) for member in members]
        for state in states:
            reference.require(state.configuration)
            require_sound_baseline(settings, state.configuration)
            require_sound_fast(settings, state.configuration)
        folders = _Folders(
            [stack.enter_context(RunFiles(folder.member(m.name))) for m in members],
            stack.enter_context(RunFiles(folder.shared)),
        )
        texts = [member.input_text for member in (*members, common)]
        turn, checkpoints = _begun(texts, states, folders, reference)
        company = _assembled(
            members, settings, states, folders, reference, progress, stop, checkpoints
        )
        if turn == BEFORE:
            if reference.code.notice:
                progress.note(f"note: {reference.code.notice}")
            _first_steps(company, members, reference, progress)
        else:
            company.turn = turn
        reason = company.go(stop, tell)
        if reason is None:
            company.finish()
        return reason


def _common(first: Member) -> Member:
    """Return the input of what all share: that of the first, in a folder of its own."""
    directory = Path(first.settings.output.directory).with_name(SHARED)
    settings = first.settings.in_directory(str(directory))
    return replace(first, name=SHARED, settings=settings)


def _begun(
    texts: Sequence[str],
    states: Sequence[State],
    folders: _Folders,
    reference: Reference | ReferencePool,
) -> tuple[int, list[Checkpoint]]:
    """Return the newest turn all folders have, and their checkpoints of it.

    The last checkpoint is that of what they share.
    """
    are_new = [not files.folder.checkpoints() for files in folders.all]
    for files, text, state, is_new in zip(
        folders.all, texts, [*states, states[0]], are_new, strict=True
    ):
        if is_new:
            fingerprint = reference.fingerprint(state.configuration)
            _open(files, text, state, fingerprint)
    turns = set.intersection(*(saved_turns(files.folder) for files in folders.all))
    if not turns:
        raise StoreError(
            f"{folders.shared.folder.path.parent}: the runs that learn together have "
            "no turn in common, none can be added to others that have begun: give the "
            "sweep another output.directory"
        )
    turn = max(turns)
    if all(are_new):
        return BEFORE, []
    found = [files.resume(versions(), turn=turn) for files in folders.all]
    return turn, [checkpoint for checkpoint in found if checkpoint is not None]


def _open(files: RunFiles, text: str, state: State, fingerprint: str) -> None:
    """Write the first words of a folder, with a checkpoint to come back to."""
    files.journal.write(
        Start(
            input_text=text,
            versions=versions(),
            fingerprint=fingerprint,
            configuration=state.configuration,
            seed=state.seed,
        )
    )
    n = state.configuration.n_atoms
    nothing = Prediction(float("nan"), np.zeros((n, 3)), np.zeros(6))
    files.save(
        Checkpoint(state, nothing, counters={"evaluated": False, "turn": BEFORE})
    )


def _assembled(
    members: Sequence[Member],
    settings: Settings,
    states: Sequence[State],
    folders: _Folders,
    reference: Reference | ReferencePool,
    progress: Progress,
    stop: StopRequest,
    checkpoints: Sequence[Checkpoint],
) -> Company:
    """Return all walkers, at the checkpoints where there are any with a model."""
    journal = folders.shared.journal
    book = JournalBook(journal, reference.fingerprint, reference.description)
    reference.keep_labels_in(book)
    shared_log = JournalLog(folders.shared, reference.fingerprint)
    logs = [
        _Log(JournalLog(files, reference.fingerprint), shared_log)
        for files in folders.walkers
    ]
    evaluated = bool(checkpoints) and bool(checkpoints[-1].counters["evaluated"])
    rows = build_row_memory(settings, folders.shared.folder)
    first = states[0].configuration
    if evaluated:
        saved = replace(checkpoints[-1], potential=checkpoints[0].potential)
        lead = restored_learning(
            settings, first, reference, logs[0], saved, allocate=rows
        )
    else:
        model = build_model(settings, species_of([first]), allocate=rows)
        lead = build_learning(settings, first, reference, logs[0], model=model)
    potentials = [lead, *(lead.beside(log) for log in logs[1:])]
    walkers = []
    for k, (member, potential) in enumerate(zip(members, potentials, strict=True)):
        checkpoint = checkpoints[k] if evaluated else None
        parts = _parts(
            member, potential, states[k], folders.walkers[k], progress, stop, checkpoint
        )
        walkers.append(_walker(member.name, parts, potential, states[k], checkpoint))
    return Company(settings, walkers, folders.shared)


def _parts(
    member: Member,
    potential: LearningPotential,
    state: State,
    files: RunFiles,
    progress: Progress,
    stop: StopRequest,
    checkpoint: Checkpoint | None,
) -> Parts:
    settings = member.settings
    backend = load(potential.options.device)
    cutoff = potential.model.descriptor.cutoff
    model = potential.model
    fast = build_fast(settings, state.configuration, model, files.folder)
    sampler = build_sampler(settings, state, backend, cutoff=cutoff, fast=fast)
    wall = 0.0 if checkpoint is None else float(str(checkpoint.counters["wall_s"]))
    return Parts(
        settings=settings,
        files=files,
        potential=potential,
        sampler=sampler,
        schedule=build_schedule(settings),
        ring=Ring(),
        writer=StepWriter(
            files,
            backend,
            trajectory_interval=settings.output.trajectory_interval,
            thermo_interval=settings.output.thermo_interval,
            fix_centre_of_mass=sampler.motion.fix_centre_of_mass,
        ),
        progress=_Notes(progress, member.name),
        stop=stop,
        clock=Clock(wall),
        backend=backend,
        saver=_later,
    )


def _later(parts: Parts, state: State, prediction: Prediction) -> None:
    """Write nothing: the company saves all walkers together."""


def _walker(
    name: str,
    parts: Parts,
    potential: LearningPotential,
    state: State,
    checkpoint: Checkpoint | None,
) -> Walker:
    """Return a walker at its checkpoint, or before its first step."""
    here = parts.backend.here
    if checkpoint is None:
        n = state.configuration.n_atoms
        nothing = Prediction(float("nan"), np.zeros((n, 3)), np.zeros(6))
        return Walker(name, parts, potential, state.of(here), nothing)
    potential.restore(under(checkpoint.potential, "potential"))
    parts.ring.restore(under(checkpoint.potential, "ring"), checkpoint.state)
    return Walker(
        name,
        parts,
        potential,
        checkpoint.state.of(here),
        checkpoint.prediction.of(here),
        seen=int(str(checkpoint.counters["seen"])),
        problem=str(checkpoint.counters["problem"]),
    )


def _first_steps(
    company: Company,
    members: Sequence[Member],
    reference: Reference | ReferencePool,
    progress: Progress,
) -> None:
    """Label what the walkers start from, and let each look at its structure."""
    settings, first = company.settings, company.walkers[0]
    structure = first.state.configuration
    known = known_labels(
        settings, reference.fingerprint(structure), reference.description(structure)
    )
    if known.frames:
        progress.note(f"learning {len(known.frames)} labelled structures")
        first.potential.learn(
            known.frames, 0, start=structure, references=known.references
        )
    labelled: set[str] = set()
    for w, member in zip(company.walkers, members, strict=True):
        file = member.settings.structure.file
        if not known.frames and file not in labelled:
            w.potential.start(w.state.configuration, 0)
            labelled.add(file)
        w.parts.files.frames.begin(w.state.of(w.parts.backend.host))
        try:
            w.prediction = evaluate(w.potential, w.state)
        except Untrusted as trouble:
            raise InputError(
                f"the first structure of {w.name} cannot be simulated: "
                f"{trouble.reason} (sweep)"
            ) from None
        note_stage(w.parts, w.state)
        w.parts.writer.write(w.state, w.prediction, w.parts.threshold)
        w.seen = company.generation
    company.save()
