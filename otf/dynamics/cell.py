"""How a cell may deform: the directions its strain can take, and their measure.

A cell with rows h deforms as h -> h exp(A), positions x -> x exp(A) and momenta
p -> p exp(-A)^T with it. A is a sum of generators; lower triangular ones keep a lower
triangular cell so, bit by bit, and it never turns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from otf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import FloatArray
    from otf.state import State

COMPONENTS: Final[dict[str, tuple[int, int]]] = {
    "xx": (0, 0),
    "yy": (1, 1),
    "zz": (2, 2),
    "yz": (2, 1),
    "xz": (2, 0),
    "xy": (1, 0),
}
"""Entries of a lower triangular cell: xy is the x component of the vector b."""


@dataclass(frozen=True, eq=False)
class CellFreedom:
    """Directions of the strain of a cell.

    Attributes
    ----------
    generators : (k, 3, 3) orthonormal matrices B_k, closed under commutation; only the
        first changes the volume, unless none does
    """

    generators: FloatArray

    @classmethod
    def spanned(cls, matrices: Sequence[FloatArray]) -> CellFreedom:
        """Return the freedom to deform along any sum of (3, 3) matrices.

        Raises
        ------
        InputError
            When two deformations after each other would need a third that is missing.
        """
        rows = [np.asarray(m, dtype=np.float64).ravel() for m in matrices]
        span = _orthonormal(rows)
        volume = sum(((np.eye(3).ravel() @ b) * b for b in span), start=np.zeros(9))
        freedom = cls(np.array(_orthonormal([volume, *rows])).reshape(-1, 3, 3))
        B = freedom.generators
        products = np.einsum("iab,jbc->ijac", B, B)
        commutators = products - products.swapaxes(0, 1)
        inside = np.einsum("ijab,kab,kcd->ijcd", commutators, B, B)
        if not np.allclose(commutators, inside, atol=1e-9):
            raise InputError(
                "these components of the cell cannot be free alone: xy and yz together "
                "make xz"
            )
        return freedom

    @cached_property
    def traces(self) -> FloatArray:
        """Return (k,) the change of log V along each generator."""
        found: FloatArray = np.trace(self.generators, axis1=1, axis2=2)
        return found

    @cached_property
    def measure(self) -> FloatArray:
        """Return (k,) how the measure of cells grows along each generator.

        Notes
        -----
        Cells that differ by a rotation are one. The measure of all cells, dh/V^3, is
        that of rotations times the left invariant one of lower triangular cells, while
        the flows h -> h exp(A) conserve the right invariant one. The logarithm of their
        quotient grows by c_k = -tr ad(B_k), 2, 0 and -2 along xx, yy and zz when
        all components are free: kT c_k is a force, without which the lengths of equal
        cell vectors would differ.
        """
        B = self.generators
        adjoint = np.einsum("iab,jbc->ijac", B, B)
        adjoint = adjoint - adjoint.swapaxes(0, 1)
        found: FloatArray = -np.einsum("kjab,jab->k", adjoint, B)
        return found

    def strain(self, along: FloatArray) -> FloatArray:
        """Return A, (3, 3), of coordinates (k,)."""
        found: FloatArray = np.einsum("k,kab->ab", along, self.generators)
        return found

    def components(self, matrix: FloatArray) -> FloatArray:
        """Return (k,) the contraction of a (3, 3) matrix with each generator."""
        found: FloatArray = np.einsum("kab,ab->k", self.generators, matrix)
        return found


def _orthonormal(rows: Sequence[FloatArray]) -> list[FloatArray]:
    """Return an orthonormal basis of the span (Gram-Schmidt: zeros stay zeros)."""
    basis: list[FloatArray] = []
    for row in rows:
        rest = row
        for _ in range(2):  # twice is enough, to round-off
            rest = rest - sum(((rest @ b) * b for b in basis), start=np.zeros(9))
        length = float(np.linalg.norm(rest))
        if length > 1e-9:
            basis.append(rest / length)
    return basis


FIXED: Final = CellFreedom(np.zeros((0, 3, 3)))


def isotropic() -> CellFreedom:
    """Return the freedom to change the volume at constant shape."""
    return CellFreedom.spanned([np.eye(3)])


def of_components(names: Sequence[str]) -> CellFreedom:
    """Return the freedom of some of ``COMPONENTS``, for a lower triangular cell.

    Raises
    ------
    InputError
        When they cannot be free without another.
    """
    matrices = np.zeros((len(names), 3, 3))
    for matrix, name in zip(matrices, names, strict=True):
        matrix[COMPONENTS[name]] = 1.0
    return CellFreedom.spanned(list(matrices))


def fixed_angles(cell: FloatArray) -> CellFreedom:
    """Return the freedom of the lengths of the vectors of a cell, (3, 3) angstrom.

    Notes
    -----
    h -> diag(s) h is h -> h exp(A) with A = h^-1 diag(log s) h, the same whatever
    the lengths have become.
    """
    inverse = np.linalg.inv(cell)
    return CellFreedom.spanned([np.outer(inverse[:, k], cell[k]) for k in range(3)])


def triangular(state: State) -> State:
    """Return the state turned so that its cell is lower triangular.

    The first cell vector then lies along x, the second in the plane of x and y;
    positions and momenta turn with them. A cell that is triangular already is not
    touched.
    """
    cell = state.configuration.cell
    if not np.triu(cell, 1).any():
        return state
    # cell = L Q by a QR decomposition of its transpose; Q is made proper, which
    # leaves a left-handed cell its negative last entry.
    Q, R = np.linalg.qr(cell.T)
    signs = np.sign(np.diag(R))
    signs[2] = signs[0] * signs[1] * np.sign(np.linalg.det(Q))
    turn = Q * signs
    turned = replace(
        state.configuration,
        positions=state.configuration.positions @ turn,
        cell=np.tril(cell @ turn),
    )
    return replace(state, configuration=turned, momenta=state.momenta @ turn)
