"""The page of a sweep: what was varied, what came of it, and every run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from otf.analysis.run_means import QUANTITIES
from otf.report.account import account_of, duration
from otf.report.comparison import comparisons, rmses
from otf.report.elements import (
    Link,
    cards,
    document,
    escape,
    folded,
    gallery,
    note,
    section,
    sentences,
    table,
    verdict_box,
    write_page,
)
from otf.report.figure import drawing, names_in_a_row
from otf.report.learned_section import findings
from otf.report.physics_section import with_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from otf.analysis.run_means import RunMeans
    from otf.report.comparison import Comparison
    from otf.report.figure import Axes, Drawing
    from otf.report.sweep_view import Picture, SweepRun, SweepView
    from otf.store.run_reader import RunView

# Heads of the columns of means, in the order of QUANTITIES, and decimals at least.
_MEANS = (("T (K)", 1), ("P (GPa)", 3), ("V (Å³/atom)", 3), ("E (eV/atom)", 4))
HEIGHT, ROW = 3.0, 0.19  # inches of a figure, and of a line of names above it
MOST_VALUES = 8  # of an axis that are spelt out
READING = (
    "Means are those of the end of the last stage. The error of a run counts "
    "correlated rows once, that of a set of replicas is the scatter of their means, "
    "sd/√n. Where the two differ by much, the runs are too short."
)


def write_sweep_page(view: SweepView, path: Path) -> None:
    """Write the page of a sweep, finished or not.

    Raises
    ------
    StoreError
        When the file cannot be written; an old page is then untouched.
    """
    write_page(path, sweep_html(view))


def sweep_html(view: SweepView) -> str:
    """Return the page."""
    body = [
        f"<h1>{escape(view.title)}</h1>",
        f'<p class="soft">{escape(view.subtitle)}</p>',
        verdict(view),
        cards(key_numbers(view)),
        results_section(view),
        shared_section(view),
        runs_section(view),
        folded("Input file of the sweep", view.input_text),
    ]
    return document(view.title, [part for part in body if part])


def verdict(view: SweepView) -> str:
    """Return the box that says how the sweep stands."""
    n, done, failed = len(view.runs), view.count("finished"), view.count("failed")
    words = [f"{done} of {n} runs have made all their steps"]
    if running := view.count("running"):
        words.append(f"{running} running")
    if failed:
        words.append(f"{failed} failed")
    if view.running:
        return verdict_box("calm", "Running", ", ".join(words))
    if done + failed < n:
        words.append("otf-md sweep goes on with the others")
    if failed:
        return verdict_box("warn", "Failed in part", ", ".join(words))
    if done < n:
        return verdict_box("warn", "Not finished", ", ".join(words))
    return verdict_box("calm", "Finished", ", ".join(words))


def key_numbers(view: SweepView) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and note of every card: first of all what was varied."""
    for axis in view.axes:
        values = list(axis.values)
        if len(values) > MOST_VALUES:
            values = [*values[: MOST_VALUES - 1], "…", values[-1]]
        yield axis.name, f"{len(axis.values)}", f"{', '.join(values)} {axis.unit}"
    steps = sum(run.steps for run in view.runs)
    planned = len(view.runs) * view.n_steps
    of_all = f" of {planned:,}" if steps < planned else ""
    yield "steps of all runs", f"{steps:,}{of_all}", f"{view.n_steps:,} each"
    if view.shared is not None:
        calls = account_of(view.shared).n_calls
        yield "reference calls", f"{calls:,}", "of all runs together"
        return
    called = [run for run in view.runs if run.calls is not None]
    if called:
        calls = sum(run.calls or 0 for run in called)
        yield "reference calls", f"{calls:,}", "of all runs"
    verdicts = [run.verdict for run in view.runs if run.verdict]
    if verdicts:
        good = verdicts.count("converged")
        yield "converged", f"{good} of {len(verdicts)}", "models of finished runs"


def results_section(view: SweepView) -> str:
    """Return the chapter on what the runs come to."""
    rows = [
        [_drawing(f"picture-{j}-{k}", picture) for k, picture in enumerate(row)]
        for j, row in enumerate(view.pictures)
    ]
    chapter = [
        sentences([phases_in_words(view), *view.notes]),
        *map(gallery, rows),
        replicas_table(view),
        note(READING) if view.count("finished") else "",
    ]
    return section("results", "What came of it", chapter)


def _drawing(name: str, picture: Picture) -> Drawing:
    def draw(axes: Axes) -> None:
        picture.panel.draw(axes.figure, axes)
        _, names = axes.get_legend_handles_labels()
        if axes.get_legend() is None or not names:
            return
        # Inside of so narrow a plot, names would lie among the points.
        n_columns = names_in_a_row(axes, names)
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=n_columns)
        axes.figure.set_figheight(HEIGHT + ROW * -(-len(names) // n_columns))

    return drawing(name, picture.title, picture.alt, draw, height=HEIGHT + ROW)


def phases_in_words(view: SweepView) -> str:
    """Return how many runs ended in which phase, empty where none is known."""
    found = Counter(run.phase for run in view.runs if run.phase)
    if not found:
        return ""
    words = [f"{name} in {count}" for name, count in found.most_common()]
    unknown = view.count("finished") - found.total()
    if unknown:
        words.append(f"not known in {unknown}")
    return f"The phase is {', '.join(words)} of {view.count('finished')} finished runs."


def replicas_table(view: SweepView) -> str:
    """Return the table of sets of replicas, empty without any."""
    rows = [
        (
            one.name,
            f"{one.n_finished} of {one.n_runs}",
            *_means(one.means),
            one.phase or "–",
        )
        for one in view.sets
        if one.n_finished
    ]
    heads = ("of", "finished", *(head for head, _ in _MEANS), "phase")
    return table("Sets of replicas", heads, rows, names=1) if rows else ""


def shared_section(view: SweepView) -> str:
    """Return the chapter on what runs that learn together have learned."""
    if view.shared is None:
        return ""
    frames = comparisons(view.shared)
    end = view.shared.finish
    box = ""
    if end is not None:
        kind, word = (
            ("good", "Converged") if end.converged else ("warn", "Not converged")
        )
        box = verdict_box(kind, word, end.reason)
    more = ""
    if view.shared_page is not None:
        link = Link("The page of the shared model", view.shared_page)
        more = (
            f"<p>{link.html} has its errors beside their error bars, the map of the "
            "data, and how much of every run lies inside of them.</p>"
        )
    chapter = [
        box,
        cards(shared_numbers(view.shared, frames)),
        sentences(findings(view.shared, frames)),
        more,
    ]
    return section("shared", "What all runs have learned", chapter)


def shared_numbers(
    view: RunView, frames: Sequence[Comparison]
) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and note of the cards of the shared model."""
    a = account_of(view)
    yield "reference calls", f"{a.n_calls:,}", f"{a.n_audits} of them audits"
    per_call = f"{duration(a.seconds_per_call)} a call"
    yield "reference time", duration(a.reference_seconds), per_call
    if view.retrains:
        last = view.retrains[-1]
        made = f"from {last.n_frames:,} frames, {len(view.retrains)} fits"
        yield "local references", f"{last.n_references:,}", made
    audits = [frame for frame in frames if frame.audit]
    if audits:
        force = rmses(audits)["forces"].value
        yield "force error of audits", f"{force:.3g} eV/Å", "RMSE of components"


def runs_section(view: SweepView) -> str:
    """Return the chapter on every run."""
    learns = any(run.calls is not None for run in view.runs)
    rows = [
        (
            _name(run),
            run.verdict or run.state,
            *_means(run.means),
            f"{run.steps:,}",
            *(("–" if run.calls is None else f"{run.calls:,}",) if learns else ()),
            run.phase or "–",
        )
        for run in view.runs
    ]
    heads = ["run", "", *(head for head, _ in _MEANS), "steps"]
    heads += ["calls", "phase"] if learns else ["phase"]
    linked = any(run.page for run in view.runs)
    words = "The names lead to the pages of the runs." if linked else ""
    every = table("All runs", heads, rows, note=words, names=2)
    waiting = sum(run.state == "not finished" and not run.steps for run in view.runs)
    who = "1 run has" if waiting == 1 else f"{waiting} runs have"
    lines = [f"{who} made no step so far."] if waiting else []
    return section("runs", "The runs", [sentences(lines), left_table(view), every])


def left_table(view: SweepView) -> str:
    """Return the table of runs that failed or were stopped, and why; or nothing."""
    left = [
        run
        for run in view.runs
        if run.state == "failed" or (run.state == "not finished" and run.steps)
    ]
    rows = [
        (_name(run), run.state, f"{run.steps:,} of {view.n_steps:,}", _reason(run))
        for run in left
    ]
    heads = ("run", "", "steps", "why")
    return table("Runs that are not finished", heads, rows, names=2) if rows else ""


def _reason(run: SweepRun) -> str:
    return run.problem or "stopped; otf-md sweep goes on from its checkpoint"


def _name(run: SweepRun) -> object:
    return run.name if run.page is None else Link(run.name, run.page)


def _means(means: RunMeans) -> list[str]:
    return [
        with_error(getattr(means, name), decimals)
        for name, (_, decimals) in zip(QUANTITIES, _MEANS, strict=True)
    ]
