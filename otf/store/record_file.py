r"""An append-only file of checksummed records: journal and frames are two of them.

::

    file   = magic "\x89OTF\r\n\x1a\n", purpose (8 bytes), version (u32), records
    record = marker "\xf0rec", kind (8 bytes), length (u64), payload, CRC-32 (u32)

All numbers are little endian; the CRC covers kind, length and payload. A write that was
cut short leaves a torn last record: readers stop before it, and opening the file for
append cuts it off. A damaged record with a whole one behind it was not torn but spoilt
by the disk or by a copy, and is an error.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Self

from otf.errors import StoreError
from otf.store.codec import decode, encode
from otf.store.disk import explained, sync_directory, write_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

VERSION = 1
_MAGIC = b"\x89OTF\r\n\x1a\n"
_MARKER = b"\xf0rec"
_FILE = struct.Struct("<8s8sI")
_HEAD = struct.Struct("<4s8sQ")
_CRC = struct.Struct("<I")
_BLOCK = 1 << 22  # bytes searched at once for a later record
HEADER_SIZE = _FILE.size


@dataclass(frozen=True, eq=False)
class Record:
    """One record, from byte ``offset`` up to byte ``end`` of its file."""

    kind: str
    data: dict[str, object]
    offset: int
    end: int


@dataclass(frozen=True, eq=False)
class _Raw:
    kind: str
    payload: bytes
    end: int


def read_records(
    path: Path, purpose: str, *, start: int = HEADER_SIZE
) -> Iterator[Record]:
    """Yield the whole records of a file, also beside a process that appends to it.

    Parameters
    ----------
    path
        Of the file.
    purpose
        What the file must be for, "journal" or "frames".
    start
        Byte a record begins at.

    Raises
    ------
    StoreError
        When the file is missing, foreign, newer than this program or damaged.
    """
    with explained(path), path.open("rb") as handle:
        size = os.fstat(handle.fileno()).st_size  # what comes later is not read
        if not _check_header(path, handle, purpose):
            return
        offset = start
        while offset < size:
            raw = _read_raw(handle, offset, size)
            if raw is None:
                _require_torn(path, handle, offset, size)
                return
            try:
                data = decode(raw.payload)
            except StoreError as error:
                raise StoreError(f"{path}: byte {offset}: {error}") from error
            yield Record(raw.kind, data, offset, raw.end)
            offset = raw.end


def read_record(path: Path, purpose: str, offset: int) -> Record:
    """Return the record that begins at a byte of the file.

    Raises
    ------
    StoreError
        When there is no whole record there.
    """
    for record in read_records(path, purpose, start=offset):
        return record
    raise StoreError(f"{path}: no whole record at byte {offset}")


class RecordFile:
    """A record file open for append by its only writer.

    Parameters
    ----------
    path
        Created when missing; a torn last record is cut off.
    purpose
        At most 8 letters, written into the head of the file.

    Raises
    ------
    StoreError
        When the file cannot be opened, is foreign or is damaged.
    """

    def __init__(self, path: Path, purpose: str) -> None:
        self.path = path
        self.purpose = purpose
        self._one_writer = threading.Lock()  # labels arrive on threads of their own
        with explained(path):
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o644)
        try:
            self._size = self._take_over()
        except BaseException:
            self.close()
            raise

    def _take_over(self) -> int:
        """Return the end of the last whole record after cutting what follows it."""
        with explained(self.path):
            end = _last_end(self.path, self.purpose)
            os.ftruncate(self._descriptor, end)
            if end == 0:
                write_all(self._descriptor, _header(self.purpose))
                end = HEADER_SIZE
            os.fsync(self._descriptor)
            sync_directory(self.path.parent)
        return end

    @property
    def size(self) -> int:
        """Return the bytes of all whole records with the head of the file."""
        return self._size

    def append(self, kind: str, data: Mapping[str, object], *, sync: bool) -> int:
        """Append one record and return the byte it begins at.

        Parameters
        ----------
        kind
            At most 8 ASCII letters.
        data
            Scalars, strings, lists, mappings, arrays, configurations, labels.
        sync
            Whether the record must be on the disk when this returns.

        Raises
        ------
        StoreError
            When the disk is full or fails; the file then ends at the last whole record.
        """
        code = kind.encode("ascii")
        if not 0 < len(code) <= 8:
            raise ValueError(f"kind of a record must have 1 to 8 letters, got {kind!r}")
        payload = encode(data)
        head = _HEAD.pack(_MARKER, code, len(payload))
        crc = zlib.crc32(payload, zlib.crc32(head[len(_MARKER) :]))
        return self._write(head + payload + _CRC.pack(crc), sync=sync)

    def _write(self, record: bytes, *, sync: bool) -> int:
        """Append the bytes of a record and return where it begins."""
        with self._one_writer, explained(self.path):
            offset = self._size
            try:
                write_all(self._descriptor, record)
                if sync:
                    os.fsync(self._descriptor)
            except BaseException:
                os.ftruncate(self._descriptor, offset)
                raise
            self._size = offset + len(record)
        return offset

    def truncate(self, size: int) -> None:
        """Cut the file back to an earlier ``size``.

        Raises
        ------
        StoreError
            When the file is shorter, or no record ends there.
        """
        if size > self._size:
            raise StoreError(
                f"{self.path}: has {self._size} bytes, fewer than the {size} its "
                "checkpoint counts on; restore the file or resume from an older copy"
            )
        with explained(self.path):
            os.ftruncate(self._descriptor, max(size, HEADER_SIZE))
            os.fsync(self._descriptor)
        self._size = max(size, HEADER_SIZE)

    def sync(self) -> None:
        """Return when every record is on the disk."""
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


def _header(purpose: str) -> bytes:
    return _FILE.pack(_MAGIC, purpose.encode("ascii"), VERSION)


def _check_header(path: Path, handle: BinaryIO, purpose: str) -> bool:
    """Return False for a file whose head was cut short before any record."""
    head = handle.read(HEADER_SIZE)
    expected = _header(purpose)
    if len(head) < HEADER_SIZE:
        if expected.startswith(head):
            return False
        raise StoreError(f"{path}: is no {purpose} file of otf-md")
    magic, name, version = _FILE.unpack(head)
    if magic != _MAGIC or name.rstrip(b"\0") != purpose.encode():
        raise StoreError(f"{path}: is no {purpose} file of otf-md")
    if version > VERSION:
        raise StoreError(
            f"{path}: has format version {version}, this program reads up to "
            f"{VERSION}; update otf-md"
        )
    return True


def _last_end(path: Path, purpose: str) -> int:
    """Return the byte behind the last whole record, 0 for a file without a head."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        if not _check_header(path, handle, purpose):
            return 0
        offset = HEADER_SIZE
        while offset < size:
            raw = _read_raw(handle, offset, size)
            if raw is None:
                _require_torn(path, handle, offset, size)
                break
            offset = raw.end
    return offset


def _read_raw(handle: BinaryIO, offset: int, size: int) -> _Raw | None:
    """Return the record at ``offset``, None when it is not whole within ``size``."""
    handle.seek(offset)
    head = handle.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    marker, kind, length = _HEAD.unpack(head)
    end = offset + _HEAD.size + length + _CRC.size
    if marker != _MARKER or end > size:
        return None
    payload = handle.read(length)
    stored = handle.read(_CRC.size)
    crc = zlib.crc32(payload, zlib.crc32(head[len(_MARKER) :]))
    if stored != _CRC.pack(crc):
        return None
    return _Raw(kind.rstrip(b"\0").decode("ascii"), payload, end)


def _require_torn(path: Path, handle: BinaryIO, offset: int, size: int) -> None:
    """Raise when a whole record lies behind the bad one at ``offset``."""
    start = offset + 1
    while start < size:
        handle.seek(start)
        block = handle.read(min(_BLOCK + len(_MARKER) - 1, size - start))
        position = block.find(_MARKER)
        while position >= 0:
            if _read_raw(handle, start + position, size) is not None:
                raise StoreError(
                    f"{path}: the record at byte {offset} is damaged but whole ones "
                    "follow it; restore the file from a copy, or cut it there with "
                    f"`truncate -s {offset}` and lose what follows"
                )
            position = block.find(_MARKER, position + 1)
        start += _BLOCK
