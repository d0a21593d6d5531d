"""Positions that do not jump where atoms cross the faces of the cell.

References
----------
.. [1] S. von Bülow, J. T. Bullerjahn, G. Hummer, Systematic errors in diffusion
   coefficients from long-time molecular dynamics simulations at constant pressure,
   J. Chem. Phys. 153, 021101 (2020), doi 10.1063/5.0008316.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from otf.configuration import FloatArray
    from otf.store.motion import Motion


def fractions(motion: Motion) -> FloatArray:
    """Return positions (T, n, 3) in units of the cell vectors, as they are stored."""
    found = np.linalg.solve(
        motion.cells.transpose(0, 2, 1), motion.positions.transpose(0, 2, 1)
    )
    return np.asarray(found.transpose(0, 2, 1), dtype=np.float64)


def continuous_fractions(motion: Motion) -> FloatArray:
    """Return positions (T, n, 3) in units of the cell vectors, without jumps.

    For solids: an atom that vibrates about a face stays at its site for any cell. No
    atom may go farther than half the cell between two frames.
    """
    found = fractions(motion)
    steps = np.diff(found, axis=0)
    jumps = np.where(motion.pbc, np.round(steps), 0.0)
    found[1:] -= np.cumsum(jumps, axis=0)
    return found


def unwrapped(motion: Motion) -> FloatArray:
    """Return positions (T, n, 3) without jumps, angstrom, for what diffuses.

    Notes
    -----
    Positions are wrapped, and displacements by the minimum image are added up, in
    angstrom and not in fractions of the cell: at constant pressure the scaling of the
    cell would else move atoms that are far from the origin [1]_. No atom may go
    farther than half the cell between two frames.
    """
    if not motion.pbc.any():
        return motion.positions
    inside = fractions(motion)
    inside[..., motion.pbc] %= 1.0
    wrapped = inside @ motion.cells
    images = np.where(motion.pbc, np.round(np.diff(inside, axis=0)), 0.0)
    moved = np.diff(wrapped, axis=0) - images @ motion.cells[1:]
    steps = np.concatenate([wrapped[:1], moved])
    return np.asarray(np.cumsum(steps, axis=0), dtype=np.float64)
