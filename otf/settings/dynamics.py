"""Sections on how the atoms move."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from otf.settings.base import Count, Element, NotNegative, Positive, Section, by_number
from otf.units import FS

Temperature = Annotated[float, Field(ge=0.0, le=1e6)]
Friction = Annotated[
    Annotated[NotNegative, Tag("number")]
    | Annotated[dict[Element, NotNegative], Tag("table")],
    Discriminator(lambda value: "table" if isinstance(value, dict) else "number"),
]


class Stage(Section):
    """One part of the trajectory."""

    steps: Count = Field(description="Steps of this stage.", examples=[1000])
    temperature_K: Temperature | None = Field(
        default=None,
        description="Temperature of the thermostat at the start of the stage.",
        examples=[300.0],
    )
    temperature_end_K: Temperature | None = Field(
        default=None,
        description="Temperature at its end, reached linearly; without it constant.",
        examples=[300.0],
    )

    @property
    def temperatures(self) -> tuple[float, float]:
        """Return the temperatures in K at the start and the end of the stage."""
        start = 0.0 if self.temperature_K is None else self.temperature_K
        end = start if self.temperature_end_K is None else self.temperature_end_K
        return start, end


class Dynamics(Section):
    """The equations of motion."""

    timestep_fs: Annotated[float, Field(gt=0.0, le=20.0)] = Field(
        default=1.0,
        description="Time step.",
    )
    ensemble: Literal["NVE", "NVT"] = Field(
        default="NVT",
        description="What is conserved.",
    )
    thermostat: Literal["langevin", "nose-hoover", "csvr"] = Field(
        default="langevin",
        description='Thermostat of ensemble = "NVT".',
    )
    friction_per_ps: Friction = Field(
        default=10.0,
        description="Friction of the Langevin thermostat, or one for each element, "
        "such as { Na = 5, Cl = 10 }.",
    )
    time_constant_fs: Positive = Field(
        default=100.0,
        description='Time constant of "nose-hoover" and "csvr".',
    )
    chain_length: Annotated[int, Field(ge=1, le=10)] = Field(
        default=3,
        description="Length of the Nosé-Hoover chain.",
    )
    initial_temperature_K: Temperature | None = Field(
        default=None,
        description="Temperature of the first velocities; without it that of the first "
        "stage.",
        examples=[300.0],
    )
    stages: Annotated[tuple[Stage, ...], Field(strict=False)] = Field(
        default=(),
        description="The stages, in order.",
    )

    @property
    def timestep(self) -> float:
        """Return the time step in internal time."""
        return self.timestep_fs * FS

    @property
    def time_constant(self) -> float:
        """Return the time constant of the thermostat in internal time."""
        return self.time_constant_fs * FS

    @property
    def friction(self) -> float | dict[int, float]:
        """Return the friction per internal time: one, or one by atomic number."""
        per_ps = 1.0 / (1000.0 * FS)
        if isinstance(self.friction_per_ps, dict):
            table = by_number(self.friction_per_ps)
            return {number: value * per_ps for number, value in table.items()}
        return self.friction_per_ps * per_ps

    @property
    def start_temperature(self) -> float:
        """Return the temperature in K the first velocities are drawn from."""
        if self.initial_temperature_K is not None:
            return self.initial_temperature_K
        return self.stages[0].temperatures[0] if self.stages else 0.0

    @property
    def n_steps(self) -> int:
        """Return the planned steps of all stages."""
        return sum(stage.steps for stage in self.stages)
