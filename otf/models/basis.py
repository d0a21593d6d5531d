"""The kernel basis: references in the order they came, with the factor of K_BB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cholesky, qr, solve_triangular

from otf.models.sparsify import ISOLATED

if TYPE_CHECKING:
    from otf.configuration import FloatArray, IntArray
    from otf.models.references import References


@dataclass(frozen=True, eq=False)
class Growth:
    """The rows an appended basis adds to its factor: L = [[L, 0], [l21, l22]]."""

    l21: FloatArray
    l22: FloatArray


@dataclass(frozen=True, eq=False)
class Basis:
    """References and the lower Cholesky factor of their jittered kernel matrix.

    The covariance of unequal species is zero, so one factor serves all of them.

    Attributes
    ----------
    references : the m local reference configurations
    jitter : added to the diagonal of K_BB
    factor : (m, m) lower triangle L with L L^T = K_BB + jitter
    """

    references: References
    jitter: float
    factor: FloatArray

    @classmethod
    def of(cls, references: References, jitter: float) -> Basis:
        """Factorise the kernel matrix of the references from scratch."""
        matrix = references.kernel(references)
        matrix[np.diag_indices_from(matrix)] += jitter
        factor = cholesky(matrix, lower=True) if len(matrix) else matrix
        return cls(references, jitter, factor)

    @property
    def n_references(self) -> int:
        """Return m."""
        return self.references.n_references

    def whiten(self, rows: FloatArray) -> FloatArray:
        """Return rows L^-T, (r, m)."""
        if not self.n_references:
            return rows
        solved = solve_triangular(self.factor, rows.T, lower=True, check_finite=False)
        return np.asarray(solved.T, dtype=np.float64)

    def spilling(self, atoms: References) -> FloatArray:
        """Return the spilling of n atoms, (n,) in [0, 1]; 0 for isolated atoms.

        s_i = 1 - |L^-1 k_i|^2 / K(i, i).
        """
        white = self.whiten(self.references.kernel(atoms))
        return spilling(white, atoms.diagonal)

    def appended(self, new: References) -> tuple[Basis, Growth]:
        """Return the basis with more references, and what its factor grew by."""
        l21 = self.whiten(self.references.kernel(new))
        matrix = new.kernel(new) - l21 @ l21.T
        matrix[np.diag_indices_from(matrix)] += self.jitter
        l22 = cholesky(matrix, lower=True)
        m, r = self.n_references, new.n_references
        factor = np.zeros((m + r, m + r))
        factor[:m, :m] = self.factor
        factor[m:, :m] = l21
        factor[m:, m:] = l22
        grown = Basis(self.references.joined(new), self.jitter, factor)
        return grown, Growth(l21, l22)

    def without(self, dropped: IntArray) -> tuple[Basis, FloatArray]:
        """Return the basis without some references, and the rotation of whitened rows.

        Deleting rows of L leaves L_keep = R^T Q^T; R^T is the new factor, and whitened
        rows of the old basis become those of the new one by Phi' Q.

        Returns
        -------
        basis : of the m - d kept references
        rotation : (m, m - d), Q
        """
        m = self.n_references
        keep = np.setdiff1d(np.arange(m), dropped)
        first = int(np.min(dropped, initial=m))  # the columns before it do not change
        factor = np.zeros((len(keep), len(keep)))
        rotation = np.zeros((m, len(keep)))
        factor[:, :first] = self.factor[keep, :first]
        rotation[:first, :first] = np.eye(first)
        if first < len(keep):
            q, r = qr(self.factor[keep[first:], first:].T, mode="economic")
            # A Cholesky factor has a positive diagonal; QR leaves the signs open.
            sign = np.where(r.diagonal() < 0, -1.0, 1.0)
            factor[first:, first:] = (sign[:, None] * r).T
            rotation[first:, first:] = q * sign
        return Basis(self.references.subset(keep), self.jitter, factor), rotation


def spilling(white: FloatArray, own: FloatArray) -> FloatArray:
    """Return 1 - |L^-1 k|^2/K_ii from whitened covariances (n, m) and K_ii (n,)."""
    return unspanned(np.einsum("ij,ij->i", white, white), own)


def unspanned(spanned: FloatArray, own: FloatArray) -> FloatArray:
    """Return the spilling from |L^-1 k|^2 and K_ii, both (n,)."""
    share = np.clip(1.0 - spanned / np.maximum(own, ISOLATED), 0.0, 1.0)
    return np.where(own > ISOLATED, share, 0.0)
