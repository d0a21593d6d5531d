"""How a weighted sum over references is evaluated: as it stands, or collapsed.

With u = x/n(x) and k_B = u . u_B the learned energy of an atom is
U = sum_B w_B f(k_B, ...). A polynomial of exponent 1 is u . v with v = sum_B w_B u_B,
one of exponent 2 is u . A u with A = sum_B w_B u_B u_B^T: the same energy at a cost
that does not depend on the number of references.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from otf.models.covariance import Polynomial

if TYPE_CHECKING:
    from otf.configuration import FloatArray
    from otf.kernels import Backend, Kernels
    from otf.models.references import References


class Sums(NamedTuple):
    """Energies of n atoms of one species, and how they change.

    With u = x/n(x), dU_i = (slope_i + own_i u_i) . dx_i/n(x_i).

    Attributes
    ----------
    value : (n,) eV
    slope : (n, q)
    own : (n,)
    """

    value: FloatArray
    slope: FloatArray
    own: FloatArray


class Form(Protocol):
    """A function of environments of one species."""

    @property
    def name(self) -> str:
        """Return what users call it."""
        ...

    def sums(self, atoms: References, k: FloatArray | None) -> Sums:
        """Return energies and slopes.

        Parameters
        ----------
        atoms
            The n environments.
        k
            (n, m), their products with the directions of the references, where these
            were needed anyway; it may be overwritten.
        """
        ...


@dataclass(frozen=True, eq=False)
class Direct:
    """The sum as it stands: two matrix products with the references."""

    references: References
    weights: FloatArray
    kernels: Kernels
    name: str = "direct"

    def sums(self, atoms: References, k: FloatArray | None) -> Sums:
        """Return energies and slopes; k is overwritten."""
        directions, rho = self.references.directions, self.references.rho
        if k is None:
            k = products(atoms.directions, directions)
        value, by_k, own = self.references.covariance.weighted(
            k, atoms.rho, rho, self.weights, self.kernels
        )
        return Sums(value, by_k @ directions, own)


def products(directions: FloatArray, references: FloatArray) -> FloatArray:
    """Return k, (n, m), in memory that the next call from this thread uses again.

    Fresh memory of this size would be mapped anew each time, which takes a tenth of a
    prediction.
    """
    if not isinstance(directions, np.ndarray):
        return directions @ references.T  # CuPy keeps memory for the next call
    n, m = len(directions), len(references)
    held: FloatArray | None = getattr(_scratch, "k", None)
    if held is None or held.size < n * m:
        held = _scratch.k = np.empty(n * m)
    out = held[: n * m].reshape(n, m)
    np.matmul(directions, references.T, out=out)
    return out


_scratch = threading.local()


@dataclass(frozen=True, eq=False)
class Quadratic:
    """U = u . A u, A (q, q) symmetric."""

    matrix: FloatArray
    name: str = "quadratic"

    def sums(self, atoms: References, k: FloatArray | None) -> Sums:
        """Return energies and slopes."""
        slope = atoms.directions @ self.matrix
        value = np.einsum("iq,iq->i", slope, atoms.directions)
        slope *= 2.0
        return Sums(value, slope, -2.0 * value)


@dataclass(frozen=True, eq=False)
class Vector:
    """U = u . v, v (q,)."""

    direction: FloatArray
    name: str = "vector"

    def sums(self, atoms: References, k: FloatArray | None) -> Sums:
        """Return energies and slopes."""
        value = atoms.directions @ self.direction
        slope = np.broadcast_to(self.direction, atoms.directions.shape)
        return Sums(value, slope, -value)


def form_of(references: References, weights: FloatArray, backend: Backend) -> Form:
    """Return the cheapest exact form of a sum over references of one species.

    Its arrays are those of the backend; references and weights come from the host.
    """
    covariance, directions = references.covariance, references.directions
    here = backend.here
    if isinstance(covariance, Polynomial):
        if covariance.exponent == 1:
            return Vector(here(weights @ directions))
        if covariance.exponent == 2 and directions.shape[1] < 2 * len(directions):
            return Quadratic(here((directions.T * weights) @ directions))
    return Direct(references.on(backend), here(weights), backend.kernels)
