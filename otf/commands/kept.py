"""Results of a long command, kept on disk as they come and found by a later one."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Self

from otf.store.lock import Lock
from otf.store.record_file import RecordFile, read_records

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KIND = "result"


def key_of(question: Mapping[str, object]) -> str:
    """Return what is equal for equal questions: a digest of plain data."""
    text = json.dumps(question, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class Kept:
    """Answers in a file, by the keys of their questions.

    Each is on the disk before the next one is computed.

    Parameters
    ----------
    path
        Of the file, made where there is none; None to keep nothing.
    purpose
        Word in the head of the file, that no other command takes it for its own.
    work
        What is going on while the file is open, such as "a scan".

    Raises
    ------
    StoreError
        When the file is something else, is damaged, or another process writes it.
    """

    def __init__(self, path: Path | None, purpose: str, *, work: str) -> None:
        self._known: dict[str, dict[str, Any]] = {}
        self._file: RecordFile | None = None
        self._lock: Lock | None = None
        if path is None:
            return
        aside = path.with_name(f"{path.name}.lock")
        self._lock = Lock(aside, work=work, mend="stop it or take another file")
        try:
            self._file = RecordFile(path, purpose)
            for record in read_records(path, purpose):
                self._known[str(record.data["key"])] = record.data
        except BaseException:
            self.close()
            raise

    def find(self, key: str) -> dict[str, Any] | None:
        """Return the answer of an earlier command, None where there was none."""
        return self._known.get(key)

    def add(self, key: str, found: Mapping[str, object]) -> None:
        """Keep an answer; it is on the disk when this returns.

        Raises
        ------
        StoreError
            When the disk is full or fails.
        """
        if self._file is not None:
            self._file.append(KIND, {"key": key, **found}, sync=True)

    def close(self) -> None:
        """Close the file and let others write it."""
        if self._file is not None:
            self._file.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
