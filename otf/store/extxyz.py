"""Labelled structures in extended XYZ, read through ASE and written bit by bit.

Names of labels differ between programs. A frame is searched for one family of names
after the other (``REF_``, ``DFT_``, plain ...), and all its labels come from the first
family found, so that energies of one method never meet forces of another. Where both
stand, ``free_energy`` goes before ``energy``: forces are the gradient of the former.

Frames may carry the fingerprint of the reference that labelled them, as the journals of
runs do, so that labels of two references are not taken for one another's.
"""

from __future__ import annotations

import gzip
import io
import re
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from scipy.spatial import cKDTree

from otf.configuration import VOIGT, Configuration, Labels, masked_stress
from otf.errors import StoreError
from otf.store.disk import explained, write_aside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ase import Atoms

    from otf.configuration import FloatArray

PREFIXES = ("REF_", "ref_", "DFT_", "dft_", "")
ENERGIES = ("free_energy", "energy", "Energy", "total_energy", "TotEnergy")
FORCES = ("forces", "force", "Forces")
STRESSES = ("stress", "Stress")
VIRIALS = ("virial", "virials", "Virial")
FINGERPRINT = "reference_fingerprint"
CLOSEST = 0.1  # angstrom; nearer atoms are one atom written twice
_GZIP = b"\x1f\x8b"

LabelledFrame = tuple[Configuration, Labels]


def read_frames(path: Path) -> list[LabelledFrame]:
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

    text = _text(path)
    try:
        frames = read(io.StringIO(text), index=":", format="extxyz")
    except Exception as error:  # the reader raises many kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StoreError(
            f"{path}: cannot be read as extended XYZ ({reason})"
        ) from error
    if not frames:
        raise StoreError(f"{path}: holds no frames")
    return [_frame(atoms, f"{path}, frame {k}") for k, atoms in enumerate(frames)]


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
    path: Path,
    frames: Sequence[LabelledFrame],
    *,
    fingerprints: Sequence[str] | None = None,
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

    Raises
    ------
    StoreError
        When the forces of a frame are known in part, which the format cannot say, or
        the disk is full or fails.
    """
    marks = [""] * len(frames) if fingerprints is None else fingerprints
    text = "".join(
        _lines(c, labels, mark, f"{path}, frame {k}")
        for k, ((c, labels), mark) in enumerate(zip(frames, marks, strict=True))
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
    except (OSError, EOFError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read as text ({error})") from error


def _frame(atoms: Atoms, where: str) -> LabelledFrame:
    if len(atoms) == 0:
        raise StoreError(f"{where}: has no atoms")
    try:
        configuration = Configuration.from_atoms(atoms)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{where}: charge or spin is no number ({error})") from error
    _require_sound(configuration, where)
    labels = _labels(atoms, configuration, where)
    for name in ("positions", "cell", "initial_charges", "magnetic_moments"):
        _require_finite(getattr(configuration, name), name, where)
    _require_distinct(configuration, where)
    return configuration, labels


def _labels(atoms: Atoms, c: Configuration, where: str) -> Labels:
    results = {} if atoms.calc is None else atoms.calc.results
    given: dict[str, object] = {**atoms.arrays, **atoms.info, **results}
    prefix = _family(given)
    energy = _first(given, prefix, ENERGIES)
    forces = _first(given, prefix, FORCES)
    return Labels(
        energy=np.nan if energy is None else float(_array(energy, (), "energy", where)),
        forces=(
            np.full((c.n_atoms, 3), np.nan)
            if forces is None
            else _array(forces, (c.n_atoms, 3), "forces", where)
        ),
        stress=masked_stress(_stress(given, prefix, c, where), c.pbc),
    )


def _family(given: Mapping[str, object]) -> str:
    """Return the first prefix under which there is an energy or forces."""
    for prefix in PREFIXES:
        if any(prefix + name in given for name in ENERGIES + FORCES):
            return prefix
    return ""


def _first(given: Mapping[str, object], prefix: str, names: tuple[str, ...]) -> object:
    return next((given[prefix + n] for n in names if prefix + n in given), None)


def _stress(
    given: Mapping[str, object], prefix: str, c: Configuration, where: str
) -> FloatArray:
    stress = _first(given, prefix, STRESSES)
    if stress is not None:
        return _voigt(stress, "stress", where)
    virial = _first(given, prefix, VIRIALS)
    if virial is None:
        return np.full(6, np.nan)
    if c.volume == 0.0:
        raise StoreError(f"{where}: has a virial but no cell")
    return -_voigt(virial, "virial", where) / c.volume


def _voigt(value: object, name: str, where: str) -> FloatArray:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{where}: {name} is not numeric") from error
    _require_finite(array, name, where)
    if array.shape == (6,):
        return array
    if array.size != 9:
        raise StoreError(f"{where}: {name} must have 6 or 9 numbers, got {array.size}")
    full = array.reshape(3, 3)
    return np.array([0.5 * (full[a, b] + full[b, a]) for a, b in VOIGT])


def _array(value: object, shape: tuple[int, ...], name: str, where: str) -> FloatArray:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{where}: {name} is not numeric") from error
    if array.shape != shape:
        raise StoreError(f"{where}: {name} has shape {array.shape}, expected {shape}")
    _require_finite(array, name, where)
    return array


def _require_finite(array: FloatArray | None, name: str, where: str) -> None:
    if array is None or np.isfinite(array).all():
        return
    bad = np.argwhere(~np.isfinite(array))[0]
    place = f" of atom {bad[0]}" if array.ndim == 2 and name != "cell" else ""
    raise StoreError(
        f"{where}: {name}{place} is not finite; drop the frame, or the column when the "
        "value is unknown"
    )


def _require_sound(c: Configuration, where: str) -> None:
    if (c.numbers < 1).any():
        raise StoreError(f"{where}: atom {np.argmax(c.numbers < 1)} has no element")
    lengths = np.linalg.norm(c.cell, axis=1)
    flat = np.linalg.matrix_rank(c.cell[c.pbc]) if np.isfinite(c.cell).all() else 3
    if (lengths[c.pbc] == 0.0).any() or flat < np.count_nonzero(c.pbc):
        raise StoreError(f"{where}: is periodic where its cell has no extent")


def _require_distinct(c: Configuration, where: str) -> None:
    """Raise when two atoms, periodic images included, are nearer than CLOSEST."""
    from ase.geometry import complete_cell

    cell = np.asarray(complete_cell(c.cell))
    inverse = np.linalg.inv(cell)
    scaled = c.positions @ inverse
    scaled[:, c.pbc] %= 1.0
    scaled[scaled == 1.0] = 0.0  # the remainder of a tiny negative number
    # |ds_k| <= |dr| times the norm of column k, so no near pair escapes this cube
    reach = CLOSEST * np.linalg.norm(inverse, axis=0)
    box = np.where(c.pbc, 1.0, 0.0) / reach
    tree = cKDTree(scaled / reach, boxsize=box)
    pairs = tree.query_pairs(1.0, p=np.inf, output_type="ndarray")
    if len(pairs) == 0:
        return
    delta = scaled[pairs[:, 1]] - scaled[pairs[:, 0]]
    delta[:, c.pbc] -= np.round(delta[:, c.pbc])
    distances = np.linalg.norm(delta @ cell, axis=1)
    k = int(np.argmin(distances))
    if distances[k] < CLOSEST:
        i, j = sorted(pairs[k])
        raise StoreError(
            f"{where}: atoms {i} and {j} are {distances[k]:.3f} angstrom apart; one of "
            "them stands twice"
        )


# --------------------------------------------------------------------------- writing
def _lines(c: Configuration, labels: Labels, fingerprint: str, where: str) -> str:
    from ase.data import chemical_symbols

    head = [f'pbc="{" ".join("T" if periodic else "F" for periodic in c.pbc)}"']
    if c.cell.any():
        head.insert(0, f'Lattice="{_numbers(c.cell)}"')
    columns: dict[str, FloatArray] = {"pos": c.positions}
    if labels.force_mask.all():
        columns["forces"] = labels.forces
    elif labels.force_mask.any():
        raise StoreError(f"{where}: forces known in part cannot be written")
    if c.initial_charges is not None:
        columns["initial_charges"] = c.initial_charges[:, None]
    if c.magnetic_moments is not None:
        columns["initial_magmoms"] = c.magnetic_moments.reshape(c.n_atoms, -1)
    properties = [f"{name}:R:{column.shape[1]}" for name, column in columns.items()]
    head.append(f"Properties=species:S:1:{':'.join(properties)}")
    if np.isfinite(labels.energy):
        head.append(f"energy={float(labels.energy)!r}")
    if labels.stress_mask.any():
        head.append(f'stress="{_numbers(_full(labels.stress, c, where))}"')
    mark = f'"{fingerprint}"' if fingerprint else None
    said = {"charge": c.charge, "spin": c.spin, FINGERPRINT: mark}
    head += [f"{key}={value}" for key, value in said.items() if value is not None]
    table = np.hstack(list(columns.values()))
    rows = (
        f"{chemical_symbols[z]} {_numbers(row)}\n"
        for z, row in zip(c.numbers, table, strict=True)
    )
    return f"{c.n_atoms}\n{' '.join(head)}\n{''.join(rows)}"


def _full(stress: FloatArray, c: Configuration, where: str) -> FloatArray:
    """Return (3, 3) with 0 along non-periodic axes, which reading masks again."""
    expected = np.isfinite(masked_stress(np.zeros(6), c.pbc))
    if not np.isfinite(stress[expected]).all():
        raise StoreError(f"{where}: stress known in part cannot be written")
    full = np.zeros((3, 3))
    for value, known, (a, b) in zip(stress, expected, VOIGT, strict=True):
        if known:
            full[a, b] = full[b, a] = value
    return full


def _numbers(array: FloatArray) -> str:
    return " ".join(map(repr, array.ravel().tolist()))
