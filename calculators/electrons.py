"""Wave functions and densities of the last label, for the next call to start from.

A resumed run has to make the same numbers as one that was not stopped. So what a call
leaves lies in a folder named after its label, whole and on the disk before the label
is, and older folders go only when the label is safe: whenever the run is killed, the
electrons of the last label in its journal are there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import TYPE_CHECKING

from otf.store.disk import explained, sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from otf.configuration import Configuration

FOLDER = "electrons"


class ElectronShelf:
    """Keeps the electrons of the last label.

    Parameters
    ----------
    work
        Where the code works.
    files
        Name of a file or folder the code leaves there -> name under which it starts
        from it (see :class:`otf.calculators.code.Code`).
    """

    def __init__(self, work: Path, files: Mapping[str, str]) -> None:
        self._work, self._files = work, files
        self._folder = work / FOLDER

    def lay_out(self, key: str | None, configuration: Configuration) -> bool:
        """Put the electrons of a label where the code looks, or nothing.

        Parameters
        ----------
        key
            Of the label; None to start from atoms.
        configuration
            What will be computed: electrons of other atoms or another cell do not fit.

        Returns
        -------
        bool
            Whether the call starts from electrons.
        """
        with explained(self._folder):
            for name in {*self._files, *self._files.values()}:
                remove(self._work / name)
            if key is None:
                return False
            slot = self._slot(key, configuration)
            found = [name for name in self._files.values() if (slot / name).exists()]
            for name in found:
                copy(slot / name, self._work / name)
        return bool(found)

    def keep(self, key: str, configuration: Configuration) -> None:
        """Keep what a call has left; it is on the disk when this returns."""
        slot = self._slot(key, configuration)
        fresh = slot.with_name(slot.name + ".new")
        with explained(self._folder):
            remove(fresh)
            remove(slot)
            fresh.mkdir(parents=True)
            for written, wanted in self._files.items():
                if (self._work / written).exists():
                    (self._work / written).rename(fresh / wanted)
            for path in (*fresh.rglob("*"), fresh):
                sync(path)
            fresh.rename(slot)
            sync_directory(self._folder)

    def forget_others(self, key: str) -> None:
        """Remove all electrons but those of one label."""
        with explained(self._folder):
            for path in self._others(key):
                remove(path)

    def _others(self, key: str) -> Iterator[Path]:
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                if not path.name.startswith(f"{key}-") or path.suffix == ".new":
                    yield path

    def _slot(self, key: str, configuration: Configuration) -> Path:
        return self._folder / f"{key}-{frame_of(configuration)}"


def frame_of(configuration: Configuration) -> str:
    """Return what two structures share when electrons of one fit the other."""
    c = configuration
    digest = hashlib.sha256(c.numbers.tobytes() + c.cell.tobytes() + c.pbc.tobytes())
    digest.update(f"{c.charge} {c.spin}".encode())
    return digest.hexdigest()[:12]


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder."""
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Return when a file, or the names in a folder, are on the disk."""
    if path.is_dir():
        sync_directory(path)
        return
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
