"""What runs left, compared to the last bit, and runs that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from otf.store.frames import read_frames
from otf.store.schema import RunFolder


def trajectory(folder):
    """Return the frames of a run."""
    _, frames = read_frames(RunFolder(Path(folder)).frames)
    return frames


def same_frames(ours, theirs) -> bool:
    """Return whether there are any, and all are the same."""
    return len(ours) == len(theirs) > 0 and all(
        a.step == b.step
        and np.array_equal(a.positions, b.positions)
        and np.array_equal(a.velocities, b.velocities)
        and np.array_equal(a.forces, b.forces)
        and a.conserved == b.conserved
        for a, b in zip(ours, theirs, strict=True)
    )


def same_trajectory(first, second) -> bool:
    """Return whether two runs made the same steps."""
    return same_frames(trajectory(first), trajectory(second))


def run_until_killed(path, run, seconds: float) -> bool:
    """Kill a run so long after its journal is there; return whether it had not ended.

    Parameters
    ----------
    path
        Of the input.
    run
        Its folder.
    seconds
        As above.
    """
    child = subprocess.Popen(
        [sys.executable, "-m", "otf.cli", "run", str(path)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not RunFolder(run).journal.exists() and child.poll() is None:
        time.sleep(0.01)
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    return child.wait() == -signal.SIGKILL
