"""Deviations of models drawn from the posterior: cheaper than exact rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from otf.configuration import Configuration
    from otf.models.posterior import KernelPosterior
    from otf.potential import Uncertainty


def sampled_uncertainty(
    posterior: KernelPosterior,
    configuration: Configuration,
    *,
    n_samples: int,
    seed: int,
) -> Uncertainty:
    """Return the deviations of models whose weights are drawn from the posterior.

    Parameters
    ----------
    n_samples
        Models drawn, S. Each costs a prediction; the exact rows cost some forty. The
        deviation of an atom's force is found to about 1/sqrt(6 S) of itself.
    seed
        The same seed draws the same weights, so that deviations of successive
        structures are comparable.

    Notes
    -----
    With weights w + A z, z ~ N(0, 1) and A A^T their covariance, predictions scatter
    about that of w with the exact posterior covariance.
    """
    root = posterior.gauge.root
    draws = np.random.default_rng(seed).normal(size=(n_samples, root.shape[1])) @ root.T
    mean = posterior.predict_measured(configuration)
    assert mean.uncertainty is not None  # it was measured
    energy, forces, stress = 0.0, np.zeros_like(mean.forces), np.zeros(6)
    for draw in draws:
        one = replace(posterior, weights=posterior.weights + draw)
        found = one.predict(configuration)
        energy += (found.energy - mean.energy) ** 2
        forces += (found.forces - mean.forces) ** 2
        stress += (found.stress - mean.stress) ** 2
    return replace(
        mean.uncertainty,
        forces=np.sqrt(forces.mean(axis=1) / n_samples),
        energy=float(np.sqrt(energy / n_samples)),
        stress=np.sqrt(stress / n_samples),
    )
