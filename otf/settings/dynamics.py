"""Sections on how the atoms move."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from otf.settings.base import (
    Count,
    Element,
    NotNegative,
    Positive,
    Section,
    Text,
    by_number,
)
from otf.units import FS, GPA

Triple = tuple[float, float, float]
Temperature = Annotated[float, Field(ge=0.0, le=1e6)]
Friction = Annotated[
    Annotated[NotNegative, Tag("number")]
    | Annotated[dict[Element, NotNegative], Tag("table")],
    Discriminator(lambda value: "table" if isinstance(value, dict) else "number"),
]


Pressure = Annotated[
    Annotated[float, Tag("number")]
    | Annotated[tuple[float, float, float], Field(strict=False), Tag("list")],
    Discriminator(
        lambda value: "list" if isinstance(value, list | tuple) else "number"
    ),
]
Component = Literal["xx", "yy", "zz", "yz", "xz", "xy"]
Cell = Annotated[
    Annotated[Literal["isotropic", "orthorhombic", "full", "fixed-angles"], Tag("word")]
    | Annotated[tuple[Component, ...], Field(strict=False, min_length=1), Tag("list")],
    Discriminator(lambda value: "list" if isinstance(value, list | tuple) else "word"),
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
    pressure_GPa: Pressure | None = Field(
        default=None,
        description='Pressure of ensemble = "NPT" and "NPH" at the start of the stage: '
        "one number, or three along x, y and z, such as [0.0, 0.0, 1.0].",
        examples=[0.0],
    )
    pressure_end_GPa: Pressure | None = Field(
        default=None,
        description="Pressure at its end, reached linearly; without it constant.",
        examples=[10.0],
    )
    hold_cell: bool = Field(
        default=False,
        description='Whether the cell of ensemble = "NPT" or "NPH" is held in this '
        "stage.",
    )

    @property
    def temperatures(self) -> tuple[float, float]:
        """Return the temperatures in K at the start and the end of the stage."""
        start = 0.0 if self.temperature_K is None else self.temperature_K
        end = start if self.temperature_end_K is None else self.temperature_end_K
        return start, end

    @property
    def takes_pressure(self) -> bool:
        """Return whether the pressure is left to a sweep."""
        return self.pressure_GPa is None and not self.hold_cell

    @property
    def pressures(self) -> tuple[Triple, Triple] | None:
        """Return the pressures in eV/angstrom^3 at the start and the end, by axis.

        None where the cell is held.
        """
        if self.pressure_GPa is None:
            return None
        start = _by_axis(self.pressure_GPa)
        if self.pressure_end_GPa is None:
            return start, start
        return start, _by_axis(self.pressure_end_GPa)


def _by_axis(pressure: float | Triple) -> Triple:
    x, y, z = pressure if isinstance(pressure, tuple) else (pressure,) * 3
    return x * GPA, y * GPA, z * GPA


class Respa(Section):
    """Two time steps; without this section there is one."""

    inner_steps: Annotated[int, Field(ge=2, le=100)] = Field(
        description="Short steps in one of `timestep_fs`, under the fast force alone.",
        examples=[4],
    )
    fast: Text = Field(
        default="baseline",
        description='What gives the fast force: the "baseline", what a finished model '
        'has "learned" beyond it, or the file of a cheaper model.',
        examples=["cheap.h5"],
    )

    @property
    def model(self) -> str | None:
        """Return the file of the cheaper model, None when a part of the own is fast."""
        return None if self.fast in ("baseline", "learned") else self.fast


class Dynamics(Section):
    """The equations of motion."""

    timestep_fs: Annotated[float, Field(gt=0.0, le=20.0)] = Field(
        default=1.0,
        description="Time step.",
    )
    ensemble: Literal["NVE", "NVT", "NPT", "NPH"] = Field(
        default="NVT",
        description='What is conserved; "NPH" has a cell with inertia and no '
        "thermostat.",
    )
    thermostat: Literal["langevin", "nose-hoover", "csvr"] = Field(
        default="langevin",
        description='Thermostat of ensemble = "NVT" and "NPT"; barostat = "mtk" has '
        '"nose-hoover".',
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
        description="Length of the Nosé-Hoover chains.",
    )
    barostat: Literal["cell-rescaling", "parrinello-rahman", "mtk"] = Field(
        default="cell-rescaling",
        description='Barostat of ensemble = "NPT".',
    )
    cell: Cell = Field(
        default="isotropic",
        description='What of the cell may change with ensemble = "NPT" or "NPH"; or a '
        'list of components, such as ["zz"] or ["xx", "yy", "zz", "xz"].',
    )
    barostat_time_fs: Positive = Field(
        default=1000.0,
        description="Time constant of the barostat.",
    )
    compressibility_per_GPa: Positive = Field(
        default=0.01,
        description='What "cell-rescaling" takes the compressibility for: the cell '
        "relaxes faster by as much as it is overestimated.",
    )
    cell_friction_per_ps: NotNegative = Field(
        default=2.0,
        description='Friction of the cell in "parrinello-rahman".',
    )
    cell_mass_amu: Positive | None = Field(
        default=None,
        description='Mass of the cell in "parrinello-rahman", as PMASS of VASP; '
        "without it that of the time constant.",
        examples=[1000.0],
    )
    initial_temperature_K: Temperature | None = Field(
        default=None,
        description="Temperature of the first velocities; without it that of the first "
        "stage.",
        examples=[300.0],
    )
    respa: Respa | None = Field(
        default=None,
        description="A long time step, and a short one for cheap forces.",
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
    def moves_cell(self) -> bool:
        """Return whether a pressure moves the cell."""
        return self.ensemble in ("NPT", "NPH")

    @property
    def thermostat_in_use(self) -> str:
        """Return the thermostat, empty without one."""
        if self.ensemble in ("NVE", "NPH"):
            return ""
        if self.ensemble == "NPT" and self.barostat == "mtk":
            return "nose-hoover"
        return self.thermostat

    @property
    def barostat_time(self) -> float:
        """Return the time constant of the barostat in internal time."""
        return self.barostat_time_fs * FS

    @property
    def cell_friction(self) -> float:
        """Return the friction of the cell per internal time."""
        return self.cell_friction_per_ps / (1000.0 * FS)

    @property
    def compressibility(self) -> float:
        """Return the compressibility in angstrom^3/eV."""
        return self.compressibility_per_GPa / GPA

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
