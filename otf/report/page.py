"""The page of a run: one HTML file that needs nothing else."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from ase.data import chemical_symbols
from ase.formula import Formula

from otf.report.account import account_of, duration
from otf.report.comparison import comparisons, rmses
from otf.report.cost import cost_of
from otf.report.cost_section import cost_section
from otf.report.data_section import data_section
from otf.report.elements import cards, document, escape, folded, verdict_box, write_page
from otf.report.learned_section import learned_section
from otf.report.physics_section import physics_section
from otf.report.ways import motion_of, ways_of
from otf.store.schema import SHARED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from otf.configuration import Configuration
    from otf.report.comparison import Comparison
    from otf.report.plan import Plan
    from otf.store.run_reader import RunView


def write_report(view: RunView, path: Path, plan: Plan | None = None) -> None:
    """Write the page of a run, finished or not.

    Parameters
    ----------
    view
        The run; its frames are read from its folder.
    path
        Of the HTML file; replaced in one piece.
    plan
        What the run was asked for; without it ramps are not marked and the coverage
        is left out.

    Raises
    ------
    StoreError
        When the frames are damaged or the file cannot be written.
    """
    write_page(path, report_html(view, plan))


def report_html(view: RunView, plan: Plan | None = None) -> str:
    """Return the page."""
    title = title_of(view.start.input_text)
    formula = formula_of(view.start.configuration)
    heading = title or formula or "Run"
    frames = comparisons(view)
    motion = motion_of(view, plan)
    ways = ways_of(view, motion)
    bound = None if plan is None else plan.spilling_bound
    chapters = [
        learned_section(view, frames, motion.parts),
        data_section(view, ways, motion.parts, bound),
        physics_section(view, motion),
        cost_section(view, plan),
    ]
    body = [
        f"<h1>{escape(heading)}</h1>",
        f'<p class="soft">{escape(subtitle(view, formula if title else ""))}</p>',
        verdict(view),
        cards(key_numbers(view, frames, plan)),
        *(chapter for chapter in chapters if chapter),
        folded("Input file", view.start.input_text),
        folded("Versions, seed and fingerprint", "\n".join(origins(view))),
    ]
    return document(heading, body)


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
    return verdict_box(kind, word, reason)


def key_numbers(
    view: RunView, frames: Sequence[Comparison], plan: Plan | None
) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and note of every card."""
    a = account_of(view)
    planned = f" of {plan.n_steps:,}" if plan and plan.n_steps > a.n_steps else ""
    time = "" if a.picoseconds != a.picoseconds else f"{a.picoseconds:.4g} ps"
    moved = view.folder.path.name != SHARED
    if moved:
        yield "steps", f"{a.n_steps:,}{planned}", time
    if a.n_calls or a.n_cached:
        cached = f", {a.n_cached:,} more labels from the cache" if a.n_cached else ""
        yield (
            "reference calls",
            f"{a.n_calls:,}",
            f"{a.n_audits} of them audits{cached}",
        )
        if moved:
            yield "without the reference", f"{100.0 * a.bypassed:.4g} %", "of all steps"
        yield (
            "reference time",
            duration(a.reference_seconds),
            f"{duration(a.seconds_per_call)} a call",
        )
    cost = cost_of(view, plan)
    if cost is not None:
        faster = (
            f"{cost.speed_up:.3g} times faster than the reference alone"
            if cost.speed_up == cost.speed_up
            else f"{cost.atom_steps:,.0f} atom-steps a second"
        )
        yield "wall time", duration(cost.wall), faster
    if view.retrains:
        last = view.retrains[-1]
        yield (
            "local references",
            f"{last.n_references:,}",
            f"from {last.n_frames:,} frames, {len(view.retrains)} fits",
        )
    audits = [c for c in frames if c.audit]
    if audits:
        force = rmses(audits)["forces"].value
        yield "force error of audits", f"{force:.3g} eV/Å", "RMSE of components"
    if a.n_calls:
        yield "roll-backs", str(len(view.rollbacks)), "to a trusted state"


def origins(view: RunView) -> Iterator[str]:
    """Yield what is needed to make the run again, besides its input file."""
    for name, version in view.start.versions.items():
        yield f"{name} {version}"
    yield f"seed {view.start.seed}"
    if view.start.fingerprint:
        yield f"reference fingerprint {view.start.fingerprint}"
    for mark, words in view.descriptions.items():
        yield f"{mark} is {words}"
    for resume in view.resumes:
        yield f"resumed at step {resume.step}"
