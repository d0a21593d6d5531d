"""The section on crystal and melt in one cell."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from otf.settings.base import Count, Positive, Section


def _kind(value: object) -> str:
    return "list" if isinstance(value, list | tuple) else "number"


Temperatures = Annotated[
    Annotated[Positive, Tag("number")]
    | Annotated[tuple[Positive, ...], Field(strict=False, min_length=1), Tag("list")],
    Discriminator(_kind),
]
Pressures = Annotated[
    Annotated[float, Tag("number")]
    | Annotated[tuple[float, ...], Field(strict=False, min_length=1), Tag("list")],
    Discriminator(_kind),
]


class Coexistence(Section):
    """Crystal and melt in one cell, for `otf-md coexistence`."""

    method: Literal["enthalpy", "velocity"] = Field(
        default="enthalpy",
        description='"enthalpy": the temperature of two phases at constant enthalpy. '
        '"velocity": where a crystal whose temperature is held neither grows nor '
        "melts.",
    )
    temperature_K: Temperatures = Field(
        description="Estimate of the melting temperature, or one for each pressure.",
        examples=[1700.0],
    )
    pressure_GPa: Pressures = Field(
        default=0.0,
        description="Pressure, or several for a melting line, such as [0.0, 5.0].",
    )
    spread: Annotated[float, Field(gt=0.0, lt=0.5)] = Field(
        default=0.04,
        description="How far above and below the estimate simulations start, as a "
        "share of it.",
    )
    temperatures: Annotated[int, Field(ge=3, le=99)] = Field(
        default=5,
        description='Temperatures of method = "velocity", within the spread.',
    )
    melt_temperature_K: Positive | None = Field(
        default=None,
        description="Temperature that melts half of the crystal while the rest is "
        "held; without it 2.5 times the estimate.",
        examples=[4000.0],
    )
    crystal_steps: Count = Field(
        default=5000,
        description="Steps of the crystal at the estimate, and of its melt; the first "
        "two vectors of the mean cell of the crystal are those of the two phases, the "
        "third is the mean of both.",
    )
    melt_steps: Count = Field(
        default=5000,
        description="Steps of melting, and again of cooling to the estimate; once for "
        "all of the crystal and once for its half.",
    )
    join_steps: Count = Field(
        default=3000,
        description="Steps at constant temperature and pressure after the crystal is "
        "let go.",
    )
    steps: Count = Field(
        default=50000,
        description="Steps of each simulation that is judged.",
    )
    equilibration_steps: Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        description='Steps at the beginning of each run of method = "enthalpy" that '
        "are not judged; without it half of them.",
        examples=[25000],
    )
    replicas: Annotated[int, Field(ge=1, le=99)] = Field(
        default=1,
        description="Simulations from every temperature, each with random numbers of "
        "its own.",
    )
    neighbors: Annotated[int, Field(ge=4, le=60)] | None = Field(
        default=None,
        description="Nearest neighbours the order parameter looks at; without it those "
        "of the closed shells of the crystal, at least 12.",
        examples=[12],
    )

    @property
    def pressures(self) -> tuple[float, ...]:
        """Return the pressures in GPa."""
        p = self.pressure_GPa
        return p if isinstance(p, tuple) else (p,)

    @property
    def estimates(self) -> tuple[float, ...]:
        """Return the estimate at each pressure in K."""
        T = self.temperature_K
        return T if isinstance(T, tuple) else (T,) * len(self.pressures)
