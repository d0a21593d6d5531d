"""Labelled structures in extended XYZ, read through ASE and written bit by bit.

Frames may carry the fingerprint of the reference that labelled them and what it stands
for, as the journals of runs do, so that labels of two references are not taken for one
another's, and the name of their kind (``config_type``).
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from otf.errors import StoreError
from otf.store.ase_labels import frame_of_atoms
from otf.store.disk import explained, write_aside
from otf.store.labelled import Reading, tensor_of, whole_labels
from otf.store.text import first_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from otf.configuration import Configuration, FloatArray, Labels
    from otf.store.labelled import LabelledFrame

FINGERPRINT = "reference_fingerprint"
DESCRIPTION = "reference_settings"
GROUP = "config_type"
_GZIP = b"\x1f\x8b"


def read_extxyz(path: Path) -> Reading:
    """Return the frames of an extended XYZ file with their kinds and references.

    Raises
    ------
    StoreError
        As ``read_frames``.
    """
    frames = read_frames(path)
    groups = comment_values(path, GROUP, n_frames=len(frames))
    marks = comment_values(path, FINGERPRINT, n_frames=len(frames))
    words = comment_values(path, DESCRIPTION, n_frames=len(frames))
    known = {mark: word for mark, word in zip(marks, words, strict=True) if word}
    return Reading(frames, groups, marks, descriptions=known)


def read_frames(path: str | PathLike[str]) -> list[LabelledFrame]:
    """Return every frame of an extended XYZ file, plain or gzipped, with its labels.

    A missing label is NaN, and so is stress along a non-periodic axis. ``virial`` is
    -stress times volume, as in ASE.

    Raises
    ------
    StoreError
        When the file cannot be read, has no frames, or a frame holds non-finite
        numbers, arrays of wrong shape or an atom twice.
    """
    from ase.io import read

    text = _text(Path(path))
    try:
        frames = read(io.StringIO(text), index=":", format="extxyz")
    except Exception as error:  # the reader raises many kinds
        reason = first_line(error)
        raise StoreError(
            f"{path}: cannot be read as extended XYZ ({reason})"
        ) from error
    if not frames:
        raise StoreError(f"{path}: holds no frames")
    return [
        frame_of_atoms(atoms, f"{path}, frame {k}") for k, atoms in enumerate(frames)
    ]


def comment_values(path: Path, key: str, *, n_frames: int) -> list[str]:
    """Return what the comment line of every frame says of a key.

    Empty where it says nothing, and everywhere when the lines do not fit the number of
    frames that were read.

    Raises
    ------
    StoreError
        When the file cannot be read.
    """
    pattern = re.compile(rf'(?<!\S){re.escape(key)}=(?:"([^"]*)"|(\S+))')
    lines = _text(path).splitlines()
    values: list[str] = []
    at = 0
    while at + 1 < len(lines) and lines[at].strip().isdecimal():
        found = pattern.search(lines[at + 1])
        values.append((found[1] or found[2] or "") if found else "")
        at += 2 + int(lines[at])
    return values if len(values) == n_frames else [""] * n_frames


def write_frames(
    path: str | PathLike[str],
    frames: Sequence[LabelledFrame],
    *,
    fingerprints: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    descriptions: Mapping[str, str] | None = None,
) -> None:
    """Write frames as extended XYZ, gzipped when the name ends in .gz.

    All digits are kept, so that a structure read again is the same to the last bit.
    Labels that are NaN as a whole are left out.

    Parameters
    ----------
    path
        An existing file is replaced.
    frames
        Structures with their labels.
    fingerprints
        Of the reference of every frame; empty where it is not known.
    groups
        The kind of every frame; empty where it has none.
    descriptions
        What the fingerprints stand for, as far as known.

    Raises
    ------
    StoreError
        When the forces of a frame are known in part, which the format cannot say, or
        the disk is full or fails.
    """
    path = Path(path)
    nothing = [""] * len(frames)
    known = descriptions or {}
    said = [
        {FINGERPRINT: mark, DESCRIPTION: known.get(mark, ""), GROUP: group}
        for mark, group in zip(fingerprints or nothing, groups or nothing, strict=True)
    ]
    text = "".join(
        _lines(c, labels, words, f"{path}, frame {k}")
        for k, ((c, labels), words) in enumerate(zip(frames, said, strict=True))
    ).encode()
    # A fixed time keeps equal frames equal files.
    body = gzip.compress(text, mtime=0) if path.suffix == ".gz" else text

    def write(handle: BinaryIO) -> None:
        handle.write(body)

    write_aside(path, write)


# --------------------------------------------------------------------------- reading
def _text(path: Path) -> str:
    with explained(path):
        content = path.read_bytes()
    try:
        # Unpacked at once: ASE seeks, and every seek back in a gzip file starts anew.
        if content.startswith(_GZIP):
            content = gzip.decompress(content)
        return content.decode()
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise StoreError(f"{path}: cannot be read as text ({error})") from error


# --------------------------------------------------------------------------- writing
def _lines(
    c: Configuration, labels: Labels, words: Mapping[str, str], where: str
) -> str:
    from ase.data import chemical_symbols

    head = [f'pbc="{" ".join("T" if periodic else "F" for periodic in c.pbc)}"']
    if c.cell.any():
        head.insert(0, f'Lattice="{_numbers(c.cell)}"')
    whole = whole_labels(c, labels, where)
    columns: dict[str, FloatArray] = {"pos": c.positions}
    if whole.forces is not None:
        columns["forces"] = whole.forces
    if c.initial_charges is not None:
        columns["initial_charges"] = c.initial_charges[:, None]
    if c.magnetic_moments is not None:
        columns["initial_magmoms"] = c.magnetic_moments.reshape(c.n_atoms, -1)
    properties = [f"{name}:R:{column.shape[1]}" for name, column in columns.items()]
    head.append(f"Properties=species:S:1:{':'.join(properties)}")
    if whole.energy is not None:
        head.append(f"energy={whole.energy!r}")
    if whole.stress is not None:
        head.append(f'stress="{_numbers(tensor_of(whole.stress))}"')
    numbers = {"charge": c.charge, "spin": c.spin}
    head += [f"{key}={value}" for key, value in numbers.items() if value is not None]
    head += [f'{key}="{word}"' for key, word in words.items() if word]
    table = np.hstack(list(columns.values()))
    rows = (
        f"{chemical_symbols[z]} {_numbers(row)}\n"
        for z, row in zip(c.numbers, table, strict=True)
    )
    return f"{c.n_atoms}\n{' '.join(head)}\n{''.join(rows)}"


def _numbers(array: FloatArray) -> str:
    return " ".join(map(repr, array.ravel().tolist()))
