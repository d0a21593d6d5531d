"""Labels that all runs share: one small file each, in a folder the user names.

A label is written under a name of its own, forced to the disk and renamed to its key,
so that any number of processes may write at once and a kill leaves no half of one. It
is found by its key only: every bit of the structure and the fingerprint of the
reference. A structure that is moved, turned or numbered otherwise is another one, since
the grids of codes make it another number, and a run must not depend on who was first.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from otf.errors import StoreError
from otf.store.disk import PARTIAL, explained, sync_directory
from otf.store.entries import Label, build, to_data
from otf.store.labels import label_key
from otf.store.record_file import HEADER_SIZE, RecordFile, read_record

if TYPE_CHECKING:
    from pathlib import Path

    from otf.configuration import Labels

logger = logging.getLogger(__name__)

_PURPOSE = "label"
_ENDING = ".label"
_ABANDONED = 86_400.0  # s, after which nobody writes a partial file any more


@dataclass(frozen=True, eq=False)
class Remembered:
    """A label of the cache.

    Attributes
    ----------
    labels : the answer
    confirmed : whether a model once doubted it and a second calculation agreed
    """

    labels: Labels
    confirmed: bool


class LabelCache:
    """A folder of labels that several processes read and write.

    Parameters
    ----------
    folder
        Made when missing.

    Raises
    ------
    StoreError
        When the folder cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise StoreError(f"{folder}: cannot be written; give another folder")
            _sweep(folder)

    def find(self, key: str) -> Remembered | None:
        """Return the labels under a key; None when there are none, or damaged ones."""
        path = self._path(key)
        if not path.exists():
            return None
        try:
            label = build(Label, read_record(path, _PURPOSE, HEADER_SIZE))
            if label_key(label.configuration, label.fingerprint) != key:
                raise StoreError(f"{path}: holds the label of another structure")
        except StoreError as error:
            logger.warning("a label of the cache is computed again: %s", error)
            return None
        return Remembered(label.labels, confirmed=bool(label.doubt))

    def add(self, label: Label, description: str) -> None:
        """Write a label; the one that was there under its key goes.

        Parameters
        ----------
        label
            Question and answer.
        description
            What its fingerprint stands for, for people.

        Raises
        ------
        StoreError
            When the disk is full or fails; nothing is left of it then.
        """
        path = self._path(label.key)
        aside = path.with_name(f"{path.stem}-{uuid4().hex}{PARTIAL}")
        with explained(path):
            path.parent.mkdir(exist_ok=True)
            try:
                with RecordFile(aside, _PURPOSE) as file:
                    data = to_data(label) | {"description": description}
                    file.append(Label.kind, data, sync=True)
                aside.replace(path)
            except BaseException:
                aside.unlink(missing_ok=True)
                raise
            sync_directory(path.parent)

    def _path(self, key: str) -> Path:
        # A folder of a million names is slow on many file systems.
        return self._folder / key[:2] / f"{key}{_ENDING}"


def _sweep(folder: Path) -> None:
    """Remove what processes left that were killed while they wrote."""
    before = time.time() - _ABANDONED
    for path in folder.glob(f"*/*{PARTIAL}"):
        with suppress(FileNotFoundError):  # another process sweeps, too
            if path.stat().st_mtime < before:
                path.unlink()
