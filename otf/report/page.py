"""The page of a run: one HTML file that needs nothing else."""

from __future__ import annotations

import html
import tomllib
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols
from ase.formula import Formula

from otf.errors import StoreError
from otf.report.account import account_of, duration
from otf.report.accuracy_plots import calibration_plot, parity_plot
from otf.report.comparison import comparisons
from otf.report.learning_plots import growth_plot, uncertainty_plot
from otf.report.motion_plots import motion_plot, rdf_plot
from otf.report.rdf import rdf_of_run
from otf.report.style import CSS
from otf.units import GPA

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from otf.configuration import Configuration
    from otf.report.figure import Plot
    from otf.store.entries import Retrain
    from otf.store.run_reader import RunView

LAST_FITS = 12


def write_report(view: RunView, path: Path) -> None:
    """Write the page of a run, finished or not.

    Parameters
    ----------
    view
        The run; its frames are read from its folder.
    path
        Of the HTML file; overwritten.

    Raises
    ------
    StoreError
        When the frames are damaged or the file cannot be written.
    """
    write_page(path, report_html(view))


def write_page(path: Path, text: str) -> None:
    """Write a page, or raise StoreError when that cannot be."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from error


def report_html(view: RunView) -> str:
    """Return the page."""
    title = title_of(view.start.input_text)
    formula = formula_of(view.start.configuration)
    heading = title or formula or "Run"
    body = [
        f"<h1>{escape(heading)}</h1>",
        f'<p class="soft">{escape(subtitle(view, formula if title else ""))}</p>',
        verdict(view),
        cards(key_numbers(view)),
        *(figure(plot) for plot in plots(view)),
        *tables(view),
        *folded(view),
    ]
    return document(heading, body)


def document(title: str, body: Sequence[str]) -> str:
    """Return a page that needs nothing else; the body is HTML."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def escape(text: object) -> str:
    """Return text that HTML shows as it is."""
    return html.escape(str(text))


def title_of(input_text: str) -> str:
    """Return the title of an input file, empty when it gives none."""
    try:
        title = tomllib.loads(input_text).get("title", "")
    except tomllib.TOMLDecodeError:
        return ""
    return title if isinstance(title, str) else ""


def formula_of(configuration: Configuration | None) -> str:
    """Return the formula, empty without a configuration."""
    if configuration is None:
        return ""
    symbols = [chemical_symbols[z] for z in configuration.numbers]
    return str(Formula.from_list(symbols).format("metal"))


def subtitle(view: RunView, formula: str) -> str:
    """Return one line on what was simulated and where it lies."""
    configuration = view.start.configuration
    parts = [formula] if formula else []
    if configuration is not None:
        parts.append(f"{configuration.n_atoms} atoms")
        periodic = int(configuration.pbc.sum())
        parts.append(("not periodic", "a wire", "a slab", "periodic")[periodic])
    parts.append(f"folder {view.folder.path.resolve().name}")
    version = view.start.versions.get("otf-md", "")
    parts.append(f"otf-md {version}".strip())
    return " · ".join(parts)


def verdict(view: RunView) -> str:
    """Return the box that says how the run stands."""
    end = view.finish
    if end is None and view.running:
        kind, word, reason = (
            "calm",
            "Running",
            f"step {view.step} was the last to be seen",
        )
    elif end is None:
        kind, word = "warn", "Interrupted"
        reason = f"after step {view.step}; otf-md resume goes on from its checkpoint"
    elif end.converged is None:
        kind, word, reason = "calm", "Finished", end.reason
    elif end.converged:
        kind, word, reason = "good", "Converged", end.reason
    else:
        kind, word, reason = "warn", "Not converged", end.reason
    return (
        f'<div class="verdict {kind}"><strong>{word}</strong> '
        f"<span>{escape(reason)}</span></div>"
    )


def cards(numbers: Iterable[tuple[str, str, str]]) -> str:
    """Return the cards of key numbers, each with its name, value and note."""
    parts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}"
        f"<small>{escape(note)}</small></dd></div>"
        for name, value, note in numbers
    )
    return f'<dl class="numbers">{parts}</dl>'


def key_numbers(view: RunView) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and note of every card."""
    a = account_of(view)
    time = "" if np.isnan(a.picoseconds) else f"{a.picoseconds:.4g} ps"
    yield "steps", f"{a.n_steps:,}", time
    if not a.n_calls and not a.n_cached:
        return
    cached = f", {a.n_cached:,} more labels from the cache" if a.n_cached else ""
    yield "reference calls", f"{a.n_calls:,}", f"{a.n_audits} of them audits{cached}"
    yield "steps without the reference", f"{100.0 * a.bypassed:.4g} %", "of all steps"
    fits = f", {duration(a.fit_seconds)} of fits" if a.fit_seconds > 0 else ""
    yield (
        "reference time",
        duration(a.reference_seconds),
        f"{duration(a.seconds_per_call)} a call{fits}",
    )
    faster = (
        ""
        if np.isnan(a.speed_up)
        else f"at most {a.speed_up:.3g} times faster, predictions not counted"
    )
    yield "reference time saved", duration(a.saved_seconds), faster
    if view.retrains:
        last = view.retrains[-1]
        yield (
            "local reference environments",
            f"{last.n_references:,}",
            f"from {last.n_frames:,} frames, {len(view.retrains)} fits",
        )
    audits = [c for c in comparisons(view) if c.audit]
    if audits:
        errors = np.concatenate([np.ravel(c.forces - c.label_forces) for c in audits])
        rmse = float(np.sqrt(np.nanmean(errors**2)))
        yield "force error of audits", f"{rmse:.3g} eV/Å", "RMSE of components"
    yield "roll-backs", str(len(view.rollbacks)), "to a trusted state"


def plots(view: RunView) -> Iterator[Plot]:
    """Yield the figures that can be drawn."""
    frames = comparisons(view)
    first = view.start.configuration
    n_atoms = 1 if first is None else first.n_atoms
    last_stage = view.stages[-1] if view.stages else None
    since = 0 if last_stage is None else last_stage.step
    rdfs, n_frames = rdf_of_run(view.folder.frames, since=since)
    drawn = (
        uncertainty_plot(view),
        growth_plot(view),
        motion_plot(view, n_atoms),
        parity_plot(frames),
        calibration_plot(frames),
        rdf_plot(rdfs, n_frames, "" if last_stage is None else last_stage.name),
    )
    yield from (plot for plot in drawn if plot is not None)


def figure(plot: Plot) -> str:
    """Return a figure with its heading and caption."""
    title = escape(plot.title)
    drawing = plot.svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
    return (
        f'<figure id="{plot.name}"><h2>{title}</h2>\n{drawing}\n'
        f"<figcaption>{escape(plot.caption)}</figcaption></figure>"
    )


def tables(view: RunView) -> Iterator[str]:
    """Yield the tables of failures, roll-backs and fits."""
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
        yield fits(view.retrains)


def fits(retrains: Sequence[Retrain]) -> str:
    """Return the table of the last fits."""
    shown = retrains[-LAST_FITS:]
    header = (
        "step",
        "frames",
        "environments",
        "energy RMSE (meV/atom)",
        "force RMSE (eV/Å)",
        "stress RMSE (GPa)",
        "bounds in force",
    )
    rows = [
        (
            r.step,
            r.n_frames,
            r.n_references,
            number(1000.0 * r.energy_rmse),
            number(r.force_rmse),
            number(r.stress_rmse / GPA),
            "; ".join(r.clamps),
        )
        for r in shown
    ]
    note = "Errors on the frames the model was fitted to."
    if skipped := len(retrains) - len(shown):
        note += f" The {skipped} fits before are left out."
    return table("Fits", header, rows, note=note)


def number(value: float) -> str:
    """Return three figures, or a dash for an unknown value."""
    return f"{value:.3g}" if np.isfinite(value) else "–"


def table(
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    note: str = "",
) -> str:
    """Return a table; its last column is text."""

    def cells(row: Sequence[object], tag: str) -> str:
        last = len(row) - 1
        return "".join(
            f"<{tag}{' class=text' if k == last else ''}>{escape(value)}</{tag}>"
            for k, value in enumerate(row)
        )

    lines = "\n".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return (
        f'<section class="table"><h2>{escape(title)}</h2>'
        f'<p class="soft">{escape(note)}</p><div class="scroll"><table><thead>'
        f"<tr>{cells(header, 'th')}</tr></thead><tbody>\n{lines}\n</tbody></table>"
        "</div></section>"
    )


def folded(view: RunView) -> Iterator[str]:
    """Yield what is needed to make the run again: the input file and the versions."""
    yield (
        "<details><summary>Input file</summary>"
        f"<pre>{escape(view.start.input_text)}</pre></details>"
    )
    lines = [f"{name} {version}" for name, version in view.start.versions.items()]
    lines.append(f"seed {view.start.seed}")
    if view.start.fingerprint:
        lines.append(f"reference fingerprint {view.start.fingerprint}")
    lines.extend(f"{mark} is {words}" for mark, words in view.descriptions.items())
    lines.extend(f"resumed at step {resume.step}" for resume in view.resumes)
    yield (
        "<details><summary>Versions, seed and fingerprint</summary>"
        f"<pre>{escape(chr(10).join(lines))}</pre></details>"
    )
