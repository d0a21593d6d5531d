"""What a person at the terminal sees while a run goes on."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

HOURS_A_DAY = 86400.0


@dataclass(frozen=True)
class Status:
    """Where a run stands.

    Attributes
    ----------
    step, steps : made and planned
    temperature : K
    calls : reference calls, None in production
    error, threshold : e (NaN when it was not evaluated) and t in eV/angstrom
    under_way : labels computed beside the run
    """

    step: int
    steps: int
    temperature: float
    calls: int | None = None
    error: float = float("nan")
    threshold: float = float("nan")
    under_way: int = 0


class Progress:
    """One line, rewritten on a terminal, now and then a new one elsewhere.

    Parameters
    ----------
    timestep_fs
        For ns/day.
    stream
        Where to print; standard error by default.
    interval
        Seconds between two lines; longer where lines pile up.
    """

    def __init__(
        self,
        timestep_fs: float,
        *,
        stream: TextIO | None = None,
        interval: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._interval = interval or (0.5 if self._terminal else 10.0)
        self._timestep_fs = timestep_fs
        self._clock = clock
        self._begun: tuple[float, int] | None = None
        self._printed = -1e300
        self._error = float("nan")
        self._open = False

    def update(self, status: Status, *, last: bool = False) -> None:
        """Print when it is time, and always the last step."""
        now = self._clock()
        if self._begun is None:
            self._begun = now, status.step
        if status.error == status.error:  # the last one that was evaluated
            self._error = status.error
        if not last and now - self._printed < self._interval:
            return
        self._rewrite(self._line(status, now), now)
        if last:
            self.close()

    def labels(self, done: int, asked: int) -> None:
        """Print when it is time how many of several labels have arrived."""
        self.say(f"waiting for labels: {done} of {asked} have arrived")

    def say(self, text: str) -> None:
        """Print a line that will be rewritten, when it is time."""
        now = self._clock()
        if now - self._printed >= self._interval:
            self._rewrite(text, now)

    def _rewrite(self, text: str, now: float) -> None:
        self._printed = now
        if self._terminal:
            self._stream.write(f"\r\x1b[K{text}")
            self._open = True
        else:
            self._stream.write(text + "\n")
        self._stream.flush()

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self.close()
        self._stream.write(text + "\n")
        self._stream.flush()

    def close(self) -> None:
        """End the rewritten line."""
        if self._open:
            self._stream.write("\n")
            self._open = False

    def _line(self, status: Status, now: float) -> str:
        assert self._begun is not None  # set by update
        begun, first = self._begun
        seconds, made = now - begun, status.step - first
        parts = [f"step {status.step}/{status.steps}", f"{status.temperature:.0f} K"]
        if made > 0 and seconds > 0:
            rate = made / seconds
            parts.append(f"{rate * self._timestep_fs * 1e-6 * HOURS_A_DAY:.3g} ns/day")
        if status.calls is not None:
            bypassed = 1.0 - status.calls / max(status.step + 1, status.calls)
            parts.append(f"{status.calls} calls, {bypassed:.2%} bypassed")
            if status.under_way:
                parts.append(f"{status.under_way} under way")
            parts.append(f"e {self._error:.3f} / t {status.threshold:.3f} eV/A")
        if made > 0 and seconds > 0:
            parts.append(f"ETA {duration((status.steps - status.step) / rate)}")
        return " | ".join(parts)


def duration(seconds: float) -> str:
    """Return seconds in hours and minutes, minutes and seconds, or seconds."""
    minutes, second = divmod(int(seconds + 0.5), 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minute:02d} min"
    return f"{minute} min {second:02d} s" if minute else f"{second} s"
