"""trajectory.h5md: the frames in the H5MD layout, derived from the raw frames.

HDF5 does not survive a kill while it is open. So the file is written in closed pieces
and marked while a piece is under way; an unreadable or unfinished one, or one that does
not continue the raw frames, is made anew from them.

Rows of a roll-back stay and have ``/observables/valid`` = 0.

References
----------
.. [1] P. de Buyl, P. H. Colberg, F. Hoefling, H5MD: A structured, efficient, and
   portable file format for molecular data, Comput. Phys. Commun. 185, 1546 (2014),
   DOI 10.1016/j.cpc.2014.01.018; version 1.1 of the specification.
"""

from __future__ import annotations

import logging
import os
import shutil
from importlib.metadata import version
from typing import TYPE_CHECKING

import h5py
import numpy as np

from otf.errors import StoreError
from otf.store.disk import PARTIAL, explained, sync_directory
from otf.store.frames import (
    Frame,
    System,
    after_step_of,
    frame_of,
    read_frame_records,
    system_of,
)
from otf.store.record_file import HEADER_SIZE
from otf.units import FS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from otf.store.record_file import Record

logger = logging.getLogger(__name__)

_VERSION = np.array([1, 1])
_PIECE = 1 << 20  # bytes of one array written at once
_MARK = "parameters/otf"  # group whose attributes say how far the file has come
_PARTICLES = "particles/all"
# group below the particles -> value of a frame, unit
_VECTORS: dict[str, tuple[Callable[[Frame], ArrayLike], str]] = {
    "position": (lambda f: f.positions, "Angstrom"),
    "velocity": (lambda f: f.velocities * FS, "Angstrom fs-1"),
    "force": (lambda f: f.forces, "eV Angstrom-1"),
    "box/edges": (lambda f: f.cell, "Angstrom"),
}
_OBSERVABLES: dict[str, tuple[Callable[[Frame], ArrayLike], str]] = {
    "potential_energy": (lambda f: f.potential_energy, "eV"),
    "kinetic_energy": (lambda f: f.kinetic_energy, "eV"),
    "conserved_energy": (lambda f: f.conserved, "eV"),
    "learning_work": (lambda f: f.learning_work, "eV"),
    "labelled": (lambda f: np.int8(f.labelled), ""),
    "valid": (lambda f: np.int8(f.valid), ""),
}
_STEP = f"{_PARTICLES}/position/step"
_TIME = f"{_PARTICLES}/position/time"
_VALID = "observables/valid/value"


def update_trajectory(path: Path, frames: Path) -> None:
    """Bring the trajectory up to the raw frames; make it anew where it must be.

    Raises
    ------
    StoreError
        When the disk is full or fails, or the raw frames cannot be read. The raw
        frames are never touched.
    """
    start = _continues(path, frames)
    if start is None:
        if path.exists():
            logger.warning("%s: does not continue the frames and is made anew", path)
        _make(path, frames)
    elif start < frames.stat().st_size:
        _extend(path, frames, start)


def _make(path: Path, frames: Path) -> None:
    aside = path.with_name(path.name + PARTIAL)
    aside.unlink(missing_ok=True)
    try:
        _extend(aside, frames, HEADER_SIZE)
        if aside.exists():
            with explained(path):
                aside.replace(path)
                sync_directory(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def _extend(path: Path, frames: Path, start: int) -> None:
    """Append the records behind byte ``start`` as one closed piece."""
    _require_room(path, frames.stat().st_size - start)
    try:
        _append(path, frames, start)
    except (OSError, RuntimeError) as error:  # h5py raises both when a write fails
        raise StoreError(f"{path}: cannot be written ({error})") from error


def _append(path: Path, frames: Path, start: int) -> None:
    records = read_frame_records(frames, start=start)
    if start == HEADER_SIZE:
        first = next(records, None)
        if first is None:
            return
        with h5py.File(path, "x") as file:
            _create(file, system_of(first))
            _mark(file, frames, first.end, closed=False)
            start = first.end
    with h5py.File(path, "r+") as file:
        _mark(file, frames, start, closed=False)
        file.flush()
        _sync(path)
        end = _write_pieces(file, records, start)
        file.flush()
        _sync(path)
        # Only now, when all data are on the disk, the mark may say so.
        _mark(file, frames, end, closed=True)


def _write_pieces(file: h5py.File, records: Iterable[Record], end: int) -> int:
    n_atoms = len(file[f"{_PARTICLES}/species"])
    piece = max(1, _PIECE // (24 * n_atoms))
    waiting: list[Frame] = []
    for record in records:
        if record.kind == "frame":
            waiting.append(frame_of(record))
        if waiting and (record.kind == "invalid" or len(waiting) == piece):
            _write(file, waiting)
            waiting = []
        if record.kind == "invalid":
            steps = file[_STEP][:]
            file[_VALID][:] = file[_VALID][:] & (steps <= after_step_of(record))
        end = record.end
    if waiting:
        _write(file, waiting)
    return end


def _create(file: h5py.File, system: System) -> None:
    head = file.create_group("h5md")
    head.attrs["version"] = _VERSION
    head.create_group("author").attrs["name"] = "unknown"
    creator = head.create_group("creator")
    creator.attrs["name"] = "otf-md"
    creator.attrs["version"] = version("otf-md")
    head.create_group("modules/units").attrs["version"] = np.array([1, 0])
    file.create_group(_MARK)
    n = len(system.numbers)
    particles = file.create_group(_PARTICLES)
    particles["species"] = np.asarray(system.numbers, dtype=np.int64)
    particles["mass"] = np.asarray(system.masses, dtype=np.float64)
    particles["mass"].attrs["unit"] = "u"
    box = particles.create_group("box")
    box.attrs["dimension"] = 3
    box.attrs["boundary"] = np.array(
        [b"periodic" if periodic else b"none" for periodic in system.pbc]
    )
    step = _growing(file, _STEP, (), np.int64)
    time = _growing(file, _TIME, (), np.float64)
    time.attrs["unit"] = "fs"
    shapes = {"box/edges": (3, 3)}
    groups: list[tuple[str, tuple[int, ...], type[np.generic], str]] = [
        (f"{_PARTICLES}/{name}", shapes.get(name, (n, 3)), np.float64, unit)
        for name, (_, unit) in _VECTORS.items()
    ]
    groups += [
        (f"observables/{name}", (), np.float64 if unit else np.int8, unit)
        for name, (_, unit) in _OBSERVABLES.items()
    ]
    for name, shape, dtype, unit in groups:
        value = _growing(file, f"{name}/value", shape, dtype)
        if unit:
            value.attrs["unit"] = unit
        if f"{name}/step" not in file:  # all groups share one clock through hard links
            file[f"{name}/step"] = step
            file[f"{name}/time"] = time


def _growing(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: type[np.generic]
) -> h5py.Dataset:
    row = int(np.prod(shape)) * np.dtype(dtype).itemsize
    rows = int(np.clip(_PIECE // (4 * row), 1, 1024))
    return file.create_dataset(
        name,
        shape=(0, *shape),
        maxshape=(None, *shape),
        chunks=(rows, *shape),
        dtype=dtype,
    )


def _write(file: h5py.File, frames: list[Frame]) -> None:
    _grow(file[_STEP], np.array([f.step for f in frames]))
    _grow(file[_TIME], np.array([f.time / FS for f in frames]))
    for room, table in ((_PARTICLES, _VECTORS), ("observables", _OBSERVABLES)):
        for name, (value, _) in table.items():
            _grow(file[f"{room}/{name}/value"], np.array([value(f) for f in frames]))


def _grow(dataset: h5py.Dataset, rows: NDArray[np.generic]) -> None:
    n = len(dataset)
    dataset.resize(n + len(rows), axis=0)
    dataset[n:] = rows


def _mark(file: h5py.File, frames: Path, end: int, *, closed: bool) -> None:
    """Write how many bytes of the raw frames are in, and the last of them."""
    attributes = file[_MARK].attrs
    attributes["closed"] = closed
    attributes["frames_bytes"] = end
    attributes["frames_tail"] = int.from_bytes(_tail(frames, end), "little")


def _tail(frames: Path, end: int) -> bytes:
    """Return the 4 bytes before ``end``, the checksum of the record that ends there."""
    with frames.open("rb") as handle:
        handle.seek(end - 4)
        return handle.read(4)


def _continues(path: Path, frames: Path) -> int | None:
    """Return the bytes of the raw frames that are in, None when that is not certain."""
    try:
        with h5py.File(path, "r") as file:
            attributes = file[_MARK].attrs
            end, tail = int(attributes["frames_bytes"]), int(attributes["frames_tail"])
            closed = bool(attributes["closed"])
        same = int.from_bytes(_tail(frames, end), "little") == tail
    except Exception:  # a damaged HDF5 file raises whatever it likes
        return None
    return end if closed and same and end <= frames.stat().st_size else None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _require_room(path: Path, n_bytes: int) -> None:
    """Raise before HDF5 meets a full disk: it cannot close a file then."""
    with explained(path):
        free = shutil.disk_usage(path.parent).free
    if free < 1.2 * n_bytes + (1 << 20):
        raise StoreError(
            f"{path}: the disk is too full for the next piece of the trajectory "
            f"({free / 1e6:.1f} MB free); the frames are safe, it is made up later"
        )
