"""From rows and labels to weights: one interface, three ways.

``EvidenceMaximisation`` finds both precisions; ``LinearRidge`` takes their ratio as
given; the dual form of the latter lives in ``otf.models.kernel_ridge``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from otf.models.evidence import EvidenceFit, PrecisionBounds, maximise_evidence

if TYPE_CHECKING:
    from collections.abc import Callable

    from otf.configuration import FloatArray
    from otf.models.evidence import Posterior, Spectrum


@dataclass(frozen=True, eq=False)
class Problem:
    """A regression in the basis where the prior is the identity.

    Attributes
    ----------
    spectrum : the eigenbasis, for solvers that look for the precisions
    posterior : at (s_w, s_v), for those that are given them
    residual_square : |y - Phi w|^2 of weights, without cancellation
    rows : (Phi, y) held whole, for the dual form
    n_rows : number of labels
    n_forceful : structures with a force above 0.1 eV/angstrom
    start : (s_w, s_v) of the fit before this one
    """

    spectrum: Callable[[], Spectrum]
    posterior: Callable[[float, float], Posterior]
    residual_square: Callable[[FloatArray], float]
    rows: Callable[[], tuple[FloatArray, FloatArray]]
    n_rows: int
    n_forceful: int
    start: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Solution:
    """Weights (m,), a root A (m, r) of their covariance A A^T, and the precisions."""

    weights: FloatArray
    root: FloatArray
    fit: EvidenceFit


class Solver(Protocol):
    """A way to solve the regression."""

    def solve(self, problem: Problem) -> Solution:
        """Return the posterior of the weights."""
        ...


@dataclass(frozen=True)
class EvidenceMaximisation:
    """Bayesian linear regression with precisions of largest evidence.

    Noise-free labels and a perfect crystal would drive both precisions to absurd values
    and every deviation to zero, hence the bounds.

    Attributes
    ----------
    bounds : of both precisions once there are enough structures
    free_after : structures with forces from which s_w leaves its start value 1
    """

    bounds: PrecisionBounds = field(default_factory=PrecisionBounds)
    free_after: int = 5

    def solve(self, problem: Problem) -> Solution:
        """Return the posterior at the largest evidence within the bounds."""
        bounds = self.bounds
        if problem.n_forceful < self.free_after:
            bounds = PrecisionBounds(bounds.noise_high, 1.0, 1.0)
        spectrum = problem.spectrum()
        fit = maximise_evidence(
            spectrum,
            bounds=bounds,
            start=problem.start,
            exact_residual=problem.residual_square,
        )
        s_w, s_v = fit.prior_precision, fit.noise_precision
        return Solution(spectrum.weights(s_w, s_v), spectrum.root(s_w, s_v), fit)


@dataclass(frozen=True)
class LinearRidge:
    """Ridge regression, w = (Phi^T Phi + ratio)^-1 Phi^T y, at noise precision 1.

    Attributes
    ----------
    ratio : sigma_v^2/sigma_w^2 on rows divided by their noise scales
    """

    ratio: float = 1.0

    def solve(self, problem: Problem) -> Solution:
        """Return the posterior at the given ratio."""
        posterior = problem.posterior(self.ratio, 1.0)
        residual = problem.residual_square(posterior.weights)
        fit = EvidenceFit(
            prior_precision=self.ratio,
            noise_precision=1.0,
            n_effective=posterior.n_effective,
            log_evidence=posterior.log_evidence(residual),
            iterations=0,
            clamps=(),
        )
        return Solution(posterior.weights, posterior.root, fit)
