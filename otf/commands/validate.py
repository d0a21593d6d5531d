"""otf-md validate: how wrong a model setting is where it has not been fitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from otf.analysis.bootstrap import resampled_errors
from otf.commands.dataset import add_data, read_dataset, require_writable
from otf.commands.fitting import (
    REFERENCES,
    Basis,
    add_model,
    count,
    decided_stress,
    model_settings,
)
from otf.commands.folds import add_split, check_split, folds_of
from otf.commands.kept import Kept
from otf.commands.stages import Stages
from otf.commands.validation import Validator
from otf.commands.validation_summary import curve_summary, study_summary
from otf.errors import InputError
from otf.report.validation_page import write_curve_page, write_study_page

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from otf.configuration import IntArray

FOLDS, ORDERS = 5, 3
PURPOSE = "validate"
FEWEST_DRAWS = 100  # for the ends of an interval of 95 %


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_data(parser)
    method = parser.add_mutually_exclusive_group()
    method.add_argument(
        "--leave-one-out",
        action="store_true",
        help="leave out one structure after the other, in closed form after one fit, "
        "instead of folds",
    )
    method.add_argument(
        "--bootstrap",
        type=count,
        metavar="N",
        help="add 95 %% confidence intervals of the errors, from N draws of the "
        "structures, and the scatter of fits to such draws",
    )
    method.add_argument(
        "--learning-curve",
        action="store_true",
        help="errors on one fold, held out, against the number of structures fitted",
    )
    add_split(parser, folds=FOLDS)
    parser.add_argument(
        "--orders",
        type=count,
        help=f"random orders of the structures of a learning curve (default: {ORDERS})",
    )
    add_model(parser, references=REFERENCES)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="PAGE", help="HTML page to write"
    )
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="RESULTS",
        help="file that keeps what every fit found as it comes; a validation that "
        "finds fits to the same data there does not make them again",
    )


def main(arguments: argparse.Namespace) -> int:
    """Validate, print what was found, and write the page.

    Raises
    ------
    InputError
        When a value is out of range, or the data cannot be split.
    """
    check(arguments)
    settings = model_settings(arguments.input)
    data = read_dataset(arguments.data)
    folds = []
    if not arguments.leave_one_out:
        folds = folds_of(
            data.frames, count=arguments.folds or FOLDS, seed=arguments.seed
        )
    stages = Stages()
    with Kept(arguments.keep, PURPOSE, work="a validation") as kept:
        validator = Validator(
            settings,
            data,
            basis=Basis(limit=arguments.references),
            stress=decided_stress(
                settings, data.frames, stress=arguments.stress, stages=stages
            ),
            seed=arguments.seed,
            stages=stages,
            kept=kept,
        )
        if arguments.learning_curve:
            _show_curve(validator, folds[0], arguments)
        else:
            _show_study(validator, folds, arguments)
    if arguments.output is not None and not arguments.json:
        print(f"Wrote {arguments.output}.")
    return 0


def _show_curve(
    validator: Validator, asked: IntArray, arguments: argparse.Namespace
) -> None:
    """Make a learning curve, print it, and write its page."""
    curve = validator.learning_curve(asked, n_orders=arguments.orders or ORDERS)
    _tell(curve_summary(curve, as_json=arguments.json), validator.stages)
    if arguments.output is not None:
        write_curve_page(curve, arguments.data, arguments.output)


def _show_study(
    validator: Validator, folds: Sequence[IntArray], arguments: argparse.Namespace
) -> None:
    """Make a study of held-out structures, print it, and write its page."""
    study = validator.k_fold(folds) if folds else validator.leave_one_out()
    if arguments.bootstrap is not None:
        resampled = resampled_errors(
            study.held, n_samples=arguments.bootstrap, seed=arguments.seed
        )
        study = replace(study, resampled=resampled, spreads=validator.spreads())
    _tell(study_summary(study, as_json=arguments.json), validator.stages)
    if arguments.output is not None:
        write_study_page(study, arguments.data, arguments.output)


def _tell(text: str, stages: Stages) -> None:
    stages.close()
    print(text)


def check(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be, before any work.

    Raises
    ------
    InputError
        When a value is out of range, or a file cannot be written.
    """
    if arguments.folds is not None and arguments.leave_one_out:
        msg = "--leave-one-out has no folds: give either it or --folds"
        raise InputError(msg)
    if arguments.orders is not None and not arguments.learning_curve:
        msg = "--orders belongs to --learning-curve: give both or none"
        raise InputError(msg)
    check_split(arguments)
    if arguments.bootstrap is not None and arguments.bootstrap < FEWEST_DRAWS:
        msg = f"--bootstrap must be at least {FEWEST_DRAWS}, got {arguments.bootstrap}"
        raise InputError(msg)
    if arguments.output is not None:
        require_writable(arguments.output, *arguments.data)
    if arguments.keep is not None:
        pages = [arguments.output] if arguments.output is not None else []
        require_writable(arguments.keep, *arguments.data, *pages)
