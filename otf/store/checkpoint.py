"""Checkpoints: all a run needs to make its next step, down to the last bit.

Two are kept, each with a checksum; when the newest is damaged the older one serves.
Model arrays are large and change seldom, so they have a file of their own that both
checkpoints may share.
"""

from __future__ import annotations

import json
import logging
import struct
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from otf.configuration import Configuration
from otf.errors import StoreError
from otf.potential import ModelChange, Prediction, Uncertainty
from otf.state import State
from otf.store.disk import PARTIAL, checksum, explained, write_aside

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from otf.potential import Arrays
    from otf.store.schema import RunFolder

logger = logging.getLogger(__name__)

VERSION = 1
KEPT = 2
_MAPPED = 1 << 20  # bytes of an array that is left in its file
_LOCAL = struct.Struct("<26xHH")  # a header inside a zip file, up to two lengths
_META = "meta"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A moment of a run.

    Attributes
    ----------
    state : of the sampler
    prediction : at the positions of ``state``, on which the next step starts
    potential : ``Potential.state()``
    model : large arrays of :mod:`otf.models.archive`; empty when there is no model
    generation : grows with every change of ``model``
    counters : numbers and strings of the run loop, plain JSON
    sizes : file name -> bytes that file had; what lies behind is cut on a resume
    """

    state: State
    prediction: Prediction
    potential: Arrays = field(default_factory=dict)
    model: Arrays = field(default_factory=dict)
    generation: int = 0
    counters: Mapping[str, object] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _ModelFile:
    path: Path
    checksum: int
    generation: int


class Checkpoints:
    """The checkpoints of a run folder, for the run that writes them.

    Parameters
    ----------
    folder
        Of the run; must exist.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._serial = max((s for s, _ in folder.checkpoints()), default=0)
        self._kept: list[tuple[Path, _ModelFile | None]] = []  # whole ones, newest last

    def load(self, *, turn: int | None = None) -> Checkpoint | None:
        """Return the newest whole checkpoint, None when there is none at all.

        Parameters
        ----------
        turn
            Take the one of this turn, of runs that are saved together.

        Raises
        ------
        StoreError
            When there are checkpoints but none is whole, or none is of the turn.
        """
        found = _newest(self._folder, turn=turn)
        if found is None:
            return None
        path, checkpoint, model = found
        self._kept = [(path, model)]
        return checkpoint

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint and return its path; older ones than the last two go.

        Raises
        ------
        StoreError
            When the disk is full or fails; the older checkpoints then stand.
        """
        self._serial += 1
        path = self._folder.checkpoint(self._serial, checkpoint.state.step)
        model = self._model_file(checkpoint)
        arrays, meta = _pack(checkpoint)
        meta["model"] = None if model is None else [model.path.name, model.checksum]
        try:
            _write_npz(path, arrays, meta)
        except StoreError:
            if model is not None and model not in [m for _, m in self._kept]:
                model.path.unlink(missing_ok=True)  # gives the space back
            raise
        self._kept = [*self._kept, (path, model)][-KEPT:]
        self._clean()
        return path

    def _model_file(self, checkpoint: Checkpoint) -> _ModelFile | None:
        """Return the file with the model arrays, written when they have changed."""
        if not checkpoint.model:
            return None
        last = self._kept[-1][1] if self._kept else None
        if last is not None and last.generation == checkpoint.generation:
            return last
        path = self._folder.model_state(self._serial)
        crc = _write_npz(path, checkpoint.model, {})
        return _ModelFile(path, crc, checkpoint.generation)

    def _clean(self) -> None:
        """Remove what neither of the kept checkpoints needs."""
        needed = {path for path, _ in self._kept}
        needed |= {model.path for _, model in self._kept if model is not None}
        everything = self._folder.checkpoints() + self._folder.model_states()
        with explained(self._folder.path):
            for _, path in everything:
                if path not in needed:
                    path.unlink(missing_ok=True)
            for pattern in ("checkpoint-*.npz", "model-*.npz"):
                for path in self._folder.path.glob(pattern + PARTIAL):
                    path.unlink(missing_ok=True)


def load_newest(folder: RunFolder, *, with_model: bool = False) -> Checkpoint | None:
    """Return the newest whole checkpoint for one who only looks.

    Parameters
    ----------
    folder
        Of the run, which may go on meanwhile.
    with_model
        Whether the arrays of the model are wanted, too.

    Raises
    ------
    StoreError
        When there are checkpoints but none is whole.
    """
    before = folder.checkpoints()
    try:
        found = _newest(folder, with_model=with_model)
    except StoreError:
        if folder.checkpoints() == before:
            raise
        # A live run has replaced the files while they were read.
        found = _newest(folder, with_model=with_model)
    return None if found is None else found[1]


def saved_turns(folder: RunFolder) -> set[int]:
    """Return the turns of all whole checkpoints, their models not looked at."""
    turns = set()
    for _, path in folder.checkpoints():
        with suppress(StoreError):
            checkpoint, _ = _load(path, folder, with_model=False)
            turns.add(int(str(checkpoint.counters.get("turn", -1))))
    return turns


def _newest(
    folder: RunFolder, *, with_model: bool = True, turn: int | None = None
) -> tuple[Path, Checkpoint, _ModelFile | None] | None:
    problems: list[str] = []
    for _, path in reversed(folder.checkpoints()):
        try:
            checkpoint, model = _load(path, folder, with_model=with_model)
        except StoreError as error:
            problems.append(str(error))
            continue
        if turn is not None and checkpoint.counters.get("turn") != turn:
            continue
        for problem in problems:
            logger.warning("%s; the older %s is used", problem, path.name)
        return path, checkpoint, model
    if problems:
        raise StoreError(f"no checkpoint can be read: {'; '.join(problems)}")
    if turn is not None:
        raise StoreError(f"{folder.path}: has no checkpoint of turn {turn}")
    return None


def _load(
    path: Path, folder: RunFolder, *, with_model: bool
) -> tuple[Checkpoint, _ModelFile | None]:
    arrays, meta, _ = _read_npz(path)
    model_arrays: Arrays = {}
    crc = 0
    try:
        name = meta["model"] if with_model else None
        if isinstance(name, list):
            model_arrays, _, crc = _read_npz(folder.path / name[0])
            if crc != name[1]:
                raise StoreError(f"{path}: {name[0]} is not the model it refers to")
        checkpoint = _unpack(arrays, meta, model_arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path}: lacks an entry ({error})") from error
    if not isinstance(name, list):
        return checkpoint, None
    return checkpoint, _ModelFile(folder.path / name[0], crc, checkpoint.generation)


# ------------------------------------------------------------- State <-> named arrays
def _pack(checkpoint: Checkpoint) -> tuple[dict[str, NDArray[np.generic]], _Meta]:
    prediction = checkpoint.prediction
    parts: dict[str, object] = {
        "configuration": checkpoint.state.configuration,
        "state": checkpoint.state,
        "prediction": prediction,
        "change": prediction.change,
        "uncertainty": prediction.uncertainty,
    }
    arrays: dict[str, NDArray[np.generic]] = {
        f"potential:{name}": np.asarray(a) for name, a in checkpoint.potential.items()
    }
    scalars: dict[str, object] = {}
    present = [name for name, part in parts.items() if part is not None]
    for name in present:
        for f in fields(parts[name]):  # type: ignore[arg-type]
            value = getattr(parts[name], f.name)
            if isinstance(value, np.ndarray):
                arrays[f"{name}:{f.name}"] = value
            elif value is not None and f.name not in parts:
                scalars[f"{name}:{f.name}"] = value
    meta: _Meta = {
        "version": VERSION,
        "present": present,
        "scalars": scalars,
        "generation": checkpoint.generation,
        "counters": dict(checkpoint.counters),
        "sizes": dict(checkpoint.sizes),
    }
    return arrays, meta


def _fields(prefix: str, *sources: Mapping[str, object]) -> dict[str, object]:
    """Return the entries under ``prefix:`` without it; a None field has no entry."""
    head = prefix + ":"
    return {
        name.removeprefix(head): value
        for source in sources
        for name, value in source.items()
        if name.startswith(head)
    }


def _unpack(arrays: Arrays, meta: _Meta, model: Arrays) -> Checkpoint:
    scalars, present = _mapping(meta, "scalars"), meta["present"]
    assert isinstance(present, list)  # _pack writes nothing else
    found = {name: _fields(name, arrays, scalars) for name in present}
    configuration = Configuration(**found["configuration"])  # type: ignore[arg-type]
    state = State(configuration=configuration, **found["state"])  # type: ignore[arg-type]
    change = uncertainty = None
    if "change" in found:
        change = ModelChange(**found["change"])  # type: ignore[arg-type]
    if "uncertainty" in found:
        uncertainty = Uncertainty(**found["uncertainty"])  # type: ignore[arg-type]
    prediction = Prediction(
        change=change,
        uncertainty=uncertainty,
        **found["prediction"],  # type: ignore[arg-type]
    )
    head = "potential:"
    return Checkpoint(
        state=state,
        prediction=prediction,
        potential={
            name.removeprefix(head): array
            for name, array in arrays.items()
            if name.startswith(head)
        },
        model=model,
        generation=int(str(meta["generation"])),
        counters=_mapping(meta, "counters"),
        sizes={name: int(str(n)) for name, n in _mapping(meta, "sizes").items()},
    )


def _mapping(meta: _Meta, name: str) -> dict[str, object]:
    value = meta[name]
    if not isinstance(value, dict):
        raise TypeError(name)
    return value


# ------------------------------------------------------------------------ npz files
_Meta = dict[str, object]


def _write_npz(path: Path, arrays: Arrays, meta: _Meta) -> int:
    """Write named arrays, uncompressed; return the checksum over them and meta."""
    if _META in arrays:
        raise ValueError(f"no array may be called {_META!r}")
    text = json.dumps(meta, default=_plain)
    crc = zlib.crc32(text.encode(), checksum(arrays))
    body = {name: np.asarray(array) for name, array in arrays.items()}
    body[_META] = np.array([text, str(crc)])

    def write(handle: BinaryIO) -> None:
        # Not np.savez: its keyword "file" would clash with an array of that name.
        with zipfile.ZipFile(handle, "w", zipfile.ZIP_STORED) as archive:
            for name, array in body.items():
                if array.flags.f_contiguous:  # else written in Fortran order
                    array = np.ascontiguousarray(array).reshape(array.shape)
                # A view of a larger array is written piece by piece, not copied.
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)

    write_aside(path, write)
    return crc


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} cannot be stored as a counter")


def _read_npz(path: Path) -> tuple[dict[str, NDArray[np.generic]], _Meta, int]:
    """Return arrays, meta and checksum."""
    try:
        # Opened here: NumPy leaves a damaged file open when it opens it itself.
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            arrays = {
                member.filename.removesuffix(".npy"): _read_member(
                    path, archive, member
                )
                for member in archive.infolist()
            }
        text, stored = (str(x) for x in arrays.pop(_META))
        crc = zlib.crc32(text.encode(), checksum(arrays))
        intact = str(crc) == stored
        meta = json.loads(text) if intact else {}
    except FileNotFoundError as error:
        raise StoreError(f"{path}: is missing") from error
    except Exception as error:  # whatever NumPy and zipfile meet in damaged bytes
        raise StoreError(f"{path}: is damaged ({error})") from error
    if not intact:
        raise StoreError(f"{path}: is damaged (checksum)")
    if meta.get("version", VERSION) > VERSION:
        raise StoreError(
            f"{path}: has format version {meta['version']}, this program reads up to "
            f"{VERSION}; update otf-md"
        )
    return arrays, meta, crc


def _read_member(
    path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo
) -> NDArray[np.generic]:
    """Return an array; a large one stays in the file until it is looked at."""
    with archive.open(member) as stream:
        if member.file_size < _MAPPED:
            array: NDArray[np.generic] = np.lib.format.read_array(
                stream, allow_pickle=False
            )
            return array
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError(f"{member.filename} is none of ours")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        within = stream.tell()
    with path.open("rb") as file:
        file.seek(member.header_offset)
        name, extra = _LOCAL.unpack(file.read(_LOCAL.size))
        offset = member.header_offset + _LOCAL.size + name + extra + within
        mapped = np.memmap(
            file, dtype, "r", offset, shape, order="F" if fortran else "C"
        )
    return np.asarray(mapped)
