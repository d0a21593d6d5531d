"""What a fitted model would say of a structure, had it not been fitted to it.

Removing the rows of one structure from a linear regression has a closed form, so that
leaving out each of many structures in turn costs one fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

from otf.errors import OTFError
from otf.models.design import Targets, raw_rows, weighted_rows

if TYPE_CHECKING:
    from otf.configuration import Configuration, FloatArray, Labels
    from otf.models.bayesian_linear import BayesianLinear
    from otf.models.design import RawRows

# Keeps 1 - S^T S positive where a structure alone determines a weight. The first costs
# no digit; ill-conditioned bases of a thousand references may need the others.
_JITTERS = (1e-12, 1e-9, 1e-6)


@dataclass(frozen=True, eq=False)
class LeftOut:
    """What all other structures say, and the stress all structures imply.

    Attributes
    ----------
    energy, energy_deviation : eV/atom, the noise of labels included in the deviation
    forces : (n, 3) eV/angstrom
    force_deviations : (n,) eV/angstrom, sqrt(tr C_i/3), the noise included
    stress, stress_deviations : (6,) eV/angstrom^3, the noise included; NaN without a
        volume
    implied_stress, implied_deviations : (6,) the same of the fit to all structures and
        without noise: where no stress was fitted, own energy and forces imply it best
    """

    energy: float
    energy_deviation: float
    forces: FloatArray
    force_deviations: FloatArray
    stress: FloatArray
    stress_deviations: FloatArray
    implied_stress: FloatArray
    implied_deviations: FloatArray


def left_out(
    model: BayesianLinear,
    configuration: Configuration,
    labels: Labels,
    *,
    fitted: bool = True,
) -> LeftOut:
    """Predict a periodic structure without its own labels.

    Parameters
    ----------
    model
        Fitted to a data set.
    configuration
        Periodic along three axes where its stress matters.
    labels
        Those the model was fitted to.
    fitted
        Whether the model was fitted to this structure; if not, it is just predicted.

    Raises
    ------
    OTFError
        When the model has not been fitted, or hangs on this structure alone.

    Notes
    -----
    With the posterior covariance A A^T, the noise precision s_v, the scaled rows Phi of
    the structure and S = sqrt(s_v) Phi A, leaving it out makes the covariance
    A (1 - S^T S)^-1 A^T and the weights w - sqrt(s_v) A (1 - S^T S)^-1 S^T r, r the
    residuals of the rows. The precisions, the references and the energies of the
    elements stay those of the fit.
    """
    fit, report = model.fitted, model.report
    assert report is not None  # set by the fit
    n, volume = configuration.n_atoms, configuration.volume
    raw = raw_rows(fit.descriptor, fit.references, model.describe(configuration))
    root, weights = fit.gauge.root, fit.weights
    known = fit.baseline.evaluate(configuration)
    e0 = float(fit.elements.per_atom(configuration).mean())
    shift = np.zeros(root.shape[1])
    factor = np.eye(root.shape[1])
    if fitted:
        rows, targets = fitted_rows(model, configuration, labels, raw)
        spread = np.sqrt(report.noise_precision) * (rows @ root)
        factor = _remaining(spread)
        residuals = np.sqrt(report.noise_precision) * (targets - rows @ weights)
        shift = cho_solve((factor, True), spread.T @ residuals)
    per_volume = 1.0 / volume if volume else np.nan
    asked = asked_rows(configuration, raw)
    projected = asked @ root
    values = asked @ weights - projected @ shift
    white = solve_triangular(factor, projected.T, lower=True, check_finite=False)
    variances = np.einsum("ij,ij->j", white, white)
    noise = report.label_noise(model.training.noise, model.weights)
    per_atom = variances[1:-6].reshape(n, 3).mean(axis=1)
    known_stress = known.strain_derivative * per_volume
    return LeftOut(
        energy=float(values[0] + e0 + known.energies.sum() / n),
        energy_deviation=float(np.sqrt(variances[0] + noise.energy**2)),
        forces=values[1:-6].reshape(n, 3) + known.forces,
        force_deviations=np.sqrt(per_atom + noise.force**2),
        stress=values[-6:] + known_stress,
        stress_deviations=np.sqrt(variances[-6:] + noise.stress**2),
        implied_stress=asked[-6:] @ weights + known_stress,
        implied_deviations=np.linalg.norm(projected[-6:], axis=1),
    )


def _remaining(spread: FloatArray) -> FloatArray:
    """Return the lower factor of 1 - S^T S, S (r, m) the rows of the structure."""
    removed = spread.T @ spread
    for jitter in _JITTERS:
        try:
            return np.asarray(
                cholesky((1.0 + jitter) * np.eye(len(removed)) - removed, lower=True)
            )
        except np.linalg.LinAlgError:
            continue
    raise OTFError(
        "a structure determines so much of the model alone that leaving it out has no "
        "closed form: take fewer references (--references), or --folds"
    )


def fitted_rows(
    model: BayesianLinear, configuration: Configuration, labels: Labels, raw: RawRows
) -> tuple[FloatArray, FloatArray]:
    """Return the rows and labels a structure gave to a fit: (r, m) and (r,)."""
    targets = Targets.of(configuration, labels, model.baseline)
    e0 = float(model.fitted.elements.per_atom(configuration).mean())
    noise, weights = model.training.noise, model.weights
    blocks = list(weighted_rows(targets, raw, noise=noise, weights=weights, e0=e0))
    m = len(raw.energy)
    rows = np.concatenate([np.empty((0, m)), *(block for _, block, _ in blocks)])
    return rows, np.concatenate([np.empty(0), *(values for *_, values in blocks)])


def asked_rows(configuration: Configuration, raw: RawRows) -> FloatArray:
    """Return the rows of what is predicted, (1 + 3 n + 6, m).

    Energy in eV/atom, forces atom by atom, and stress in eV/angstrom^3, which is NaN
    without a volume.
    """
    volume = configuration.volume
    strain = raw.strain / volume if volume else np.full_like(raw.strain, np.nan)
    return np.vstack([raw.energy / configuration.n_atoms, raw.forces, strain])
