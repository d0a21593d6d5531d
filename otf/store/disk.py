"""Writing that survives a kill and explains a full disk."""

from __future__ import annotations

import errno
import os
import shutil
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from otf.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from otf.potential import Arrays

PARTIAL = ".partial"  # suffix of a file that is being written aside
_PIECE = 1 << 22  # bytes of an array copied at a time
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def explain(path: Path, error: OSError) -> StoreError:
    """Return the one clear line for an error of the operating system."""
    if error.errno in _FULL:
        try:
            free = f"{shutil.disk_usage(path.parent).free / 1e6:.1f} MB free there"
        except OSError:
            free = "free space unknown"
        return StoreError(
            f"{path}: the disk or the quota is full ({free}); all that was written "
            "before is intact: make room and resume"
        )
    return StoreError(f"{path}: {error.strerror or error}")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError inside into a StoreError that names the file.

    Raises
    ------
    StoreError
        In place of any OSError.
    """
    try:
        yield
    except OSError as error:
        raise explain(path, error) from error


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte; one call to the system may write fewer."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_directory(folder: Path) -> None:
    """Make the names in a folder durable, so that a new file survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_aside(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a file beside its place, make it durable, then rename it into place.

    A reader and a kill at any moment see the old file or the new one, never a part.

    Raises
    ------
    StoreError
        When the system refuses; the old file is then untouched.
    """
    aside = path.with_name(path.name + PARTIAL)
    with explained(path):
        try:
            with aside.open("wb") as handle:
                write(handle)
                handle.flush()
                os.fsync(handle.fileno())
            aside.replace(path)
            sync_directory(path.parent)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


def write_text(path: Path, text: str) -> None:
    """Write a text as `write_aside` does.

    Raises
    ------
    StoreError
        When the system refuses; the old file is then untouched.
    """

    def write(handle: BinaryIO) -> None:
        handle.write(text.encode())

    write_aside(path, write)


def checksum(arrays: Arrays) -> int:
    """Return a CRC-32 over names, types, shapes and bytes of named arrays."""
    crc = 0
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        head = f"{name}|{array.dtype.str}|{array.shape}|"
        crc = zlib.crc32(head.encode(), crc)
        for piece in _pieces(array):
            flat = np.ascontiguousarray(piece).reshape(-1)
            crc = zlib.crc32(flat.view(np.uint8).data, crc)
    return crc


def _pieces(array: NDArray[np.generic]) -> Iterator[NDArray[np.generic]]:
    """Yield an array along its first axis in pieces whose copies are small."""
    if array.ndim == 0 or array.nbytes <= _PIECE:
        yield array
        return
    step = max(1, len(array) * _PIECE // array.nbytes)
    for low in range(0, len(array), step):
        yield array[low : low + step]
