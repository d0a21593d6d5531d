"""Files of ASE: SQLite databases, read and written, JSON ones and trajectories, read.

ASE reads them: energies in eV, forces in eV/angstrom, stress as ASE has it. Labels with
names of their own may lie among the key-value pairs or the data of a row.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from otf.errors import StoreError
from otf.store.ase_labels import frame_of_atoms
from otf.store.disk import PARTIAL, explained, sync_directory
from otf.store.labelled import Reading, whole_labels
from otf.store.text import first_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ase import Atoms
    from ase.db.row import AtomsRow

    from otf.configuration import Configuration, Labels
    from otf.store.labelled import LabelledFrame

GROUP = "config_type"


def is_ase_sqlite(head: bytes) -> bool:
    """Return whether a file begins as one of SQLite does."""
    return head.startswith(b"SQLite format 3\x00")


def is_ase_json(head: bytes) -> bool:
    """Return whether a file begins as a JSON database of ASE does."""
    return head.lstrip().startswith(b'{"') and b'"unique_id":' in head


def read_ase_sqlite(path: Path) -> Reading:
    """Return the rows of a SQLite database.

    Raises
    ------
    StoreError
        When it is none of ASE's, or damaged.
    """
    try:
        # ASE would make its tables in a file that lacks them.
        uri = f"{path.resolve().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True)
        try:
            names = connection.execute("SELECT name FROM sqlite_master")
            tables = {row[0] for row in names}
            state = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            connection.close()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(f"{path}: cannot be read as a database ({reason})") from error
    if "systems" not in tables:
        raise StoreError(f"{path}: is a database, but none of ASE's")
    if state != "ok":
        raise StoreError(f"{path}: is damaged ({str(state).splitlines()[-1]})")
    return _read(path, "db")


def read_ase_json(path: Path) -> Reading:
    """Return the rows of a JSON database.

    Raises
    ------
    StoreError
        When it is none of ASE's, or damaged.
    """
    return _read(path, "json")


def is_ase_trajectory(head: bytes) -> bool:
    """Return whether a file begins as a trajectory of ASE does."""
    return head.startswith(b"- of UlmASE-Trajectory")


def read_ase_trajectory(path: Path) -> Reading:
    """Return the frames of a trajectory.

    Raises
    ------
    StoreError
        When it is damaged.
    """
    from ase.io import read

    try:
        images = read(path, index=":", format="traj")
    except Exception as error:  # ASE and NumPy raise many kinds
        reason = first_line(error)
        raise StoreError(
            f"{path}: cannot be read as a trajectory ({reason})"
        ) from error
    if not images:
        raise StoreError(f"{path}: holds no frames")
    frames = [frame_of_atoms(a, f"{path}, frame {k}") for k, a in enumerate(images)]
    return Reading.of(frames)


def _read(path: Path, kind: str) -> Reading:
    from ase.db import connect

    frames, groups = [], []
    try:
        rows = list(connect(path, type=kind, use_lock_file=False).select())
        images = [_atoms(row) for row in rows]
    except Exception as error:  # ASE, json and sqlite3 raise many kinds
        reason = first_line(error)
        raise StoreError(f"{path}: cannot be read as a database ({reason})") from error
    for row, atoms in zip(rows, images, strict=True):
        frames.append(frame_of_atoms(atoms, f"{path}, row {row.id}"))
        groups.append(str(atoms.info.get(GROUP, "")))
    if not frames:
        raise StoreError(f"{path}: holds no frames")
    return Reading(frames, groups, [""] * len(frames))


def _atoms(row: AtomsRow) -> Atoms:
    atoms = row.toatoms()
    atoms.info |= {**row.data, **row.key_value_pairs}
    return atoms


# --------------------------------------------------------------------------- writing
def write_ase_sqlite(
    path: Path, frames: Sequence[LabelledFrame], groups: Sequence[str]
) -> None:
    """Write a SQLite database.

    Charge, spin and kind of a structure go to the data of its row.

    Parameters
    ----------
    path
        An existing file is replaced.
    frames
        Structures with their labels.
    groups
        The kind of every frame; empty where it has none.

    Raises
    ------
    StoreError
        When forces or stress are known in part, or the disk is full or fails.
    """
    images = [
        _labelled(c, labels, f"{path}, frame {k}")
        for k, (c, labels) in enumerate(frames)
    ]
    aside = path.with_name(path.name + PARTIAL)
    with explained(path):
        aside.unlink(missing_ok=True)
        try:
            _write(aside, images, groups)
            aside.replace(path)
            sync_directory(path.parent)
        except sqlite3.Error as error:
            aside.unlink(missing_ok=True)
            raise StoreError(f"{path}: cannot be written ({error})") from error
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


def _write(path: Path, images: Sequence[Atoms], groups: Sequence[str]) -> None:
    from ase.db import connect

    with connect(path, type="db", use_lock_file=False) as database:
        for atoms, group in zip(images, groups, strict=True):
            more = {GROUP: group} if group else {}
            database.write(atoms, data={**atoms.info, **more})


def _labelled(c: Configuration, labels: Labels, where: str) -> Atoms:
    from ase.calculators.singlepoint import SinglePointCalculator

    whole = whole_labels(c, labels, where)
    known = {
        "energy": whole.energy,
        "forces": whole.forces,
        "stress": whole.stress,
    }
    results = {name: value for name, value in known.items() if value is not None}
    atoms = c.to_atoms()
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
