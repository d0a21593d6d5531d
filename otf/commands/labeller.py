"""Labels for structures of a pool: from the pool itself, or from the reference."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from otf.errors import InputError, ReferenceFailure
from otf.store.extxyz import read_frames, write_frames
from otf.store.labels import label_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from otf.configuration import Configuration, Labels
    from otf.potential import ReferenceCalculator

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

    Attributes
    ----------
    frames : labelled structures in the order of their labels
    n_calls : of the reference

    Raises
    ------
    StoreError
        When ``path`` holds something that cannot be read.
    """

    def __init__(
        self,
        pool: Sequence[Frame],
        path: Path,
        reference: ReferenceCalculator | None,
    ) -> None:
        self.frames: list[Frame] = read_frames(path) if path.exists() else []
        self.n_calls = 0
        self._pool = pool
        self._path = path
        self._reference = reference
        self._known = {label_key(configuration, "") for configuration, _ in self.frames}
        self._n_failures = 0

    def has(self, index: int) -> bool:
        """Return whether a structure of the pool is labelled already."""
        return label_key(self._pool[index][0], "") in self._known

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
        if not is_complete(labels):
            computed = self._compute(index)
            if computed is None:
                return None
            labels = computed
        self.frames.append((configuration, labels))
        self._known.add(label_key(configuration, ""))
        write_frames(self._path, self.frames)
        return labels

    def _compute(self, index: int) -> Labels | None:
        if self._reference is None:
            msg = (
                f"structure {index} of the pool has no energy and forces, and there is "
                "no calculator to ask: add [reference] to the input file"
            )
            raise InputError(msg)
        try:
            labels = self._reference.label(self._pool[index][0])
        except ReferenceFailure as error:
            self._n_failures += 1
            if self._n_failures >= MOST_FAILURES:
                raise
            logger.warning("structure %d of the pool is left out: %s", index, error)
            return None
        self._n_failures = 0
        self.n_calls += 1
        return labels


def is_complete(labels: Labels) -> bool:
    """Return whether energy and all forces are known."""
    return bool(np.isfinite(labels.energy) and labels.force_mask.all())
