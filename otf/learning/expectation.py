"""What a model expects of a label, and when a label is too far from that.

A self-consistent cycle that ends in a wrong state gives an energy electronvolts off,
and no code says so. A model that has learned a few structures knows better: its error
is of the size it says. But it is wrong itself where matter is new, so a label it does
not expect is not refused: it is computed once more
(:mod:`otf.calculators.reference`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from otf.configuration import FloatArray, Labels
    from otf.models.interface import PerKind
    from otf.potential import Prediction

# Of the errors a model says it makes, see docs/theory/decision.md for what they find.
ENERGY_LIMIT = 2.0
FORCE_LIMIT = 3.0
MINIMUM_FRAMES = 10  # a model of fewer expects nothing


@dataclass(frozen=True, eq=False)
class Expectation:
    """A prediction with the errors it may have.

    Attributes
    ----------
    energy : eV
    forces : (n, 3) eV/angstrom
    energy_error : eV, expected of this model, with the noise of a label
    force_error : eV/angstrom, the same, root mean square over the atoms
    """

    energy: float
    forces: FloatArray
    energy_error: float
    force_error: float

    @classmethod
    def of(cls, prediction: Prediction, errors: FloatArray, noise: PerKind) -> Self:
        """Return what to expect, given calibrated force errors (n,) in eV/angstrom.

        Notes
        -----
        The posterior knows nothing of the misfit of a finite basis, neither in forces
        nor in energies. The calibration has measured how much that is for forces, and
        the deviation of the energy is taken times the same factor.
        """
        known = prediction.uncertainty
        assert known is not None  # a labelled step is evaluated exactly
        assert known.forces is not None
        assert known.energy is not None
        deviation, error = _root_mean_square(known.forces), _root_mean_square(errors)
        factor = error / deviation if deviation > 0.0 else 1.0
        n_atoms = len(prediction.forces)
        return cls(
            energy=prediction.energy,
            forces=prediction.forces,
            energy_error=float(np.hypot(factor * known.energy, noise.energy * n_atoms)),
            force_error=float(np.hypot(error, noise.force)),
        )

    def doubt(self, labels: Labels) -> str | None:
        """Return why labels are to be computed once more, None when they are not."""
        energy = labels.energy - self.energy
        if abs(energy) > ENERGY_LIMIT * self.energy_error:
            return (
                f"the energy is {energy:+.3g} eV from the model's, which is off by "
                f"about {self.energy_error:.2g}"
            )
        difference = labels.forces - self.forces
        force = _root_mean_square(difference[np.isfinite(difference)])
        if force > FORCE_LIMIT * self.force_error:
            return (
                f"the forces are {force:.3g} eV/angstrom from the model's (RMS), which "
                f"are off by about {self.force_error:.2g}"
            )
        return None


def _root_mean_square(values: FloatArray) -> float:
    return float(np.sqrt((values**2).mean())) if values.size else 0.0
