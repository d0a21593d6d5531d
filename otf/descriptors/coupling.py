"""Which channels of the density the power spectrum couples: all, or linear in species.

A coupling turns coefficients c (n, S, M, N) into features and back. It is linear in the
self terms, whose place among the features is one sparse matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.sparse import csr_array

if TYPE_CHECKING:
    from otf.configuration import FloatArray, IntArray
    from otf.kernels import Kernels

    Prepared = list[FloatArray]


@dataclass(frozen=True)
class Channels:
    """S species, N radial functions, orders up to L; weights are per order.

    They hold the scale of the features.
    """

    n_species: int
    n_max: int
    weights: tuple[float, ...]

    @cached_property
    def factors(self) -> FloatArray:
        """Return w3 eta_l sqrt(8 pi^2 / (2 l + 1)), (L + 1,)."""
        return np.array(self.weights)


class Jacobian(Protocol):
    """The derivatives of features along changes of the coefficients."""

    def __call__(
        self,
        kernels: Kernels,
        owner: IntArray,
        c: FloatArray,
        f: Channels,
        species: int,
        changes: FloatArray,
    ) -> FloatArray:
        """Return (r, q); change number r, (M, N), is of one species of owner[r]."""
        ...


class Coupling(Protocol):
    """Features quadratic in the density coefficients."""

    @property
    def jacobian(self) -> Jacobian | None:
        """Return a function for derivatives of features, None where it never pays."""
        ...

    def n_features(self, channels: Channels) -> int:
        """Return the number of features."""
        ...

    def spectrum(self, kernels: Kernels, c: FloatArray, f: Channels) -> FloatArray:
        """Return the features (n, q) of coefficients (n, S, M, N)."""
        ...

    def adjoint(
        self, kernels: Kernels, c: FloatArray, f: Channels, gradient: FloatArray
    ) -> FloatArray:
        """Return dU/dc from dU/dX."""
        ...

    def prepare(self, f: Channels, references: FloatArray) -> Prepared:
        """Arrange references X_B, (q, b), for ``columns``: arrays for every order."""
        ...

    def columns(self, c: FloatArray, prepared: Prepared) -> FloatArray:
        """Return d(X_B . X)/dc of c (n, S, M, N), (n, M, S, N, b)."""
        ...

    def self_terms(self, channels: Channels) -> csr_array:
        """Return E (S (L + 1) T, q): the self terms o subtract o E from the features.

        T = N (N + 1) / 2 radial pairs n <= n'.
        """
        ...


class FullCoupling:
    """All pairs of channels (J, n), (J', n'): upper triangle, sqrt(2) off the diagonal.

    The number of features grows as (S N)^2.
    """

    def jacobian(
        self,
        kernels: Kernels,
        owner: IntArray,
        c: FloatArray,
        f: Channels,
        species: int,
        changes: FloatArray,
    ) -> FloatArray:
        """Return the derivatives of features along changes of coefficients."""
        out: FloatArray = kernels.jacobian_full(owner, c, f.factors, species, changes)
        return out

    def n_features(self, channels: Channels) -> int:
        """Return (L + 1) A (A + 1) / 2 with A = S N."""
        n = channels.n_species * channels.n_max
        return len(channels.weights) * n * (n + 1) // 2

    def spectrum(self, kernels: Kernels, c: FloatArray, f: Channels) -> FloatArray:
        """Return the features (n, q) of coefficients (n, S, M, N)."""
        features: FloatArray = kernels.spectrum_full(c, f.factors)
        return features

    def adjoint(
        self, kernels: Kernels, c: FloatArray, f: Channels, gradient: FloatArray
    ) -> FloatArray:
        """Return dU/dc from dU/dX."""
        out: FloatArray = kernels.adjoint_full(c, f.factors, gradient)
        return out

    def prepare(self, f: Channels, references: FloatArray) -> Prepared:
        """Return symmetric matrices M_l, (A, A b): d(X_B . X) = sum_l c . M_l dc."""
        n_a, n_columns = f.n_species * f.n_max, references.shape[1]
        place, n_pairs = _triangle(n_a)
        factor = np.where(np.eye(n_a, dtype=bool), 2.0, np.sqrt(2.0))[:, :, None]
        return [
            ((weight * factor) * references[order * n_pairs + place]).reshape(
                n_a, n_a * n_columns
            )
            for order, weight in enumerate(f.weights)
        ]

    def columns(self, c: FloatArray, prepared: Prepared) -> FloatArray:
        """Return d(X_B . X)/dc of c (n, S, M, N), (n, M, S, N, b)."""
        n, n_species, n_m, n_max = c.shape
        flat = c.transpose(0, 2, 1, 3).reshape(n, n_m, -1)
        out = np.empty((n, n_m, prepared[0].shape[1]))
        for order, matrix in enumerate(prepared):
            m = slice(order**2, (order + 1) ** 2)
            out[:, m] = _together(flat[:, m], matrix)
        return out.reshape(n, n_m, n_species, n_max, -1)

    def self_terms(self, channels: Channels) -> csr_array:
        """Return E: the entries (J, n), (J, n') of the triangle."""
        place, n_pairs = _triangle(channels.n_species * channels.n_max)
        n, m = np.triu_indices(channels.n_max)
        root = np.where(n == m, 1.0, np.sqrt(2.0))
        column, value = [], []
        for s in range(channels.n_species):
            for order, weight in enumerate(channels.weights):
                a, b = s * channels.n_max + n, s * channels.n_max + m
                column.append(order * n_pairs + place[a, b])
                value.append(weight * root)
        return _rows_to_features(column, value, self.n_features(channels))


class ReducedCoupling:
    """Every species' density with the sum over all species; linear in S.

    X_(l J n n') = weight_l sum_m c_nlm^J C_n'lm, C = sum_J c^J: one of the two
    densities keeps its element, both keep their radial index. For one species its
    scalar products are those of the full coupling.

    References
    ----------
    J. P. Darby, J. R. Kermode, G. Csanyi, npj Comput. Mater. 8, 166 (2022),
    DOI 10.1038/s41524-022-00847-y.
    """

    jacobian = None  # it has more features than coefficients

    def n_features(self, channels: Channels) -> int:
        """Return (L + 1) S N^2."""
        return len(channels.weights) * channels.n_species * channels.n_max**2

    def spectrum(self, kernels: Kernels, c: FloatArray, f: Channels) -> FloatArray:
        """Return the features (n, q) of coefficients (n, S, M, N)."""
        features: FloatArray = kernels.spectrum_reduced(c, f.factors)
        return features

    def adjoint(
        self, kernels: Kernels, c: FloatArray, f: Channels, gradient: FloatArray
    ) -> FloatArray:
        """Return dU/dc from dU/dX."""
        out: FloatArray = kernels.adjoint_reduced(c, f.factors, gradient)
        return out

    def prepare(self, f: Channels, references: FloatArray) -> Prepared:
        """Return for every order X_B as (S N, N' b) and transposed, (N', S N b)."""
        n_a = f.n_species * f.n_max
        blocks = references.reshape(len(f.weights), n_a, f.n_max, -1)
        prepared = []
        for weight, block in zip(f.weights, blocks, strict=True):
            x = weight * block
            prepared.append(x.reshape(n_a, -1))
            prepared.append(np.ascontiguousarray(x.swapaxes(0, 1)).reshape(f.n_max, -1))
        return prepared

    def columns(self, c: FloatArray, prepared: Prepared) -> FloatArray:
        """Return d(X_B . X)/dc of c (n, S, M, N), (n, M, S, N, b)."""
        n, n_species, n_m, n_max = c.shape
        flat = c.transpose(0, 2, 1, 3).reshape(n, n_m, -1)
        total = c.sum(axis=1)
        out = np.empty((n, n_m, prepared[1].shape[1]))
        for order in range(len(prepared) // 2):
            m = slice(order**2, (order + 1) ** 2)
            shared = _together(flat[:, m], prepared[2 * order])  # of any species
            own = _together(total[:, m], prepared[2 * order + 1])
            own.reshape(n, 2 * order + 1, n_species, -1)[:] += shared[:, :, None]
            out[:, m] = own
        return out.reshape(n, n_m, n_species, n_max, -1)

    def self_terms(self, channels: Channels) -> csr_array:
        """Return E: the entries (J, n, n') and (J, n', n)."""
        n_max, n_species = channels.n_max, channels.n_species
        n, m = np.triu_indices(n_max)
        column, value = [], []
        for s in range(n_species):
            for order, weight in enumerate(channels.weights):
                base = (order * n_species + s) * n_max
                column.append((base + n) * n_max + m)
                value.append(np.full(len(n), weight))
        upper = _rows_to_features(column, value, self.n_features(channels))
        mirrored, other = [], []
        for c, v in zip(column, value, strict=True):
            base = c[0] // n_max
            mirrored.append((base + m) * n_max + n)
            other.append(np.where(n == m, 0.0, v))
        lower = _rows_to_features(mirrored, other, self.n_features(channels))
        return csr_array(upper + lower)


couplings: dict[str, Coupling] = {"full": FullCoupling(), "reduced": ReducedCoupling()}


def _together(x: FloatArray, matrix: FloatArray) -> FloatArray:
    """Return x (n, m, a) times a matrix (a, b) in one product, (n, m, b)."""
    return np.asarray((x.reshape(-1, len(matrix)) @ matrix).reshape(*x.shape[:2], -1))


def _triangle(n: int) -> tuple[IntArray, int]:
    """Return the places (n, n) of pairs in the upper triangle, and its size."""
    first, second = np.triu_indices(n)
    place = np.zeros((n, n), dtype=np.int64)
    place[first, second] = place[second, first] = np.arange(len(first))
    return place, len(first)


def _rows_to_features(
    column: list[np.ndarray], value: list[np.ndarray], n_features: int
) -> csr_array:
    """Return the sparse matrix with one entry a row, rows in the order given."""
    columns, values = np.concatenate(column), np.concatenate(value)
    rows = np.arange(len(columns))
    return csr_array((values, (rows, columns)), shape=(len(rows), n_features))
