"""A reference calculator as a potential: plain dynamics with the exact forces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.potential import Memoryless, Prediction

if TYPE_CHECKING:
    from otf.configuration import Configuration
    from otf.potential import ReferenceCalculator


class ExactPotential(Memoryless):
    """Every prediction is a reference call; missing stress components are zero."""

    def __init__(self, reference: ReferenceCalculator) -> None:
        self.reference = reference

    def of(self, configuration: Configuration) -> Prediction:
        """Return the labels."""
        labels = self.reference.label(configuration)
        return Prediction(
            labels.energy, labels.forces, np.nan_to_num(labels.stress, nan=0.0)
        )
