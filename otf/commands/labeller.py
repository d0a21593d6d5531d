"""Labels for structures of a pool: from the pool itself, or from the reference."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from otf.commands.dataset import Dataset, require_one_reference, unlike
from otf.errors import InputError, ReferenceFailure
from otf.learning.pending import ask
from otf.store.extxyz import read_extxyz, write_frames
from otf.store.labels import label_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from otf.configuration import Configuration, Labels
    from otf.potential import Answer, ReferenceCalculator

    Frame = tuple[Configuration, Labels]

logger = logging.getLogger(__name__)

# So many structures in a row without labels: the reference itself is at fault.
MOST_FAILURES = 3


class Labeller:
    """Gives labels and keeps every one in a file before it is used.

    Parameters
    ----------
    pool
        Structures, with labels where the file of the pool has them.
    path
        Labelled structures, written anew after each label; those in it at the start
        are not labelled again.
    reference
        Asked where the pool has no labels; None when there is none.
    fingerprints
        Of the references that labelled the structures of the pool, as far as known.
    descriptions
        What they stand for, as far as known.

    Attributes
    ----------
    frames : labelled structures in the order of their labels
    n_calls : of the reference
    descriptions : what fingerprints stand for

    Raises
    ------
    InputError
        When the labels there are come from another reference.
    StoreError
        When ``path`` holds something that cannot be read.
    """

    def __init__(
        self,
        pool: Sequence[Frame],
        path: Path,
        reference: ReferenceCalculator | None,
        *,
        fingerprints: Sequence[str] | None = None,
        descriptions: Mapping[str, str] | None = None,
    ) -> None:
        self.frames: list[Frame] = []
        self._marks: list[str] = []
        self.descriptions = dict(descriptions or {})
        if path.exists():
            reading = read_extxyz(path)
            self.frames, self._marks = reading.frames, reading.fingerprints
            self.descriptions |= reading.descriptions
        self.n_calls = 0
        self._pool = pool
        self._path = path
        self._pool_marks = [
            mark if is_complete(labels) else ""
            for mark, (_, labels) in zip(
                fingerprints or [""] * len(pool), pool, strict=True
            )
        ]
        self._reference = reference
        self._require_one_reference()
        self._known = {label_key(configuration, "") for configuration, _ in self.frames}
        self._n_failures = 0
        self._answers: dict[int, Answer] = {}  # of structures under way

    @property
    def dataset(self) -> Dataset:
        """Return what is labelled, with the reference where every label says it."""
        marks = set(self._marks)
        reference = next(iter(marks)) if len(marks) == 1 else ""
        groups = [""] * len(self.frames)
        words = self.descriptions.get(reference, "")
        return Dataset(self.frames, groups, reference, words)

    def has(self, index: int) -> bool:
        """Return whether a structure of the pool is labelled already."""
        return label_key(self._pool[index][0], "") in self._known

    def begin(self, indices: Sequence[int]) -> None:
        """Say which structures are labelled next; several may be computed at once."""
        for index in indices:
            configuration, labels = self._pool[index]
            if self._reference is not None and not is_complete(labels):
                self._answers[index] = ask(self._reference, configuration)

    def label(self, index: int) -> Labels | None:
        """Return labels of a structure of the pool, safe on the disk.

        None when the reference could not label it; the structure is then left out.

        Raises
        ------
        InputError
            When there is nobody to ask.
        ReferenceFailure
            When several structures in a row got no labels.
        StoreError
            When the disk is full or fails.
        """
        configuration, labels = self._pool[index]
        mark = self._pool_marks[index]
        if not is_complete(labels):
            computed = self._compute(index)
            if computed is None:
                return None
            labels, mark = computed
        self.frames.append((configuration, labels))
        self._marks.append(mark)
        self._known.add(label_key(configuration, ""))
        write_frames(
            self._path,
            self.frames,
            fingerprints=self._marks,
            descriptions=self.descriptions,
        )
        return labels

    def _require_one_reference(self) -> None:
        mine, pool = str(self._path), "the pool"
        if self._reference is None:
            prints = {mine: set(self._marks), pool: set(self._pool_marks)}
            require_one_reference(prints, self.descriptions)
            return
        for where, frames, marks in (
            (mine, self.frames, self._marks),
            (pool, self._pool, self._pool_marks),
        ):
            for (configuration, _), mark in zip(frames, marks, strict=True):
                if mark and mark != self._reference.fingerprint(configuration):
                    asked = self._reference.description(configuration)
                    what = unlike(self.descriptions.get(mark, ""), asked)
                    msg = (
                        f"{where} was labelled by another reference or other arguments "
                        f"than those of the input file{what}; energies of two "
                        "references do "
                        "not mix: give --labelled the name of a new file, or take the "
                        "same reference"
                    )
                    raise InputError(msg)

    def _compute(self, index: int) -> tuple[Labels, str] | None:
        """Return labels of the reference and its fingerprint."""
        if self._reference is None:
            msg = (
                f"structure {index} of the pool has no energy and forces, and there is "
                "no calculator to ask: add [reference] to the input file"
            )
            raise InputError(msg)
        configuration = self._pool[index][0]
        answer = self._answers.pop(index, None) or ask(self._reference, configuration)
        try:
            labels = answer()
        except ReferenceFailure as error:
            self._n_failures += 1
            if self._n_failures >= MOST_FAILURES:
                raise
            logger.warning("structure %d of the pool is left out: %s", index, error)
            return None
        self._n_failures = 0
        self.n_calls += 1
        mark = self._reference.fingerprint(configuration)
        self.descriptions[mark] = self._reference.description(configuration)
        return labels, mark


def is_complete(labels: Labels) -> bool:
    """Return whether energy and all forces are known."""
    return bool(np.isfinite(labels.energy) and labels.force_mask.all())
