"""The journal: what a run paid for and decided, one record after another.

The format is that of :mod:`otf.store.record_file`; the kinds stand in
:mod:`otf.store.entries`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otf.store.entries import Entry, to_data
from otf.store.record_file import Record, RecordFile, read_record, read_records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PURPOSE = "journal"


class Journal(RecordFile):
    """The journal open for append by the run."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _PURPOSE)

    def write(self, entry: Entry, *, sync: bool = True) -> int:
        """Append an entry and return the byte it begins at.

        Raises
        ------
        StoreError
            When the disk is full or fails; the journal then ends before the entry.
        """
        return self.append(entry.kind, to_data(entry), sync=sync)


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a journal, also beside a live run; a torn tail ends it.

    Raises
    ------
    StoreError
        When the file is missing, foreign or damaged before its end.
    """
    return read_records(path, _PURPOSE)


def read_at(path: Path, offset: int) -> Record:
    """Return the record of a journal that begins at byte ``offset``.

    Raises
    ------
    StoreError
        When there is no whole record.
    """
    return read_record(path, _PURPOSE, offset)
