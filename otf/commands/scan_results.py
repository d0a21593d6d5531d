"""Results of a scan kept on disk as they come, and found again by a later one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

from otf.analysis.errors import ErrorReport
from otf.commands.folds import Validation
from otf.errors import StoreError
from otf.recording import versions
from otf.store.labels import dataset_key
from otf.store.lock import Lock
from otf.store.record_file import RecordFile, read_records

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from otf.commands.dataset import Frame
    from otf.commands.fitting import Basis, Stress
    from otf.configuration import IntArray
    from otf.settings.settings import Settings

PURPOSE, KIND = "scan", "result"
SECTIONS = ("descriptor", "regression", "baseline")


class Question:
    """Everything but the setting that decides what a validation finds.

    Parameters
    ----------
    frames, folds
        The data, and which structures every fold leaves out.
    basis, stress
        Of every fit.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        folds: Sequence[IntArray],
        *,
        basis: Basis,
        stress: Stress,
    ) -> None:
        self._common = {
            "data": dataset_key(frames),
            "folds": [fold.tolist() for fold in folds],
            "basis": asdict(basis),
            "stress": stress,
            "version": versions()["otf-md"],
        }

    def key(self, settings: Settings) -> str:
        """Return what is equal for validations that find the same."""
        sections = {k: getattr(settings, k).model_dump(mode="json") for k in SECTIONS}
        text = json.dumps({**self._common, **sections}, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class KeptResults:
    """Validations in a file; each is on the disk before the next one begins.

    Parameters
    ----------
    path
        Of the file, made where there is none; None to keep nothing.

    Raises
    ------
    StoreError
        When the file is something else, is damaged, or another scan writes it.
    """

    def __init__(self, path: Path | None) -> None:
        self._known: dict[str, Validation] = {}
        self._file: RecordFile | None = None
        self._lock: Lock | None = None
        if path is None:
            return
        aside = path.with_name(f"{path.name}.lock")
        self._lock = Lock(aside, work="a scan", mend="stop it or take another file")
        try:
            self._file = RecordFile(path, PURPOSE)
            for record in read_records(path, PURPOSE):
                self._known[str(record.data["key"])] = _validation(record.data, path)
        except BaseException:
            self.close()
            raise

    def find(self, key: str) -> Validation | None:
        """Return what an earlier scan found, None where there was none."""
        return self._known.get(key)

    def add(self, key: str, found: Validation) -> None:
        """Keep a validation; it is on the disk when this returns.

        Raises
        ------
        StoreError
            When the disk is full or fails.
        """
        self._known[key] = found
        if self._file is not None:
            self._file.append(KIND, {"key": key, "found": asdict(found)}, sync=True)

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


def _validation(data: dict[str, Any], path: Path) -> Validation:
    try:
        plain = dict(data["found"])
        plain["errors"] = ErrorReport(**plain["errors"])
        plain["folds"] = tuple(ErrorReport(**fold) for fold in plain["folds"])
        return Validation(**plain)
    except (KeyError, TypeError) as error:
        msg = f"{path}: a result there is of another version of otf-md: take a new file"
        raise StoreError(msg) from error
