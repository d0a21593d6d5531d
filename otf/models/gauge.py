"""How well a set of references knows an atom: local deviation and spilling."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.linalg import qr, solve_triangular
from scipy.linalg.blas import dtrmm
from scipy.linalg.lapack import dtrtri

from otf.kernels import load
from otf.models.basis import Basis, unspanned
from otf.models.sparsify import pivoted_cholesky
from otf.potential import Uncertainty

if TYPE_CHECKING:
    from otf.configuration import FloatArray, IntArray
    from otf.descriptors.interface import Environments
    from otf.kernels import Backend


class Triangles(NamedTuple):
    """What the covariances with the references of one species are multiplied by.

    Attributes
    ----------
    whitener : L^-1, lower triangle, of their kernel matrix
    spread : R, upper triangle, R^T R the posterior covariance of their weights
    """

    whitener: FloatArray
    spread: FloatArray


@dataclass(frozen=True, eq=False)
class Gauge:
    """Local deviations and spilling against a set of references.

    Attributes
    ----------
    basis : the references and their factor L
    root : (m, r), posterior covariance of their weights is root root^T
    prior_precision : s_w
    precision : of the products with the triangles
    backend : of the covariances in ``of_kernel``
    """

    basis: Basis
    root: FloatArray
    prior_precision: float
    precision: type[np.floating[Any]] = np.float64
    backend: Backend = field(default_factory=lambda: load("cpu"))

    def on(self, backend: Backend) -> Gauge:
        """Return the same, for covariances in arrays of a backend."""
        return replace(self, backend=backend)

    def measure(
        self, environments: Environments, atoms: IntArray | None = None
    ) -> Uncertainty:
        """Return deviations (eV) of the own energies of atoms, and their spilling.

        ``atoms`` (k,) are those asked for, by default all.
        """
        references = self.basis.references
        asked = references.like(environments)
        if atoms is not None:
            asked = asked.subset(atoms)
        local, share = np.zeros(asked.n_references), np.zeros(asked.n_references)
        for species, rows in asked.rows_by_species():
            part = asked.subset(rows)
            kernel = references.of_species(species).kernel(part)
            local[rows], share[rows] = self.of_kernel(kernel, part.diagonal, species)
        return Uncertainty(local=local, spilling=share)

    def of_kernel(
        self, kernel: FloatArray, own: FloatArray, species: int
    ) -> tuple[FloatArray, FloatArray]:
        """Return deviation and spilling of n atoms of one species.

        Parameters
        ----------
        kernel
            (n, m_s), K with the references of that species, in their order.
        own
            (n,), K of every atom with itself.
        species
            Index in the descriptor's list.

        Notes
        -----
        sigma_i^2 = |k_i root|^2 + s_i K(i, i)/s_w, the deterministic training
        conditional: the second term stays where the references say nothing.
        """
        white = spread = kernel
        kernels = self.backend.kernels
        if kernel.shape[1]:
            triangles = self.triangles[species]
            rows = kernel.astype(self.precision, copy=False)
            white = kernels.triangle_product(rows, triangles.whitener, True)
            spread = kernels.triangle_product(rows, triangles.spread, False)
        share = unspanned(kernels.row_squares(white), own)
        variance = kernels.row_squares(spread)
        variance += share * own / self.prior_precision
        return np.sqrt(variance), share

    @cached_property
    def triangles(self) -> dict[int, Triangles]:
        """Return the triangles of every species; no covariance joins two of them.

        Products with an explicit inverse take half the time of solving. With 1376
        references of silicon (condition of L: 4e4) spillings differed by at most 4e-14.
        """
        references, out = self.basis.references, {}
        for species, columns in references.rows_by_species():
            factor = self.basis.factor[columns][:, columns]
            inverse, _ = dtrtri(factor, lower=1)
            alone = len(factor) == references.n_references
            spread = self.spread if alone else _triangle(self.root[columns])
            out[species] = Triangles(
                *(
                    self.backend.here(np.asfortranarray(one, self.precision))
                    for one in (inverse, spread)
                )
            )
        return out

    @cached_property
    def spread(self) -> FloatArray:
        """Return R (m, m), upper triangle, with R^T R the covariance of all weights."""
        return _triangle(self.root)

    def deviations(self, rows: FloatArray) -> FloatArray:
        """Return the posterior deviation of every row of (r, m), |R phi|."""
        if not rows.shape[1]:
            return np.zeros(len(rows))
        spread = dtrmm(1.0, self.spread, rows.T)
        return np.asarray(np.sqrt(np.einsum("ij,ij->j", spread, spread)))

    def reduced(self, limit: int) -> Gauge:
        """Return a cheaper gauge on at most ``limit`` of the references.

        Notes
        -----
        The subset S is chosen by pivoted Cholesky. The posterior of the function values
        at S, K_SB Sigma K_BS, is carried to an atom by the prior conditional
        k_S K_SS^-1; the rest enters through the spilling against S, which is an upper
        bound of the spilling against all references. Products are in single precision:
        with three models of silicon, from a perfect crystal to 0.8 of its length, that
        changed deviations by 0.5 % at most, the largest of a frame by 0.2 %, and
        spillings by 6e-6.
        """
        if self.basis.n_references <= limit:
            return self
        subset, carry = _reduction(self.basis, limit)
        root = _triangle(carry @ self.root).T
        precision = precision_of(subset, self.basis)
        return Gauge(subset, root, self.prior_precision, precision)


def precision_of(subset: Basis, basis: Basis) -> type[np.floating[Any]]:
    """Return the precision of a gauge on some of the references of a basis.

    On all of them it is the measure itself and no bound, and keeps double precision.
    """
    return np.float32 if subset.n_references < basis.n_references else np.float64


@lru_cache(maxsize=1)
def _reduction(basis: Basis, limit: int) -> tuple[Basis, FloatArray]:
    """Return the subset of a basis, and K_SS^-1 K_SB, (k, m).

    Remembered, because most structures teach the weights and leave the basis as it is.
    """
    references = basis.references
    chosen = pivoted_cholesky(references, bound=basis.jitter, limit=limit, known=None)
    subset = Basis.of(references.subset(chosen), basis.jitter)
    carry = references.kernel(subset.references)
    for trans in ("N", "T"):
        carry = solve_triangular(subset.factor, carry, lower=True, trans=trans)
    return subset, carry


def _triangle(root: FloatArray) -> FloatArray:
    """Return the upper triangle R with R^T R = root root^T."""
    return np.asfortranarray(qr(root.T, mode="r")[0][: len(root)])
