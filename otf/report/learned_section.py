"""The chapter on what was learned: calls, errors, error bars, failures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.report.account import duration
from otf.report.accuracy_plots import (
    QUANTITIES,
    binned_drawing,
    parity_drawings,
    reliability_drawing,
    trend_drawing,
    trend_of,
)
from otf.report.comparison import NORMAL, rmses, shares_within
from otf.report.elements import (
    gallery,
    note,
    number,
    percent,
    section,
    sentences,
    table,
)
from otf.report.learning_plots import (
    bypass_drawing,
    bypassed_in_windows,
    calls_drawing,
    references_drawing,
    uncertainty_drawing,
)
from otf.report.limits import factors_at_their_limit
from otf.units import GPA

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from otf.report.comparison import Comparison, Rmse
    from otf.report.parts import Part
    from otf.store.entries import Retrain
    from otf.store.run_reader import RunView

LAST_FITS = 6
FEW_FRAMES = 4  # below that shares and halves of the labels say nothing
CONFIDENT = 2.0  # standard errors by which a share differs in earnest


def learned_section(
    view: RunView, frames: Sequence[Comparison], parts: Sequence[Part]
) -> str:
    """Return the chapter, empty for a run that does not learn."""
    drawings = [
        uncertainty_drawing(view, parts),
        bypass_drawing(view, parts),
        calls_drawing(view, parts),
        references_drawing(view, parts),
        trend_drawing(view, frames, parts),
    ]
    reading = (
        "Called where the predicted error e of an atom crosses what is tolerated "
        "(red); 95 % of the true errors should lie below e. Calls should become rare "
        "and the references flatten. Amber: ramps. Numbers: stages."
    )
    chapter = [
        sentences(findings(view, frames)),
        gallery(drawings),
        note(reading) if any(one is not None for one in drawings) else "",
        *accuracy(frames),
        *tables(view),
    ]
    return section("learned", "What was learned", chapter)


def findings(view: RunView, frames: Sequence[Comparison]) -> Iterator[str]:
    """Yield what a reader should know first."""
    # The labels of runs that learn together are in another folder.
    if view.start.fingerprint and not view.labels and not view.decisions:
        yield "The reference has given no labels so far."
    _, shares = bypassed_in_windows(view, audits=False)
    if len(shares):
        yield (
            f"{percent(shares[-1])} of the last {view.step // len(shares):,} steps "
            f"asked for no reference, {percent(shares[0])} of as many first ones, "
            "audits apart."
        )
    if len(frames) >= FEW_FRAMES:
        first, last = trend_of(frames)
        yield (
            f"Before it was learned, a labelled frame had a median force error of "
            f"{first:.3g} eV/Å in the first half of the labels, {last:.3g} in the "
            "second."
        )
    yield from reliability_findings(frames)
    for symbol, factor in factors_at_their_limit(view.checkpoint).items():
        yield (
            f"Error bars of {symbol} cannot become wider: the factor of their "
            f"calibration is at its limit of {factor:g}, so they may promise too much."
        )
    audits = [c for c in frames if c.audit]
    if audits:
        force = rmses(audits)["forces"]
        sample = "They are too few to be" if len(audits) < FEW_FRAMES else "They are"
        yield (
            f"{len(audits)} audits of steps the run trusted: force RMSE "
            f"{force.value:.3g} eV/Å{_interval(force)}. {sample} a fair "
            "sample of the run."
        )
    elif frames:
        yield (
            "There is no audit yet: every error here is one of frames that were "
            "labelled because the model was unsure."
        )
    if view.failures:
        yield (
            f"{len(view.failures)} structures got no labels and lie in the folder "
            "quarantine."
        )
    if view.rollbacks:
        yield f"The run went back {len(view.rollbacks)} times to a trusted state."


def reliability_findings(frames: Sequence[Comparison]) -> Iterator[str]:
    """Yield whether error bars hold what they promise, with the error of that."""
    for name, group in (
        ("labels", frames),
        ("audits", [c for c in frames if c.audit]),
    ):
        shares = shares_within(group)
        if len(shares) != 2 or len(group) < FEW_FRAMES:
            continue
        one, two = shares
        text = (
            f"Of the force errors at the {name}, {_share(one.value, one.error)} lie "
            f"within 1σ ({percent(NORMAL[0], 0)} of normal errors do) and "
            f"{_share(two.value, two.error)} within 2σ ({percent(NORMAL[1], 0)})"
        )
        off = two.value - NORMAL[1]
        if np.isfinite(two.error) and abs(off) > CONFIDENT * two.error:
            wide = "wider" if off > 0 else "narrower"
            text += f": the error bars are {wide} than the errors"
        yield text + "."


def accuracy(frames: Sequence[Comparison]) -> Iterator[str]:
    """Yield figures and tables of predictions beside labels."""
    if not frames:
        return
    yield gallery(parity_drawings(frames))
    yield gallery([reliability_drawing(frames), binned_drawing(frames)])
    yield note(
        "Every labelled frame as it was predicted before the model had learned it. "
        "Orange frames were labelled because the model was unsure, so they are worse "
        "than the run; purple ones are audits, a fair sample of it. Shares below the "
        "diagonal mean error bars that are too narrow."
    )
    yield errors_table(frames)


def errors_table(frames: Sequence[Comparison]) -> str:
    """Return the errors of audits and of all labels with their intervals."""
    groups = (
        ("audits", [c for c in frames if c.audit]),
        ("labels that were called for", [c for c in frames if not c.audit]),
    )
    rows = []
    for name, group in groups:
        found = rmses(group)
        cells = []
        for kind, _, scale in QUANTITIES:
            rmse = found.get(kind)
            cells.append(
                "–"
                if rmse is None
                else number(scale * rmse.value) + _interval(rmse, scale)
            )
        if group:
            rows.append((*cells, len(group), name))
    heads = [f"{kind} ({unit})" for kind, unit, _ in QUANTITIES]
    return table(
        "Errors before learning",
        (*heads, "frames", ""),
        rows,
        note="Root mean square errors with the interval of 95 % of frames drawn again.",
    )


def _interval(rmse: Rmse, scale: float = 1.0) -> str:
    low, high = scale * rmse.low, scale * rmse.high
    return f" [{low:.3g}, {high:.3g}]" if np.isfinite(low + high) else ""


def _share(value: float, error: float) -> str:
    if not np.isfinite(error):
        return percent(value)
    return f"({100.0 * value:.1f} ± {100.0 * error:.1f}) %"


def tables(view: RunView) -> Iterator[str]:
    """Yield the tables of failures, doubts, roll-backs and fits."""
    if view.failures:
        yield table(
            "Structures without labels",
            ("step", "called for", "folder", "why"),
            [(f.step, f.reason, f.folder, f.text) for f in view.failures],
            note="The reference gave no labels that can be trusted; the run went on "
            "without them. Structures and outputs are in the folder quarantine.",
        )
    doubted = [(k, y) for k, y in enumerate(view.labels, start=1) if y.doubt]
    if doubted:
        yield table(
            "Labels computed twice",
            ("label", "energy (eV)", "what was doubted, and what came of it"),
            [(k, f"{y.labels.energy:.6g}", y.doubt) for k, y in doubted],
            note="They were far from what the model expected: a calculation that went "
            "wrong, or matter that is new to the model.",
        )
    if view.rollbacks:
        yield table(
            "Roll-backs",
            ("from step", "to step", "frames labelled", "reason"),
            [(r.step, r.to_step, r.labelled, r.reason) for r in view.rollbacks],
            note="A structure could not be trusted; the run went back, learned from "
            "frames on the way, and went on with new noise.",
        )
    if view.retrains:
        yield fits_table(view.retrains)


def fits_table(retrains: Sequence[Retrain]) -> str:
    """Return the table of the last fits."""
    shown = retrains[-LAST_FITS:]
    rows = [
        (
            r.step,
            r.n_frames,
            r.n_references,
            number(1000.0 * r.energy_rmse),
            number(r.force_rmse),
            number(r.stress_rmse / GPA),
            duration(r.seconds),
            "; ".join(r.clamps),
        )
        for r in shown
    ]
    text = "Errors on the frames the model was fitted to."
    if skipped := len(retrains) - len(shown):
        text += f" The {skipped} fits before are left out."
    header = (
        "step",
        "frames",
        "environments",
        "energy (meV/atom)",
        "force (eV/Å)",
        "stress (GPa)",
        "took",
        "bounds in force",
    )
    return table("Fits", header, rows, note=text)
