"""Neighbour lists: all pairs of atoms, periodic images included, within a cutoff."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import vesin

from otf.errors import InputError

if TYPE_CHECKING:
    from otf.configuration import Configuration, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Pairs:
    """Ordered pairs i -> j of one configuration; every pair appears in both directions.

    Sorted by i, then by j, so that all pairs of one centre, and in these all images of
    one neighbour, are contiguous.

    Attributes
    ----------
    first : (n + 1,) the pairs of atom i are first[i] .. first[i + 1] - 1
    neighbor : (p,) the atom j; equal to i for a periodic image of the atom itself
    vector : (p, 3) angstrom, from i to this image of j
    distance : (p,) angstrom, below the cutoff
    """

    first: IntArray
    neighbor: IntArray
    vector: FloatArray
    distance: FloatArray

    @property
    def n_pairs(self) -> int:
        """Return the number of ordered pairs."""
        return len(self.neighbor)


class NeighborList:
    """Pairs within a cutoff, a pure function of the configuration.

    There is no Verlet skin on purpose. A list kept between steps would remember when it
    was last rebuilt; the order of its pairs, hence the last bits of every sum over
    them, would depend on the history and a resumed run would leave the original one.
    Rebuilding costs a few per cent of the descriptor that follows.

    Parameters
    ----------
    cutoff
        Largest distance in angstrom; pairs at or beyond it are left out.
    """

    def __init__(self, cutoff: float) -> None:
        if not cutoff > 0:
            raise InputError(f"the neighbour cutoff must be positive, got {cutoff}")
        self.cutoff = float(cutoff)

    def pairs(self, configuration: Configuration) -> Pairs:
        """Return all pairs of a configuration.

        Cells may be smaller than the cutoff, skewed, periodic along some axes only, or
        absent; atoms may lie outside the cell.

        Raises
        ------
        InputError
            When positions are not finite or a periodic axis has no proper cell vector.
        """
        n = configuration.n_atoms
        if not np.isfinite(configuration.positions).all():
            raise InputError("positions hold NaN or infinity: the structure is broken")
        # One list object and one thread per call: no state that outlives the call.
        finder = vesin.NeighborList(cutoff=self.cutoff, full_list=True, n_threads=1)
        i, j, vector, distance = finder.compute(
            points=np.ascontiguousarray(configuration.positions),
            box=complete_cell(configuration),
            periodic=configuration.pbc,
            quantities="ijDd",
        )
        i, j = i.astype(np.int64), j.astype(np.int64)
        order = np.argsort(i * n + j, kind="stable")
        # vesin compares squares; the root may still round up to the cutoff
        order = order[distance[order] < self.cutoff]
        first = np.zeros(n + 1, dtype=np.int64)
        np.cumsum(np.bincount(i[order], minlength=n), out=first[1:])
        return Pairs(first, j[order], vector[order], distance[order])


def complete_cell(configuration: Configuration) -> FloatArray:
    """Return a regular cell: vectors of non-periodic axes are replaced.

    The replacements are orthogonal to the periodic vectors and longer than the extent
    of the atoms, so that zero, short or parallel vectors of a molecule or a slab do no
    harm.

    Raises
    ------
    InputError
        When the vectors of the periodic axes are zero, parallel or not finite.
    """
    cell = np.array(configuration.cell, dtype=np.float64)
    periodic = np.asarray(configuration.pbc, dtype=bool)
    kept = cell[periodic]
    lengths = np.linalg.norm(kept, axis=1)
    if not np.isfinite(kept).all() or (lengths == 0).any():
        raise InputError(
            "a periodic axis has a cell vector of zero or infinite length: give the "
            "cell, or switch pbc off along this axis"
        )
    # Complete the orthonormal basis of the periodic directions by a singular value
    # decomposition; the smallest singular value also detects parallel vectors.
    _, singular, basis = np.linalg.svd(kept / lengths[:, None])
    if len(singular) and singular.min() < 1e-6:
        raise InputError("the cell vectors of the periodic axes are parallel")
    if not periodic.all():
        extent = np.ptp(configuration.positions, axis=0).max(initial=0.0)
        cell[~periodic] = basis[len(kept) :] * (2.0 * extent + 1.0)
    return cell
