"""Neighbour lists: all pairs of atoms, periodic images included, within a cutoff."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from otf.errors import InputError
from otf.kernels import load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from otf.configuration import Configuration, FloatArray, IntArray
    from otf.kernels import Backend


@dataclass(frozen=True, eq=False)
class Pairs:
    """Ordered pairs i -> j of one configuration; every pair appears in both directions.

    Sorted by i, then by j, then by image, so that all pairs of one centre, and in these
    all images of one neighbour, are contiguous.

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

    def of_centres(self, atoms: slice) -> tuple[slice, Pairs]:
        """Return where the pairs of a range of centres stand, and these pairs."""
        first = self.first[atoms.start : atoms.stop + 1]
        here = slice(int(first[0]), int(first[-1]))
        part = Pairs(
            first - here.start,
            self.neighbor[here],
            self.vector[here],
            self.distance[here],
        )
        return here, part


def joined(parts: Sequence[Pairs], xp: ModuleType) -> Pairs:
    """Return the pairs of several configurations as those of one.

    Atoms are counted through. Pairs of no centre become those of the last one of their
    part, at an infinite distance all the same.
    """
    first, neighbor, low, n_pairs = [xp.zeros(1, dtype=np.int64)], [], 0, 0
    for part in parts:
        ends = part.first[1:] + n_pairs
        n_pairs += part.n_pairs
        ends[-1:] = n_pairs
        first.append(ends)
        neighbor.append(part.neighbor + low)
        low += len(ends)
    return Pairs(
        first=xp.concatenate(first),
        neighbor=xp.concatenate(neighbor),
        vector=xp.concatenate([part.vector for part in parts]),
        distance=xp.concatenate([part.distance for part in parts]),
    )


@dataclass(frozen=True, eq=False)
class _Candidates:
    """All pairs within the cutoff and a skin, of the configuration they were made for.

    Pairs are sorted by centre, neighbour and image, whatever the finder did.

    Attributes
    ----------
    made_for : with its positions where the pairs are used
    bounds : (n + 1,) on the host, as ``start`` is where the pairs are used
    neighbor : (p,)
    shift : (p, 3) cell vectors to each neighbour's image
    offset : (p, 3) angstrom, their translations in the cell the pairs were made for
    """

    made_for: Configuration
    bounds: IntArray
    start: IntArray
    neighbor: IntArray
    shift: FloatArray
    offset: FloatArray

    def hold(
        self,
        configuration: Configuration,
        positions: FloatArray,
        cutoff: float,
        skin: float,
        backend: Backend,
    ) -> bool:
        """Return whether no pair can have come closer than the cutoff unnoticed.

        A cell that deforms takes the atoms with it. A distance d becomes no less than
        s d, s being the smallest singular value of the deformation; off that comes what
        the two atoms moved by besides.
        ``positions`` are those of the configuration, where the pairs are used.
        """
        old = self.made_for
        same_axes = configuration.pbc.tolist() == old.pbc.tolist()
        if configuration.n_atoms != old.n_atoms or not same_axes:
            return False
        deformation, least = UNDEFORMED, 1.0
        if not self._has_cell_of(configuration):
            if not configuration.pbc.all():
                return False
            deformation = self._inverse_cell @ configuration.cell
            least = float(np.linalg.eigvalsh(deformation @ deformation.T)[0]) ** 0.5
        moved = backend.kernels.largest_move(
            positions, old.positions, backend.here(deformation)
        )
        # Positions that are no numbers do not hold.
        room = max(0.0, least * (cutoff + skin) - cutoff)
        return backend.watch.holds(moved < (0.5 * room) ** 2)

    def offsets(self, configuration: Configuration, backend: Backend) -> FloatArray:
        """Return the translations (p, 3) of the images in the cell as it is now."""
        if self._has_cell_of(configuration):
            return self.offset
        cell = backend.here(configuration.cell)
        found: FloatArray = backend.kernels.translations(self.shift, cell)
        return found

    def _has_cell_of(self, configuration: Configuration) -> bool:
        mine, its = self.made_for.cell, configuration.cell
        return mine is its or mine.tolist() == its.tolist()

    @cached_property
    def _inverse_cell(self) -> FloatArray:
        return np.asarray(np.linalg.inv(self.made_for.cell), np.float64)


# Few atoms are nearer to each other than this: a short list that reaches as far keeps
# for longer, and costs no more.
LEAST_REACH = 4.0  # angstrom
SKIN = 1.0  # angstrom
UNDEFORMED = np.eye(3)


class NeighborList:
    """Pairs within a cutoff, a pure function of the configuration.

    Pairs within the cutoff and a skin are remembered, and found anew when an atom has
    moved by half the skin; of a cell that deforms, with what it shrank by taken off the
    skin. Which of them are near, and in what
    order, follows from the configuration alone: candidates have one order, and their
    vectors are computed from the positions each time. So the last bits of every sum
    over pairs do not depend on the history, and a resumed run makes the same steps.

    Parameters
    ----------
    cutoff
        Largest distance in angstrom; pairs at or beyond it are left out.
    skin
        angstrom; by default 1, and more where cutoff and skin would be below 4.
    backend
        Whose kernels find the near ones, and where the arrays of pairs live.
    """

    def __init__(
        self,
        cutoff: float,
        *,
        skin: float | None = None,
        backend: Backend | None = None,
    ) -> None:
        if not cutoff > 0:
            raise InputError(f"the neighbour cutoff must be positive, got {cutoff}")
        self.cutoff = float(cutoff)
        self.skin = max(SKIN, LEAST_REACH - cutoff) if skin is None else float(skin)
        self._backend = backend or load("cpu")
        self._last: _Candidates | None = None

    def pairs(self, configuration: Configuration) -> Pairs:
        """Return all pairs of a configuration.

        Cells may be smaller than the cutoff, skewed, periodic along some axes only, or
        absent; atoms may lie outside the cell.

        Raises
        ------
        InputError
            When positions are not finite or a periodic axis has no proper cell vector.
        """
        found = self.search(configuration)(slice(0, configuration.n_atoms))
        n_pairs = int(found.first[-1])
        return Pairs(
            found.first,
            found.neighbor[:n_pairs],
            found.vector[:n_pairs],
            found.distance[:n_pairs],
        )

    def search(self, configuration: Configuration) -> Callable[[slice], Pairs]:
        """Return what finds the pairs of a range of centres, numbered from 0 in them.

        Ranges may be asked for by several threads. Behind their pairs a GPU may leave
        others at an infinite distance, which have no centre.

        Raises
        ------
        InputError
            As ``pairs``.
        """
        positions = self._backend.here(configuration.positions)
        found, backend = self._last, self._backend  # another thread may replace it
        if found is None or not found.hold(
            configuration, positions, self.cutoff, self.skin, backend
        ):
            reach = self.cutoff + self.skin
            found = _candidates(configuration.moved(positions), reach, backend)
            self._last = found
        candidates, offset = found, found.offsets(configuration, backend)

        def near(atoms: slice) -> Pairs:
            first = int(candidates.bounds[atoms.start])
            known = slice(first, int(candidates.bounds[atoms.stop]))
            return Pairs(
                *backend.kernels.within(
                    atoms.start,
                    candidates.start[atoms.start : atoms.stop + 1] - first,
                    candidates.neighbor[known],
                    offset[known],
                    positions,
                    self.cutoff,
                )
            )

        return near


def _candidates(
    configuration: Configuration, reach: float, backend: Backend
) -> _Candidates:
    """Return all pairs within ``reach``, sorted by centre, neighbour and image."""
    positions = configuration.positions
    if not bool(backend.xp.isfinite(positions).all()):
        raise InputError("positions hold NaN or infinity: the structure is broken")
    made_for = configuration.moved(positions.copy())
    cell = complete_cell(configuration.moved(backend.host(positions)))
    start, neighbor, shift = backend.kernels.pairs_within(
        positions, cell, configuration.pbc, reach
    )
    offset = backend.kernels.translations(shift, backend.here(cell))
    return _Candidates(made_for, backend.host(start), start, neighbor, shift, offset)


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
