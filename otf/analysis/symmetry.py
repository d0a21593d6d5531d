"""Space groups of mean structures, against the tolerance of positions.

References
----------
.. [1] A. Togo, K. Shinohara, I. Tanaka, Spglib: a software library for crystal symmetry
   search, Sci. Technol. Adv. Mater. Methods 4, 2384822 (2024),
   doi 10.1080/27660400.2024.2384822.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from otf.analysis.averages import jackknife
from otf.analysis.libraries import library
from otf.analysis.unwrapping import continuous_fractions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import FloatArray, IntArray
    from otf.store.motion import Motion

TOLERANCES: Final = tuple(float(t) for t in np.geomspace(1e-3, 1.0, 25))  # angstrom


@dataclass(frozen=True, eq=False)
class MeanStructure:
    """The structure that atoms vibrate about.

    Attributes
    ----------
    numbers : (n,) atomic numbers
    cell : (3, 3) angstrom, mean of the cells
    fractions : (n, 3) mean positions in its units
    error : (n,) standard error of a position, angstrom; NaN for one frame
    """

    numbers: IntArray
    cell: FloatArray
    fractions: FloatArray
    error: FloatArray

    @property
    def uncertainty(self) -> float:
        """Return the root mean square of the errors of all positions, angstrom."""
        return float(np.sqrt((self.error**2).mean()))


def mean_structure(motion: Motion) -> MeanStructure:
    """Return the mean structure of a crystal; the drift of the whole is taken out."""
    where = continuous_fractions(motion)
    weights = motion.masses / motion.masses.sum()
    center = np.einsum("n,tnk->tk", weights, where)
    where = where - (center - center[0])[:, None]
    cell = motion.cells.mean(axis=0)

    def mean(frames: IntArray) -> FloatArray:
        return np.asarray(where[frames].mean(axis=0) @ cell, dtype=np.float64)

    positions, error = jackknife(motion.n_frames, mean)
    return MeanStructure(
        motion.numbers,
        cell,
        positions @ np.linalg.inv(cell),
        np.sqrt((error**2).sum(axis=1)),
    )


@dataclass(frozen=True)
class SpaceGroup:
    """The symmetry found at one tolerance.

    Attributes
    ----------
    tolerance : of positions, angstrom
    number : of the space group; 0 where none was found
    symbol : international; empty where none was found
    n_operations : of the given cell, translations counted
    n_primitive : atoms of the primitive cell
    """

    tolerance: float
    number: int
    symbol: str
    n_operations: int
    n_primitive: int


def space_groups(
    structure: MeanStructure, tolerances: Sequence[float] = TOLERANCES
) -> list[SpaceGroup]:
    """Return the space group at every tolerance [1]_.

    A tolerance below the uncertainty of the mean positions finds the noise.
    """
    spglib = library("spglib")
    cell = structure.cell, structure.fractions, structure.numbers
    out = []
    for tolerance in tolerances:
        dataset = None
        with warnings.catch_warnings():
            # Versions differ in whether a failure is None or an exception.
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                dataset = spglib.get_symmetry_dataset(cell, symprec=tolerance)
            except Exception:  # its own classes, which old versions do not have
                dataset = None
        if dataset is None:
            out.append(SpaceGroup(tolerance, 0, "", 0, 0))
            continue
        out.append(
            SpaceGroup(
                tolerance,
                int(dataset.number),
                str(dataset.international),
                len(dataset.rotations),
                len(set(dataset.mapping_to_primitive.tolist())),
            )
        )
    return out


def widest(groups: Sequence[SpaceGroup], above: float) -> list[SpaceGroup]:
    """Return the longest run of tolerances with one space group above a limit.

    Tolerances are compared by their ratio. P1 and failures are not counted, unless
    there is nothing else.
    """
    kept = [g for g in groups if g.tolerance >= above]
    runs: list[list[SpaceGroup]] = []
    for group in kept:
        if runs and runs[-1][-1].number == group.number:
            runs[-1].append(group)
        else:
            runs.append([group])
    real = [run for run in runs if run[0].number > 1] or runs
    if not real:
        return []
    return max(real, key=lambda run: run[-1].tolerance / run[0].tolerance)
