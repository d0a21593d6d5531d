"""What ends a run before its last step: walltime, a signal, a file named STOP."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Ask it after every step; while it is entered, signals only leave a note.

    Parameters
    ----------
    file
        A run ends when this file exists; it is removed then.
    walltime
        Seconds, None for no limit.
    """

    def __init__(self, file: Path, *, walltime: float | None = None) -> None:
        self._file = file
        self._deadline = None if walltime is None else time.monotonic() + walltime
        self._signal: int | None = None
        self._old: dict[int, object] = {}

    @property
    def signal(self) -> int | None:
        """Return the number of the signal that came, None without one."""
        return self._signal

    def reason(self) -> str | None:
        """Return why the run must end now, in words; None to go on."""
        if self._signal is not None:
            return f"signal {signal.Signals(self._signal).name}"
        if self._deadline is not None and time.monotonic() > self._deadline:
            return "walltime (limits.walltime_h)"
        if self._file.exists():
            self._file.unlink(missing_ok=True)
            return f"file {self._file.name}"
        return None

    def __enter__(self) -> Self:
        # Only the main thread may take signals; elsewhere the caller handles them.
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._old.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:  # asked twice: do not wait for the step to end
            raise KeyboardInterrupt
        self._signal = number
