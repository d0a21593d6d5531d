"""Room for the rows of the regression: memory up to a limit, beyond it files.

The files have no names: they are gone when the process is, however it ends. Nothing is
lost with them, because checkpoints hold the rows.
"""

from __future__ import annotations

import logging
import os
import tempfile
import weakref
from typing import TYPE_CHECKING

import numpy as np

from otf.store.disk import explained

if TYPE_CHECKING:
    from pathlib import Path

    from otf.configuration import FloatArray

logger = logging.getLogger(__name__)

FLOAT = 8  # bytes
_ARRAYS = 8  # in one file; a process may hold only so many files open


class ScratchRows:
    """Give arrays whose content is arbitrary, on the disk when they grow too large.

    Parameters
    ----------
    directory
        Where the files lie; it must exist when the first is needed.
    limit
        Bytes of arrays in use that are kept in memory.
    """

    def __init__(self, directory: Path, limit: int) -> None:
        self._directory = directory
        self._limit = limit
        self._held = 0
        self._spare: dict[tuple[int, int], list[FloatArray]] = {}
        self.n_files = 0

    def __call__(self, shape: tuple[int, int]) -> FloatArray:
        """Return an array.

        Raises
        ------
        StoreError
            When the disk is full or fails.
        """
        size = FLOAT * shape[0] * shape[1]
        if self._held + size <= self._limit:
            array = np.empty(shape)
            self._held += size
            weakref.finalize(array, self._release, size)
            return array
        if not self._spare.get(shape):
            # Room of another shape is for rows of fewer columns, never asked for again.
            self._spare = {shape: list(self._file(shape))}
        return self._spare[shape].pop(0)

    def _release(self, size: int) -> None:
        self._held -= size

    def _file(self, shape: tuple[int, int]) -> FloatArray:
        """Return (k, r, m), arrays in a new file, whose space is reserved."""
        if not self.n_files:
            logger.info(
                "rows of the design matrix beyond %.3g GB go to files in %s",
                self._limit / 1e9,
                self._directory,
            )
        size = FLOAT * _ARRAYS * shape[0] * shape[1]
        with (
            explained(self._directory / "rows"),
            tempfile.TemporaryFile(dir=self._directory) as file,
        ):
            if hasattr(os, "posix_fallocate"):
                # Without it a full disk would end the process without a word.
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            mapped = np.memmap(file, np.float64, "r+", shape=(_ARRAYS, *shape))
        self.n_files += 1
        return np.asarray(mapped)
