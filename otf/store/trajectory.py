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

import errno
import io
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
    "force_error": (lambda f: f.force_errors, "eV Angstrom-1"),
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
            with explained(path):
                path.unlink()  # gives its room to the new one
        _make(path, frames)
    elif start < frames.stat().st_size:
        _extend(path, frames, start)


def _make(path: Path, frames: Path) -> None:
    records = read_frame_records(frames)
    first = next(records, None)
    if first is None:
        return
    aside = path.with_name(path.name + PARTIAL)
    try:
        with explained(path):
            aside.write_bytes(_empty(system_of(first), frames, first.end))
        _extend(aside, frames, first.end)
        with explained(path):
            aside.replace(path)
            sync_directory(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def _extend(path: Path, frames: Path, start: int) -> None:
    """Append the records behind byte ``start`` as one closed piece."""
    try:
        with h5py.File(path, "r+") as file:
            _mark(file, frames, start, closed=False)
            growth = _growth(file, frames.stat().st_size - start)
        _sync(path)
        try:
            _reserve(path, growth)
        except StoreError:
            with h5py.File(path, "r+") as file:
                _mark(file, frames, start, closed=True)  # nothing was changed
            raise
        with h5py.File(path, "r+") as file:
            end = _write_pieces(file, read_frame_records(frames, start=start), start)
            file.flush()
            _sync(path)
            # Only now, when all data are on the disk, the mark may say so.
            _mark(file, frames, end, closed=True)
    except BlockingIOError:  # the run is worth more than its trajectory
        logger.warning("%s: is open in another program; it is made up later", path)
    except (OSError, RuntimeError) as error:  # h5py raises both
        reason = str(error).splitlines()[0]
        raise StoreError(f"{path}: cannot be written ({reason})") from error


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


def _empty(system: System, frames: Path, end: int) -> bytes:
    """Return a trajectory without frames, made in memory."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        _create(file, system)
        attributes = file.create_group(_MARK).attrs
        for name, value in _marks(frames, end, closed=False).items():
            attributes[name] = value
    return buffer.getvalue()


def _create(file: h5py.File, system: System) -> None:
    head = file.create_group("h5md")
    head.attrs["version"] = _VERSION
    head.create_group("author").attrs["name"] = "unknown"
    creator = head.create_group("creator")
    creator.attrs["name"] = "otf-md"
    creator.attrs["version"] = version("otf-md")
    head.create_group("modules/units").attrs["version"] = np.array([1, 0])
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
    shapes = {"box/edges": (3, 3), "force_error": (n,)}
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


def _marks(frames: Path, end: int, *, closed: bool) -> dict[str, np.int64]:
    """Return how many bytes of the raw frames are in, and the last of them."""
    tail = int.from_bytes(_tail(frames, end), "little")
    return {
        "closed": np.int64(closed),
        "frames_bytes": np.int64(end),
        "frames_tail": np.int64(tail),
    }


def _mark(file: h5py.File, frames: Path, end: int, *, closed: bool) -> None:
    for name, value in _marks(frames, end, closed=closed).items():
        file[_MARK].attrs.modify(name, value)  # in place: needs no room


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


def _growth(file: h5py.File, n_bytes: int) -> int:
    """Return more bytes than a file can grow by with so many raw bytes of frames."""
    n_atoms = len(file[f"{_PARTICLES}/species"])
    n_frames = n_bytes // (8 * (9 * n_atoms + 9)) + 1
    names = [f"{_PARTICLES}/{name}/value" for name in _VECTORS]
    names += [f"observables/{name}/value" for name in _OBSERVABLES]
    growth = 0
    for name in (_STEP, _TIME, *names):
        chunk = file[name].chunks
        n_chunks = n_frames // chunk[0] + 2
        # 4 kB: more than a chunk takes in the index
        growth += n_chunks * (int(np.prod(chunk)) * file[name].dtype.itemsize + 4096)
    return growth


def _reserve(path: Path, growth: int) -> None:
    """Take the room for the next piece from the disk, or raise.

    HDF5 that meets a full disk cannot close its file and takes the process down; so the
    system must refuse before. What is reserved too much HDF5 gives back on closing.
    """
    size = path.stat().st_size
    with explained(path), path.open("r+b") as handle:
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle.fileno(), size, growth)
            elif shutil.disk_usage(path.parent).free < growth:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.ftruncate(handle.fileno(), size)
            raise
