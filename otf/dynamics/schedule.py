"""The plan of a run: stages in order, each a linear ramp of the temperature."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

from otf.errors import InputError


@dataclass(frozen=True)
class Target:
    """What the surroundings impose on one step.

    Attributes
    ----------
    temperature : K; integrators without a thermostat do not look at it
    """

    temperature: float


@dataclass(frozen=True)
class Stage:
    """So many steps, from one temperature (K) to another.

    Raises
    ------
    InputError
        When steps are not positive or a temperature is negative.
    """

    steps: int
    temperature_start: float
    temperature_end: float

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"a stage needs at least one step, got {self.steps}")
        for value in (self.temperature_start, self.temperature_end):
            if not 0.0 <= value < float("inf"):
                raise InputError(
                    f"the temperature of a stage must be 0 K or above, got {value:g} K"
                )

    def temperature(self, step: int) -> float:
        """Return the temperature in K after ``step`` steps of this stage."""
        share = step / self.steps
        return (1.0 - share) * self.temperature_start + share * self.temperature_end


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
        return Target(stage.temperature(min(step - begin, stage.steps)))
