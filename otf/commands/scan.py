"""otf-md scan: which settings of the model suit a data set, by errors and evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from otf.commands.dataset import add_data, read_dataset, require_writable
from otf.commands.fitting import (
    Basis,
    add_model,
    decided_stress,
    model_settings,
)
from otf.commands.folds import add_split, check_split, folds_of, validate
from otf.commands.scan_axes import (
    STRESS_WEIGHT,
    add_axes,
    changed,
    points_to_try,
    varied,
)
from otf.commands.scan_ranking import CRITERIA, Ranking, as_json, table
from otf.commands.scan_results import KeptResults, Question
from otf.commands.stages import Stages
from otf.configuration import masked_stress
from otf.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from otf.commands.dataset import Frame
    from otf.commands.fitting import Stress
    from otf.commands.folds import Validation
    from otf.configuration import IntArray
    from otf.settings.settings import Settings

FOLDS, REFERENCES = 3, 300


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_data(parser)
    add_axes(parser)
    parser.add_argument(
        "--grid",
        action="store_true",
        help="every combination, instead of one change at a time from the input file",
    )
    parser.add_argument(
        "--by",
        choices=tuple(CRITERIA),
        help="the error that decides (default: force, energy where there are none)",
    )
    add_split(parser, folds=FOLDS)
    add_model(parser, references=REFERENCES)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="RESULTS",
        help="file that keeps every result as it comes; a scan that finds results of "
        "the same data there does not compute them again",
    )


def main(arguments: argparse.Namespace) -> int:
    """Validate every setting and print what they are worth.

    Raises
    ------
    InputError
        When a value is out of range, or the data cannot be split.
    """
    check(arguments)
    settings = model_settings(arguments.input)
    points = points_to_try(settings, arguments)
    tried = [changed(settings, point) for point in points]
    frames = read_dataset(arguments.data).frames
    folds = folds_of(frames, count=arguments.folds or FOLDS, seed=arguments.seed)
    criterion = criterion_of(arguments.by, frames, folds)
    with KeptResults(arguments.output) as kept:
        stages = Stages()
        # Once for all: evidences compare only where the labels are the same.
        stress = decided_stress(
            settings, frames, stress=arguments.stress, stages=stages
        )
        if stress == "no" and STRESS_WEIGHT in varied(points):
            msg = "--weight-stress says nothing where stresses are not trained"
            raise InputError(msg)
        found = validations(
            tried,
            frames,
            folds,
            basis=Basis(limit=arguments.references),
            stress=stress,
            kept=kept,
            stages=stages,
        )
        stages.close()
    of_same = [trained_kinds(one) == trained_kinds(settings) for one in tried]
    ranking = Ranking(tuple(points), tuple(found), criterion, tuple(of_same))
    print(as_json(ranking) if arguments.json else "\n".join(table(ranking)))
    return 0


def check(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be, before any work.

    Raises
    ------
    InputError
        When a value is out of range, or results cannot be written.
    """
    check_split(arguments)
    if arguments.output is not None:
        require_writable(arguments.output, *arguments.data)


def criterion_of(
    wish: str | None, frames: Sequence[Frame], folds: Sequence[IntArray]
) -> str:
    """Return the error that decides: forces, or energies where they are not known.

    Raises
    ------
    InputError
        When a fold has no label of the kind that is wished for.
    """
    for kind in ("force", "energy") if wish is None else (wish,):
        if all(any(_knows(frames[i], kind) for i in fold) for fold in folds):
            return kind
    msg = (
        f"a fold has no {wish or 'force or energy'} label, so settings cannot be "
        "compared by it: take another --by, or fewer --folds"
    )
    raise InputError(msg)


def _knows(frame: Frame, kind: str) -> bool:
    configuration, labels = frame
    if kind == "energy":
        return bool(np.isfinite(labels.energy))
    stress = masked_stress(labels.stress, configuration.pbc)
    return bool(np.isfinite(labels.forces if kind == "force" else stress).any())


def validations(
    tried: Sequence[Settings],
    frames: Sequence[Frame],
    folds: Sequence[IntArray],
    *,
    basis: Basis,
    stress: Stress,
    kept: KeptResults,
    stages: Stages,
) -> list[Validation]:
    """Return what is found for every setting; what is kept is not computed again."""
    question = Question(frames, folds, basis=basis, stress=stress)
    keys = [question.key(one) for one in tried]
    if known := sum(kept.find(key) is not None for key in keys):
        stages.note(f"{known} of {len(tried)} settings are known already")
    found = []
    for k, (one, key) in enumerate(zip(tried, keys, strict=True)):
        result = kept.validation(key)
        if result is None:
            stages.part = f"setting {k + 1} of {len(tried)}, "
            result = validate(
                one, frames, folds, basis=basis, stress=stress, stages=stages
            )
            kept.keep(key, result)
        found.append(result)
    stages.part = ""
    return found


def trained_kinds(settings: Settings) -> tuple[bool, bool, bool]:
    """Return whether energies, forces and stresses have a weight."""
    r = settings.regression
    return r.weight_energy > 0.0, r.weight_force > 0.0, r.weight_stress > 0.0
