"""Text files line by line: numbers that are numbers, errors that name the line."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, TextIO, cast

import numpy as np

from otf.errors import StoreError
from otf.store.disk import explained

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from otf.configuration import FloatArray

GZIP = b"\x1f\x8b"
# Python would also take 1_000, nan and infinity; Fortran writes 1.0D-05.
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][+-]?\d{1,3})?")
_LABEL = re.compile(r"[A-Za-z]{1,2}(?![A-Za-z])")
_COUNT = re.compile(r"\d{1,9}")


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read, unpacked when it is gzipped.

    Raises
    ------
    StoreError
        When it cannot be opened or unpacked.
    """
    with explained(path):
        handle = path.open("rb")
    with handle:
        packed = handle.peek(2).startswith(GZIP)
        unpacked = gzip.GzipFile(fileobj=handle) if packed else handle
        try:
            yield cast("BinaryIO", unpacked)
        except (OSError, EOFError, zlib.error) as error:
            raise StoreError(f"{path}: cannot be read ({error})") from error


def to_float(token: str) -> float:
    """Return the number a word is.

    Raises
    ------
    ValueError
        When it is none, or not finite.
    """
    if not _NUMBER.fullmatch(token):
        msg = f"{token!r} is no number"
        raise ValueError(msg)
    value = float(token.replace("D", "E").replace("d", "e"))
    if not np.isfinite(value):
        msg = f"{token!r} is too large"
        raise ValueError(msg)
    return value


class FileEndsError(StoreError):
    """A file that ends in the middle of what it says."""


class Lines:
    """The lines of a text file, one after the other, with the number of the last.

    Parameters
    ----------
    path
        Its name, for errors.
    handle
        The open file.

    Attributes
    ----------
    path : name of the file
    number : of the line that was read last, from 1
    """

    def __init__(self, path: Path, handle: TextIO) -> None:
        self.path = path
        self.number = 0
        self._handle = handle
        self._kept: list[str] = []

    def __iter__(self) -> Iterator[str]:
        while (line := self.next()) is not None:
            yield line

    def next(self) -> str | None:
        """Return the next line without its end; None after the last."""
        if self._kept:
            self.number += 1
            return self._kept.pop()
        line = self._read()
        if not line:
            return None
        self.number += 1
        return line.rstrip("\r\n")

    def _read(self) -> str:
        """Return a line as it is; empty after the last."""
        return self._handle.readline()

    def back(self, line: str) -> None:
        """Give the last line back: it comes again."""
        self._kept.append(line)
        self.number -= 1

    def take(self, what: str) -> str:
        """Return the next line.

        Raises
        ------
        FileEndsError
            When the file ends before ``what``.
        """
        line = self.next()
        if line is None:
            raise FileEndsError(
                f"{self.path}: ends after line {self.number}, where {what} is expected"
            )
        return line

    def filled(self, what: str) -> str:
        """Return the next line that is not blank.

        Raises
        ------
        FileEndsError
            When the file ends before ``what``.
        """
        while not (line := self.take(what)).strip():
            pass
        return line

    def wrong(self, reason: str) -> StoreError:
        """Return the error of the last line."""
        return StoreError(f"{self.path}, line {self.number}: {reason}")

    def floats(self, words: list[str], n: int, what: str) -> list[float]:
        """Return words of the last line as n numbers.

        Raises
        ------
        StoreError
            When they are not.
        """
        if len(words) != n:
            raise self.wrong(f"{what} must be {n} numbers, got {len(words)} words")
        try:
            return [to_float(word) for word in words]
        except ValueError as error:
            raise self.wrong(f"{what}: {error}") from error

    def count(self, word: str, what: str) -> int:
        """Return a word of the last line as a whole number.

        Raises
        ------
        StoreError
            When it is none.
        """
        if not _COUNT.fullmatch(word):
            raise self.wrong(f"{what} must be a whole number, got {word!r}")
        return int(word)

    def table(self, n_rows: int, n_columns: int, what: str) -> FloatArray:
        """Return the next lines as numbers, (n_rows, n_columns).

        Raises
        ------
        StoreError
            When they are no such table.
        """
        rows = [
            self.floats(self.take(what).split(), n_columns, what) for _ in range(n_rows)
        ]
        return np.array(rows, dtype=np.float64).reshape(n_rows, n_columns)


class LogLines(Lines):
    """Lines of a program that may still run: what it is writing is not given.

    The last number of a line without an end may lack digits.

    Attributes
    ----------
    is_cut : whether the last line had no end
    """

    is_cut = False

    def _read(self) -> str:
        line = super()._read()
        if line.endswith("\n"):
            return line
        self.is_cut = bool(line)
        return ""


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says, its class if it says nothing."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


@contextmanager
def lines_of(path: Path) -> Iterator[Lines]:
    """Open a text file, plain or gzipped.

    Bytes that are no text become a sign that no number holds.

    Raises
    ------
    StoreError
        When it cannot be opened.
    """
    with _opened(path) as text:
        yield Lines(path, text)


@contextmanager
def log_lines_of(path: Path) -> Iterator[LogLines]:
    """Open the output of a program, plain or gzipped, as ``lines_of`` does.

    Raises
    ------
    StoreError
        When it cannot be opened.
    """
    with _opened(path) as text:
        yield LogLines(path, text)


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    with (
        open_bytes(path) as raw,
        io.TextIOWrapper(raw, encoding="utf-8", errors="replace", newline="\n") as text,
    ):
        yield text


def element_of(symbol: str) -> int | None:
    """Return the atomic number of an element; None when there is no such one."""
    from ase.data import atomic_numbers

    number: int = atomic_numbers.get(symbol, 0)
    return number or None


def element_of_label(label: str) -> int | None:
    """Return the atomic number of a label such as Fe, Fe1, Fe_pv or fe-up.

    None when its first letters are no element.
    """
    match = _LABEL.match(label)
    return None if match is None else element_of(match[0].capitalize())
