"""The page of a validation: one HTML file that needs nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.analysis.errors import NAMES, SCALES
from otf.analysis.held_out import KINDS, reliability_of, worst_energies, worst_forces
from otf.report.elements import (
    cards,
    document,
    escape,
    figure,
    number,
    table,
    write_page,
)
from otf.report.validation_plots import RMSES, UNITS, curve_plot, study_plots

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from otf.analysis.held_out import HeldOut
    from otf.analysis.validation import HeldOutStudy, LearningCurve

WORST = 12


def write_study_page(study: HeldOutStudy, sources: Sequence[Path], path: Path) -> None:
    """Write the page of structures predicted without their own labels.

    Parameters
    ----------
    study
        What was found.
    sources
        Files the structures came from.
    path
        Of the HTML file; overwritten.

    Raises
    ------
    StoreError
        When the file cannot be written.
    """
    body = [
        *_heading("Validation", sources),
        f"<p>{escape(study.method)} of {len(study.held):,} structures, "
        f"{study.n_references:,.0f} local references.</p>",
        cards(_study_numbers(study)),
        *(figure(plot) for plot in study_plots(study)),
        *_interval_table(study),
        _reliability_table(study),
        _worst_table(study, "energy"),
        _worst_table(study, "forces"),
    ]
    write_page(path, document("Validation", body))


def write_curve_page(curve: LearningCurve, sources: Sequence[Path], path: Path) -> None:
    """Write the page of a learning curve.

    Raises
    ------
    StoreError
        When the file cannot be written.
    """
    body = [
        *_heading("Learning curve", sources),
        cards(_curve_numbers(curve)),
        figure(curve_plot(curve)),
        _curve_table(curve),
    ]
    write_page(path, document("Learning curve", body))


def _heading(title: str, sources: Sequence[Path]) -> Iterator[str]:
    yield f"<h1>{title}</h1>"
    names = " · ".join(str(source) for source in sources)
    yield f'<p class="soft">{escape(names)}</p>'


def _study_numbers(study: HeldOutStudy) -> Iterator[tuple[str, str, str]]:
    total = study.total
    for kind in KINDS:
        name, unit = NAMES[kind], UNITS[kind]
        mae = getattr(total, name.format("mae"))
        if mae is None:
            continue
        rmse, largest = (getattr(total, name.format(m)) for m in ("rmse", "max"))
        note = f"MAE; RMSE {number(rmse)}, largest {number(largest)}"
        yield f"error of {kind}", f"{number(mae)} {unit}", note
    if study.n_copies:
        note = "in the same fold" if study.folds else "their errors are too small"
        yield "copies of other structures", f"{study.n_copies:,}", note


def _interval_table(study: HeldOutStudy) -> Iterator[str]:
    if not study.resampled:
        return
    rows = []
    for kind, found in study.resampled.items():
        unit, scale = UNITS[kind], SCALES[kind]
        ends = (found.mae_interval, found.rmse_interval)
        cells = [f"{number(scale * a)} to {number(scale * b)}" for a, b in ends]
        scatter = study.spreads.get(kind)
        cells.append(number(np.nan if scatter is None else scale * scatter))
        rows.append((*cells, f"{kind} ({unit})"))
    yield table(
        "Intervals of 95 %",
        ("MAE", "RMSE", "scatter of bootstrap fits", "of"),
        rows,
        note="The scatter is that of predictions by fits to structures drawn again, of "
        "structures that were not drawn. Errors much larger than it are not for want "
        "of more structures of the same kind.",
    )


def _reliability_table(study: HeldOutStudy) -> str:
    rows = []
    for kind in KINDS:
        check = reliability_of(study.held, kind)
        if check is None:
            continue
        one, two = (f"{100.0 * share:.1f} %" for share in check.within)
        rms = number(check.score_rms)
        rows.append((f"{check.n_values:,}", one, two, rms, kind))
    return table(
        "Predicted deviations",
        ("labels", "within 1", "within 2", "RMS of error/deviation", "of"),
        rows,
        note="Of normal errors with the right deviations 68.3 % lie within one and "
        "95.4 % within two of them, and the root mean square is 1.",
    )


def _worst_table(study: HeldOutStudy, kind: str) -> str:
    energies = kind == "energy"
    worst = (worst_energies if energies else worst_forces)(study.held, WORST)
    word = "energy (meV/atom)" if energies else "force on an atom (eV/Å)"
    rows = [(_size(one, kind), _place(study, one)) for one in worst]
    return table(f"Largest errors: {word}", ("error", "file and structure"), rows)


def _size(one: HeldOut, kind: str) -> str:
    if kind == "energy":
        (error,) = 1e3 * one.errors("energy")
        return f"{error:+.2f}"
    return f"{one.largest_force_error:.3f}"


def _place(study: HeldOutStudy, one: HeldOut) -> str:
    place = study.places[one.frame]
    return f"{place.file} {place.frame} {place.group}".strip()


def _curve_numbers(curve: LearningCurve) -> Iterator[tuple[str, str, str]]:
    last = curve.points[-1]
    yield "structures fitted", f"{last.n_frames:,}", f"{curve.n_held_out:,} held out"
    for kind in KINDS:
        name, unit = RMSES[kind], UNITS[kind]
        found = last.rmse(name)
        if found is None:
            continue
        law = curve.laws.get(name)
        note = "RMSE" if law is None else f"RMSE, goes as n^{-law.exponent:.2f}"
        yield f"error of {kind}", f"{number(found[0])} {unit}", note


def _curve_table(curve: LearningCurve) -> str:
    rows = []
    for point in curve.points:
        cells = []
        for kind in KINDS:
            found = point.rmse(RMSES[kind])
            mean, spread = found or (np.nan, np.nan)
            bar = f" ± {number(spread)}" if np.isfinite(spread) else ""
            cells.append(number(mean) + bar)
        count = len(point.reports)
        orders = f"{count} order{'s' if count > 1 else ''}"
        rows.append((point.n_frames, f"{point.n_references:.0f}", *cells, orders))
    header = (
        "structures",
        "local references",
        "energy (meV/atom)",
        "force (eV/Å)",
        "stress (GPa)",
        "mean and scatter over",
    )
    return table("Errors of structures that were never fitted", header, rows)
