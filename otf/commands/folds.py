"""Cross-validation of one model setting: whole structures, the same folds for all."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

from otf.analysis.duplicates import duplicates_of
from otf.analysis.errors import error_report
from otf.commands.doctor import facts_of_frame
from otf.commands.fitting import count, fitted_model
from otf.configuration import masked_stress, species_of
from otf.errors import InputError
from otf.models.interface import KINDS, PerKind
from otf.threads import in_order, one_blas_thread

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from otf.analysis.errors import ErrorReport
    from otf.commands.dataset import Frame
    from otf.commands.fitting import Basis, Stress
    from otf.commands.stages import Stages
    from otf.configuration import IntArray
    from otf.models.bayesian_linear import BayesianLinear
    from otf.potential import Prediction
    from otf.settings.settings import Settings

PASSES = 3  # of predictions, of which the fastest counts: other programs only slow down


@dataclass(frozen=True)
class Validation:
    """What cross-validation found for one setting.

    Attributes
    ----------
    errors : over all structures, each predicted by the model that did not see it
    folds : the same of every fold
    log_evidence : mean over the folds, of the labels of their training parts in their
        own units
    n_local_references : mean over the folds
    seconds_per_atom : processor time of a prediction, the least of a few
    """

    errors: ErrorReport
    folds: tuple[ErrorReport, ...]
    log_evidence: float
    n_local_references: float
    seconds_per_atom: float


@dataclass(frozen=True, eq=False)
class _Fold:
    """What one fit says of the structures it did not see."""

    predictions: list[Prediction]
    log_evidence: float
    n_local_references: int
    seconds: float


def add_split(parser: argparse.ArgumentParser, *, folds: int) -> None:
    """Declare the arguments that split the data; ``folds`` is the default."""
    parser.add_argument(
        "--folds",
        type=count,
        help="parts of the data, each predicted by a fit to the others (default: "
        f"{folds})",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of everything drawn by lot (default: %(default)s)",
    )


def check_split(arguments: argparse.Namespace) -> None:
    """Raise InputError when the folds or the seed cannot be."""
    if arguments.folds == 1:
        msg = "--folds must be at least 2, got 1"
        raise InputError(msg)
    if arguments.seed < 0:
        msg = f"--seed must not be negative, got {arguments.seed}"
        raise InputError(msg)


def folds_of(frames: Sequence[Frame], *, count: int, seed: int) -> list[IntArray]:
    """Return the indices of the structures that each fold leaves out.

    Copies of a structure, up to rotation and reflection, fall into one fold: a model
    that has seen one of them knows the others.

    Raises
    ------
    InputError
        When there are too few structures, or an element would have to be predicted by
        a model that never saw it.
    """
    units = distinct(frames)
    if len(units) < count:
        copies = len(frames) - len(units)
        note = f" ({copies} more are copies of others)" if copies else ""
        msg = (
            f"{len(units)} structures{note} cannot be split into {count} folds: give "
            "more data, or fewer --folds"
        )
        raise InputError(msg)
    folds = _dealt(units, count=count, seed=seed)
    for k, left_out in enumerate(folds):
        seen = set(species_of([c for c, _ in without(frames, left_out)]))
        asked = set(species_of([frames[i][0] for i in left_out]))
        if unseen := sorted(asked - seen):
            msg = (
                f"all structures with {chemical_symbols[unseen[0]]} fall into fold "
                f"{k + 1} of {count}, so nothing is left to learn it from: give more "
                "of them, or another --seed"
            )
            raise InputError(msg)
    return folds


def distinct(frames: Sequence[Frame]) -> list[tuple[int, ...]]:
    """Return the indices of every structure with those of its copies."""
    groups = [g.members for g in duplicates_of([facts_of_frame(f) for f in frames])]
    copied = {k for group in groups for k in group}
    return sorted([*groups, *((k,) for k in range(len(frames)) if k not in copied)])


def _dealt(
    units: Sequence[tuple[int, ...]], *, count: int, seed: int
) -> list[IntArray]:
    """Deal units in random order, the large ones first, to the smallest fold so far."""
    order = np.random.default_rng(seed).permutation(len(units)).tolist()
    folds: list[list[int]] = [[] for _ in range(count)]
    for k in sorted(order, key=lambda k: -len(units[k])):
        min(folds, key=len).extend(units[k])
    return [np.sort(np.array(fold, dtype=np.int64)) for fold in folds]


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
    name, found = stages.part, []
    for k, left_out in enumerate(folds):
        stages.part = f"{name}fold {k + 1} of {len(folds)}, "
        one = _one_fold(
            settings, frames, left_out, basis=basis, stress=stress, stages=stages
        )
        found.append(one)
    stages.part = name
    labels = [[frames[i][1] for i in left_out] for left_out in folds]
    n_atoms = sum(frames[i][0].n_atoms for left_out in folds for i in left_out)
    return Validation(
        errors=error_report(
            [p for one in found for p in one.predictions],
            [y for known in labels for y in known],
        ),
        folds=tuple(
            error_report(one.predictions, known)
            for one, known in zip(found, labels, strict=True)
        ),
        log_evidence=float(np.mean([one.log_evidence for one in found])),
        n_local_references=float(np.mean([one.n_local_references for one in found])),
        seconds_per_atom=sum(one.seconds for one in found) / n_atoms,
    )


def _one_fold(
    settings: Settings,
    frames: Sequence[Frame],
    left_out: IntArray,
    *,
    basis: Basis,
    stress: Stress,
    stages: Stages,
) -> _Fold:
    """Fit to the other structures; the model is gone when this returns."""
    training = without(frames, left_out)
    model = fitted_model(settings, training, basis=basis, stress=stress, stages=stages)
    stages("predict", 0, len(left_out))
    structures = [frames[i][0] for i in left_out]
    model.predict(structures[0])  # what is only made once is not counted
    seconds = []
    with one_blas_thread():
        for _ in range(PASSES):
            begin = time.process_time()
            found = list(in_order(model.predict, structures))
            seconds.append(time.process_time() - begin)
    evidence = plain_evidence(model, training)
    return _Fold(found, evidence, model.n_references, min(seconds))


def plain_evidence(model: BayesianLinear, frames: Sequence[Frame]) -> float:
    """Return the log evidence of the labels in their own units.

    Notes
    -----
    The regression sees labels times w/s, weight over noise scale of their kind. Each of
    them therefore adds ln(w/s) to the density of the labels themselves, which is what
    may be compared where weights or scales differ. A kind of weight 0 is not in it.
    """
    report, counts = model.report, PerKind(*_label_counts(frames))
    assert report is not None  # set by the fit
    scales, weights = model.training.noise, model.weights
    return report.log_evidence + sum(
        counts.of(kind) * math.log(weights.of(kind) / scales.of(kind))
        for kind in KINDS
        if weights.of(kind) > 0.0
    )


def _label_counts(frames: Sequence[Frame]) -> tuple[int, int, int]:
    """Return how many energies, force and stress components are fitted."""
    return (
        sum(bool(np.isfinite(labels.energy)) for _, labels in frames),
        sum(int(labels.force_mask.sum()) for _, labels in frames),
        sum(
            int(np.isfinite(masked_stress(labels.stress, c.pbc)).sum())
            for c, labels in frames
            if c.volume > 0.0
        ),
    )


def without(frames: Sequence[Frame], left_out: IntArray) -> list[Frame]:
    """Return the structures that are not left out."""
    gone = set(left_out.tolist())
    return [frame for k, frame in enumerate(frames) if k not in gone]
