"""The section on what is varied from run to run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from otf.settings.base import Element, Positive, Section, Text

if TYPE_CHECKING:
    from otf.settings.dynamics import Dynamics
    from otf.settings.settings import Settings

Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Sweep(Section):
    """Values that are combined, each combination one run of `otf-md sweep`."""

    temperatures_K: Annotated[
        tuple[Annotated[Positive, Field(le=1e6)], ...], Field(strict=False)
    ] = Field(
        default=(),
        description="Temperatures of the stages that leave `temperature_K` out.",
    )
    pressures_GPa: Annotated[tuple[float, ...], Field(strict=False)] = Field(
        default=(),
        description="Pressures of the stages that leave `pressure_GPa` out and do not "
        "hold the cell.",
    )
    seeds: Annotated[tuple[Seed, ...], Field(strict=False)] = Field(
        default=(),
        description="Seeds of replicas, whose scatter gives error bars.",
        examples=[[1, 2, 3]],
    )
    structures: Annotated[tuple[Text, ...], Field(strict=False)] = Field(
        default=(),
        description="Structure files to start from, such as one for each phase; that "
        "of [structure] is one of them.",
    )
    share_model: bool = Field(
        default=False,
        description="Whether all runs learn together: one data set, one model.",
    )
    equilibration_steps: Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        description="Steps at the beginning of the last stage that means leave out; "
        "without it a fifth of that stage.",
        examples=[0],
    )
    phase_species: Annotated[tuple[Element, ...], Field(strict=False)] = Field(
        default=(),
        description="Atoms whose order gives the phase, as if the others were not "
        "there, such as one kind of ions; without them that of all atoms, as if they "
        "were alike.",
        examples=[["Na"]],
    )


def sweep_contradictions(settings: Settings, sweep: Sweep) -> list[str]:
    """Return what is wrong with what is varied."""
    axes = {
        "temperatures_K": sweep.temperatures_K,
        "pressures_GPa": sweep.pressures_GPa,
        "seeds": sweep.seeds,
        "structures": sweep.structures,
    }
    if not any(axes.values()):
        return [
            "[sweep] varies nothing: give temperatures_K, pressures_GPa, seeds or "
            "structures (sweep)"
        ]
    lines = [
        f"{key} has {json.dumps(value)} twice: remove one (sweep.{key})"
        for key, values in axes.items()
        for value in dict.fromkeys(v for v in values if values.count(v) > 1)
    ]
    if sweep.structures and settings.structure.file not in sweep.structures:
        lines.append(
            "file must be one of the structures of the sweep, got "
            f"{json.dumps(settings.structure.file)} (structure.file)"
        )
    last = settings.dynamics.stages[-1].steps if settings.dynamics.stages else 0
    left_out = sweep.equilibration_steps
    if last and left_out is not None and left_out >= last:
        lines.append(
            f"equilibration_steps must be less than the {last} steps of the last "
            f"stage, got {left_out} (sweep.equilibration_steps)"
        )
    return lines + _surroundings(settings.dynamics, sweep) + _shared(settings, sweep)


def _surroundings(dynamics: Dynamics, sweep: Sweep) -> list[str]:
    """Return what stages say against temperatures and pressures of a sweep."""
    lines = []
    warmed = "NPT" if dynamics.moves_cell else "NVT"
    if sweep.temperatures_K and not dynamics.thermostat_in_use:
        lines.append(
            f'temperatures_K contradicts ensemble = "{dynamics.ensemble}": set '
            f'ensemble = "{warmed}", or remove it (sweep.temperatures_K)'
        )
    elif sweep.temperatures_K and all(
        stage.temperature_K is not None for stage in dynamics.stages
    ):
        lines.append(
            "temperatures_K has no stage to hold in: remove temperature_K from those "
            "of [[dynamics.stages]] it is meant for (sweep.temperatures_K)"
        )
    if sweep.pressures_GPa and not dynamics.moves_cell:
        lines.append(
            f'pressures_GPa needs ensemble = "NPT" or "NPH", got ensemble = '
            f'"{dynamics.ensemble}" (sweep.pressures_GPa)'
        )
    elif sweep.pressures_GPa and not any(s.takes_pressure for s in dynamics.stages):
        lines.append(
            "pressures_GPa has no stage to hold in: remove pressure_GPa from those of "
            "[[dynamics.stages]] it is meant for (sweep.pressures_GPa)"
        )
    return lines


def _shared(settings: Settings, sweep: Sweep) -> list[str]:
    """Return what stands against runs that learn together."""
    if not sweep.share_model:
        return []
    if not settings.is_learning:
        return [
            "share_model needs runs that learn: remove it, or model under [potential] "
            "(sweep.share_model)"
        ]
    lines = []
    if settings.learning.policy == "budget":
        lines.append(
            'share_model needs policy = "calibrated" or "history": a budget is that of '
            "one run (learning.policy)"
        )
    if settings.learning.retrain_latency_steps:
        lines.append(
            "share_model needs retrain_latency_steps = 0: the others move on the model "
            "of every fit (learning.retrain_latency_steps)"
        )
    if settings.reference is not None and settings.reference.latency_steps:
        lines.append(
            "share_model needs latency_steps = 0: what one run asks for must not wait "
            "for its own clock (reference.latency_steps)"
        )
    return lines
