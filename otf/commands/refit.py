"""otf-md refit: fit the labels of a run once more, for production.

While learning, references enter at a bound chosen for speed and are judged one frame
after another. Here they are chosen anew over all environments at once, as many as the
bound asks for, and the regression is solved on its rows, so that small singular values
survive.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from otf.build import known_labels
from otf.commands.dataset import Dataset, is_labelled, read_dataset, require_writable
from otf.commands.fitting import (
    Basis,
    add_options,
    calibrated_model,
    finish,
    model_settings,
    report,
    share,
)
from otf.commands.mixing import on_its_level, shift_lines
from otf.commands.stages import Stages
from otf.errors import InputError
from otf.settings.loading import load_run_settings
from otf.store.formats import format_of
from otf.store.labels import label_key
from otf.store.run_reader import RunView
from otf.store.schema import RunFolder

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from otf.commands.dataset import Frame
    from otf.settings.settings import Settings

# A tenth of the bound while learning.
BOUND = 1e-5
CUR_EPSILON = 1e-11


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "source",
        type=Path,
        help="folder of a run, or labelled structures in any format otf-md import "
        "reads",
    )
    parser.add_argument(
        "--bound",
        type=share,
        default=BOUND,
        help="smallest spilling worth a local reference (default: %(default)s)",
    )
    add_options(parser)


def main(arguments: argparse.Namespace) -> int:
    """Refit, write the model, and print the training errors."""
    require_writable(arguments.output, arguments.source)
    settings, data = source_of(
        arguments.source, arguments.input, mix=arguments.mix_references
    )
    stages = Stages()
    model, laws = calibrated_model(
        settings,
        data.frames,
        levels=data.levels,
        basis=Basis(limit=None, bound=arguments.bound, cur_epsilon=CUR_EPSILON),
        stress=arguments.stress,
        stages=stages,
    )
    data = on_its_level(model, data)
    accuracy = finish(
        model,
        data,
        settings,
        output=arguments.output,
        command="refit",
        sources=[arguments.source],
        stages=stages,
        laws=laws,
    )
    report(accuracy, model, arguments, shift_lines(data), laws=laws)
    return 0


def source_of(
    path: Path, given: Path | None, *, mix: bool = False
) -> tuple[Settings, Dataset]:
    """Return settings and labels: those of the run, unless an input file is given.

    Parameters
    ----------
    path
        Of a run, or of labelled structures.
    given
        Input file, None for that of the run.
    mix
        Whether labels of a file may have had different references.

    Raises
    ------
    InputError
        When there are no labels.
    StoreError
        When the run cannot be read.
    """
    if not path.is_dir() or format_of(path) != "run":
        return model_settings(given), read_dataset([path], mix=mix)
    view = RunView.load(path)
    of_run = load_run_settings(RunFolder(path).input)
    reference = view.start.fingerprint
    description = view.descriptions.get(reference, "")
    known = known_labels(of_run, reference, description)
    own = [(label.configuration, label.labels) for label in view.labels]
    frames, marks = distinct(
        [*known.frames, *own], [*known.references, *([""] * len(own))]
    )
    if not frames:
        msg = f"{path}: the run has no labels yet; refit it when it has learned"
        raise InputError(msg)
    settings = of_run if given is None else model_settings(given)
    groups = [""] * len(frames)
    data = Dataset(frames, groups, reference, description)
    others = sorted({*marks} - {""})
    if not others:
        return settings, data
    return settings, replace(
        data,
        levels=np.array([["", *others].index(mark) for mark in marks]),
        others=tuple((mark, known.descriptions.get(mark, "")) for mark in others),
    )


def distinct(
    frames: Sequence[Frame], marks: Sequence[str]
) -> tuple[list[Frame], list[str]]:
    """Return labelled frames without those that stand twice, and their marks."""
    unique = {
        label_key(c, ""): ((c, labels), mark)
        for (c, labels), mark in zip(frames, marks, strict=True)
        if is_labelled(labels)
    }
    return [frame for frame, _ in unique.values()], [m for _, m in unique.values()]
