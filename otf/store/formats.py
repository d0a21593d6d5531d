"""One door for labelled structures: a file is told by what it holds, not by its name.

A new format is one more entry of FORMATS.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from otf.errors import InputError, StoreError
from otf.store.ase_database import (
    is_ase_json,
    is_ase_sqlite,
    is_ase_trajectory,
    read_ase_json,
    read_ase_sqlite,
    read_ase_trajectory,
    write_ase_sqlite,
)
from otf.store.cp2k import (
    is_cp2k_output,
    is_cp2k_xyz,
    read_cp2k_output,
    read_cp2k_xyz,
)
from otf.store.deepmd import is_deepmd, read_deepmd, write_deepmd
from otf.store.espresso import is_espresso, read_espresso
from otf.store.extxyz import read_extxyz, write_frames
from otf.store.labelled import Reading
from otf.store.mlip_cfg import is_mlip_cfg, read_mlip_cfg, write_mlip_cfg
from otf.store.outcar import is_outcar, read_outcar
from otf.store.run_reader import RunView
from otf.store.schema import RunFolder
from otf.store.text import open_bytes
from otf.store.vasp_ml_ab import is_ml_ab, read_ml_ab, write_ml_ab
from otf.store.vasprun import is_vasprun, read_vasprun

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from os import PathLike

    from otf.store.labelled import LabelledFrame

    Reader = Callable[[Path, Sequence[int]], Reading]

HEAD = 1 << 16  # bytes by which a format is told


class Writer(Protocol):
    """Writes a reading to a path."""

    def __call__(self, path: Path, reading: Reading) -> None:
        """Write, or raise StoreError."""


@dataclass(frozen=True)
class Format:
    """A format of labelled structures.

    Attributes
    ----------
    title : what people call it
    recognise : whether a path, whose first unpacked bytes are given, is of it
    read : from a path; the elements are those of the types from 0 on
    write : None for a format that is only read
    has_types : whether it may number types instead of naming elements
    """

    title: str
    recognise: Callable[[Path, bytes], bool]
    read: Reader
    write: Writer | None = None
    has_types: bool = False


def _told_by(is_it: Callable[[bytes], bool]) -> Callable[[Path, bytes], bool]:
    return lambda path, head: is_it(head)


def _naming(read: Callable[[Path], Reading]) -> Reader:
    return lambda path, elements: read(path)


def _plain(write: Callable[[Path, Sequence[LabelledFrame]], None]) -> Writer:
    return lambda path, reading: write(path, reading.frames)


def _write_extxyz(path: Path, reading: Reading) -> None:
    write_frames(
        path,
        reading.frames,
        fingerprints=reading.fingerprints,
        groups=reading.groups,
        descriptions=reading.descriptions,
    )


def _write_ase(path: Path, reading: Reading) -> None:
    write_ase_sqlite(path, reading.frames, reading.groups)


def _is_run(path: Path, head: bytes) -> bool:
    return path.is_dir() and RunFolder(path).journal.is_file()


def _read_run(path: Path) -> Reading:
    view = RunView.load(path)
    labels = view.labels
    return Reading(
        [(label.configuration, label.labels) for label in labels],
        [""] * len(labels),
        [label.fingerprint for label in labels],
        descriptions=dict(view.descriptions),
    )


def _is_extxyz(head: bytes) -> bool:
    """Return whether a file begins with a number of atoms, or is empty."""
    first = head.lstrip().split(b"\n", maxsplit=1)[0].strip()
    return first.isdigit() or not first


# Extended XYZ stands last: others, too, begin with a number of atoms.
FORMATS: dict[str, Format] = {
    "run": Format("run of otf-md", _is_run, _naming(_read_run)),
    "ml-ab": Format(
        "VASP ML_AB", _told_by(is_ml_ab), _naming(read_ml_ab), _plain(write_ml_ab)
    ),
    "vasprun": Format("VASP vasprun.xml", _told_by(is_vasprun), _naming(read_vasprun)),
    "outcar": Format("VASP OUTCAR", _told_by(is_outcar), _naming(read_outcar)),
    "espresso": Format(
        "Quantum ESPRESSO pw.x output", _told_by(is_espresso), _naming(read_espresso)
    ),
    "cp2k-output": Format(
        "CP2K output with its trajectory",
        _told_by(is_cp2k_output),
        _naming(read_cp2k_output),
    ),
    "cp2k-xyz": Format(
        "CP2K trajectory", _told_by(is_cp2k_xyz), _naming(read_cp2k_xyz)
    ),
    "mlip-cfg": Format(
        "MLIP cfg",
        _told_by(is_mlip_cfg),
        read_mlip_cfg,
        _plain(write_mlip_cfg),
        has_types=True,
    ),
    "deepmd": Format(
        "DeePMD folder",
        lambda path, head: is_deepmd(path),
        read_deepmd,
        _plain(write_deepmd),
        has_types=True,
    ),
    "ase-db": Format(
        "ASE database (SQLite)",
        _told_by(is_ase_sqlite),
        _naming(read_ase_sqlite),
        _write_ase,
    ),
    "ase-json": Format(
        "ASE database (JSON)", _told_by(is_ase_json), _naming(read_ase_json)
    ),
    "ase-traj": Format(
        "ASE trajectory", _told_by(is_ase_trajectory), _naming(read_ase_trajectory)
    ),
    "extxyz": Format(
        "extended XYZ",
        lambda path, head: path.is_file() and _is_extxyz(head),
        _naming(read_extxyz),
        _write_extxyz,
    ),
}


def read_labelled(
    path: str | PathLike[str],
    *,
    name: str | None = None,
    elements: Sequence[int] = (),
) -> Reading:
    """Return the labelled structures of a file or folder of any known format.

    Parameters
    ----------
    path
        A file, gzipped or not where it is text, or a folder of DeePMD-kit.
    name
        Of the format; told by the content when None.
    elements
        Atomic numbers of type 0, 1, ..., for formats that number types.

    Raises
    ------
    InputError
        When elements are given to a format that names them.
    StoreError
        When the file cannot be read.
    """
    path = Path(path)
    name = name or format_of(path)
    kind = FORMATS[name]
    if elements and not kind.has_types:
        msg = f"{path} is {kind.title}, which names its elements: leave --elements out"
        raise InputError(msg)
    return kind.read(path, elements)


def format_of(path: Path) -> str:
    """Return the name of the format a path is of.

    Raises
    ------
    StoreError
        When it cannot be opened, or is of no known format.
    """
    head = b"" if path.is_dir() else _head(path)
    for name, kind in FORMATS.items():
        if kind.recognise(path, head):
            return name
    if path.is_dir():
        raise StoreError(
            f"{path}: there is no run in this folder, nor another data set"
        )
    raise StoreError(
        f"{path}: is of no format otf-md reads; otf-md import --help lists them"
    )


def _head(path: Path) -> bytes:
    with open_bytes(path) as handle:
        return handle.read(HEAD)
