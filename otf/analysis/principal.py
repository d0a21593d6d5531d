"""Principal components: the directions along which rows of numbers differ most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.sparse.linalg import svds

if TYPE_CHECKING:
    from otf.configuration import FloatArray

SMALL: Final = 200  # rows or columns up to which all components are computed
RESTARTS: Final = 1000  # of the iteration that finds a few


@dataclass(frozen=True, eq=False)
class Components:
    """The first k principal components of some rows.

    Attributes
    ----------
    mean : (q,) of the rows
    axes : (k, q) orthonormal, the most important one first
    shares : (k,) of the variance that lies along each axis; 0 where nothing varies
    """

    mean: FloatArray
    axes: FloatArray
    shares: FloatArray

    def coordinates(self, rows: FloatArray) -> FloatArray:
        """Return rows (r, q) along the axes, (r, k)."""
        return np.asarray((rows - self.mean) @ self.axes.T)


def principal_components(rows: FloatArray, n_components: int = 2) -> Components:
    """Return the principal components of rows (r, q); missing ones are zero axes.

    Notes
    -----
    The right singular vectors of the centred rows. Their signs are free: the entry of
    largest magnitude of every axis is made positive.

    References
    ----------
    I. T. Jolliffe, J. Cadima, Principal component analysis: a review and recent
    developments, Phil. Trans. R. Soc. A 374, 20150202 (2016), doi
    10.1098/rsta.2015.0202.
    """
    mean = rows.mean(axis=0)
    centred = rows - mean
    total = float((centred**2).sum())
    axes = np.zeros((n_components, rows.shape[1]))
    shares = np.zeros(n_components)
    # Rows that are alike differ by rounding alone.
    if total > 1e-24 * float((rows**2).sum()):
        if min(rows.shape) <= SMALL:
            _, values, found = np.linalg.svd(centred, full_matrices=False)
        else:
            start = np.ones(min(rows.shape)) / np.sqrt(min(rows.shape))
            _, values, found = svds(
                centred, k=n_components, v0=start, maxiter=RESTARTS, solver="arpack"
            )
            values, found = values[::-1], found[::-1]
        k = min(n_components, len(values))
        axes[:k], shares[:k] = found[:k], values[:k] ** 2 / total
        largest = np.abs(axes[:k]).argmax(axis=1)
        axes[:k] *= np.sign(axes[np.arange(k), largest])[:, None]
    return Components(mean, axes, shares)
