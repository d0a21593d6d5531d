"""One run folder, one running process."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Self

from otf.errors import StoreError
from otf.store.disk import explained

if TYPE_CHECKING:
    from pathlib import Path


class Lock:
    """An exclusive lock on a file; the system frees it however the process ends.

    Parameters
    ----------
    path
        Of the lock file, made where there is none.
    work, mend
        What whoever holds it is doing, and what to do about it, for the message.

    Raises
    ------
    StoreError
        When another process holds it, or the file cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        work: str = "a run",
        mend: str = "stop it or take another folder",
    ) -> None:
        with explained(path):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o644)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                owner = os.pread(self._descriptor, 64, 0).decode(errors="replace")
                self.release()
                raise StoreError(
                    f"{path.parent}: {work} is going on there (process "
                    f"{owner.strip() or 'unknown'}); {mend}"
                ) from error
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Free the lock; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_locked(path: Path) -> bool:
    """Return whether a living process holds the lock; looks without taking it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # A shared lock for an instant; it is refused exactly when a run holds its own.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
