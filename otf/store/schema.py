"""Names of everything in a run folder; no path of a run is written anywhere else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_CHECKPOINT = re.compile(r"checkpoint-(\d+)-step-(\d+)\.npz")
_MODEL_STATE = re.compile(r"model-(\d+)\.npz")
SHARED = "shared"


@dataclass(frozen=True)
class SweepFolder:
    """Paths inside the folder of a sweep; each run has a folder of its own there."""

    path: Path

    @property
    def lock(self) -> Path:
        """Return the file the process that sweeps holds locked."""
        return self.path / "lock"

    @property
    def stop(self) -> Path:
        """Return the file whose presence ends all runs at their next step."""
        return self.path / "STOP"

    @property
    def input(self) -> Path:
        """Return the copy of the input file of the sweep."""
        return self.path / "sweep.toml"

    @property
    def report(self) -> Path:
        """Return the page about the sweep."""
        return self.path / "report.html"

    @property
    def results(self) -> Path:
        """Return the results, less the suffix of their several forms."""
        return self.path / "sweep"

    @property
    def shared(self) -> RunFolder:
        """Return where runs that learn together keep what they learn."""
        return RunFolder(self.path / SHARED)

    def member(self, name: str) -> RunFolder:
        """Return the folder of one run."""
        return RunFolder(self.path / name)


@dataclass(frozen=True)
class RunFolder:
    """Paths inside the folder of one run."""

    path: Path

    @property
    def input(self) -> Path:
        """Return the copy of the input file."""
        return self.path / "input.toml"

    @property
    def journal(self) -> Path:
        """Return the journal, the truth about labels and decisions."""
        return self.path / "journal.bin"

    @property
    def frames(self) -> Path:
        """Return the raw frames, the truth behind the trajectory."""
        return self.path / "frames.bin"

    @property
    def trajectory(self) -> Path:
        """Return the H5MD trajectory, derived from the frames."""
        return self.path / "trajectory.h5md"

    @property
    def thermo(self) -> Path:
        """Return the table for people and spreadsheets."""
        return self.path / "thermo.csv"

    @property
    def model(self) -> Path:
        """Return the model of a finished run."""
        return self.path / "model.h5"

    @property
    def fast_model(self) -> Path:
        """Return the copy of the model that gives the fast force."""
        return self.path / "fast.h5"

    @property
    def report(self) -> Path:
        """Return the page about the run."""
        return self.path / "report.html"

    @property
    def stop(self) -> Path:
        """Return the file whose presence ends the run at its next step."""
        return self.path / "STOP"

    @property
    def lock(self) -> Path:
        """Return the file the running process holds locked."""
        return self.path / "lock"

    @property
    def reference(self) -> Path:
        """Return where the reference code works."""
        return self.path / "reference"

    @property
    def printed(self) -> Path:
        """Return what the process of a run printed that somebody else began."""
        return self.path / "printed.txt"

    @property
    def quarantine(self) -> Path:
        """Return where structures without labels are put aside."""
        return self.path / "quarantine"

    def checkpoint(self, serial: int, step: int) -> Path:
        """Return a checkpoint; serials grow, steps fall back at a roll-back."""
        return self.path / f"checkpoint-{serial:06d}-step-{step}.npz"

    def model_state(self, serial: int) -> Path:
        """Return the model arrays that checkpoint ``serial`` was the first to use."""
        return self.path / f"model-{serial:06d}.npz"

    def checkpoints(self) -> list[tuple[int, Path]]:
        """Return (serial, path) of all checkpoints, oldest first."""
        return self._numbered(_CHECKPOINT)

    def model_states(self) -> list[tuple[int, Path]]:
        """Return (serial, path) of all files of model arrays, oldest first."""
        return self._numbered(_MODEL_STATE)

    def _numbered(self, pattern: re.Pattern[str]) -> list[tuple[int, Path]]:
        if not self.path.is_dir():
            return []
        matches = ((pattern.fullmatch(p.name), p) for p in self.path.iterdir())
        return sorted((int(m[1]), p) for m, p in matches if m)
