"""What the deviations of total energies were worth beside labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.learning.calibration import Calibration

if TYPE_CHECKING:
    from otf.learning.calibration import Law

# An energy is calibrated as if it were the only atom of one species.
_TOTAL = np.zeros(1, dtype=np.int64)


class EnergyErrors:
    """Errors of total energies beside the deviations that were stated for them.

    No decision asks for them; the file of a model tells them to those who use it.
    """

    def __init__(self) -> None:
        self._calibration = Calibration()

    def learn(self, error: float, deviation: float | None, *, audit: bool) -> None:
        """Take in a labelled energy: its error and deviation, eV."""
        if deviation is not None:
            errors, deviations = np.array([[error]]), np.array([deviation])
            self._calibration.add(_TOTAL, errors, deviations, audit=audit)

    def law(self) -> Law | None:
        """Return what a deviation is worth, None where unknown."""
        return self._calibration.known_law(int(_TOTAL[0]))

    def parts(self) -> dict[str, Calibration]:
        """Return what a checkpoint keeps, by name."""
        return {"energy_calibration": self._calibration}
