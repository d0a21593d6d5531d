"""The page of a data set: one HTML file that needs nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otf.analysis.data_findings import GOOD, LOOK, WRONG, of_level
from otf.analysis.examination import compositions, named
from otf.report.data_plots import data_plots
from otf.report.elements import (
    cards,
    document,
    escape,
    figure,
    number,
    table,
    verdict_box,
    write_page,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from otf.analysis.data_findings import Finding
    from otf.analysis.examination import Examination

PLACES = 60  # file and frame numbers of a finding
_WORDS = {WRONG: "Wrong", LOOK: "To look at", GOOD: "Good"}


def write_data_page(data: Examination, found: Sequence[Finding], path: Path) -> None:
    """Write the page of a data set.

    Parameters
    ----------
    data, found
        The examination, and what it found.
    path
        Of the HTML file; overwritten.

    Raises
    ------
    StoreError
        When the file cannot be written.
    """
    write_page(path, data_html(data, found))


def data_html(data: Examination, found: Sequence[Finding]) -> str:
    """Return the page."""
    files = list(dict.fromkeys(place.file for place in data.places))
    body = [
        "<h1>Labelled structures</h1>",
        f'<p class="soft">{escape(" · ".join(files))}</p>',
        verdict(found),
        cards(key_numbers(data)),
        findings_table(data, found),
        *(figure(plot) for plot in data_plots(data)),
        composition_table(data),
    ]
    return document("Labelled structures", body)


def verdict(found: Sequence[Finding]) -> str:
    """Return the box that says whether the labels can be trusted."""
    n_wrong, n_look = len(of_level(found, WRONG)), len(of_level(found, LOOK))
    if n_wrong:
        kind, word, reason = "warn", "Not to be trusted", of_level(found, WRONG)[0].text
    elif n_look:
        kind, word, reason = "calm", "To be looked at", of_level(found, LOOK)[0].text
    else:
        kind, word, reason = "good", "Nothing was found", "that speaks against the data"
    return verdict_box(kind, word, reason)


def key_numbers(data: Examination) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and note of every card."""
    n_atoms = sum(f.n_atoms for f in data.facts)
    yield "structures", f"{data.n_frames:,}", f"{n_atoms:,} atoms"
    for kind, mask in data.missing.items():
        there = data.n_frames - int(mask.sum())
        yield f"with {kind}", f"{there:,}", f"{100.0 * there / data.n_frames:.4g} %"
    spare = sum(len(group.members) - 1 for group in data.duplicates)
    yield "duplicates", f"{spare:,}", "up to rotation and reflection"
    if data.model is not None:
        note = f"fitted to {data.model.n_fitted:,} structures"
        yield "local references of the model", f"{data.model.n_references:,}", note


def findings_table(data: Examination, found: Sequence[Finding]) -> str:
    """Return the table of findings."""
    rows = []
    for one in found:
        where = ""
        if one.frames and len(one.frames) < data.n_frames:
            where = named(data.places, one.frames, limit=PLACES)
        text = f"{one.text}. {where}" if where else one.text
        rows.append((_WORDS.get(one.level, "Note"), text))
    return table(
        "Findings",
        ("", "what, and where"),
        rows,
        note="Numbers after the name of a file are its structures, counted from 0.",
    )


def composition_table(data: Examination) -> str:
    """Return the table of compositions."""
    header = (
        "structures",
        "atoms",
        "volume (Å³/atom)",
        "density (g/cm³)",
        "energy (eV/atom)",
        "composition",
    )
    rows = [
        (
            one.n_frames,
            _range(one.atoms, 0),
            _range(one.volumes, 2),
            _range(one.densities, 3),
            _range(one.energies, 4),
            one.formula,
        )
        for one in compositions(data)
    ]
    return table("Compositions", header, rows)


def _range(values: tuple[float, float] | None, digits: int) -> str:
    if values is None:
        return number(float("nan"))
    low, high = (f"{value:.{digits}f}" for value in values)
    return low if low == high else f"{low} to {high}"
