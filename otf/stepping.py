"""The steps of a run: made, written, taken back, and how they end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from otf.deploy.saved_model import save_model
from otf.dynamics.ahead import pace, steps_ahead
from otf.dynamics.constraints import temperature
from otf.dynamics.sampler import evaluate
from otf.errors import RunStopped
from otf.learning.potential import LearningPotential
from otf.potential import Untrusted
from otf.progress import Status
from otf.recording import record_of_run
from otf.rollback import Memory
from otf.store.checkpoint import Checkpoint
from otf.store.entries import Finish, Rollback, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from otf.dynamics.sampler import Sampler
    from otf.dynamics.schedule import Schedule
    from otf.kernels import Backend
    from otf.learning.audit import Verdict
    from otf.learning.production import ProductionPotential
    from otf.potential import Prediction
    from otf.progress import Progress
    from otf.recording import StepWriter
    from otf.rollback import Ring
    from otf.settings import Settings
    from otf.state import State
    from otf.stopping import StopRequest
    from otf.store.run_files import RunFiles

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
class Clock:
    """Wall time of a run over all its processes."""

    earlier: float = 0.0
    begun: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Return the seconds so far."""
        return self.earlier + time.monotonic() - self.begun


@dataclass(frozen=True, eq=False)
class Parts:
    """Everything a run is made of.

    ``saver`` writes checkpoints; runs that learn together have one of their own.
    """

    settings: Settings
    files: RunFiles
    potential: LearningPotential | ProductionPotential
    sampler: Sampler
    schedule: Schedule
    ring: Ring
    writer: StepWriter
    progress: Progress
    stop: StopRequest
    clock: Clock
    backend: Backend
    saver: Callable[[Parts, State, Prediction], None] = field(
        default_factory=lambda: save
    )

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


# ------------------------------------------------------------------------- the loop
def go(parts: Parts, state: State, prediction: Prediction) -> Outcome:
    """Make the steps that are left, unless something stops the run.

    Raises
    ------
    RunStopped, ReferenceFailure
        When it cannot go on; what was saved can be resumed.
    """
    n_sound = 0  # steps ahead since one took too much for granted
    while state.step < parts.schedule.steps:
        if (reason := parts.stop.reason()) is not None:
            save(parts, state, prediction)
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
            state, prediction = advance(parts, state, prediction)
        _show(parts, state, prediction)
    return finish(parts, state, prediction)


def _moved(
    parts: Parts, state: State, prediction: Prediction
) -> tuple[State, Prediction]:
    target = parts.schedule.target(state.step)
    state, prediction = parts.sampler.step(state, prediction, parts.potential, target)
    _require_no_explosion(parts, state)
    return state, prediction


def advance(
    parts: Parts, state: State, prediction: Prediction
) -> tuple[State, Prediction]:
    """Make one step and write it, or go back to where the potential was trusted.

    Raises
    ------
    RunStopped, ReferenceFailure
        When the run cannot go on.
    """
    try:
        state, prediction = _moved(parts, state, prediction)
    except Untrusted as trouble:
        return _roll_back(parts, state, trouble)
    _note(parts, state, prediction)
    return state, prediction


def _note(parts: Parts, state: State, prediction: Prediction) -> None:
    """Write and remember what is due after a step."""
    parts.writer.write(state, prediction, parts.threshold)
    if state.step in parts.schedule.ends[:-1]:
        note_stage(parts, state)
    if parts.learns and state.step % parts.ring.interval == 0:
        parts.ring.remember(_memory(parts, state, prediction))
    if state.step % parts.settings.output.checkpoint_interval == 0:
        parts.saver(parts, state, prediction)


def note_stage(parts: Parts, state: State) -> None:
    """Write that the stage of a state begins."""
    index = parts.schedule.stage_index(state.step)
    stage = parts.schedule.stages[index]
    parts.files.journal.write(Stage(step=state.step, name=stage.name))


def _memory(parts: Parts, state: State, prediction: Prediction) -> Memory:
    known = prediction.uncertainty
    trusted = (
        known is not None and known.error is not None and known.error <= parts.threshold
    )
    energy = float(prediction.model_energy)
    here = state.of(parts.backend.host)
    return Memory(here, energy, trusted, parts.files.thermo.size)


def _require_no_explosion(parts: Parts, state: State) -> None:
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
    parts: Parts, state: State, trouble: Untrusted
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
    parts.saver(parts, state, prediction)
    return state, prediction


def _show(parts: Parts, state: State, prediction: Prediction) -> None:
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
def save(parts: Parts, state: State, prediction: Prediction) -> None:
    """Write a checkpoint."""
    potential = parts.potential
    without = checkpoint_of(parts, state, prediction)
    model, generation = potential.model_arrays(), potential.generation
    parts.files.save(replace(without, model=model, generation=generation))


def checkpoint_of(parts: Parts, state: State, prediction: Prediction) -> Checkpoint:
    """Return a checkpoint that lacks the model."""
    potential = parts.potential
    arrays = {f"potential/{k}": v for k, v in potential.state().items()}
    arrays |= {f"ring/{k}": v for k, v in parts.ring.state().items()}
    host = parts.backend.host
    return Checkpoint(
        state.of(host),
        prediction.of(host),
        potential=arrays,
        counters={"evaluated": True, "wall_s": parts.clock.seconds},
    )


def _stopped(parts: Parts, state: State, reason: str) -> Outcome:
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


def finish(parts: Parts, state: State, prediction: Prediction) -> Outcome:
    """Save what a run has made, and judge it."""
    potential = parts.potential
    if not isinstance(potential, LearningPotential):
        save(parts, state, prediction)
        parts.files.journal.write(
            Finish(step=state.step, converged=None, reason="production run complete")
        )
        return Outcome(state.step, parts.schedule.steps, None, None, None, 0)
    verdict = potential.finish(state.step)
    save(parts, state, prediction)
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
