"""A reference calculator as a potential: plain dynamics with the exact forces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.potential import Prediction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import Configuration
    from otf.potential import Arrays, ReferenceCalculator


class ExactPotential:
    """Every prediction is a reference call; missing stress components are zero."""

    def __init__(self, reference: ReferenceCalculator) -> None:
        self.reference = reference

    def predict(
        self,
        configurations: Sequence[Configuration],
        *,
        step: int,
        use_labels: bool = True,
    ) -> list[Prediction]:
        """Return the labels of every configuration."""
        return [self._predict(c) for c in configurations]

    def _predict(self, configuration: Configuration) -> Prediction:
        labels = self.reference.label(configuration)
        return Prediction(
            labels.energy, labels.forces, np.nan_to_num(labels.stress, nan=0.0)
        )

    def state(self) -> Arrays:
        """Return nothing: there is no memory."""
        return {}

    def restore(self, state: Arrays) -> None:
        """Do nothing: there is no memory."""
