"""Labelled frames that wait for the next fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from otf.configuration import Configuration, IntArray, Labels

if TYPE_CHECKING:
    from otf.potential import Arrays


def under(arrays: Arrays, prefix: str) -> dict[str, np.ndarray]:
    """Return the entries whose names start with ``prefix/``, without it."""
    head = prefix + "/"
    return {
        name[len(head) :]: np.asarray(value)
        for name, value in arrays.items()
        if name.startswith(head)
    }


@dataclass(frozen=True, eq=False)
class _Entry:
    configuration: Configuration
    labels: Labels
    candidates: IntArray | None  # None: every atom
    reference: str = ""  # see ``Queue.add``

    def to_arrays(self) -> dict[str, np.ndarray]:
        out = dict(self.configuration.to_arrays())
        out |= {
            "energy": np.array(self.labels.energy),
            "forces": self.labels.forces,
            "stress": self.labels.stress,
        }
        if self.candidates is not None:
            out["candidates"] = self.candidates
        if self.reference:
            out["reference"] = np.array(self.reference)
        return out

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> _Entry:
        labels = Labels(
            float(arrays["energy"].item()),
            np.array(arrays["forces"], np.float64),
            np.array(arrays["stress"], np.float64),
        )
        candidates = arrays.get("candidates")
        return cls(
            Configuration.from_arrays(arrays),
            labels,
            None if candidates is None else np.array(candidates, np.int64),
            str(arrays["reference"]) if "reference" in arrays else "",
        )


class Waiting(NamedTuple):
    """Frames that are to be learned, as ``BayesianLinear.extend`` takes them."""

    frames: list[tuple[Configuration, Labels]]
    candidates: list[IntArray | None]
    references: list[str]


class Queue:
    """Frames in the order they were labelled, and how many each species was in."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._frames_of: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(
        self,
        configuration: Configuration,
        labels: Labels,
        candidates: IntArray | None,
        reference: str = "",
    ) -> None:
        """Append a frame.

        Parameters
        ----------
        configuration, labels
            Of the frame.
        candidates
            Atoms offered as local references; None for all.
        reference
            Fingerprint of the calculator from whose zero the energy counts; empty for
            that of the run.
        """
        self._entries.append(_Entry(configuration, labels, candidates, reference))
        for z in np.unique(configuration.numbers):
            self._frames_of[int(z)] = self._frames_of.get(int(z), 0) + 1

    @property
    def is_new(self) -> bool:
        """Return whether no frame was ever added."""
        return not self._frames_of

    def seen(self, configuration: Configuration) -> int:
        """Return in how many frames the rarest species of a configuration was."""
        return min(
            (self._frames_of.get(int(z), 0) for z in np.unique(configuration.numbers)),
            default=0,
        )

    def drain(self) -> Waiting:
        """Return all waiting frames, and forget them."""
        entries, self._entries = self._entries, []
        return Waiting(
            [(e.configuration, e.labels) for e in entries],
            [e.candidates for e in entries],
            [e.reference for e in entries],
        )

    def state(self) -> Arrays:
        """Return all entries and counts."""
        out: dict[str, np.ndarray] = {
            "number": np.array(len(self._entries)),
            "frames_of": np.array(
                list(self._frames_of.items()), dtype=np.int64
            ).reshape(-1, 2),
        }
        for k, entry in enumerate(self._entries):
            out |= {f"{k}/{name}": value for name, value in entry.to_arrays().items()}
        return out

    def restore(self, state: Arrays) -> None:
        """Take up the entries of another instance."""
        self._frames_of = {int(z): int(n) for z, n in state["frames_of"]}
        self._entries = [
            _Entry.from_arrays(under(state, str(k)))
            for k in range(int(state["number"]))
        ]
