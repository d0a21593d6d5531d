"""Cross-validation of one model setting: whole structures, the same folds for all."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

from otf.analysis.errors import error_report
from otf.commands.fitting import fitted_model
from otf.configuration import species_of
from otf.errors import InputError
from otf.threads import in_order, one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.analysis.errors import ErrorReport
    from otf.commands.dataset import Frame
    from otf.commands.fitting import Basis, Stress
    from otf.commands.stages import Stages
    from otf.configuration import IntArray, Labels
    from otf.potential import Prediction
    from otf.settings.settings import Settings


@dataclass(frozen=True)
class Validation:
    """What cross-validation found for one setting.

    Attributes
    ----------
    errors : over all structures, each predicted by the model that did not see it
    folds : the same of every fold
    log_evidence : mean over the folds, of their training parts
    n_local_references : mean over the folds
    seconds_per_atom : processor time of a prediction
    """

    errors: ErrorReport
    folds: tuple[ErrorReport, ...]
    log_evidence: float
    n_local_references: float
    seconds_per_atom: float


def folds_of(frames: Sequence[Frame], *, count: int, seed: int) -> list[IntArray]:
    """Return the indices of the structures that each fold leaves out.

    Raises
    ------
    InputError
        When there are too few structures, or an element would have to be predicted by
        a model that never saw it.
    """
    if len(frames) < count:
        msg = (
            f"{len(frames)} structures cannot be split into {count} folds: give more "
            "data, or fewer --folds"
        )
        raise InputError(msg)
    order = np.random.default_rng(seed).permutation(len(frames))
    folds = [np.sort(part) for part in np.array_split(order, count)]
    for k, left_out in enumerate(folds):
        seen = set(species_of([c for c, _ in _without(frames, left_out)]))
        asked = set(species_of([frames[i][0] for i in left_out]))
        if unseen := sorted(asked - seen):
            msg = (
                f"all structures with {chemical_symbols[unseen[0]]} fall into fold "
                f"{k + 1} of {count}, so nothing is left to learn it from: give more "
                "of them, or another --seed"
            )
            raise InputError(msg)
    return folds


def validate(
    settings: Settings,
    frames: Sequence[Frame],
    folds: Sequence[IntArray],
    *,
    basis: Basis,
    stress: Stress,
    stages: Stages,
) -> Validation:
    """Fit once for each fold and predict what it leaves out."""
    reports: list[ErrorReport] = []
    predictions: list[Prediction] = []
    labels: list[Labels] = []
    evidence, references, seconds, n_atoms = [], [], 0.0, 0
    name = stages.part
    for k, left_out in enumerate(folds):
        stages.part = f"{name}fold {k + 1} of {len(folds)}, "
        model = fitted_model(
            settings,
            _without(frames, left_out),
            basis=basis,
            stress=stress,
            stages=stages,
        )
        stages("predict", 0, len(left_out))
        structures = [frames[i][0] for i in left_out]
        model.predict(structures[0])  # what is only made once is not counted
        begin = time.process_time()
        with one_blas_thread():
            found = list(in_order(model.predict, structures))
        seconds += time.process_time() - begin
        n_atoms += sum(c.n_atoms for c in structures)
        known = [frames[i][1] for i in left_out]
        reports.append(error_report(found, known))
        predictions += found
        labels += known
        references.append(model.n_references)
        if model.report is not None:
            evidence.append(model.report.log_evidence)
    stages.part = name
    return Validation(
        errors=error_report(predictions, labels),
        folds=tuple(reports),
        log_evidence=float(np.mean(evidence)),
        n_local_references=float(np.mean(references)),
        seconds_per_atom=seconds / n_atoms,
    )


def _without(frames: Sequence[Frame], left_out: IntArray) -> list[Frame]:
    gone = set(left_out.tolist())
    return [frame for k, frame in enumerate(frames) if k not in gone]
