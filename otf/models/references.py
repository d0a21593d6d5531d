"""Local reference configurations, and the covariance of environments with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from otf.kernels import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otf.configuration import FloatArray, IntArray
    from otf.descriptors.interface import Environments
    from otf.kernels import Backend, Kernels
    from otf.models.covariance import Covariance


EVERY = slice(None)


@dataclass(frozen=True, eq=False)
class KernelSlopes:
    """Covariances of n environments with m references, and how they change.

    dK_iB = alpha_iB (X_B . dX_i) + gamma_iB (X_i . dX_i), X_B the stored directions.

    Attributes
    ----------
    value, alpha, gamma : (n, m), zero where the species differ
    """

    value: FloatArray
    alpha: FloatArray
    gamma: FloatArray


@dataclass(frozen=True, eq=False)
class References:
    """Environments a covariance is taken with.

    Attributes
    ----------
    directions : (m, q), x_B / n(x_B)
    rho : (m,), |x_B|^2 / n(x_B)^2
    species : (m,) index in the descriptor's list
    covariance : f(k, rho, rho_B)
    softening : x_0 of the softened norm n(x) = sqrt(|x|^2 + x_0^2)
    """

    directions: FloatArray
    rho: FloatArray
    species: IntArray
    covariance: Covariance
    softening: float

    @property
    def n_references(self) -> int:
        """Return m."""
        return len(self.species)

    @property
    def diagonal(self) -> FloatArray:
        """Return K(B, B), (m,)."""
        return self.covariance.diagonal(self.rho)

    @classmethod
    def of(
        cls,
        features: FloatArray,
        species: IntArray,
        covariance: Covariance,
        softening: float,
        kernels: Kernels | None = None,
    ) -> References:
        """Return environments of raw features (m, q) as references.

        ``kernels`` are those of the arrays, NumPy's where none are given.
        """
        softened = (kernels or load("cpu").kernels).softened
        directions, rho = softened(features, softening)
        return cls(
            directions=directions,
            rho=rho,
            species=np.asarray(species, dtype=np.int64),
            covariance=covariance,
            softening=softening,
        )

    def like(
        self, environments: Environments, kernels: Kernels | None = None
    ) -> References:
        """Return the atoms of a configuration, ready to become references."""
        return References.of(
            environments.features,
            environments.species,
            self.covariance,
            self.softening,
            kernels,
        )

    def on(self, backend: Backend) -> References:
        """Return the same with all but the species in arrays of a backend."""
        here = backend.here
        return replace(self, directions=here(self.directions), rho=here(self.rho))

    def inverse_norm(self, features: FloatArray) -> FloatArray:
        """Return 1/n(x) of raw features, (n,)."""
        square = np.einsum("iq,iq->i", features, features)
        return np.asarray(1.0 / np.sqrt(square + self.softening**2))

    def rows_by_species(self) -> Iterator[tuple[int, slice | IntArray]]:
        """Yield every species that is there with its places; all of them: a slice."""
        if self.n_references and (self.species == self.species[0]).all():
            yield int(self.species[0]), EVERY
            return
        for species in np.unique(self.species):
            yield int(species), np.flatnonzero(self.species == species)

    def of_species(self, species: int) -> References:
        """Return the references of one species, in their order."""
        return self.subset(np.flatnonzero(self.species == species))

    def subset(self, index: IntArray | slice) -> References:
        """Return the references at ``index``."""
        return References(
            self.directions[index],
            self.rho[index],
            self.species[index],
            self.covariance,
            self.softening,
        )

    def joined(self, *others: References) -> References:
        """Return these references followed by the others."""
        parts = (self, *others)
        return References(
            np.concatenate([part.directions for part in parts]),
            np.concatenate([part.rho for part in parts]),
            np.concatenate([part.species for part in parts]),
            self.covariance,
            self.softening,
        )

    def kernel(self, others: References) -> FloatArray:
        """Return K(i, B), (n, m), of n others with these m references."""
        if self._one_species(others.species):
            return self.covariance.value(
                others.directions @ self.directions.T, others.rho, self.rho
            )
        out = np.zeros((others.n_references, self.n_references))
        for rows, columns in self._equal_species(others.species):
            k = others.directions[rows] @ self.directions[columns].T
            out[np.ix_(rows, columns)] = self.covariance.value(
                k, others.rho[rows], self.rho[columns]
            )
        return out

    def slopes(self, environments: Environments) -> KernelSlopes:
        """Return covariances with the n environments and their derivatives.

        Notes
        -----
        dk = (x_B/n_B . dx)/n - k (x . dx)/n^2 and drho = 2 (1 - rho) (x . dx)/n^2 give
        alpha = f_k/n and gamma = [2 (1 - rho) f_rho - k f_k]/n^2.
        """
        atoms = self.like(environments)
        inverse = self.inverse_norm(environments.features)
        if self._one_species(atoms.species):
            return KernelSlopes(*self._slopes(atoms, inverse))
        n, m = atoms.n_references, self.n_references
        out = KernelSlopes(np.zeros((n, m)), np.zeros((n, m)), np.zeros((n, m)))
        for rows, columns in self._equal_species(atoms.species):
            block = self.subset(columns)._slopes(atoms.subset(rows), inverse[rows])
            at = np.ix_(rows, columns)
            out.value[at], out.alpha[at], out.gamma[at] = block
        return out

    def _slopes(
        self, atoms: References, inverse: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        k = atoms.directions @ self.directions.T
        value, by_k, by_rho = self.covariance.slopes(k, atoms.rho, self.rho)
        softened = (2.0 * (1.0 - atoms.rho))[:, None] * by_rho
        gamma = (softened - k * by_k) * (inverse**2)[:, None]
        return value, by_k * inverse[:, None], gamma

    def _one_species(self, species: IntArray) -> bool:
        both = np.concatenate([self.species, species])
        return bool((both == both[0]).all()) if len(both) else True

    def _equal_species(self, species: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
        for one in np.intersect1d(species, self.species):
            yield np.flatnonzero(species == one), np.flatnonzero(self.species == one)
