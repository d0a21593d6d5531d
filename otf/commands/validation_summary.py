"""What a validation found, for people and for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import numpy as np

from otf.analysis.errors import NAMES, SCALES
from otf.analysis.held_out import (
    KINDS,
    WITHIN,
    errors_of,
    reliability_of,
    worst_energies,
    worst_forces,
)
from otf.commands.accuracy import ALL, HEAD, error_line, members_of
from otf.commands.cost import peak_memory, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from otf.analysis.errors import ErrorReport
    from otf.analysis.held_out import HeldOut
    from otf.analysis.validation import HeldOutStudy, LearningCurve

WORST = 5
COLUMNS: Final = f"{'energy':>12}{'force':>12}{'stress':>12}"
UNITS: Final = f"{'meV/atom':>12}{'eV/A':>12}{'GPa':>12}"
_DIGITS: Final = {"energy": 2, "forces": 4, "stress": 3}


def study_summary(study: HeldOutStudy, *, as_json: bool) -> str:
    """Return errors, their intervals and scatter, and how deviations compare."""
    if as_json:
        return json.dumps(_study_data(study), indent=2)
    return "\n".join(_study_lines(study))


def curve_summary(curve: LearningCurve, *, as_json: bool) -> str:
    """Return the errors by the number of structures, and the exponents."""
    if as_json:
        return json.dumps(_curve_data(curve), indent=2)
    return "\n".join(_curve_lines(curve))


# ------------------------------------------------------------------------ held out
def _study_lines(study: HeldOutStudy) -> Iterator[str]:
    yield (
        f"{study.method} of {len(study.held)} structures, "
        f"{study.n_references:.0f} local references"
    )
    yield f"{'':<30}{COLUMNS}"
    yield f"{'errors':<30}{UNITS}"
    total = study.total
    for word, measure in (("MAE", "mae"), ("RMSE", "rmse"), ("largest", "max")):
        yield _row(word, [_error(total, kind, measure) for kind in KINDS])
        yield from _interval_lines(study, measure)
    if study.folds:
        scatter = [fold_scatter(study, kind) for kind in KINDS]
        yield _row("RMSE, scatter of the folds", scatter)
    if study.spreads:
        yield _row("scatter of bootstrap fits", scaled_spreads(study))
    yield f"{'predicted deviations':<30}{'(normal)':>12}"
    checks = [reliability_of(study.held, kind) for kind in KINDS]
    for at, (bound, normal) in enumerate(zip(WITHIN, (68.3, 95.4), strict=True)):
        shares = [None if c is None else f"{100 * c.within[at]:.1f}" for c in checks]
        yield _texts(f"errors within {bound:.0f}, % ({normal})", shares)
    rms = [None if c is None else f"{c.score_rms:.2f}" for c in checks]
    yield _texts("RMS of error/deviation (1)", rms)
    yield from _group_lines(study)
    yield from _worst_lines(study)
    if study.n_copies:
        yield _copies(study)
    yield _cost()


def _interval_lines(study: HeldOutStudy, measure: str) -> Iterator[str]:
    if not study.resampled or measure == "max":
        return
    for at, word in enumerate(("from", "to")):
        ends = []
        for kind in KINDS:
            found = study.resampled.get(kind)
            scale = SCALES[kind]
            ends.append(
                None
                if found is None
                else scale * getattr(found, f"{measure}_interval")[at]
            )
        yield _row(f"  95 % interval {word}", ends)


def scaled_spreads(study: HeldOutStudy) -> list[float | None]:
    """Return the scatter of predictions over bootstrap fits in the units of errors."""
    out: list[float | None] = []
    for kind in KINDS:
        value = study.spreads.get(kind)
        out.append(None if value is None else SCALES[kind] * value)
    return out


def fold_scatter(study: HeldOutStudy, kind: str) -> float | None:
    """Return the standard deviation over the folds of the RMSE of one kind."""
    values = [_error(fold, kind, "rmse") for fold in study.folds]
    known = [value for value in values if value is not None]
    return float(np.std(known, ddof=1)) if len(known) > 1 else None


def _group_lines(study: HeldOutStudy) -> Iterator[str]:
    groups = members_of([study.places[one.frame].group for one in study.held])
    if not groups:
        return
    yield HEAD
    for name, members in groups.items():
        report = errors_of([study.held[k] for k in members])
        yield error_line(name or "no config_type", report)
    yield error_line(ALL, study.total)


def _worst_lines(study: HeldOutStudy) -> Iterator[str]:
    energies = worst_energies(study.held, WORST)
    forces = worst_forces(study.held, WORST)
    if energies:
        yield "largest energy errors, meV/atom:"
    for one in energies:
        error = 1e3 * float(one.errors("energy")[0])
        score = abs(float(one.scores("energy")[0]))
        yield f"{error:>+10.2f}{_deviations(score)}  {_place(study, one)}"
    if forces:
        yield "largest force errors on an atom, eV/A:"
    for one in forces:
        size, score = one.largest_force_error, one.largest_force_score
        atom = f"{_place(study, one)} atom {one.worst_atom}"
        yield f"{size:>10.3f}{_deviations(score)}  {atom}"


def _deviations(score: float) -> str:
    return f"{score:>7.1f} deviations" if np.isfinite(score) else f"{'':>18}"


def _place(study: HeldOutStudy, one: HeldOut) -> str:
    place = study.places[one.frame]
    group = f" ({place.group})" if place.group else ""
    return f"{place.file} {place.frame}{group}"


def _copies(study: HeldOutStudy) -> str:
    text = f"{study.n_copies} structures are copies of others, up to rotation"
    if study.folds:
        return f"{text}; copies fall into the same fold."
    return f"{text}; the copy of one left out was seen: its error is too small."


def _study_data(study: HeldOutStudy) -> dict[str, object]:
    checks = {kind: reliability_of(study.held, kind) for kind in KINDS}
    data: dict[str, object] = {
        "method": study.method,
        **asdict(study.total),
        "n_local_references": study.n_references,
        "n_copies": study.n_copies,
        "folds": [asdict(fold) for fold in study.folds],
        "deviations": {
            kind: None if check is None else asdict(check)
            for kind, check in checks.items()
        },
        "structures": [_structure_data(study, one) for one in study.held],
        **_cost_data(),
    }
    if study.spreads:
        for kind, value in zip(KINDS, scaled_spreads(study), strict=True):
            data[NAMES[kind].format("bootstrap_scatter")] = value
    for kind, found in study.resampled.items():
        name, scale = NAMES[kind], SCALES[kind]
        for measure in ("mae", "rmse"):
            low, high = getattr(found, f"{measure}_interval")
            data[f"{name.format(measure)}_interval"] = [scale * low, scale * high]
    return data


def _structure_data(study: HeldOutStudy, one: HeldOut) -> dict[str, object]:
    place = study.places[one.frame]
    (energy,) = one.errors("energy")
    (score,) = one.scores("energy")
    return {
        "file": place.file,
        "frame": place.frame,
        "config_type": place.group,
        "energy_error_meV_per_atom": _number(1e3 * float(energy)),
        "energy_error_in_deviations": _number(float(score)),
        "largest_force_error_eV_per_A": _number(one.largest_force_error),
        "largest_force_error_in_deviations": _number(one.largest_force_score),
        "worst_atom": one.worst_atom,
    }


# ------------------------------------------------------------------- learning curve
def _curve_lines(curve: LearningCurve) -> Iterator[str]:
    yield f"RMSE of {curve.n_held_out} structures that were never fitted"
    words = ("energy, meV/atom", "force, eV/A", "stress, GPa")
    yield f"{'':>29}" + "".join(f"{word:>20}" for word in words)
    head = f"{'structures':>10}{'orders':>8}{'references':>11}"
    yield head + f"{'mean':>12}{'scatter':>8}" * 3
    for point in curve.points:
        cells = "".join(
            _mean_cell(point.rmse(NAMES[kind].format("rmse")), _DIGITS[kind])
            for kind in KINDS
        )
        head = f"{point.n_frames:>10}{len(point.reports):>8}"
        yield f"{head}{point.n_references:>11.0f}{cells}"
    for kind in KINDS:
        law = curve.laws.get(NAMES[kind].format("rmse"))
        if law is not None:
            power = f"n^{-law.exponent:.2f} (+- {law.deviation:.2f})"
            yield f"{kind}: RMSE goes as {power}"
    yield _cost()


def _curve_data(curve: LearningCurve) -> dict[str, object]:
    return {
        "n_held_out": curve.n_held_out,
        "points": [
            {
                "n_structures": point.n_frames,
                "n_local_references": point.n_references,
                "orders": [asdict(report) for report in point.reports],
            }
            for point in curve.points
        ],
        "power_laws": {name: asdict(law) for name, law in curve.laws.items()},
        **_cost_data(),
    }


def _mean_cell(found: tuple[float, float] | None, digits: int) -> str:
    if found is None:
        return f"{'-':>12}{'-':>8}"
    mean, spread = found
    scatter = f"{spread:>8.{digits}f}" if np.isfinite(spread) else f"{'-':>8}"
    return f"{mean:>12.{digits}f}{scatter}"


# ---------------------------------------------------------------------------- words
def _error(report: ErrorReport, kind: str, measure: str) -> float | None:
    value: float | None = getattr(report, NAMES[kind].format(measure))
    return value


def _row(name: str, values: Sequence[float | None]) -> str:
    cells = [
        None if value is None else f"{value:.{_DIGITS[kind]}f}"
        for kind, value in zip(KINDS, values, strict=True)
    ]
    return _texts(name, cells)


def _texts(name: str, cells: Sequence[str | None]) -> str:
    return f"{name:<30}" + "".join(f"{cell or '-':>12}" for cell in cells)


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _cost() -> str:
    return f"{seconds():.1f} s, at most {peak_memory() / 1e6:.0f} MB of memory"


def _cost_data() -> dict[str, object]:
    return {
        "seconds": round(seconds(), 3),
        "peak_memory_MB": round(peak_memory() / 1e6, 1),
    }
