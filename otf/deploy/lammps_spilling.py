"""The spilling during a LAMMPS run: one line of text at an interval."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from otf.configuration import FloatArray

# How launchers tell a process its place among the processes of a run: those of Open
# MPI, of MPICH and Intel MPI, and of Slurm.
PLACES = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID")
HEAD = "# evaluation  atoms  largest  of_element  mean"


class SpillingLog:
    """Appends the spilling of the local atoms to a file of this process.

    Parameters
    ----------
    path
        File; processes of an MPI run add their number to its name.
    every
        Evaluations from one line to the next, the first one included. LAMMPS does not
        tell a model its step: an evaluation is a step, and the start of every run.
    environment
        Variables that tell the number.
    """

    def __init__(
        self, path: Path, every: int, *, environment: Mapping[str, str] = os.environ
    ) -> None:
        self.path = own_path(path, environment)
        self.every = every
        self._n_evaluations = 0
        self._is_open = False
        self._has_failed = False

    def is_due(self) -> bool:
        """Count an evaluation; return whether its spilling is wanted."""
        due = self._n_evaluations % self.every == 0
        self._n_evaluations += 1
        return due and not self._has_failed

    def write(self, spilling: FloatArray, elements: Sequence[str]) -> None:
        """Append a line on the last evaluation.

        A file that cannot be written is said once and then left alone: an exception on
        one process of several would leave the others waiting.

        Parameters
        ----------
        spilling
            (n,) of the local atoms.
        elements
            (n,) symbols.
        """
        line = f"{self._n_evaluations - 1} {_summary(spilling, elements)}\n"
        if not self._is_open:
            line = f"{HEAD}\n{line}"
        try:
            with self.path.open("a") as file:
                file.write(line)
        except OSError as error:
            self._has_failed = True
            print(
                f"otf-md: warning: {self.path}: {error.strerror or error}; the "
                "spilling is not written any more",
                file=sys.stderr,
                flush=True,
            )
        self._is_open = True


def own_path(path: Path, environment: Mapping[str, str]) -> Path:
    """Return the file of this process; the given one where it is the only one."""
    for name in PLACES:
        if name in environment:
            return path.with_name(f"{path.name}.{environment[name]}")
    return path


def _summary(spilling: FloatArray, elements: Sequence[str]) -> str:
    """Return what the columns after the first say; nothing is known of no atoms."""
    if not len(spilling):
        return "0 nan - nan"
    worst = int(np.argmax(spilling))
    return (
        f"{len(spilling)} {spilling[worst]:.6e} {elements[worst]} {spilling.mean():.6e}"
    )
