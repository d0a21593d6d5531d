"""otf-md scan: which zeta, l_max and cutoff suit a data set, by cross-validation."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from otf.commands.dataset import add_data, read_dataset
from otf.commands.fitting import (
    Basis,
    add_input,
    add_references,
    count,
    decided_stress,
    model_settings,
)
from otf.commands.folds import folds_of, validate
from otf.commands.stages import Stages
from otf.errors import InputError
from otf.settings.wording import wording

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from otf.commands.folds import Validation
    from otf.configuration import FloatArray
    from otf.settings.settings import Settings

ZETAS = (1, 2, 4)
L_MAXES = (3, 4, 6)
CUTOFFS = (5.0, 5.5, 6.0)
FOLDS, REFERENCES = 3, 300
BEST, WITHIN, WORSE = "best", "within scatter", "worse"
HEAD = (
    f"{'zeta':>4}{'l_max':>6}{'cutoff':>7}{'energy':>10}{'force':>9}{'scatter':>9}"
    f"{'stress':>8}{'evidence':>12}{'references':>11}{'cost':>6}\n"
    f"{'':>10}{'A':>7}{'meV/atom':>10}{'eV/A':>9}{'eV/A':>9}{'GPa':>8}{'(log)':>12}"
)


@dataclass(frozen=True)
class Setting:
    """One point of the scan.

    Attributes
    ----------
    zeta : power of the polynomial covariance, None where the covariance is another
    l_max : largest angular momentum
    cutoff : angstrom, of the three-body part
    """

    zeta: int | None
    l_max: int
    cutoff: float

    def __str__(self) -> str:
        power = "" if self.zeta is None else f"zeta {self.zeta}, "
        return f"{power}l_max {self.l_max}, cutoff {self.cutoff:g} A"


@dataclass(frozen=True)
class Judgement:
    """How a setting compares with the best one.

    Attributes
    ----------
    word : best, within scatter, or worse
    difference : mean over the folds of its error less that of the best
    scatter : standard deviation over the folds of that difference
    """

    word: str
    difference: float
    scatter: float


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_data(parser)
    parser.add_argument(
        "--zeta",
        type=count,
        nargs="+",
        metavar="N",
        help=f"powers of the covariance (default: {_listed(ZETAS)} where neither this "
        "nor --l-max nor --cutoff-three-body is given)",
    )
    parser.add_argument(
        "--l-max",
        type=int,
        nargs="+",
        metavar="N",
        help=f"angular momenta (default: {_listed(L_MAXES)}, as above)",
    )
    parser.add_argument(
        "--cutoff-three-body",
        type=float,
        nargs="+",
        metavar="A",
        help=f"cutoffs in A (default: {_listed(CUTOFFS)}, as above)",
    )
    parser.add_argument(
        "--grid",
        action="store_true",
        help="every combination, instead of one change at a time from the input file",
    )
    parser.add_argument(
        "--folds",
        type=count,
        default=FOLDS,
        help="parts of the data, each predicted by a fit to the others (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the split (default: %(default)s)"
    )
    add_references(parser, default=REFERENCES)
    add_input(parser)
    parser.add_argument(
        "--stress",
        choices=("auto", "yes", "no"),
        help="train stresses, as in otf-md fit",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def main(arguments: argparse.Namespace) -> int:
    """Validate every setting and print what they are worth.

    Raises
    ------
    InputError
        When a value is out of range, or the data cannot be split.
    """
    if arguments.folds < 2:
        msg = f"--folds must be at least 2, got {arguments.folds}"
        raise InputError(msg)
    if arguments.seed < 0:
        msg = f"--seed must not be negative, got {arguments.seed}"
        raise InputError(msg)
    settings = model_settings(arguments.input)
    points = settings_to_try(settings, arguments)
    tried = [changed(settings, point) for point in points]
    frames = read_dataset(arguments.data).frames
    folds = folds_of(frames, count=arguments.folds, seed=arguments.seed)
    stages = Stages()
    # Once for all: evidences compare only where the labels are the same.
    stress = decided_stress(settings, frames, stress=arguments.stress, stages=stages)
    found = []
    for k, one in enumerate(tried):
        stages.part = f"setting {k + 1} of {len(tried)}, "
        basis = Basis(limit=arguments.references)
        result = validate(one, frames, folds, basis=basis, stress=stress, stages=stages)
        found.append(result)
    stages.close()
    judgements = judge([criterion(one) for one in found])
    if arguments.json:
        print(as_json(points, found, judgements))
    else:
        print("\n".join(table(points, found, judgements)))
    return 0


# --------------------------------------------------------------------- the settings
def settings_to_try(settings: Settings, arguments: argparse.Namespace) -> list[Setting]:
    """Return the points of the scan, each once; without a grid the base is the first.

    Raises
    ------
    InputError
        When zeta is to be scanned for a covariance without it.
    """
    given = (arguments.zeta, arguments.l_max, arguments.cutoff_three_body)
    polynomial = settings.regression.covariance == "polynomial"
    if not polynomial and arguments.zeta:
        msg = (
            "--zeta belongs to the polynomial covariance, got covariance = "
            f'"{settings.regression.covariance}" (regression.covariance)'
        )
        raise InputError(msg)
    base = Setting(
        settings.regression.exponent if polynomial else None,
        settings.descriptor.l_max,
        settings.descriptor.cutoff_three_body_A,
    )
    zetas, l_maxes, cutoffs = (
        given if any(given) else (ZETAS if polynomial else None, L_MAXES, CUTOFFS)
    )
    if arguments.grid:
        axes = (zetas or [base.zeta], l_maxes or [base.l_max], cutoffs or [base.cutoff])
        return list(dict.fromkeys(Setting(*values) for values in product(*axes)))
    points = [
        base,
        *(replace(base, zeta=value) for value in zetas or ()),
        *(replace(base, l_max=value) for value in l_maxes or ()),
        *(replace(base, cutoff=value) for value in cutoffs or ()),
    ]
    return list(dict.fromkeys(points))


def changed(settings: Settings, point: Setting) -> Settings:
    """Return the settings with the values of a point.

    Raises
    ------
    InputError
        When a value is out of its range.
    """
    descriptor, regression = settings.descriptor, settings.regression
    update = {"l_max": point.l_max, "cutoff_three_body_A": point.cutoff}
    power = {} if point.zeta is None else {"exponent": point.zeta}
    try:
        descriptor = type(descriptor).model_validate(
            {**descriptor.model_dump(), **update}
        )
        regression = type(regression).model_validate(
            {**regression.model_dump(), **power}
        )
    except ValidationError as error:
        raise InputError(wording(error, name="command line")[0]) from None
    return settings.model_copy(
        update={"descriptor": descriptor, "regression": regression}
    )


# ------------------------------------------------------------------------ the verdict
def criterion(found: Validation) -> FloatArray:
    """Return the force RMSE of every fold, of energies where there are no forces."""
    forces = [fold.force_rmse_eV_per_A for fold in found.folds]
    if None in forces:
        forces = [fold.energy_rmse_meV_per_atom for fold in found.folds]
    return np.array(forces, dtype=np.float64)


def judge(errors: Sequence[FloatArray]) -> list[Judgement]:
    """Compare the errors of every setting with those of the best, fold by fold.

    Notes
    -----
    Some folds are harder than others for all settings alike, so what counts is the
    scatter of the difference and not that of the errors. A setting is worse when its
    mean difference exceeds the standard deviation of the difference over the folds.
    """
    best = min(range(len(errors)), key=lambda k: float(errors[k].mean()))
    out = []
    for k, one in enumerate(errors):
        difference = one - errors[best]
        mean, scatter = float(difference.mean()), float(difference.std(ddof=1))
        word = BEST if k == best else WORSE if mean > scatter else WITHIN
        out.append(Judgement(word, mean, scatter))
    return out


def table(
    points: Sequence[Setting],
    found: Sequence[Validation],
    judgements: Sequence[Judgement],
) -> Iterator[str]:
    """Yield the lines people read."""
    costs = relative_costs(found)
    yield HEAD
    for point, one, cost, verdict in zip(points, found, costs, judgements, strict=True):
        errors = one.errors
        scatter = float(criterion(one).std(ddof=1))
        if errors.force_rmse_eV_per_A is None:
            scatter = np.nan
        cells = (
            _cell(errors.energy_rmse_meV_per_atom, 10, ".2f"),
            _cell(errors.force_rmse_eV_per_A, 9, ".4f"),
            _cell(scatter, 9, ".4f"),
            _cell(errors.stress_rmse_GPa, 8, ".3f"),
            _cell(one.log_evidence, 12, ".1f"),
            _cell(one.n_local_references, 11, ".0f"),
            _cell(cost, 6, ".1f"),
        )
        power = "-" if point.zeta is None else point.zeta
        head = f"{power:>4}{point.l_max:>6}{point.cutoff:>7g}"
        yield f"{head}{''.join(cells)}  {verdict.word}"
    yield ""
    yield _conclusion(points, costs, judgements)


def _conclusion(
    points: Sequence[Setting],
    costs: Sequence[float],
    judgements: Sequence[Judgement],
) -> str:
    words = [one.word for one in judgements]
    text = f"Best: {points[words.index(BEST)]}."
    alike = [k for k, word in enumerate(words) if word != WORSE]
    if len(alike) == 1:
        return f"{text} All others are worse by more than the scatter of the folds."
    cheapest = min(alike, key=lambda k: costs[k])
    text += f" {len(alike) - 1} more do not differ by more than the scatter"
    return f"{text} of the folds; the cheapest of all these is {points[cheapest]}."


def as_json(
    points: Sequence[Setting],
    found: Sequence[Validation],
    judgements: Sequence[Judgement],
) -> str:
    """Return everything as JSON; a kind without labels is null."""
    rows = [
        {
            "zeta": point.zeta,
            "l_max": point.l_max,
            "cutoff_three_body_A": point.cutoff,
            **asdict(one.errors),
            "fold_force_rmse_eV_per_A": [f.force_rmse_eV_per_A for f in one.folds],
            "fold_energy_rmse_meV_per_atom": [
                f.energy_rmse_meV_per_atom for f in one.folds
            ],
            "log_evidence": one.log_evidence if np.isfinite(one.log_evidence) else None,
            "n_local_references": one.n_local_references,
            "relative_cost": cost,
            "verdict": verdict.word,
            "difference": verdict.difference,
            "scatter": verdict.scatter,
        }
        for point, one, cost, verdict in zip(
            points, found, relative_costs(found), judgements, strict=True
        )
    ]
    return json.dumps({"settings": rows}, indent=2)


def relative_costs(found: Sequence[Validation]) -> list[float]:
    """Return the processor time of a prediction in units of the cheapest."""
    least = min(one.seconds_per_atom for one in found)
    return [one.seconds_per_atom / least if least > 0.0 else 1.0 for one in found]


def _cell(value: float | None, width: int, form: str) -> str:
    if value is None or not np.isfinite(value):
        return f"{'-':>{width}}"
    return f"{value:{width}{form}}"


def _listed(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)
