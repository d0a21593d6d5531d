"""The page of a run, with what its input file says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otf.errors import InputError
from otf.report import Plan, write_report
from otf.settings import parse_settings

if TYPE_CHECKING:
    from pathlib import Path

    from otf.settings import Settings
    from otf.store.run_reader import RunView


def write_run_page(view: RunView, path: Path) -> None:
    """Write the page of a run, finished or not.

    Raises
    ------
    StoreError
        When the frames are damaged or the page cannot be written.
    """
    write_report(view, path, plan_of(view))


def plan_of(view: RunView) -> Plan | None:
    """Return what a run was asked for; None where its input is of another version."""
    try:
        settings = parse_settings(
            view.start.input_text, name="input.toml", folder=view.folder.path.parent
        )
    except InputError:
        return None
    return Plan(
        n_steps=settings.dynamics.n_steps,
        ramps=tuple(
            stage.temperature_end_K is not None or stage.pressure_end_GPa is not None
            for stage in settings.dynamics.stages
        ),
        spilling_bound=_spilling_bound(settings),
        works_beside=_works_beside(settings),
    )


def _spilling_bound(settings: Settings) -> float:
    if settings.is_learning:
        return settings.learning.spilling_bound
    return settings.potential.max_spilling


def _works_beside(settings: Settings) -> bool:
    reference = settings.reference
    ahead = reference is not None and reference.works_ahead
    return ahead or settings.learning.retrain_latency_steps > 0
