"""Labels of a data set beside what a model fitted to the other labels says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from otf.analysis.examination import ModelCheck, StressCheck
from otf.analysis.stress_verdict import judge_stresses
from otf.build import build_model
from otf.commands.unseen import predicted_unseen
from otf.configuration import species_of
from otf.models.batch import solve_dataset
from otf.models.interface import RowWeights
from otf.models.stress_offset import MINIMUM_FRAMES, judge_offset, volumes_vary
from otf.units import GPA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.commands.dataset import Frame
    from otf.commands.stages import Stages
    from otf.configuration import FloatArray, IntArray
    from otf.models.leave_out import LeftOut
    from otf.settings.settings import Settings

# More structures are predicted, but the model is fitted to evenly chosen ones.
MOST_FITTED = 400
GROSS = 2.0  # times the bound of a contradiction
# Medians of |x| of a normal deviate, and of |x|/sqrt(3) of a vector of three.
_MEDIAN_NUMBER, _MEDIAN_VECTOR = 0.6745, 0.8880


def check_against_model(
    settings: Settings,
    frames: Sequence[Frame],
    usable: Sequence[int],
    stressed: Sequence[int],
    *,
    n_references: int,
    stages: Stages,
) -> ModelCheck:
    """Fit energies and forces, and compare all labels with what the others say.

    Parameters
    ----------
    settings
        Of the model; its stresses are never trained.
    frames
        Structures with labels.
    usable
        Those with an energy and all forces.
    stressed
        Those whose stress is compared.
    n_references
        Most local references of an element.

    Notes
    -----
    One grossly wrong label raises the noise of all. Structures that the others
    contradict by far are therefore left out of a second fit, by which all are judged.
    """
    fitted = list(usable[:: -(-len(usable) // MOST_FITTED)])
    ask = _Question(settings, frames, stressed, n_references, stages)
    first = ask.fitted_to(fitted)
    bad = first.contradicted(GROSS)
    kept = [k for k in fitted if not bad[k]]
    if len(kept) in {len(fitted), *range(MINIMUM_FRAMES)}:
        return first
    stages.part = "without labels that are far off, "
    second = ask.fitted_to(kept)
    stages.part = ""
    return second


@dataclass(frozen=True, eq=False)
class _Question:
    """Everything about a check but the structures the model is fitted to."""

    settings: Settings
    frames: Sequence[Frame]
    stressed: Sequence[int]
    n_references: int
    stages: Stages

    def fitted_to(self, fitted: Sequence[int]) -> ModelCheck:
        """Return how all structures compare with a model fitted to some."""
        frames = self.frames
        training = [frames[k] for k in fitted]
        species = species_of([c for c, _ in training])
        model = build_model(self.settings, species)
        model.weights = RowWeights(model.weights.energy, model.weights.force, 0.0)
        solve_dataset(
            model, training, n_references=self.n_references, progress=self.stages
        )
        # Elements that are in no structure fitted cannot be predicted.
        known = [
            k
            for k, (c, _) in enumerate(frames)
            if set(c.numbers.tolist()) <= set(species)
        ]
        found = predicted_unseen(
            model, frames, known, fitted=set(fitted), stages=self.stages
        )
        energy_errors, energy_scores = _energies(frames, known, found)
        force_errors, force_scores, force_atoms = _forces(frames, known, found)
        answers = dict(zip(known, found, strict=True))
        chosen = [k for k in self.stressed if k in answers]
        stress = None
        if len(chosen) >= MINIMUM_FRAMES:
            stress = _stress(
                chosen,
                [frames[k] for k in chosen],
                [answers[k] for k in chosen],
                noise=model.training.noise.stress,
            )
        return ModelCheck(
            n_fitted=len(fitted),
            n_references=model.n_references,
            energy_errors=energy_errors,
            energy_scores=energy_scores,
            force_errors=force_errors,
            force_scores=force_scores,
            force_atoms=force_atoms,
            stress=stress,
        )


def _energies(
    frames: Sequence[Frame], known: Sequence[int], found: Sequence[LeftOut]
) -> tuple[FloatArray, FloatArray]:
    errors, scores = np.full((2, len(frames)), np.nan)
    for k, one in zip(known, found, strict=True):
        configuration, labels = frames[k]
        errors[k] = labels.energy / configuration.n_atoms - one.energy
        scores[k] = errors[k] / one.energy_deviation
    return errors, scores / _scale(np.abs(scores), _MEDIAN_NUMBER)


def _forces(
    frames: Sequence[Frame], known: Sequence[int], found: Sequence[LeftOut]
) -> tuple[FloatArray, FloatArray, IntArray]:
    errors, scores = np.full((2, len(frames)), np.nan)
    atoms = np.full(len(frames), -1)
    every = [np.empty(0)]
    for k, one in zip(known, found, strict=True):
        lengths = np.linalg.norm(frames[k][1].forces - one.forces, axis=1)
        of_atoms = lengths / (np.sqrt(3.0) * one.force_deviations)
        if not np.isfinite(of_atoms).any():
            continue
        every.append(of_atoms)
        atoms[k] = int(np.nanargmax(of_atoms))
        errors[k], scores[k] = lengths[atoms[k]], of_atoms[atoms[k]]
    scale = _scale(np.concatenate(every), _MEDIAN_VECTOR)
    return errors, scores / scale, atoms


def _scale(scores: FloatArray, median: float) -> float:
    """Return the robust scale of scores, at least 1; the posterior may be too sure."""
    known = scores[np.isfinite(scores)]
    return max(float(np.median(known)) / median, 1.0) if len(known) else 1.0


def _stress(
    chosen: Sequence[int],
    frames: Sequence[Frame],
    found: Sequence[LeftOut],
    *,
    noise: float,
) -> StressCheck:
    read = np.array([labels.stress for _, labels in frames])
    implied = np.array([one.implied_stress for one in found])
    deviation = np.array([one.implied_deviations for one in found])
    volumes = np.array([configuration.volume for configuration, _ in frames])
    verdict = judge_stresses(read, implied, deviation, volumes)
    difference = (verdict.corrected - implied)[:, :3].mean(axis=1)
    offset, varies = judge_offset(difference, noise), volumes_vary(frames)
    return StressCheck(
        frames=np.array(chosen),
        read=read / GPA,
        implied=implied / GPA,
        deviation=deviation / GPA,
        verdict=verdict,
        offset_GPa=offset.offset / GPA,
        offset_scatter_GPa=offset.scatter / GPA,
        offset_is_determined=varies,
        offset_is_significant=varies and offset.is_significant,
    )
