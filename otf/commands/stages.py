"""What a person sees while a data set is read, fitted or evaluated."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

WORDS = {
    "describe": "describing the structures",
    "select": "choosing local references",
    "rows": "computing the rows of the regression",
    "solve": "solving it",
    "stress": "comparing stresses with energies",
    "predict": "predicting",
    "deviations": "computing their deviations",
    "label": "waiting for labels",
    "calibrate": "predicting structures held back",
    "prove": "predicting the proof frames",
}
COUNTED = ("describe", "rows", "predict", "deviations", "prove", "label")


class Stages:
    """A line for each stage on standard error, rewritten on a terminal.

    Parameters
    ----------
    stream
        Where to print; standard error by default.
    interval
        Seconds between two lines of one stage.

    Attributes
    ----------
    part : put before every line, where the same stages come again and again; away from
        a terminal a new stage is then no reason for a line
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        interval: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._interval = interval or (0.2 if self._terminal else 10.0)
        self._clock = clock
        self.part = ""
        self._stage = ""
        self._printed = -math.inf
        self._open = False

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Print when the stage is new, or when it is time."""
        now = self._clock()
        same = stage == self._stage or (bool(self.part) and not self._terminal)
        if same and now - self._printed < self._interval:
            return
        self._stage, self._printed = stage, now
        text = self.part + WORDS.get(stage, stage)
        if stage in COUNTED:
            text += f": {done} of {total}" if done else f": {total} structures"
        if self._terminal:
            self._stream.write(f"\r\x1b[K{text}")
            self._open = True
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self.close()
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def close(self) -> None:
        """Remove the rewritten line."""
        if self._open:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._open = False
        self._stage = ""
