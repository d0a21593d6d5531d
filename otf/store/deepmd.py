"""The folders of DeePMD-kit: arrays of NumPy, one folder for each composition.

A system is a folder with ``type.raw``, ``type_map.raw`` and sets of frames
(``set.000/coord.npy``, ``box.npy``, ``energy.npy``, ``force.npy``, ``virial.npy``). In
the mixed layout ``real_atom_types.npy`` tells the types of every frame, -1 where there
is no atom. Units are angstrom, eV and eV/angstrom; the virial is minus stress times
volume.

References
----------
.. [1] DeePMD-kit documentation, https://docs.deepmodeling.com/projects/deepmd
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np

from otf.configuration import Configuration
from otf.errors import StoreError
from otf.store.disk import PARTIAL, explained, sync_directory
from otf.store.labelled import Reading, labelled_frame, tensor_of, whole_labels
from otf.store.text import element_of_label, first_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from otf.configuration import FloatArray, IntArray
    from otf.store.labelled import LabelledFrame

TYPES = "type.raw"
TYPE_MAP = "type_map.raw"
OPEN = "nopbc"
REAL_TYPES = "real_atom_types"


def is_deepmd(path: Path) -> bool:
    """Return whether a folder is a system of DeePMD-kit, or holds some."""
    return path.is_dir() and any(path.rglob(TYPES))


def read_deepmd(path: Path, elements: Sequence[int] = ()) -> Reading:
    """Return the frames of all systems in a folder.

    Parameters
    ----------
    path
        A system, or a folder with systems at any depth.
    elements
        Atomic numbers of type 0, 1, ...; those of ``type_map.raw`` when empty.

    Raises
    ------
    StoreError
        When an array is missing, torn or of the wrong shape, or nobody says what the
        types are.
    """
    systems = sorted(file.parent for file in path.rglob(TYPES))
    frames = [frame for system in systems for frame in _system(system, tuple(elements))]
    if not frames:
        raise StoreError(f"{path}: holds no frames")
    return Reading.of(frames)


def _system(folder: Path, elements: tuple[int, ...]) -> list[LabelledFrame]:
    types = _types(folder)
    elements = elements or _elements(folder)
    if not elements:
        raise StoreError(
            f"{folder}: has no {TYPE_MAP} that names the elements of its types: "
            "otf-md import FOLDER -o OUT.xyz --elements H O"
        )
    sets = sorted(entry for entry in folder.glob("set.*") if entry.is_dir())
    if not sets:
        raise StoreError(f"{folder}: has no folder set.000 with frames")
    periodic = not (folder / OPEN).exists()
    return [f for s in sets for f in _set(s, types, elements, periodic=periodic)]


def _types(folder: Path) -> IntArray:
    words = _text(folder / TYPES).split()
    if not words or not all(word.isdecimal() and len(word) < 4 for word in words):
        raise StoreError(f"{folder / TYPES}: must hold whole numbers from 0 on")
    return np.array(words, dtype=np.int64)


def _elements(folder: Path) -> tuple[int, ...]:
    path = folder / TYPE_MAP
    if not path.exists():
        return ()
    numbers = []
    words = _text(path).split()
    if len(set(words)) < len(words):
        raise StoreError(f"{path}: a type stands twice")
    for word in words:
        number = element_of_label(word)
        if number is None:
            raise StoreError(f"{path}: {word!r} is no element")
        numbers.append(number)
    return tuple(numbers)


def _text(path: Path) -> str:
    with explained(path):
        return path.read_bytes().decode(errors="replace")


def _set(
    folder: Path, types: IntArray, elements: tuple[int, ...], *, periodic: bool
) -> list[LabelledFrame]:
    n = len(types)
    coord = _array(folder, "coord", n_columns=3 * n)
    if coord is None:
        raise StoreError(f"{folder}: has no coord.npy")
    n_frames = len(coord)
    box = _array(folder, "box", n_columns=9, n_frames=n_frames) if periodic else None
    if periodic and box is None:
        raise StoreError(
            f"{folder}: has no box.npy; a system without a cell has a file {OPEN}"
        )
    real = _array(folder, REAL_TYPES, n_columns=n, n_frames=n_frames)
    energy = _array(folder, "energy", n_columns=1, n_frames=n_frames)
    force = _array(folder, "force", n_columns=3 * n, n_frames=n_frames)
    virial = _array(folder, "virial", n_columns=9, n_frames=n_frames)
    frames = []
    for k in range(n_frames):
        where = f"{folder}, frame {k}"
        row = types if real is None else _whole(real[k], where)
        there = row >= 0
        if row.max(initial=-1) >= len(elements):
            raise StoreError(
                f"{where}: has type {row.max()}, but {len(elements)} elements are "
                "named for the types from 0 on"
            )
        c = Configuration(
            numbers=np.array([elements[t] for t in row[there]], dtype=np.int64),
            positions=coord[k].reshape(n, 3)[there],
            cell=np.zeros((3, 3)) if box is None else box[k].reshape(3, 3),
            pbc=np.full(3, periodic),
        )
        stress = None
        if virial is not None and c.volume > 0.0:
            stress = -virial[k].reshape(3, 3) / c.volume
        frames.append(
            labelled_frame(
                c,
                where,
                energy=np.nan if energy is None else float(energy[k, 0]),
                forces=None if force is None else force[k].reshape(n, 3)[there],
                stress=stress,
            )
        )
    return frames


def _array(
    folder: Path, name: str, *, n_columns: int, n_frames: int | None = None
) -> FloatArray | None:
    """Return an array (frames, columns); None when there is no such file."""
    path = folder / f"{name}.npy"
    if not path.exists():
        return None
    try:
        array = np.load(path, allow_pickle=False)
        table = np.array(array, dtype=np.float64)
    except Exception as error:  # NumPy raises many kinds for a torn file
        reason = first_line(error)
        raise StoreError(f"{path}: cannot be read as an array ({reason})") from error
    n_rows = len(table) if table.ndim and n_frames is None else n_frames
    if (
        n_rows is None
        or table.size != n_rows * n_columns
        or table.ndim not in (1, 2, 3)
    ):
        raise StoreError(
            f"{path}: has shape {table.shape}, expected {n_rows} frames of {n_columns} "
            "numbers"
        )
    if table.ndim > 1 and len(table) != n_rows:
        raise StoreError(f"{path}: has {len(table)} frames, coord.npy has {n_rows}")
    if not np.isfinite(table).all():
        raise StoreError(f"{path}: holds a number that is not finite")
    return table.reshape(n_rows, n_columns)


def _whole(row: FloatArray, where: str) -> IntArray:
    whole = row.astype(np.int64)
    if (whole != row).any() or (whole < -1).any():
        raise StoreError(f"{where}: {REAL_TYPES} must be whole numbers from -1 on")
    return whole


# --------------------------------------------------------------------------- writing
def write_deepmd(path: Path, frames: Sequence[LabelledFrame]) -> None:
    """Write a folder with one system for each composition and order of atoms.

    A system has the labels that all its frames have: frames that lack some go to
    another one. Frames of one system keep their order.

    Parameters
    ----------
    path
        Folder to make; there must be nothing.
    frames
        Structures, periodic in three directions or in none.

    Raises
    ------
    StoreError
        When the format cannot say what a frame holds, something is there already, or
        the disk is full or fails.
    """
    if path.exists():
        raise StoreError(f"{path}: is there already; give the folder another name")
    systems: dict[tuple[object, ...], list[LabelledFrame]] = {}
    for k, (c, labels) in enumerate(frames):
        if c.pbc.any() != c.pbc.all():
            raise StoreError(
                f"{path}, frame {k}: is periodic in part, which cannot be written"
            )
        whole = whole_labels(c, labels, f"{path}, frame {k}")
        key = (
            tuple(c.numbers.tolist()),
            bool(c.pbc.all()),
            whole.energy is None,
            whole.forces is None,
            whole.stress is None,
        )
        systems.setdefault(key, []).append((c, labels))
    aside = path.with_name(path.name + PARTIAL)
    with explained(path):
        shutil.rmtree(aside, ignore_errors=True)
        try:
            for k, group in enumerate(systems.values()):
                _write_system(aside / f"{k:03d}_{_formula(group[0][0])}", group)
            aside.rename(path)
            sync_directory(path.parent)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


def _write_system(folder: Path, frames: list[LabelledFrame]) -> None:
    from ase.data import chemical_symbols

    c, labels = frames[0]
    elements = sorted(set(c.numbers.tolist()))
    n = len(frames)
    inside = folder / "set.000"
    inside.mkdir(parents=True)
    types = [f"{elements.index(z)}\n" for z in c.numbers.tolist()]
    (folder / TYPES).write_text("".join(types))
    (folder / TYPE_MAP).write_text(
        "".join(f"{chemical_symbols[z]}\n" for z in elements)
    )
    if not c.pbc.all():
        (folder / OPEN).touch()
    arrays: dict[str, list[FloatArray]] = {
        "coord": [c.positions for c, _ in frames],
        "box": [c.cell for c, _ in frames],
    }
    if np.isfinite(labels.energy):
        energies = [float(labels.energy) for _, labels in frames]
        arrays["energy"] = [np.array([energy]) for energy in energies]
    if labels.force_mask.all():
        arrays["force"] = [labels.forces for _, labels in frames]
    if labels.stress_mask.all():
        arrays["virial"] = [-tensor_of(ls.stress) * c.volume for c, ls in frames]
    for name, rows in arrays.items():
        table = np.array(rows, dtype=np.float64).reshape(n, -1)
        np.save(inside / f"{name}.npy", table)


def _formula(c: Configuration) -> str:
    from ase.formula import Formula

    return str(Formula.from_list(c.to_atoms().get_chemical_symbols()).format("hill"))
