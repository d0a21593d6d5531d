"""Relaxation of structures with any ASE calculator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from ase.filters import FrechetCellFilter
from ase.optimize import BFGSLineSearch

from otf.errors import OTFError

if TYPE_CHECKING:
    from ase import Atoms

MOST_STEPS: Final = 400


def relax_positions(atoms: Atoms, *, fmax: float) -> None:
    """Move the atoms until no force is above ``fmax``, eV/angstrom.

    Raises
    ------
    OTFError
        When that is not reached.
    """
    _relax(atoms, atoms, fmax)


def relax_cell(atoms: Atoms, *, fmax: float) -> None:
    """Move atoms and cell vectors to zero pressure.

    Raises
    ------
    OTFError
        When no force stays above ``fmax`` (eV/angstrom) for too many steps.
    """
    _relax(atoms, FrechetCellFilter(atoms), fmax)


def relax_shape(atoms: Atoms, *, fmax: float) -> None:
    """Move atoms and the shape of the cell at constant volume.

    Raises
    ------
    OTFError
        When no force stays above ``fmax`` (eV/angstrom) for too many steps.
    """
    _relax(atoms, FrechetCellFilter(atoms, constant_volume=True), fmax)


def _relax(atoms: Atoms, movable: object, fmax: float) -> None:
    with BFGSLineSearch(movable, logfile=None) as search:
        done = search.run(fmax=fmax, steps=MOST_STEPS)
    if not done or not np.isfinite(atoms.positions).all():
        force = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
        msg = (
            f"{atoms.get_chemical_formula()} did not relax in {MOST_STEPS} steps: the "
            f"largest force is still {force:.2g} eV/A; is the potential made for this "
            "structure?"
        )
        raise OTFError(msg)
