"""Evidence of a linear model with Gaussian prior and noise, and its maximum.

Rows y = Phi w + noise with noise precision s_v and weights w ~ N(0, 1/s_w). Everything
is written in the eigenbasis of Phi^T Phi, so that one decomposition serves all values
of the two precisions.

References
----------
C. M. Bishop, Pattern Recognition and Machine Learning, Springer 2006, section 3.5.
D. J. C. MacKay, Neural Computation 4, 415 (1992), doi 10.1162/neco.1992.4.3.415.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import svd
from scipy.linalg.lapack import dpotrf, dtrtri

if TYPE_CHECKING:
    from collections.abc import Callable

    from otf.configuration import FloatArray

# A residual below this share of |y|^2 is lost in the cancellation of the Gram form.
_CANCELLED = 1e-9


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Phi^T Phi = U diag(lambda) U^T and the labels in that basis.

    Attributes
    ----------
    values : (m,) lambda
    vectors : (m, m) U
    projection : (m,) U^T Phi^T y
    square : |y|^2
    n_rows : M
    """

    values: FloatArray
    vectors: FloatArray
    projection: FloatArray
    square: float
    n_rows: int

    @classmethod
    def of_gram(
        cls, gram: FloatArray, projection: FloatArray, square: float, n_rows: int
    ) -> Spectrum:
        """Decompose Phi^T Phi; ``projection`` is Phi^T y."""
        values, vectors = np.linalg.eigh(gram)
        return cls(
            np.maximum(values, 0.0), vectors, vectors.T @ projection, square, n_rows
        )

    @classmethod
    def of_triangle(
        cls, triangle: FloatArray, rotated: FloatArray, square: float, n_rows: int
    ) -> Spectrum:
        """Decompose the R of Phi = Q R, never forming Phi^T Phi.

        ``rotated`` is Q^T y, (m,); ``square`` is |y|^2.
        """
        left, singular, right = svd(triangle)
        projection = singular * (left.T @ rotated)
        return cls(singular**2, right.T, projection, square, n_rows)

    def n_effective(self, s_w: float, s_v: float) -> float:
        """Return gamma = sum s_v lambda/(s_v lambda + s_w)."""
        scaled = s_v * self.values
        return float((scaled / (scaled + s_w)).sum())

    def coefficients(self, s_w: float, s_v: float) -> FloatArray:
        """Return the posterior mean in the eigenbasis, U^T w, (m,)."""
        return np.asarray(s_v * self.projection / (s_v * self.values + s_w))

    def weights(self, s_w: float, s_v: float) -> FloatArray:
        """Return the posterior mean w, (m,)."""
        return np.asarray(self.vectors @ self.coefficients(s_w, s_v))

    def root(self, s_w: float, s_v: float) -> FloatArray:
        """Return A, (m, m), with posterior covariance A A^T."""
        return np.asarray(self.vectors / np.sqrt(s_v * self.values + s_w))

    def residual_square(self, s_w: float, s_v: float) -> float:
        """Return |y - Phi w|^2 from the Gram form, which cancels when it is small."""
        a = self.coefficients(s_w, s_v)
        out = self.square - 2.0 * a @ self.projection + (self.values * a) @ a
        return max(float(out), 0.0)

    def log_evidence(self, s_w: float, s_v: float, residual: float) -> float:
        """Return ln p(y | s_w, s_v), with |y - Phi w|^2 given."""
        return self.posterior(s_w, s_v).log_evidence(residual)

    def posterior(self, s_w: float, s_v: float) -> Posterior:
        """Return the posterior of the weights."""
        return Posterior(
            s_w=s_w,
            s_v=s_v,
            weights=self.weights(s_w, s_v),
            root=self.root(s_w, s_v),
            n_effective=self.n_effective(s_w, s_v),
            log_determinant=float(np.log(s_v * self.values + s_w).sum()),
            n_rows=self.n_rows,
        )


@dataclass(frozen=True, eq=False)
class Posterior:
    """What the labels say of the weights at given precisions.

    Attributes
    ----------
    s_w, s_v : prior and noise precision
    weights : (m,), the mean
    root : (m, m), A of the covariance A A^T
    n_effective : gamma, the number of weights the labels determine
    log_determinant : ln |s_v Phi^T Phi + s_w|
    n_rows : M
    """

    s_w: float
    s_v: float
    weights: FloatArray
    root: FloatArray
    n_effective: float
    log_determinant: float
    n_rows: int

    def log_evidence(self, residual: float) -> float:
        """Return ln p(y | s_w, s_v), with |y - Phi w|^2 given.

        (M/2) ln s_v + (m/2) ln s_w - (s_v |y - Phi w|^2 + s_w |w|^2)/2
        - (1/2) ln |s_v Phi^T Phi + s_w| - (M/2) ln 2 pi.
        """
        w = self.weights
        out = (
            self.n_rows * (np.log(self.s_v) - np.log(2.0 * np.pi))
            + len(w) * np.log(self.s_w)
            - self.s_v * residual
            - self.s_w * (w @ w)
            - self.log_determinant
        )
        return 0.5 * float(out)


@dataclass(frozen=True, eq=False)
class GramSystem:
    """The normal equations of a regression.

    Attributes
    ----------
    gram : (m, m), Phi^T Phi
    projection : (m,), Phi^T y
    square : |y|^2
    n_rows : M
    """

    gram: FloatArray
    projection: FloatArray
    square: float
    n_rows: int

    def spectrum(self) -> Spectrum:
        """Return the eigenbasis, which serves all values of the precisions."""
        return Spectrum.of_gram(self.gram, self.projection, self.square, self.n_rows)

    def posterior(self, s_w: float, s_v: float) -> Posterior:
        """Return the posterior at given precisions, at a tenth of the eigenbasis' cost.

        Notes
        -----
        With s_v Phi^T Phi + s_w = C C^T the covariance is C^-T C^-1, and
        gamma = m - s_w |C^-1|^2.
        """
        matrix = s_v * self.gram
        matrix[np.diag_indices_from(matrix)] += s_w
        # The transpose is the same matrix, in LAPACK's order.
        factor, info = dpotrf(matrix.T, lower=1, clean=1, overwrite_a=1)
        if info != 0:  # singular to rounding: the eigenbasis bounds what is negative
            return self.spectrum().posterior(s_w, s_v)
        determinant = 2.0 * float(np.log(factor.diagonal()).sum())
        inverse, _ = dtrtri(factor, lower=1, overwrite_c=1)
        return Posterior(
            s_w=s_w,
            s_v=s_v,
            weights=s_v * (inverse.T @ (inverse @ self.projection)),
            root=inverse.T,
            n_effective=len(matrix) - s_w * float(np.vdot(inverse, inverse)),
            log_determinant=determinant,
            n_rows=self.n_rows,
        )


@dataclass(frozen=True)
class PrecisionBounds:
    """Bounds of the two precisions.

    Attributes
    ----------
    noise_high : largest s_v; its inverse root times a noise scale is the noise floor
    prior_low, prior_high : of s_w
    """

    noise_high: float = 100.0
    prior_low: float = 1e-3
    prior_high: float = 100.0


@dataclass(frozen=True)
class EvidenceFit:
    """The precisions of largest evidence within their bounds."""

    prior_precision: float
    noise_precision: float
    n_effective: float
    log_evidence: float
    iterations: int
    clamps: tuple[str, ...]


def maximise_evidence(
    spectrum: Spectrum,
    *,
    bounds: PrecisionBounds,
    start: tuple[float, float] = (1.0, 1.0),
    exact_residual: Callable[[FloatArray], float] | None = None,
    max_iterations: int = 500,
) -> EvidenceFit:
    """Iterate s_w = gamma/|w|^2, s_v = (M - gamma)/|y - Phi w|^2 to a fixed point.

    Parameters
    ----------
    spectrum
        The regression.
    bounds
        Within which both precisions are kept.
    start
        (s_w, s_v).
    exact_residual
        |y - Phi w|^2 of given weights from Phi itself; used where the Gram form has
        lost its digits.
    max_iterations
        After which the last values are taken and a clamp is reported.
    """
    s_w = float(np.clip(start[0], bounds.prior_low, bounds.prior_high))
    s_v = float(min(start[1], bounds.noise_high))

    def residual(prior: float, noise: float) -> float:
        value = spectrum.residual_square(prior, noise)
        if exact_residual is not None and value < _CANCELLED * spectrum.square:
            value = exact_residual(spectrum.weights(prior, noise))
        return value

    iterations = 0
    converged = False
    raw_w, raw_v = s_w, s_v
    while iterations < max_iterations and not converged:
        iterations += 1
        gamma = spectrum.n_effective(s_w, s_v)
        a = spectrum.coefficients(s_w, s_v)
        # Tiny floors keep noise-free labels and vanishing weights from dividing by 0.
        raw_w = gamma / max(float(a @ a), 1e-300)
        raw_v = max(spectrum.n_rows - gamma, 1e-12) / max(residual(s_w, s_v), 1e-300)
        new_w = float(np.clip(raw_w, bounds.prior_low, bounds.prior_high))
        new_v = float(min(raw_v, bounds.noise_high))
        change = abs(np.log(new_w / s_w)) + abs(np.log(new_v / s_v))
        s_w, s_v = new_w, new_v
        converged = bool(change < 1e-8)
    clamps = _clamps(raw_w, raw_v, bounds)
    if not converged:
        clamps += (f"the evidence did not converge in {max_iterations} iterations",)
    return EvidenceFit(
        prior_precision=s_w,
        noise_precision=s_v,
        n_effective=spectrum.n_effective(s_w, s_v),
        log_evidence=spectrum.log_evidence(s_w, s_v, residual(s_w, s_v)),
        iterations=iterations,
        clamps=clamps,
    )


def _clamps(prior: float, noise: float, bounds: PrecisionBounds) -> tuple[str, ...]:
    out: tuple[str, ...] = ()
    if noise > bounds.noise_high:
        out += (f"noise precision held at its bound {bounds.noise_high:g}",)
    if bounds.prior_low == bounds.prior_high:
        out += (f"prior precision held at {bounds.prior_low:g}: too few structures",)
    elif prior > bounds.prior_high:
        out += (f"prior precision held at its upper bound {bounds.prior_high:g}",)
    elif prior < bounds.prior_low:
        out += (f"prior precision held at its lower bound {bounds.prior_low:g}",)
    return out
