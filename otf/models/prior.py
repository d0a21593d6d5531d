"""Priors of the weights: which basis the regression is solved in.

``WhitenedPrior`` is the prior of the sparse Gaussian process, w ~ N(0, K_BB^-1/s_w),
which is the identity on whitened weights w' = L^T w. ``IdentityPrior`` is
w ~ N(0, 1/s_w) on the weights themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.linalg import solve_triangular

from otf.errors import InputError

if TYPE_CHECKING:
    from otf.configuration import FloatArray, IntArray
    from otf.models.basis import Basis, Growth


class Prior(Protocol):
    """How design rows are transformed so that the prior is the identity."""

    @property
    def name(self) -> str:
        """Return the registered name."""
        ...

    def rows(self, basis: Basis, raw: FloatArray) -> FloatArray:
        """Return transformed rows, (r, m), of raw ones."""
        ...

    def new_columns(
        self, stored: FloatArray, raw: FloatArray, growth: Growth
    ) -> FloatArray:
        """Return the columns of new references for stored rows.

        Parameters
        ----------
        stored : (M, m) transformed rows
        raw : (M, r) raw columns of the new references
        growth : what the factor of the basis grew by
        """
        ...

    def rotation(self, dropped: IntArray, rotation: FloatArray) -> FloatArray:
        """Return T, (m, m - d), with which rows Phi' T belong to the kept references.

        ``rotation`` is what ``Basis.without`` returned.
        """
        ...

    def weights(self, basis: Basis, solved: FloatArray) -> FloatArray:
        """Return weights of raw rows, (m,) or (m, r), of transformed weights."""
        ...


class WhitenedPrior:
    """N(0, 1/s_w) on whitened weights L^T w: the sparse Gaussian process."""

    name = "whitened"

    def rows(self, basis: Basis, raw: FloatArray) -> FloatArray:
        """Return raw L^-T."""
        return basis.whiten(raw)

    def new_columns(
        self, stored: FloatArray, raw: FloatArray, growth: Growth
    ) -> FloatArray:
        """Return (raw - stored l21^T) l22^-T; stored columns do not change."""
        left = raw - stored @ growth.l21.T
        solved = solve_triangular(growth.l22, left.T, lower=True, check_finite=False)
        return np.asarray(solved.T, dtype=np.float64)

    def rotation(self, dropped: IntArray, rotation: FloatArray) -> FloatArray:
        """Return the rotation that restores the triangle of the factor."""
        return rotation

    def weights(self, basis: Basis, solved: FloatArray) -> FloatArray:
        """Return L^-T w'."""
        return np.asarray(
            solve_triangular(
                basis.factor, solved, lower=True, trans="T", check_finite=False
            ),
            dtype=np.float64,
        )


class IdentityPrior:
    """N(0, 1/s_w) on the weights themselves."""

    name = "identity"

    def rows(self, basis: Basis, raw: FloatArray) -> FloatArray:
        """Return the rows as they are."""
        return raw

    def new_columns(
        self, stored: FloatArray, raw: FloatArray, growth: Growth
    ) -> FloatArray:
        """Return the raw columns."""
        return raw

    def rotation(self, dropped: IntArray, rotation: FloatArray) -> FloatArray:
        """Return the selection of the kept columns."""
        m = len(rotation)
        return np.eye(m)[:, np.setdiff1d(np.arange(m), dropped)]

    def weights(self, basis: Basis, solved: FloatArray) -> FloatArray:
        """Return the weights as they are."""
        return solved


def prior_named(name: str) -> Prior:
    """Return the prior of a registered name.

    Raises
    ------
    InputError
        When the name is unknown.
    """
    priors: dict[str, type[WhitenedPrior] | type[IdentityPrior]] = {
        WhitenedPrior.name: WhitenedPrior,
        IdentityPrior.name: IdentityPrior,
    }
    if name not in priors:
        raise InputError(f"prior must be 'whitened' or 'identity', got {name!r}")
    return priors[name]()
