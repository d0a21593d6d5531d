"""The cfg files of MLIP (moment tensor potentials), read and written.

Energies are in eV, forces in eV/angstrom. ``PlusStress`` is the virial in eV, minus
stress times volume. Atoms have type numbers, counted from 0; their elements must be
told unless a line ``Feature elements`` names them, which files written here have.

References
----------
.. [1] I. S. Novikov et al., Mach. Learn.: Sci. Technol. 2, 025002 (2021),
   https://doi.org/10.1088/2632-2153/abc9fe
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from otf.configuration import Configuration
from otf.errors import StoreError
from otf.store.disk import write_aside
from otf.store.labelled import Reading, labelled_frame, whole_labels
from otf.store.text import element_of, lines_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from otf.configuration import FloatArray, Labels
    from otf.store.labelled import LabelledFrame
    from otf.store.text import Lines

ELEMENTS = "elements"
_STRESS = ("xx", "yy", "zz", "yz", "xz", "xy")
_CARTESIAN = ("cartes_x", "cartes_y", "cartes_z")
_DIRECT = ("direct_x", "direct_y", "direct_z")
_FORCES = ("fx", "fy", "fz")
_IDS = ("id", "type")


@dataclass
class _Block:
    """What was read of one configuration."""

    size: int = 0
    cell: list[list[float]] | None = None
    columns: list[str] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    atoms: list[list[float]] = field(default_factory=list)
    energy: float = np.nan
    virial: FloatArray | None = None
    elements: tuple[int, ...] = ()
    seen: set[str] = field(default_factory=set)


def is_mlip_cfg(head: bytes) -> bool:
    """Return whether a file begins as a cfg file of MLIP does."""
    return head.lstrip().startswith(b"BEGIN_CFG")


def read_mlip_cfg(path: Path, elements: Sequence[int] = ()) -> Reading:
    """Return the configurations of a cfg file.

    A configuration without ``Supercell`` is not periodic.

    Parameters
    ----------
    path
        File to read.
    elements
        Atomic numbers of type 0, 1, ...; those the file names when empty.

    Raises
    ------
    StoreError
        When the file is no whole cfg file, or nobody says what the types are.
    """
    frames: list[LabelledFrame] = []
    with lines_of(path) as lines:
        for line in lines:
            if not line.strip():
                continue
            if line.strip() != "BEGIN_CFG":
                raise lines.wrong(f"expected BEGIN_CFG, got {line.strip()[:40]!r}")
            where = f"{path}, configuration {len(frames)} (line {lines.number})"
            frames.append(_frame(_block(lines), tuple(elements), where))
    if not frames:
        raise StoreError(f"{path}: holds no frames")
    return Reading.of(frames)


def _block(lines: Lines) -> _Block:
    block = _Block()
    while True:
        words = lines.filled("END_CFG").split()
        key = words[0].rstrip(":")
        if key == "END_CFG":
            break
        if key != "Feature" and key in block.seen:
            raise lines.wrong(f"{key} stands twice in one configuration")
        block.seen.add(key)
        _entry(block, lines, key, words[1:])
    missing = {"Size", "AtomData"} - block.seen
    if missing:
        raise lines.wrong(f"the configuration has no {' and no '.join(missing)}")
    return block


def _entry(block: _Block, lines: Lines, key: str, words: list[str]) -> None:
    """Read what stands below one key of a configuration."""
    if key == "Feature":
        if words[:1] == [ELEMENTS]:
            block.elements = _named(lines, words[1:])
    elif key == "Size":
        block.size = lines.count(lines.filled("Size").strip(), "Size")
    elif key == "Supercell":
        block.cell = _supercell(lines)
    elif key == "AtomData":
        _atoms(block, lines, words)
    elif key == "Energy":
        block.energy = lines.floats(lines.filled("Energy").split(), 1, "Energy")[0]
    elif key == "PlusStress":
        if sorted(words) != sorted(_STRESS):
            raise lines.wrong(f"PlusStress must name {' '.join(_STRESS)}")
        row = lines.floats(lines.filled("PlusStress").split(), 6, "PlusStress")
        block.virial = np.array([row[words.index(name)] for name in _STRESS])
    else:
        raise lines.wrong(
            f"{key!r} is none of Size, Supercell, AtomData, Energy, PlusStress, "
            "Feature, END_CFG"
        )


def _named(lines: Lines, words: list[str]) -> tuple[int, ...]:
    numbers = [element_of(word) for word in " ".join(words).replace(",", " ").split()]
    known = tuple(z for z in numbers if z is not None)
    if not numbers or len(known) < len(numbers):
        raise lines.wrong("Feature elements must name elements, such as H,O")
    return known


def _supercell(lines: Lines) -> list[list[float]]:
    vectors = []
    while True:
        line = lines.filled("the cell")
        if not line.split()[0][0].isalpha():
            vectors.append(lines.floats(line.split(), 3, "a vector of the cell"))
            continue
        lines.back(line)
        if len(vectors) != 3:
            raise lines.wrong(f"Supercell has {len(vectors)} vectors, expected 3")
        return vectors


def _atoms(block: _Block, lines: Lines, columns: list[str]) -> None:
    if "Size" not in block.seen:
        raise lines.wrong("AtomData stands before Size")
    needed = {*_IDS, *(_CARTESIAN if "cartes_x" in columns else _DIRECT)}
    if not needed <= set(columns) or len(set(columns)) < len(columns):
        raise lines.wrong("AtomData must name id type cartes_x cartes_y cartes_z")
    if 0 < len({*_FORCES} & set(columns)) < 3:
        raise lines.wrong("AtomData names some of fx fy fz, expected all or none")
    block.columns = columns
    for k in range(block.size):
        words = lines.take(f"atom {k + 1} of {block.size}").split()
        if len(words) != len(columns):
            raise lines.wrong(f"expected {len(columns)} columns, got {len(words)}")
        named = dict(zip(columns, words, strict=True))
        if lines.count(named["id"], "id") != k + 1:
            raise lines.wrong(f"expected atom {k + 1}, got {named['id']}")
        block.types.append(lines.count(named["type"], "type"))
        numbers = [word for name, word in named.items() if name not in _IDS]
        block.atoms.append(lines.floats(numbers, len(numbers), "AtomData"))


def _frame(block: _Block, elements: tuple[int, ...], where: str) -> LabelledFrame:
    elements = elements or block.elements
    if not elements:
        raise StoreError(
            f"{where}: has type numbers, but does not say which elements they are: "
            "otf-md import FILE -o OUT.xyz --elements H O"
        )
    if block.types and max(block.types) >= len(elements):
        raise StoreError(
            f"{where}: has type {max(block.types)}, but {len(elements)} elements are "
            "named for the types from 0 on"
        )
    columns = [name for name in block.columns if name not in _IDS]
    table = np.array(block.atoms).reshape(block.size, len(columns))
    cell = np.zeros((3, 3)) if block.cell is None else np.array(block.cell)
    cartesian = "cartes_x" in columns
    positions = _columns(table, columns, _CARTESIAN if cartesian else _DIRECT)
    c = Configuration(
        numbers=np.array([elements[t] for t in block.types], dtype=np.int64),
        positions=positions if cartesian else positions @ cell,
        cell=cell,
        pbc=np.full(3, block.cell is not None),
    )
    stress = None
    if block.virial is not None and c.volume > 0.0:
        stress = -block.virial / c.volume
    return labelled_frame(
        c,
        where,
        energy=block.energy,
        forces=_columns(table, columns, _FORCES) if "fx" in columns else None,
        stress=stress,
    )


def _columns(
    table: FloatArray, columns: list[str], names: tuple[str, ...]
) -> FloatArray:
    return np.ascontiguousarray(table[:, [columns.index(name) for name in names]])


# --------------------------------------------------------------------------- writing
def write_mlip_cfg(path: Path, frames: Sequence[LabelledFrame]) -> None:
    """Write configurations as a cfg file.

    Types are numbered in the order of the atomic numbers that occur; a line
    ``Feature elements`` names them, which MLIP hands through.

    Parameters
    ----------
    path
        An existing file is replaced.
    frames
        Structures, periodic in three directions or in none.

    Raises
    ------
    StoreError
        When the format cannot say what a frame holds, or the disk is full or fails.
    """
    elements = sorted({int(z) for c, _ in frames for z in c.numbers})
    text = "".join(
        _lines(c, labels, elements, f"{path}, frame {k}")
        for k, (c, labels) in enumerate(frames)
    )

    def write(handle: BinaryIO) -> None:
        handle.write(text.encode())

    write_aside(path, write)


def _lines(c: Configuration, labels: Labels, elements: list[int], where: str) -> str:
    from ase.data import chemical_symbols

    if c.pbc.any() != c.pbc.all():
        raise StoreError(f"{where}: is periodic in part, which cannot be written")
    whole = whole_labels(c, labels, where)
    parts = ["BEGIN_CFG", " Size", f"    {c.n_atoms}"]
    if c.pbc.all():
        parts += [" Supercell", *(f"    {_words(row)}" for row in c.cell)]
    columns = [*_IDS, *_CARTESIAN, *(() if whole.forces is None else _FORCES)]
    parts.append(f" AtomData:  {'  '.join(columns)}")
    table = c.positions
    if whole.forces is not None:
        table = np.hstack([table, whole.forces])
    parts += [
        f"    {k + 1:6d} {elements.index(int(z)):3d} {_words(row)}"
        for k, (z, row) in enumerate(zip(c.numbers, table, strict=True))
    ]
    if whole.energy is not None:
        parts += [" Energy", f"    {whole.energy!r}"]
    if whole.stress is not None:
        virial = -whole.stress * c.volume
        parts += [f" PlusStress:  {'  '.join(_STRESS)}", f"    {_words(virial)}"]
    symbols = ",".join(chemical_symbols[z] for z in elements)
    return "\n".join([*parts, f" Feature   {ELEMENTS}   {symbols}", "END_CFG", "", ""])


def _words(row: FloatArray) -> str:
    return " ".join(map(repr, row.tolist()))
