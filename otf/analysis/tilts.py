"""Tilts of corner-sharing octahedra, as in perovskites ABX3.

References
----------
.. [1] A. M. Glazer, The classification of tilted octahedra in perovskites, Acta
   Crystallogr. B 28, 3384 (1972), doi 10.1107/S0567740872007976.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation

from otf.analysis.averages import Mean, jackknife
from otf.analysis.rdf import half_width
from otf.analysis.unwrapping import continuous_fractions
from otf.configuration import Configuration
from otf.errors import InputError
from otf.neighbors import NeighborList

if TYPE_CHECKING:
    from collections.abc import Callable

    from otf.configuration import FloatArray, IntArray
    from otf.store.motion import Motion

SIGNED: Final = 6  # directions +x, -x, +y, -y, +z, -z of an octahedron
STRAIGHT: Final = math.cos(math.radians(40.0))  # of a ligand from its axis
REACH: Final = 6.0  # angstrom, farther than any bond of an octahedron


@dataclass(frozen=True, eq=False)
class Tilts:
    """Rotations of octahedra about the pseudo-cubic axes.

    Attributes
    ----------
    axes : (3, 3) unit vectors, the mean directions of the ligands
    angles : (T, m, 3) degrees, components of the rotation vector of every octahedron
    neighbor : (m, 3) the octahedron that shares the corner ahead along each axis, -1
        for none
    """

    axes: FloatArray
    angles: FloatArray
    neighbor: IntArray

    def amplitude(self) -> list[Mean]:
        """Return the root mean square over octahedra of their mean tilts, degrees.

        Vibrations are averaged out in time first; what is left is the static tilt.
        """

        def static(frames: IntArray) -> FloatArray:
            mean = self.angles[frames].mean(axis=0)
            return np.asarray(np.sqrt((mean**2).mean(axis=0)), dtype=np.float64)

        return self._means(static)

    def correlation(self) -> list[list[Mean]]:
        """Return how tilts about an axis agree with those of the octahedron ahead.

        The first number is that of the axis of rotation, the second that of the
        direction: <a_i a_j> / <a^2>, 1 in phase, -1 in antiphase. Along the axis itself
        1 is a + of Glazer's notation and -1 a - [1]_.
        """

        def agreement(frames: IntArray) -> FloatArray:
            angles = self.angles[frames]
            square = (angles**2).mean(axis=(0, 1))
            out = np.full((3, 3), np.nan)
            for direction in range(3):
                ahead = self.neighbor[:, direction]
                known = ahead >= 0
                if known.any():
                    pairs = angles[:, known] * angles[:, ahead[known]]
                    mean = pairs.mean(axis=(0, 1))
                    out[:, direction] = mean / np.maximum(square, 1e-300)
            return out.ravel()

        means = self._means(agreement)
        return [means[3 * k : 3 * k + 3] for k in range(3)]

    def _means(self, statistic: Callable[[IntArray], FloatArray]) -> list[Mean]:
        n = len(self.angles)
        value, error = jackknife(n, statistic)
        return [Mean(float(v), float(e), n) for v, e in zip(value, error, strict=True)]


def octahedral_tilts(motion: Motion, center: int, ligand: int) -> Tilts:
    """Return the tilts of all octahedra along a trajectory.

    Parameters
    ----------
    motion
        Periodic in three directions; octahedra keep their ligands.
    center, ligand
        Atomic numbers of B and X.

    Raises
    ------
    InputError
        When the first frame has a B that does not stand among six X.

    Notes
    -----
    The rotation of an octahedron is the one that brings the pseudo-cubic axes nearest
    to its six bonds (least squares); a shift of B does not enter. Axes are the mean
    directions of all bonds, so tilts that all octahedra have in common count as none.
    """
    centers = np.flatnonzero(motion.numbers == center)
    ligands, images = _ligands(motion, centers, ligand)
    where = continuous_fractions(motion)
    bonds = np.einsum(
        "tmki,tij->tmkj",
        where[:, ligands] + images - where[:, centers, None],
        motion.cells,
    )
    order = _signed_directions(bonds[0])
    bonds = np.take_along_axis(bonds, order[None, :, :, None], axis=2)
    ligands = np.take_along_axis(ligands, order, axis=1)
    mean = bonds.mean(axis=(0, 1))
    axes = _orthonormal(mean[0::2] - mean[1::2])
    signed = np.repeat(axes, 2, axis=0) * np.array([1, -1] * 3)[:, None]
    rotations = _rotation(signed, bonds)
    flat = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_rotvec(degrees=True)
    angles = (flat @ axes.T).reshape(*rotations.shape[:2], 3)
    return Tilts(axes, angles, _corners(ligands))


def _ligands(
    motion: Motion, centers: IntArray, ligand: int
) -> tuple[IntArray, FloatArray]:
    """Return the six nearest X of every B (m, 6), and their images (m, 6, 3)."""
    first = Configuration(
        motion.numbers, motion.positions[0], motion.cells[0], motion.pbc
    )
    pairs = NeighborList(max(REACH, 2.0 * half_width(first.cell))).pairs(first)
    inverse = np.linalg.inv(first.cell)
    ligands = np.empty((len(centers), SIGNED), dtype=np.int64)
    images = np.empty((len(centers), SIGNED, 3))
    for row, i in enumerate(centers):
        own = slice(pairs.first[i], pairs.first[i + 1])
        chosen = np.flatnonzero(motion.numbers[pairs.neighbor[own]] == ligand)
        chosen = chosen[np.argsort(pairs.distance[own][chosen], kind="stable")][:SIGNED]
        if len(chosen) < SIGNED:
            raise InputError(_no_octahedron(int(i)))
        ligands[row] = pairs.neighbor[own][chosen]
        moved = first.positions[ligands[row]] - first.positions[i]
        images[row] = np.round((pairs.vector[own][chosen] - moved) @ inverse)
    return ligands, images


def _no_octahedron(atom: int) -> str:
    return (
        f"atom {atom} does not stand in an octahedron in the first frame: name the "
        "species of centre and corners, B and X of ABX3"
    )


def _signed_directions(bonds: FloatArray) -> IntArray:
    """Return for every octahedron (m, 6) which bond points to +x, -x, +y, ...

    The axes are those of the first octahedron, in the order and sense nearest to x, y
    and z.
    """
    unit = bonds / np.linalg.norm(bonds, axis=2, keepdims=True)
    axes: list[FloatArray] = []
    rest = list(range(SIGNED))
    for _ in range(3):
        one = rest[0]
        other = min(rest, key=lambda k: float(unit[0, k] @ unit[0, one]))
        axes.append(unit[0, one] - unit[0, other])
        rest = [k for k in rest if k not in (one, other)]
    frame = _orthonormal(np.array(axes))
    frame = _nearest_to_xyz(frame)
    signed = np.repeat(frame, 2, axis=0) * np.array([1, -1] * 3)[:, None]
    overlap = np.einsum("mki,di->mdk", unit, signed)
    order = overlap.argmax(axis=2)
    for row in range(len(bonds)):
        best = overlap[row, np.arange(SIGNED), order[row]]
        if len(set(order[row].tolist())) < SIGNED or best.min() < STRAIGHT:
            raise InputError(_no_octahedron(row))
    return np.asarray(order, dtype=np.int64)


def _nearest_to_xyz(frame: FloatArray) -> FloatArray:
    """Return axes in the order and with the signs nearest to x, y and z."""
    _, order = linear_sum_assignment(-np.abs(frame.T))
    ordered = frame[order]
    signs = np.where(np.diagonal(ordered) < 0.0, -1.0, 1.0)
    return np.asarray(ordered * signs[:, None], dtype=np.float64)


def _orthonormal(vectors: FloatArray) -> FloatArray:
    """Return the orthonormal axes nearest to three vectors (rows)."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    u, _, v = np.linalg.svd(unit)
    return np.asarray(u @ v, dtype=np.float64)


def _rotation(signed: FloatArray, bonds: FloatArray) -> FloatArray:
    """Return the proper rotations (T, m, 3, 3) of the axes that fit the bonds best."""
    # Bonds are not normalised: so a shift of the centre drops out of the sum.
    u, _, v = np.linalg.svd(np.einsum("tmki,kj->tmij", bonds, signed))
    proper = np.linalg.det(u @ v)
    u[..., 2] *= proper[..., None]
    return np.asarray(u @ v, dtype=np.float64)


def _corners(ligands: IntArray) -> IntArray:
    """Return which octahedron has the corner ahead of each behind it, (m, 3)."""
    out = np.full((len(ligands), 3), -1, dtype=np.int64)
    for axis in range(3):
        behind = {int(x): row for row, x in enumerate(ligands[:, 2 * axis + 1])}
        out[:, axis] = [behind.get(int(x), -1) for x in ligands[:, 2 * axis]]
    return out
