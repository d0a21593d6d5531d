"""thermo.csv: one line a step interval, for people and spreadsheets."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

import numpy as np

from otf.errors import StoreError
from otf.store.disk import explained, sync_directory, write_all

if TYPE_CHECKING:
    from pathlib import Path

    from otf.configuration import FloatArray


@dataclass(frozen=True)
class ThermoRow:
    """One line; the names are the columns and carry the units."""

    step: int
    time_fs: float
    temperature_K: float  # noqa: N815 - the unit in the name of a column
    kinetic_eV: float  # noqa: N815
    potential_eV: float  # noqa: N815
    conserved_eV: float  # noqa: N815
    learning_work_eV: float  # noqa: N815
    pressure_GPa: float  # noqa: N815
    volume_A3: float  # noqa: N815
    e_eV_per_A: float  # noqa: N815
    threshold_eV_per_A: float  # noqa: N815
    max_spilling: float
    labelled: bool


COLUMNS = tuple(f.name for f in fields(ThermoRow))
_ADDED = ("volume_A3",)
"""Columns that tables of earlier versions lack; such a table goes on without them."""

_TAIL = 4096  # bytes that hold a whole line


class ThermoLog:
    """The table open for append by its only writer.

    Parameters
    ----------
    path
        Created with its header when missing; a torn last line is cut off.

    Raises
    ------
    StoreError
        When the file cannot be opened or is another table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with explained(path):
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o644)
            try:
                self._size = self._take_over()
            except BaseException:
                self.close()
                raise

    def _take_over(self) -> int:
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        os.ftruncate(self._descriptor, len(whole))
        if not whole:
            self._columns = COLUMNS
            write_all(self._descriptor, _header(COLUMNS))
            os.fsync(self._descriptor)
            sync_directory(self.path.parent)
            return len(_header(COLUMNS))
        self._columns = _columns(self.path, whole)
        return len(whole)

    @property
    def size(self) -> int:
        """Return the bytes of all whole lines."""
        return self._size

    def append(self, row: ThermoRow) -> None:
        """Append one line.

        Raises
        ------
        StoreError
            When the disk is full or fails; the table then ends at the line before.
        """
        values = (getattr(row, name) for name in self._columns)
        line = (",".join(_text(value) for value in values) + "\n").encode()
        with explained(self.path):
            try:
                write_all(self._descriptor, line)
            except BaseException:
                os.ftruncate(self._descriptor, self._size)
                raise
        self._size += len(line)

    def truncate(self, size: int) -> None:
        """Cut the table back to an earlier ``size``.

        Raises
        ------
        StoreError
            When the table is shorter.
        """
        if size > self._size:
            raise StoreError(
                f"{self.path}: has {self._size} bytes, fewer than the {size} its "
                "checkpoint counts on"
            )
        with explained(self.path):
            least = len(_header(self._columns))
            os.ftruncate(self._descriptor, max(size, least))
        self._size = max(size, least)

    def sync(self) -> None:
        """Return when every line is on the disk."""
        with explained(self.path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_thermo(path: Path) -> dict[str, FloatArray]:
    """Return the columns of a table by name, also beside a live run.

    What a table of an earlier version does not have is NaN.

    Raises
    ------
    StoreError
        When the file is missing or is another table.
    """
    with explained(path):
        content = path.read_bytes()
    content = content[: content.rfind(b"\n") + 1]
    if not content:
        return {name: np.empty(0) for name in COLUMNS}
    columns = _columns(path, content)
    try:
        rows = [
            [float(x) for x in line.split(",")]
            for line in content.decode().splitlines()[1:]
        ]
        table = np.array(rows, dtype=np.float64).reshape(-1, len(columns))
    except ValueError as error:
        raise StoreError(f"{path}: a line is no row of numbers ({error})") from error
    unknown = np.full(len(table), np.nan)
    found = {name: table[:, k] for k, name in enumerate(columns)}
    return {name: found.get(name, unknown).copy() for name in COLUMNS}


def last_step(path: Path) -> int:
    """Return the step of the last whole line, 0 where there is none; reads the tail."""
    try:
        with path.open("rb") as handle:
            handle.seek(max(0, os.fstat(handle.fileno()).st_size - _TAIL))
            lines = handle.read().split(b"\n")
    except OSError:
        return 0
    step = lines[-2].partition(b",")[0] if len(lines) > 1 else b""
    return int(step) if step.isdigit() else 0


def _text(value: float) -> str:
    if isinstance(value, (bool, np.bool_, int, np.integer)):
        return str(int(value))
    return f"{float(value):.12g}"


def _header(columns: tuple[str, ...]) -> bytes:
    return (",".join(columns) + "\n").encode()


def _columns(path: Path, content: bytes) -> tuple[str, ...]:
    """Return the columns of a table: those of now, or without the added ones."""
    before = tuple(name for name in COLUMNS if name not in _ADDED)
    for columns in (COLUMNS, before):
        if content.startswith(_header(columns)):
            return columns
    raise StoreError(
        f"{path}: is no table of this program (its first line must be "
        f"{_header(COLUMNS).decode().strip()!r}); move it away"
    )
