"""What a command cost: wall clock and memory of the whole process."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

_IMPORTED = time.monotonic()


def seconds() -> float:
    """Return the wall clock since the process began, imports included.

    Where the system does not tell when that was, the time since the command was loaded.
    """
    try:
        text = Path("/proc/self/stat").read_text()
        # The name of the program, field 2, may hold spaces and brackets.
        ticks = int(text.rpartition(")")[2].split()[19])
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
    except (OSError, AttributeError, ValueError, IndexError):
        return time.monotonic() - _IMPORTED
    return now - ticks / os.sysconf("SC_CLK_TCK")


def peak_memory() -> float:
    """Return the largest resident memory of this program so far in bytes."""
    # On Linux ru_maxrss also counts the program that started this one.
    try:
        text = Path("/proc/self/status").read_text()
        return 1024.0 * float(text.partition("VmHWM:")[2].split()[0])
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return float(peak if sys.platform == "darwin" else 1024 * peak)
