"""What a run writes while it goes: the engine's words become records."""

from __future__ import annotations

import platform
import shutil
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

from otf.deploy.provenance import (
    record_of_data,
    record_of_fit,
    record_of_laws,
)
from otf.dynamics.conservation import conserved_energy
from otf.dynamics.constraints import temperature
from otf.models.levels import level_shifts, on_one_level
from otf.store.entries import Decision as DecisionEntry
from otf.store.entries import Failure as FailureEntry
from otf.store.entries import Label, Retrain
from otf.store.frames import Frame
from otf.store.labels import LabelBook, label_key
from otf.store.quarantine import put_aside
from otf.store.thermo import ThermoRow
from otf.units import FS, GPA

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from otf.configuration import Configuration, Labels
    from otf.kernels import Backend
    from otf.learning.audit import Verdict
    from otf.learning.events import Decision, Failure
    from otf.learning.potential import LearningPotential
    from otf.models.bayesian_linear import BayesianLinear
    from otf.models.interface import FitReport
    from otf.potential import Prediction
    from otf.settings import Settings
    from otf.state import State
    from otf.store.journal import Journal
    from otf.store.run_files import RunFiles

PACKAGES = ("otf-md", "numpy", "scipy", "numba", "ase", "vesin")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that set the numbers."""
    numbers = {name: version(name) for name in PACKAGES}
    return {**numbers, "python": platform.python_version()}


def record_of_run(
    settings: Settings,
    potential: LearningPotential,
    verdict: Verdict,
    *,
    others: Sequence[Settings] = (),
) -> dict[str, object]:
    """Return what the file says of a model that a run has learned.

    ``others`` are the settings of runs that learned together with it.
    """
    model = potential.model
    frames, mixed = _on_one_level(model)
    temperatures = [
        t
        for one in (settings, *others)
        for stage in one.dynamics.stages
        for t in stage.temperatures
    ]
    report = model.report
    return {
        "command": "run",
        "title": settings.title,
        **record_of_data(
            frames,
            reference=potential.reference.fingerprint(frames[-1][0]),
            description=potential.reference.description(frames[-1][0]),
            temperatures=temperatures,
        ),
        "mixed_references": mixed,
        **({} if report is None else record_of_fit(report)),
        "stress_trained": model.weights.stress > 0.0
        and any(labels.stress_mask.any() for _, labels in frames),
        **record_of_laws(potential.judge.laws()),
        "verdict": verdict.reason,
        "converged": verdict.converged,
        "input": settings.model_dump(mode="json"),
        "versions": versions(),
    }


def _on_one_level(
    model: BayesianLinear,
) -> tuple[list[tuple[Configuration, Labels]], list[dict[str, object]]]:
    """Return what a model has learned, with energies of its own reference.

    The second is how far those of every other reference were shifted.
    """
    names, levels = model.training.levels()
    frames = [(f.configuration, f.labels) for f in model.training.frames]
    species = model.descriptor.species
    shifts = level_shifts(model.predict, frames, levels, species)
    symbols = [chemical_symbols[z] for z in species]
    mixed: list[dict[str, object]] = [
        {
            "reference": name,
            "n_frames": int(np.count_nonzero(levels == level)),
            "shifts": dict(zip(symbols, map(float, shifts[level]), strict=True)),
        }
        for level, name in enumerate(names)
        if level
    ]
    return on_one_level(frames, levels, shifts, species), mixed


class JournalBook:
    """Labels of a reference, kept in the journal.

    Parameters
    ----------
    journal
        Of the run.
    fingerprint, description
        Of the reference, for a configuration.
    others
        Journals whose labels count as paid for.
    """

    def __init__(
        self,
        journal: Journal,
        fingerprint: Callable[[Configuration], str],
        description: Callable[[Configuration], str],
        *,
        others: Sequence[Path] = (),
    ) -> None:
        self._book = LabelBook(journal, others=others)
        self._fingerprint = fingerprint
        self._description = description

    @property
    def last_key(self) -> str | None:
        """Return the name of the label written last."""
        return self._book.last_key

    def find(self, key: str) -> Labels | None:
        """Return the labels under a key, None when nobody paid for them."""
        return self._book.find(key)

    def add(
        self,
        key: str,
        configuration: Configuration,
        labels: Labels,
        seconds: float,
        *,
        cached: bool = False,
        doubt: str = "",
    ) -> None:
        """Write labels; they are on the disk when this returns."""
        self._book.add(
            Label(
                configuration=configuration,
                labels=labels,
                fingerprint=self._fingerprint(configuration),
                key=key,
                seconds=seconds,
                cached=cached,
                doubt=doubt,
            ),
            self._description(configuration),
        )


class JournalLog:
    """The words of a learning potential, written to the journal of a run.

    Parameters
    ----------
    files
        Of the run.
    fingerprint
        Of the reference, for a configuration.
    """

    def __init__(
        self, files: RunFiles, fingerprint: Callable[[Configuration], str]
    ) -> None:
        self._journal, self._folder = files.journal, files.folder
        self._fingerprint = fingerprint

    def decision(self, decision: Decision) -> None:
        """Write a reference call with what the model had predicted."""
        labels, before = decision.labels, decision.before
        configuration = decision.configuration
        entry = DecisionEntry(
            step=decision.step,
            reason=str(decision.reason),
            labelled=True,
            error=decision.error,
            threshold=decision.threshold,
            max_spilling=decision.max_spilling,
            key=label_key(configuration, self._fingerprint(configuration)),
            label_energy=labels.energy,
            label_forces=labels.forces,
            label_stress=labels.stress,
            energy=np.nan if before is None else before.energy,
            forces=None if before is None else before.forces,
            stress=None if before is None else before.stress,
            force_errors=(
                None
                if before is None or before.uncertainty is None
                else before.uncertainty.errors
            ),
        )
        self._journal.write(entry)

    def retrain(self, step: int, report: FitReport, seconds: float) -> None:
        """Write a fit and the wall time it took."""
        self._journal.write(
            Retrain(
                step=step,
                n_frames=report.n_frames,
                n_references=report.n_references,
                s_w=report.prior_precision,
                s_v=report.noise_precision,
                n_rows=report.n_rows,
                n_effective=report.n_effective,
                log_evidence=report.log_evidence,
                energy_rmse=report.errors.energy,
                force_rmse=report.errors.force,
                stress_rmse=report.errors.stress,
                clamps=list(report.clamps),
                seconds=seconds,
            )
        )

    def failure(self, failure: Failure) -> None:
        """Put a structure aside with what its code wrote, and write that it failed."""
        folder = put_aside(
            self._folder,
            failure.configuration,
            step=failure.step,
            text=f"{failure.reason}: {failure.text}",
            files=failure.files or self._folder.reference,
        )
        if failure.files is not None:
            shutil.rmtree(failure.files, ignore_errors=True)
        self._journal.write(
            FailureEntry(
                step=failure.step,
                reason=str(failure.reason),
                text=failure.text,
                folder=folder.name,
            )
        )


class StepWriter:
    """Frames and table rows at their intervals.

    Parameters
    ----------
    files
        Of the run.
    backend
        Where states and predictions live.
    trajectory_interval, thermo_interval
        Steps.
    fix_centre_of_mass
        As the sampler has it, for the temperature.
    """

    def __init__(
        self,
        files: RunFiles,
        backend: Backend,
        *,
        trajectory_interval: int,
        thermo_interval: int,
        fix_centre_of_mass: bool,
    ) -> None:
        self._files = files
        self._host = backend.host
        self._trajectory_interval = trajectory_interval
        self._thermo_interval = thermo_interval
        self._fix_centre_of_mass = fix_centre_of_mass

    def temperature(self, state: State) -> float:
        """Return the temperature in K."""
        now = temperature(state, fix_centre_of_mass=self._fix_centre_of_mass)
        return float(now)

    def write(self, state: State, prediction: Prediction, threshold: float) -> None:
        """Write what is due at a step."""
        frame_is_due = state.step % self._trajectory_interval == 0
        row_is_due = state.step % self._thermo_interval == 0
        if frame_is_due or row_is_due:
            state, prediction = state.of(self._host), prediction.of(self._host)
        if frame_is_due:
            self._files.frames.write(Frame.of(state, prediction))
        if row_is_due:
            self._files.thermo.append(self._row(state, prediction, threshold))

    def _row(self, state: State, prediction: Prediction, threshold: float) -> ThermoRow:
        known = prediction.uncertainty
        error = spilling = np.nan
        if known is not None:
            spilling = float(known.spilling.max(initial=0.0))
            if known.error is not None:
                error = known.error
        return ThermoRow(
            step=state.step,
            time_fs=state.time / FS,
            temperature_K=self.temperature(state),
            kinetic_eV=state.kinetic_energy,
            potential_eV=prediction.model_energy,
            conserved_eV=conserved_energy(state, prediction),
            learning_work_eV=state.learning_work,
            pressure_GPa=pressure(state, prediction) / GPA,
            volume_A3=state.configuration.volume,
            e_eV_per_A=error,
            threshold_eV_per_A=threshold,
            max_spilling=spilling,
            labelled=prediction.labelled,
        )


def pressure(state: State, prediction: Prediction) -> float:
    """Return 2K/3V - tr(stress)/3 in eV/angstrom^3; NaN without a volume."""
    volume = state.configuration.volume
    if volume == 0.0 or not state.configuration.pbc.all():
        return float("nan")
    kinetic = 2.0 * state.kinetic_energy / (3.0 * volume)
    return kinetic - float(prediction.stress[:3].mean())
