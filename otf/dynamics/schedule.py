"""The plan of a run: stages, linear ramps of the temperature and the pressure."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

from otf.errors import InputError
from otf.units import GPA

Pressure = tuple[float, float, float]
"""Along x, y and z in eV/angstrom^3, compression positive."""


@dataclass(frozen=True)
class Target:
    """What the surroundings impose on one step.

    Attributes
    ----------
    temperature : K; integrators without a thermostat do not look at it
    pressure : eV/angstrom^3 along x, y and z, compression positive; None where the cell
        is held
    """

    temperature: float
    pressure: Pressure | None = None


@dataclass(frozen=True)
class Stage:
    """So many steps, from one temperature (K) to another.

    Attributes
    ----------
    steps : of the stage
    temperature_start, temperature_end : K
    pressure_start, pressure_end : eV/angstrom^3 along x, y and z; None when the cell is
        held

    Raises
    ------
    InputError
        When steps are not positive or a temperature is negative.
    """

    steps: int
    temperature_start: float
    temperature_end: float
    pressure_start: Pressure | None = None
    pressure_end: Pressure | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"a stage needs at least one step, got {self.steps}")
        for value in (self.temperature_start, self.temperature_end):
            if not 0.0 <= value < float("inf"):
                raise InputError(
                    f"the temperature of a stage must be 0 K or above, got {value:g} K"
                )

    @property
    def name(self) -> str:
        """Return the temperatures in K and the pressures in GPa, in words."""
        name = _range(f"{self.temperature_start:g}", f"{self.temperature_end:g}", "K")
        if self.pressure_start is None:
            return name
        end = self.pressure_start if self.pressure_end is None else self.pressure_end
        pressures = _range(_in_GPa(self.pressure_start), _in_GPa(end), "GPa")
        return f"{name}, {pressures}"

    def temperature(self, step: int) -> float:
        """Return the temperature in K after ``step`` steps of this stage."""
        return _between(step / self.steps, self.temperature_start, self.temperature_end)

    def pressure(self, step: int) -> Pressure | None:
        """Return the pressure after ``step`` steps of this stage."""
        if self.pressure_start is None:
            return None
        end = self.pressure_start if self.pressure_end is None else self.pressure_end
        share = step / self.steps
        x, y, z = (
            _between(share, a, b) for a, b in zip(self.pressure_start, end, strict=True)
        )
        return x, y, z


def _range(start: str, end: str, unit: str) -> str:
    return f"{start} {unit}" if start == end else f"{start} {unit} to {end} {unit}"


def _in_GPa(pressure: Pressure) -> str:  # noqa: N802 - the unit in the name
    numbers = [f"{p / GPA:g}" for p in pressure]
    return numbers[0] if len(set(numbers)) == 1 else ", ".join(numbers)


def _between(share: float, start: float, end: float) -> float:
    return (1.0 - share) * start + share * end


@dataclass(frozen=True)
class Schedule:
    """Stages in order.

    Raises
    ------
    InputError
        When there is no stage.
    """

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        if not self.stages:
            raise InputError("a run needs at least one stage")

    @property
    def ends(self) -> tuple[int, ...]:
        """Return the step at which each stage is over."""
        return tuple(accumulate(stage.steps for stage in self.stages))

    @property
    def steps(self) -> int:
        """Return the number of steps of the whole run."""
        return self.ends[-1]

    def stage_index(self, step: int) -> int:
        """Return which stage makes the step after ``step``; the last one at the end."""
        return min(bisect_right(self.ends, step), len(self.stages) - 1)

    def target(self, step: int) -> Target:
        """Return what holds for the step that starts from step number ``step``.

        At the border of two stages that is the start of the later one; at the end of
        the run and beyond it is the end of the last.
        """
        index = self.stage_index(step)
        stage = self.stages[index]
        begin = self.ends[index] - stage.steps
        made = min(step - begin, stage.steps)
        return Target(stage.temperature(made), stage.pressure(made))
