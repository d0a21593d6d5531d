"""Results of a scan kept on disk as they come, and found again by a later one."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from otf.analysis.errors import ErrorReport
from otf.commands.folds import Validation
from otf.commands.kept import Kept, key_of
from otf.errors import StoreError
from otf.recording import versions
from otf.store.labels import dataset_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from otf.commands.dataset import Frame
    from otf.commands.fitting import Basis, Stress
    from otf.configuration import IntArray
    from otf.settings.settings import Settings

PURPOSE = "scan"
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
        return key_of({**self._common, **sections})


class KeptResults(Kept):
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
        super().__init__(path, PURPOSE, work="a scan")
        self._path = path

    def validation(self, key: str) -> Validation | None:
        """Return what an earlier scan found, None where there was none.

        Raises
        ------
        StoreError
            When another version of this program wrote it.
        """
        data = self.find(key)
        return None if data is None else _validation(data, self._path)

    def keep(self, key: str, found: Validation) -> None:
        """Keep a validation; it is on the disk when this returns.

        Raises
        ------
        StoreError
            When the disk is full or fails.
        """
        self.add(key, {"found": asdict(found)})


def _validation(data: dict[str, Any], path: Path | None) -> Validation:
    try:
        plain = dict(data["found"])
        plain["errors"] = ErrorReport(**plain["errors"])
        plain["folds"] = tuple(ErrorReport(**fold) for fold in plain["folds"])
        return Validation(**plain)
    except (KeyError, TypeError) as error:
        msg = f"{path}: a result there is of another version of otf-md: take a new file"
        raise StoreError(msg) from error
