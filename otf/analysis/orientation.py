"""Where molecules point: maps on the sphere, order parameters, reorientation.

References
----------
.. [1] P. G. de Gennes, J. Prost, The Physics of Liquid Crystals, 2nd edition, Oxford
   University Press 1993, section 2.1 (nematic order parameter).
.. [2] B. J. Berne, R. Pecora, Dynamic Light Scattering, Wiley 1976, section 7.3
   (correlation functions of orientation).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from ase.data import covalent_radii
from scipy.fft import irfft, next_fast_len, rfft

from otf.analysis.averages import Mean, blocks, jackknife
from otf.analysis.unwrapping import continuous_fractions
from otf.configuration import Configuration
from otf.errors import InputError
from otf.neighbors import NeighborList, complete_cell

if TYPE_CHECKING:
    from otf.configuration import FloatArray, IntArray
    from otf.store.motion import Motion

BOND: Final = 1.25  # in sums of covalent radii
HEIGHTS, ANGLES = 18, 36  # cells of a map, all of the same area
SEGMENTS: Final = 5
FEWEST_FRAMES: Final = 10  # of a segment
SHORT: Final = 0.05  # of a sum of unit vectors that has no direction


def directions(
    motion: Motion, start: int, end: int, *, bond: float | None = None
) -> FloatArray:
    """Return unit vectors (T, m, 3) of the molecules.

    Parameters
    ----------
    motion
        Molecules keep their atoms.
    start, end
        Atomic numbers. A vector goes from every atom of the first kind to the ones of
        the second kind it is bonded to in the first frame; their mean where there are
        several, as from O of water between its H. Atoms without such a bond are left
        out.
    bond
        Longest bond, angstrom; 1.25 times the sum of the covalent radii when None.

    Raises
    ------
    InputError
        When there is no bond, or bonds of one atom cancel.
    """
    if bond is None:
        bond = BOND * float(covalent_radii[start] + covalent_radii[end])
    first = Configuration(
        motion.numbers, motion.positions[0], motion.cells[0], motion.pbc
    )
    pairs = NeighborList(bond).pairs(first)
    origin = np.repeat(np.arange(len(motion.numbers)), np.diff(pairs.first))
    wanted = (motion.numbers[origin] == start) & (motion.numbers[pairs.neighbor] == end)
    if start == end:  # one direction for each pair
        wanted &= origin < pairs.neighbor
    i, j = origin[wanted], pairs.neighbor[wanted]
    if not len(i):
        msg = (
            f"no bond shorter than {bond:.2f} angstrom joins these species in the "
            "first frame: give its longest length (--bond-A)"
        )
        raise InputError(msg)
    vectors = _bonds(motion, first, i, j, pairs.vector[wanted])
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    centers, row = np.unique(i, return_inverse=True)
    sums = np.zeros((motion.n_frames, len(centers), 3))
    for bond_number, center in enumerate(row):
        sums[:, center] += vectors[:, bond_number]
    lengths = np.linalg.norm(sums, axis=2, keepdims=True)
    if lengths.min() < SHORT:
        msg = (
            f"the bonds of atom {int(centers[lengths.min(axis=(0, 2)).argmin()])} "
            "cancel, so it has no direction: name another pair of species"
        )
        raise InputError(msg)
    return np.asarray(sums / lengths, dtype=np.float64)


def _bonds(
    motion: Motion,
    first: Configuration,
    i: IntArray,
    j: IntArray,
    vectors: FloatArray,
) -> FloatArray:
    """Return bond vectors (T, b, 3) through all frames."""
    if not motion.pbc.any():
        return motion.positions[:, j] - motion.positions[:, i]
    if motion.pbc.all():
        where, cells = continuous_fractions(motion), motion.cells
    else:  # vectors of axes that are not periodic may be zero
        cell = complete_cell(first)
        cells = np.broadcast_to(cell, motion.cells.shape)
        where = motion.positions @ np.linalg.inv(cell)
        steps = np.where(motion.pbc, np.round(np.diff(where, axis=0)), 0.0)
        where[1:] -= np.cumsum(steps, axis=0)
    images = np.round(vectors @ np.linalg.inv(cells[0]) - (where[0, j] - where[0, i]))
    return np.asarray((where[:, j] - where[:, i] + images) @ cells, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class SphereMap:
    """How often molecules point into cells of equal area.

    Attributes
    ----------
    heights : (h + 1,) edges of the cells in z
    angles : (a + 1,) edges in the angle about z, radians from x
    density, error : (h, a), 1 where all directions are alike
    """

    heights: FloatArray
    angles: FloatArray
    density: FloatArray
    error: FloatArray


def sphere_map(
    units: FloatArray, *, heights: int = HEIGHTS, angles: int = ANGLES
) -> SphereMap:
    """Return the map of unit vectors (T, m, 3), with errors from blocks of time."""
    edges_z = np.linspace(-1.0, 1.0, heights + 1)
    edges_phi = np.linspace(-np.pi, np.pi, angles + 1)
    z = np.clip(units[..., 2], -1.0, 1.0)
    phi = np.arctan2(units[..., 1], units[..., 0])
    row = np.minimum(((z + 1.0) / 2.0 * heights).astype(int), heights - 1)
    column = np.minimum(((phi + np.pi) / (2 * np.pi) * angles).astype(int), angles - 1)
    cells = row * angles + column
    n = heights * angles
    counts = np.array([np.bincount(frame, minlength=n) for frame in cells])

    def density(frames: IntArray) -> FloatArray:
        return np.asarray(counts[frames].mean(axis=0) * n / units.shape[1])

    value, error = jackknife(len(units), density)
    shape = (heights, angles)
    return SphereMap(edges_z, edges_phi, value.reshape(shape), error.reshape(shape))


@dataclass(frozen=True, eq=False)
class OrientationalOrder:
    """Order parameters of directions.

    Attributes
    ----------
    polar : length of the mean vector, 1 when all point alike
    nematic : largest eigenvalue of <3/2 n n - 1/2>, 1 when all lie along one line [1]_
    cubic : <x^4 + y^4 + z^4> - 3/5: 0 for none, 2/5 along the axes, -4/15 along the
        diagonals of the cube
    director : (3,) that line
    """

    polar: Mean
    nematic: Mean
    cubic: Mean
    director: FloatArray


def orientational_order(units: FloatArray) -> OrientationalOrder:
    """Return the order parameters of unit vectors (T, m, 3) with errors.

    Polar and nematic order are never negative: of n independent vectors without order
    they are about n^-1/2.
    """
    mean = units.mean(axis=1)
    tensor = 1.5 * np.einsum("tmi,tmj->tij", units, units) / units.shape[1]
    fourth = (units**4).sum(axis=2).mean(axis=1) - 0.6

    def order(frames: IntArray) -> FloatArray:
        nematic = np.linalg.eigvalsh(tensor[frames].mean(axis=0) - 0.5 * np.eye(3))
        return np.array(
            [
                np.linalg.norm(mean[frames].mean(axis=0)),
                nematic[2],
                fourth[frames].mean(),
            ]
        )

    value, error = jackknife(len(units), order)
    n = float(len(units))
    polar, nematic, cubic = (
        Mean(float(v), float(e), n) for v, e in zip(value, error, strict=True)
    )
    director = np.linalg.eigh(tensor.mean(axis=0))[1][:, 2]
    return OrientationalOrder(polar, nematic, cubic, director)


@dataclass(frozen=True, eq=False)
class Reorientation:
    """How molecules forget their direction.

    Attributes
    ----------
    lags : (k,) in the unit of the interval
    first, first_error : (k,) <n(0) n(t)>
    second, second_error : (k,) <P_2(n(0) n(t))> [2]_
    """

    lags: FloatArray
    first: FloatArray
    first_error: FloatArray
    second: FloatArray
    second_error: FloatArray


def reorientation(
    units: FloatArray, interval: float, *, n_segments: int = SEGMENTS
) -> Reorientation | None:
    """Return correlations of unit vectors (T, m, 3); None for less than 20 frames.

    Lags reach half of a segment, and errors are from the scatter of the segments.
    """
    n_segments = min(n_segments, len(units) // FEWEST_FRAMES)
    if n_segments < 2:
        return None
    parts = blocks(len(units), n_segments)
    n_lags = (parts[0].stop - parts[0].start) // 2
    first, second = [], []
    for part in parts:
        own = units[part]
        products = np.einsum("tmi,tmj->tmij", own, own).reshape(*own.shape[:2], 9)
        first.append(_correlation(own, n_lags))
        second.append(1.5 * _correlation(products, n_lags) - 0.5)
    lags = np.asarray(interval * np.arange(n_lags), dtype=np.float64)
    return Reorientation(lags, *_mean(np.array(first)), *_mean(np.array(second)))


def _correlation(series: FloatArray, n_lags: int) -> FloatArray:
    """Return the mean over molecules of <a(0) a(t)> of vectors (T, m, k)."""
    n = len(series)
    size = next_fast_len(2 * n, real=True)
    power = np.abs(rfft(series, size, axis=0)) ** 2
    products = irfft(power, size, axis=0)[:n_lags].sum(axis=2).mean(axis=1)
    return np.asarray(products / (n - np.arange(n_lags)), dtype=np.float64)


def _mean(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    error = rows.std(axis=0, ddof=1) / math.sqrt(len(rows))
    return rows.mean(axis=0), np.asarray(error, dtype=np.float64)


def time_to_fall(lags: FloatArray, curve: FloatArray) -> float:
    """Return when a correlation first falls below 1/e; NaN when it does not."""
    below = np.flatnonzero(curve < math.exp(-1.0))
    if not len(below) or below[0] == 0:
        return math.nan
    k = below[0]
    share = (curve[k - 1] - math.exp(-1.0)) / (curve[k - 1] - curve[k])
    return float(lags[k - 1] + share * (lags[k] - lags[k - 1]))
