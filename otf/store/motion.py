"""Frames of moving atoms as analyses read them: runs, H5MD, all that ASE reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from otf.errors import StoreError
from otf.store.disk import explained
from otf.store.frames import read_frames
from otf.store.schema import RunFolder
from otf.store.text import first_line
from otf.units import FS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from ase import Atoms
    from numpy.typing import NDArray

    from otf.configuration import BoolArray, FloatArray, IntArray

_HDF5 = b"\x89HDF\r\n\x1a\n"
_LENGTHS = {"Angstrom": 1.0, "angstrom": 1.0, "A": 1.0, "nm": 10.0}  # angstrom
_TIMES = {"fs": FS, "ps": 1e3 * FS}  # internal time
_ENERGIES = {"eV": 1.0}


@dataclass(frozen=True, eq=False)
class Motion:
    """T frames of the same n atoms, in the units inside.

    Attributes
    ----------
    numbers : (n,) atomic numbers
    masses : (n,) amu
    pbc : (3,) periodic directions
    positions : (T, n, 3) angstrom, wrapped into the cell or not
    cells : (T, 3, 3) angstrom, rows are the cell vectors
    velocities : (T, n, 3) angstrom / internal time; None where the file has none
    times : (T,) internal time; None where the file has none
    energies : (T,) potential energy, eV; None where the file has none
    """

    numbers: IntArray
    masses: FloatArray
    pbc: BoolArray
    positions: FloatArray
    cells: FloatArray
    velocities: FloatArray | None = None
    times: FloatArray | None = None
    energies: FloatArray | None = None

    @property
    def n_frames(self) -> int:
        """Return the number of frames."""
        return len(self.positions)

    @property
    def volumes(self) -> FloatArray:
        """Return (T,) angstrom^3; 0 without a cell."""
        return np.asarray(np.abs(np.linalg.det(self.cells)), dtype=np.float64)

    def part(self, frames: slice) -> Motion:
        """Return some of the frames."""

        def cut(values: FloatArray | None) -> FloatArray | None:
            return None if values is None else values[frames]

        return replace(
            self,
            positions=self.positions[frames],
            cells=self.cells[frames],
            velocities=cut(self.velocities),
            times=cut(self.times),
            energies=cut(self.energies),
        )


def read_motion(path: str | PathLike[str]) -> Motion:
    """Return the frames of a run folder, an H5MD file, or a file that ASE reads.

    Frames a roll-back discarded are left out.

    Raises
    ------
    StoreError
        When there is no frame, or the file cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        return _of_run(path)
    with explained(path), path.open("rb") as handle:
        head = handle.read(len(_HDF5))
    return _of_h5md(path) if head == _HDF5 else _of_ase(path)


def _of_run(path: Path) -> Motion:
    file = RunFolder(path).frames
    if not file.is_file():
        raise StoreError(f"{path}: there is no run with frames in this folder")
    system, frames = read_frames(file)
    kept = [frame for frame in frames if frame.valid]
    if not kept:
        raise StoreError(f"{path}: the run holds no frame yet")
    return Motion(
        numbers=system.numbers,
        masses=system.masses,
        pbc=system.pbc,
        positions=np.array([f.positions for f in kept]),
        cells=np.array([f.cell for f in kept]),
        velocities=np.array([f.velocities for f in kept]),
        times=np.array([f.time for f in kept]),
        energies=np.array([f.potential_energy for f in kept]),
    )


# ------------------------------------------------------------------------------ H5MD
def _of_h5md(path: Path) -> Motion:
    try:
        with h5py.File(path, "r") as file:
            return _particles(file, path)
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        reason = first_line(error)
        raise StoreError(f"{path}: cannot be read as H5MD ({reason})") from error


def _particles(file: h5py.File, path: Path) -> Motion:
    groups = list(file.get("particles", {}))
    if len(groups) != 1:
        found = f"holds {len(groups)} groups of particles" if groups else "is no H5MD"
        raise StoreError(f"{path}: {found}, where one group of particles is expected")
    group = file[f"particles/{groups[0]}"]
    numbers = np.asarray(group["species"], dtype=np.int64)
    if numbers.ndim != 1 or not ((numbers > 0) & (numbers < 119)).all():
        raise StoreError(f"{path}: its species are no atomic numbers")
    positions = _scaled(group["position/value"], _LENGTHS, path)
    valid = np.ones(len(positions), dtype=bool)
    if "observables/valid/value" in file:
        valid = np.asarray(file["observables/valid/value"]) != 0
    if not valid.any():
        raise StoreError(f"{path}: holds no frame")
    edges = group["box/edges"]
    fixed = not isinstance(edges, h5py.Group)
    cells = _scaled(edges if fixed else edges["value"], _LENGTHS, path)
    if fixed:  # the same box for all frames, as rows or as three lengths
        cells = np.diag(cells) if cells.ndim == 1 else cells
        cells = np.broadcast_to(cells, (len(positions), 3, 3))
    elif cells.ndim == 2:
        cells = cells[:, :, None] * np.eye(3)
    velocities = times = energies = None
    if "velocity/value" in group:
        velocities = _velocities(group["velocity/value"], path)[valid]
    if "time" in group["position"]:
        times = _scaled(group["position/time"], _TIMES, path)[valid]
    name = "observables/potential_energy/value"
    if name in file and len(file[name]) == len(valid):
        energies = _scaled(file[name], _ENERGIES, path)[valid]
    return Motion(
        numbers=numbers,
        masses=_masses(group, numbers),
        pbc=_periodic(group),
        positions=positions[valid],
        cells=cells[valid],
        velocities=velocities,
        times=times,
        energies=energies,
    )


def _periodic(group: h5py.Group) -> BoolArray:
    words = np.asarray(group["box"].attrs["boundary"]).astype(str)
    return np.asarray(words == "periodic", dtype=np.bool_)


def _masses(group: h5py.Group, numbers: IntArray) -> FloatArray:
    from ase.data import atomic_masses

    if "mass" in group:
        return np.asarray(group["mass"], dtype=np.float64)
    return np.asarray(atomic_masses[numbers], dtype=np.float64)


def _scaled(data: h5py.Dataset, units: dict[str, float], path: Path) -> FloatArray:
    return np.asarray(data, dtype=np.float64) * units[_unit(data, units, path)]


def _velocities(data: h5py.Dataset, path: Path) -> FloatArray:
    units = {
        f"{length} {time}-1": a / t
        for length, a in _LENGTHS.items()
        for time, t in _TIMES.items()
    }
    return _scaled(data, units, path)


def _unit(data: h5py.Dataset, units: dict[str, float], path: Path) -> str:
    unit = data.attrs.get("unit", "")
    unit = unit.decode() if isinstance(unit, bytes) else str(unit)
    if unit not in units:
        known = ", ".join(units)
        raise StoreError(f"{path}: {data.name} is in {unit!r}, expected one of {known}")
    return unit


# ------------------------------------------------------------------------------- ASE
def _of_ase(path: Path) -> Motion:
    from ase.io import read

    try:
        images = read(path, index=":")
    except Exception as error:  # readers of ASE raise many kinds
        reason = first_line(error)
        raise StoreError(f"{path}: ASE cannot read it ({reason})") from error
    if not images:
        raise StoreError(f"{path}: holds no frame")
    numbers = images[0].numbers
    for k, atoms in enumerate(images):
        if not np.array_equal(atoms.numbers, numbers):
            raise StoreError(
                f"{path}: frame {k} holds other atoms than frame 0, or in another "
                "order; the frames of a trajectory have the same atoms"
            )
    positions = np.array([atoms.positions for atoms in images])
    if not np.isfinite(positions).all():
        raise StoreError(f"{path}: holds positions that are not finite")
    return Motion(
        numbers=np.asarray(numbers, dtype=np.int64),
        masses=np.asarray(images[0].get_masses(), dtype=np.float64),
        pbc=np.array(images[0].pbc, dtype=np.bool_),
        positions=positions,
        cells=np.array([atoms.cell[:] for atoms in images]),
        velocities=_velocities_of(images),
        energies=_energies_of(images),
    )


def _velocities_of(images: Sequence[Atoms]) -> FloatArray | None:
    if not all(atoms.has("momenta") for atoms in images):
        return None
    velocities: NDArray[np.float64] = np.array([a.get_velocities() for a in images])
    return velocities if velocities.any() else None


def _energies_of(images: Sequence[Atoms]) -> FloatArray | None:
    from ase.calculators.calculator import PropertyNotImplementedError

    energies = []
    for atoms in images:
        if atoms.calc is None:
            return None
        try:
            energies.append(atoms.get_potential_energy())
        except (PropertyNotImplementedError, RuntimeError):
            return None
    return np.array(energies, dtype=np.float64)
