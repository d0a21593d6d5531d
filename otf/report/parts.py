"""The parts of a run: its stages, as they were made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from otf.report.figure import QUIET, SERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import BoolArray, FloatArray
    from otf.report.figure import Axes
    from otf.report.plan import Plan
    from otf.store.run_reader import RunView

RAMP = SERIES[5]
SHADE = 0.13


@dataclass(frozen=True)
class Part:
    """One stage of a run.

    Attributes
    ----------
    number : from 1
    name : its temperatures and pressures in words; empty for a run without stages
    first, last : the part has the steps after the first up to the last
    ramp : whether its temperature or pressure is changed on purpose
    """

    number: int
    name: str
    first: int
    last: int
    ramp: bool = False

    def holds(self, steps: FloatArray) -> BoolArray:
        """Return which steps (k,) belong to it; the very first belongs to the first."""
        inside = (steps > self.first) & (steps <= self.last)
        return np.asarray(inside | ((steps == self.first) & (self.number == 1)))

    @property
    def words(self) -> str:
        """Return how a sentence calls it."""
        return f"Stage {self.number} ({self.name})" if self.name else "The run"


def parts_of(view: RunView, plan: Plan | None) -> list[Part]:
    """Return the stages that were begun, the whole run where none is known."""
    begun: list[tuple[int, str]] = []
    for stage in view.stages:
        # A roll-back across the border of two stages begins the later one again.
        begun = [(step, name) for step, name in begun if step < stage.step]
        begun.append((stage.step, stage.name))
    begun = begun or [(0, "")]
    ends = [step for step, _ in begun[1:]] + [max(view.step, begun[-1][0])]
    ramps = () if plan is None else plan.ramps
    return [
        Part(k + 1, name, step, end, ramp=k < len(ramps) and ramps[k])
        for k, ((step, name), end) in enumerate(zip(begun, ends, strict=True))
    ]


def time_ps(view: RunView) -> FloatArray:
    """Return the times of the table in picoseconds."""
    return view.thermo["time_fs"] / 1000.0


def ps_of(view: RunView, steps: Sequence[float] | FloatArray) -> FloatArray:
    """Return the time in picoseconds at which steps were made."""
    table = view.thermo
    if not len(table["step"]):
        return np.asarray(steps, dtype=np.float64)
    # The table may skip steps, and time need not be uniform over stages.
    known = np.interp(np.asarray(steps, np.float64), table["step"], table["time_fs"])
    return np.asarray(known, dtype=np.float64) / 1000.0


def shade(axes: Axes, view: RunView, parts: Sequence[Part]) -> None:
    """Shade ramps and every other held stage, and number them along the upper edge."""
    if len(parts) < 2 and not any(part.ramp for part in parts):
        return
    for part in parts:
        start, end = ps_of(view, [part.first, part.last])
        if part.ramp:
            axes.axvspan(start, end, color=RAMP, alpha=SHADE, linewidth=0, zorder=-2)
        elif part.number % 2 == 0:
            axes.axvspan(start, end, color=QUIET, alpha=SHADE, linewidth=0, zorder=-2)
        axes.annotate(
            str(part.number),
            (0.5 * (start + end), 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 1),
            textcoords="offset points",
            ha="center",
            va="bottom",
            color=QUIET,
        )
