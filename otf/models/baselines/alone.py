"""A baseline without the model that stands on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from otf.potential import Memoryless, Prediction

if TYPE_CHECKING:
    from otf.configuration import Configuration
    from otf.models.baselines.interface import Baseline


@dataclass(frozen=True, eq=False)
class BaselinePotential(Memoryless):
    """A baseline alone as a potential.

    Attributes
    ----------
    baseline : of :mod:`otf.models.baselines`, or of your own
    """

    baseline: Baseline

    def of(self, configuration: Configuration) -> Prediction:
        """Return what the baseline says; the stress is 0 without a volume."""
        values = self.baseline.evaluate(configuration)
        volume = configuration.volume
        stress = values.strain_derivative / volume if volume else np.zeros(6)
        return Prediction(float(values.energies.sum()), values.forces, stress)
