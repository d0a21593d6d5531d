"""Covariances of two environments, written through softened-normalised vectors.

With the softened norm n(x) = sqrt(|x|^2 + x_0^2) a covariance is a function
K = f(k, rho, rho_B) of k = x.x_B/(n n_B), rho = |x|^2/n^2 and rho_B. It vanishes
smoothly with x, so an atom that loses its last neighbour keeps no learned energy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from otf.errors import InputError

if TYPE_CHECKING:
    from otf.configuration import FloatArray
    from otf.kernels import Kernels


class Weighted(NamedTuple):
    """A weighted sum over references, E_i = sum_B w_B K_iB, and its slopes.

    dE_i = sum_B by_k_iB dk_iB + ..., k = x.x_B/(n n_B); what depends on x_i alone is
    own_i (x_i . dx_i)/n_i^2.

    Attributes
    ----------
    value : (n,) E_i
    by_k : (n, m) w_B dK_iB/dk
    own : (n,) sum_B w_B [2 (1 - rho_i) dK_iB/drho_i - k_iB dK_iB/dk]
    """

    value: FloatArray
    by_k: FloatArray
    own: FloatArray


class Covariance(Protocol):
    """A covariance K = f(k, rho, rho_B) and its slopes.

    In all methods ``k`` is (n, m), ``rho`` (n,) and ``reference_rho`` (m,).
    """

    def value(
        self, k: FloatArray, rho: FloatArray, reference_rho: FloatArray
    ) -> FloatArray:
        """Return K, (n, m)."""
        ...

    def slopes(
        self, k: FloatArray, rho: FloatArray, reference_rho: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return K, dK/dk and dK/drho, each (n, m)."""
        ...

    def weighted(
        self,
        k: FloatArray,
        rho: FloatArray,
        reference_rho: FloatArray,
        weights: FloatArray,
        kernels: Kernels,
    ) -> Weighted:
        """Return the sums with weights (m,), as ``slopes`` would give them.

        ``k`` may be overwritten: this is the inner loop of a prediction.
        """
        ...

    def diagonal(self, rho: FloatArray) -> FloatArray:
        """Return K of every environment with itself, (n,)."""
        ...

    @property
    def parameters(self) -> tuple[str, float]:
        """Return the registered name and its one parameter."""
        ...


def integer_power(x: FloatArray, exponent: int) -> FloatArray:
    """Return x**exponent by repeated squaring, several times faster than ``pow``."""
    result: FloatArray | None = None
    square = x
    while exponent:
        if exponent & 1:
            result = square if result is None else result * square
        exponent >>= 1
        if exponent:
            square = square * square
    return np.ones_like(x) if result is None else result


@dataclass(frozen=True)
class Polynomial:
    """K = k^zeta.

    Attributes
    ----------
    exponent : zeta, an integer of at least 1
    """

    exponent: int = 4

    def __post_init__(self) -> None:
        if self.exponent < 1 or self.exponent != int(self.exponent):
            raise InputError(
                f"the exponent of a polynomial covariance must be a whole number of at "
                f"least 1, got {self.exponent}"
            )

    def value(
        self, k: FloatArray, rho: FloatArray, reference_rho: FloatArray
    ) -> FloatArray:
        """Return K, (n, m)."""
        return integer_power(k, self.exponent)

    def slopes(
        self, k: FloatArray, rho: FloatArray, reference_rho: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return K, dK/dk and dK/drho, each (n, m)."""
        lower = integer_power(k, self.exponent - 1)
        return lower * k, self.exponent * lower, np.zeros((1, 1))

    def weighted(
        self,
        k: FloatArray,
        rho: FloatArray,
        reference_rho: FloatArray,
        weights: FloatArray,
        kernels: Kernels,
    ) -> Weighted:
        """Return the sums with weights (m,); k is overwritten with the slopes."""
        value = kernels.weighted_power(k, weights, self.exponent)
        return Weighted(value, k, -self.exponent * value)

    def diagonal(self, rho: FloatArray) -> FloatArray:
        """Return K of every environment with itself, (n,)."""
        return integer_power(rho, self.exponent)

    @property
    def parameters(self) -> tuple[str, float]:
        """Return the registered name and its one parameter."""
        return "polynomial", float(self.exponent)


@dataclass(frozen=True)
class Gaussian:
    """K = rho rho_B exp(-|u - u_B|^2 / 2 l^2) on softened-normalised vectors u = x/n.

    The factor rho rho_B takes the covariance of an isolated atom to zero, which the
    exponential alone does not.

    Attributes
    ----------
    length : l, without unit
    """

    length: float = 0.5

    def __post_init__(self) -> None:
        if not self.length > 0:
            raise InputError(
                f"the length of a Gaussian covariance must be positive, "
                f"got {self.length}"
            )

    def _exponential(
        self, k: FloatArray, rho: FloatArray, reference_rho: FloatArray
    ) -> FloatArray:
        square = rho[:, None] + reference_rho[None, :] - 2.0 * k
        return np.asarray(np.exp(-0.5 * square / self.length**2), dtype=np.float64)

    def value(
        self, k: FloatArray, rho: FloatArray, reference_rho: FloatArray
    ) -> FloatArray:
        """Return K, (n, m)."""
        both = rho[:, None] * reference_rho[None, :]
        return self._exponential(k, rho, reference_rho) * both

    def slopes(
        self, k: FloatArray, rho: FloatArray, reference_rho: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return K, dK/dk and dK/drho, each (n, m)."""
        half = self._exponential(k, rho, reference_rho) * reference_rho[None, :]
        value = half * rho[:, None]
        inverse = 1.0 / self.length**2
        by_rho = half * (1.0 - 0.5 * inverse * rho[:, None])
        return value, value * inverse, by_rho

    def weighted(
        self,
        k: FloatArray,
        rho: FloatArray,
        reference_rho: FloatArray,
        weights: FloatArray,
        kernels: Kernels,
    ) -> Weighted:
        """Return the sums with weights (m,)."""
        value, by_k, by_rho = self.slopes(k, rho, reference_rho)
        by_k *= weights
        own = 2.0 * (1.0 - rho) * (by_rho @ weights) - np.einsum("im,im->i", by_k, k)
        return Weighted(value @ weights, by_k, own)

    def diagonal(self, rho: FloatArray) -> FloatArray:
        """Return K of every environment with itself, (n,)."""
        return rho * rho

    @property
    def parameters(self) -> tuple[str, float]:
        """Return the registered name and its one parameter."""
        return "gaussian", self.length


def covariance_named(name: str, parameter: float) -> Covariance:
    """Return the covariance of a registered name.

    Raises
    ------
    InputError
        When the name is unknown.
    """
    if name == "polynomial":
        return Polynomial(int(parameter))
    if name == "gaussian":
        return Gaussian(parameter)
    raise InputError(f"covariance must be 'polynomial' or 'gaussian', got {name!r}")
