"""How the settings of a scan compare: by errors, by evidence, and by what they cost."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.stats import kendalltau

from otf.commands.scan_axes import AXES, varied

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from otf.commands.folds import Validation
    from otf.commands.scan_axes import Axis, Point
    from otf.configuration import FloatArray

BEST, WITHIN, WORSE = "best", "within scatter", "worse"
CRITERIA: Final = {
    "force": "force_rmse_eV_per_A",
    "energy": "energy_rmse_meV_per_atom",
    "stress": "stress_rmse_GPa",
}
FRONT = "*"


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


@dataclass(frozen=True)
class Ranking:
    """The settings of a scan beside each other.

    Attributes
    ----------
    points, found : settings, and what was found for each
    criterion : the error that decides, a key of CRITERIA
    comparable : whether the evidence of each is of the same labels as that of others
    """

    points: tuple[Point, ...]
    found: tuple[Validation, ...]
    criterion: str
    comparable: tuple[bool, ...]

    @cached_property
    def errors(self) -> list[FloatArray]:
        """Return the error that decides, of every setting and fold."""
        name = CRITERIA[self.criterion]
        return [
            np.array([getattr(fold, name) for fold in one.folds], dtype=np.float64)
            for one in self.found
        ]

    @cached_property
    def judgements(self) -> list[Judgement]:
        """Return how every setting compares with the best."""
        return judge(self.errors)

    @cached_property
    def evidences(self) -> FloatArray:
        """Return the log evidence of every setting, NaN where it does not compare."""
        values = [one.log_evidence for one in self.found]
        return np.where(self.comparable, values, np.nan)

    @cached_property
    def costs(self) -> FloatArray:
        """Return the processor time of a prediction, microseconds per atom."""
        return 1e6 * np.array([one.seconds_per_atom for one in self.found])

    @cached_property
    def places_by_error(self) -> list[int | None]:
        """Return 1 for the setting of smallest error, 2 for the next, ..."""
        return places(np.array([errors.mean() for errors in self.errors]))

    @cached_property
    def places_by_evidence(self) -> list[int | None]:
        """Return 1 for the setting of largest evidence, 2 for the next, ..."""
        return places(-self.evidences)

    @cached_property
    def on_front(self) -> list[bool]:
        """Return whether no other setting is both cheaper and better."""
        return pareto_front(
            np.array([errors.mean() for errors in self.errors]), self.costs
        )

    @cached_property
    def agreement(self) -> float | None:
        """Return Kendall's tau of the two rankings; None where it says nothing."""
        known = np.isfinite(self.evidences)
        if known.sum() < 3:
            return None
        errors = np.array([one.mean() for one in self.errors])
        return float(kendalltau(-errors[known], self.evidences[known]).statistic)


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


def places(values: FloatArray) -> list[int | None]:
    """Return the place of every value, 1 for the smallest; None for what is unknown."""
    order = np.argsort(values, kind="stable")  # NaN comes last
    place = {int(k): at + 1 for at, k in enumerate(order) if np.isfinite(values[k])}
    return [place.get(k) for k in range(len(values))]


def pareto_front(errors: FloatArray, costs: FloatArray) -> list[bool]:
    """Return which settings no other one beats in one and equals in the other."""
    return [
        not any((errors <= e) & (costs <= c) & ((errors < e) | (costs < c)))
        for e, c in zip(errors, costs, strict=True)
    ]


# -------------------------------------------------------------------------- for people
def table(ranking: Ranking) -> Iterator[str]:
    """Yield the lines people read."""
    axes = varied(ranking.points)
    yield "".join(f"{axis.heading:>7}" for axis in axes) + (
        f"{'energy':>10}{'force':>9}{'stress':>8}{'scatter':>9}{'evidence':>11}"
        f"{'references':>11}{'cost':>7}  {'place by':>14}"
    )
    unit = {"force": "eV/A", "energy": "meV/atom", "stress": "GPa"}[ranking.criterion]
    yield "".join(f"{axis.unit:>7}" for axis in axes) + (
        f"{'meV/atom':>10}{'eV/A':>9}{'GPa':>8}{unit:>9}{'(log)':>11}"
        f"{'':>11}{'us':>7}  {'error':>5}{'evidence':>9}"
    )
    for k in range(len(ranking.points)):
        yield _line(ranking, k, axes)
    yield ""
    yield from conclusions(ranking)


def _line(ranking: Ranking, k: int, axes: Sequence[Axis]) -> str:
    point, one = ranking.points[k], ranking.found[k]
    evidence = ranking.evidences[k] - _largest(ranking.evidences)
    cells = (
        *(_cell(point.of(axis), 7, "g") for axis in axes),
        _cell(one.errors.energy_rmse_meV_per_atom, 10, ".2f"),
        _cell(one.errors.force_rmse_eV_per_A, 9, ".4f"),
        _cell(one.errors.stress_rmse_GPa, 8, ".3f"),
        _cell(float(ranking.errors[k].std(ddof=1)), 9, ".4f"),
        _cell(float(evidence), 11, ".1f"),
        _cell(one.n_local_references, 11, ".0f"),
        _cell(float(ranking.costs[k]), 7, ".1f"),
    )
    by_error, by_evidence = ranking.places_by_error[k], ranking.places_by_evidence[k]
    mark = FRONT if ranking.on_front[k] else " "
    ranks = f"{by_error or '-':>5}{by_evidence or '-':>9}"
    return f"{''.join(cells)}  {ranks} {mark} {ranking.judgements[k].word}"


def conclusions(ranking: Ranking) -> Iterator[str]:
    """Yield what follows: the best, the cheapest like it, and what evidence says."""
    axes = varied(ranking.points)
    names = [point.named(axes) for point in ranking.points]
    words = [one.word for one in ranking.judgements]
    best, costs = words.index(BEST), ranking.costs
    alike = [k for k, word in enumerate(words) if word != WORSE]
    text = f"Best by {ranking.criterion} error: {names[best]}."
    if len(alike) == 1:
        yield f"{text} All others are worse by more than the scatter of the folds."
    else:
        cheapest = min(alike, key=lambda k: float(costs[k]))
        yield (
            f"{text} {len(alike) - 1} more do not differ by more than the scatter of "
            f"the folds; the cheapest of all these is {names[cheapest]}."
        )
    yield from _of_evidence(ranking, names, words)
    yield f"{FRONT} no other setting is both cheaper and better."


def _of_evidence(
    ranking: Ranking, names: Sequence[str], words: Sequence[str]
) -> Iterator[str]:
    if not np.isfinite(ranking.evidences).any():
        return
    first = ranking.places_by_evidence.index(1)
    tau = ranking.agreement
    agreement = "" if tau is None else f" Kendall's tau of both rankings: {tau:.2f}."
    if words[first] == BEST:
        yield f"Evidence agrees on the best.{agreement}"
        return
    verdict = {WITHIN: "within the scatter of the best", WORSE: "worse"}[words[first]]
    yield (
        f"Evidence disagrees: it prefers {names[first]}, by errors {verdict}."
        f"{agreement}"
    )


# ------------------------------------------------------------------------ for programs
def as_json(ranking: Ranking) -> str:
    """Return everything as JSON; what is not known is null."""
    least = float(ranking.costs.min())
    rows = []
    for k, (point, one) in enumerate(zip(ranking.points, ranking.found, strict=True)):
        verdict, cost = ranking.judgements[k], float(ranking.costs[k])
        rows.append(
            {
                **{axis.name: point.of(axis) for axis in AXES},
                **asdict(one.errors),
                "fold_force_rmse_eV_per_A": [f.force_rmse_eV_per_A for f in one.folds],
                "fold_energy_rmse_meV_per_atom": [
                    f.energy_rmse_meV_per_atom for f in one.folds
                ],
                "fold_stress_rmse_GPa": [f.stress_rmse_GPa for f in one.folds],
                "log_evidence": _known(float(ranking.evidences[k])),
                "n_local_references": one.n_local_references,
                "cost_us_per_atom": cost,
                "relative_cost": cost / least if least > 0.0 else 1.0,
                "place_by_error": ranking.places_by_error[k],
                "place_by_evidence": ranking.places_by_evidence[k],
                "on_pareto_front": ranking.on_front[k],
                "verdict": verdict.word,
                "difference": verdict.difference,
                "scatter": verdict.scatter,
            }
        )
    data = {
        "criterion": ranking.criterion,
        "kendall_tau": ranking.agreement,
        "settings": rows,
    }
    return json.dumps(data, indent=2)


def _largest(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.max()) if len(known) else np.nan


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _cell(value: float | None, width: int, form: str) -> str:
    if value is None or not np.isfinite(value):
        return f"{'-':>{width}}"
    return f"{value:{width}{form}}"
