"""The error of the stress, which moves the cell, in the decision at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from otf.errors import InputError
from otf.learning.calibration import Calibration

if TYPE_CHECKING:
    from otf.configuration import FloatArray, Labels
    from otf.learning.calibration import Law
    from otf.learning.policy import Policy

# The six components of a stress are calibrated together, as if of one species.
_COMPONENTS = np.zeros(6, dtype=np.int64)


@dataclass(frozen=True)
class StressTolerance:
    """The error of the stress that is as bad as one of the forces.

    Attributes
    ----------
    stress : eV/angstrom^3
    force : eV/angstrom
    """

    stress: float
    force: float


class StressErrors:
    """Calibrated errors of the stress, counted as errors of forces.

    In a cell that moves e is the larger of the force error and of t s/s_t, s being the
    largest of the calibrated errors of the components of the stress, s_t what is
    tolerated, and t the force error tolerated with it.

    Parameters
    ----------
    tolerance
        None where the cell is fixed and the stress does not matter.
    """

    def __init__(self, tolerance: StressTolerance | None) -> None:
        self._tolerance = tolerance
        self._calibration = Calibration()

    @property
    def counts(self) -> bool:
        """Return whether the stress matters."""
        return self._tolerance is not None

    def counted(self, deviations: FloatArray | None, policy: Policy) -> float:
        """Return what the error of a stress counts for in eV/angstrom; 0 if unknown.

        Parameters
        ----------
        deviations
            (6,) eV/angstrom^3 of the posterior, None where they were not evaluated.
        policy
            One that compares raw deviations has a threshold of its own, which is then
            what the tolerated stress counts for.
        """
        if self._tolerance is None or deviations is None:
            return 0.0
        error = float(self._calibration.errors(_COMPONENTS, deviations).max())
        force = self._tolerance.force if policy.calibrated else policy.threshold
        return force * error / self._tolerance.stress

    def learn(
        self, errors: FloatArray, deviations: FloatArray | None, *, audit: bool
    ) -> None:
        """Take in a labelled stress: (6,) errors and deviations, eV/angstrom^3."""
        if deviations is not None:
            self._calibration.add(_COMPONENTS, errors[:, None], deviations, audit=audit)

    def require(self, labels: Labels) -> None:
        """Refuse labels that lack the stress a moving cell needs.

        Raises
        ------
        InputError
            In that case.
        """
        if self._tolerance is not None and not labels.stress_mask.all():
            raise InputError(
                "the reference gives no stress of this structure, which "
                'ensemble = "NPT" needs: let it compute the stress, or set '
                'ensemble = "NVT" (dynamics.ensemble)'
            )

    def law(self) -> Law | None:
        """Return what the deviations of a component are worth, None where unknown."""
        return self._calibration.known_law(int(_COMPONENTS[0]))

    def parts(self) -> dict[str, Calibration]:
        """Return what a checkpoint keeps, by name."""
        return {"stress_calibration": self._calibration}
