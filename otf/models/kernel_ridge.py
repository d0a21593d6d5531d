"""Kernel ridge regression: the dual form, with a covariance between labels.

With K = Phi Phi^T in the basis where the prior is the identity, the coefficients are
alpha = (K + ratio)^-1 y and a new row phi is predicted by phi Phi^T alpha, with the
posterior covariance (1 - Phi^T (K + ratio)^-1 Phi)/ratio. The cost grows with the cube
of the number of labels, not of references: it is for small data sets and for checks.

References
----------
C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press
2006, section 2.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cholesky, eigh, solve_triangular

from otf.models.evidence import EvidenceFit
from otf.models.solvers import Solution

if TYPE_CHECKING:
    from otf.models.solvers import Problem

_LOG_2PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True)
class KernelRidge:
    """Solve in the space of labels at a fixed ratio of noise and prior variance.

    Attributes
    ----------
    ratio : sigma_v^2/sigma_w^2 on rows divided by their noise scales
    """

    ratio: float = 1.0

    def solve(self, problem: Problem) -> Solution:
        """Return the posterior at the given ratio."""
        rows, labels = problem.rows()
        n_rows, m = rows.shape
        matrix = rows @ rows.T
        matrix[np.diag_indices(n_rows)] += self.ratio
        lower = cholesky(matrix, lower=True)
        half = solve_triangular(lower, labels, lower=True)
        spread = solve_triangular(lower, rows, lower=True)
        weights = spread.T @ half
        values, vectors = eigh(np.eye(m) - spread.T @ spread)
        # Directions the labels fix completely come out as small negative numbers.
        root = vectors * np.sqrt(np.maximum(values, 0.0) / self.ratio)
        log_determinant = 2.0 * float(np.log(lower.diagonal()).sum())
        # y^T (K/ratio + 1)^-1 y and ln|K/ratio + 1|, at noise precision 1.
        quadratic = self.ratio * float(half @ half)
        log_determinant -= n_rows * float(np.log(self.ratio))
        return Solution(
            weights=weights,
            root=root,
            fit=EvidenceFit(
                prior_precision=self.ratio,
                noise_precision=1.0,
                n_effective=float((spread**2).sum()),
                log_evidence=-0.5
                * (quadratic + log_determinant + problem.n_rows * _LOG_2PI),
                iterations=0,
                clamps=(),
            ),
        )
