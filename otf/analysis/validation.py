"""What a validation found: errors on structures the models had not seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from otf.analysis.held_out import errors_of

if TYPE_CHECKING:
    from otf.analysis.bootstrap import ResampledErrors
    from otf.analysis.errors import ErrorReport
    from otf.analysis.examination import Place
    from otf.analysis.held_out import HeldOut
    from otf.analysis.learning_curve import CurvePoint, PowerLaw


@dataclass(frozen=True, eq=False)
class HeldOutStudy:
    """Every structure of a data set, predicted without its own labels.

    Attributes
    ----------
    method : in words, as "5-fold cross-validation"
    held : the structures in the order of the data set
    places : where each of them stands
    folds : errors of each fold; empty where each structure is its own
    n_references : local references of the models, mean
    n_copies : structures that are copies of others
    resampled : errors by kind over structures drawn again; empty unless asked for
    spreads : by kind the RMS scatter of predictions over fits to structures drawn again
        that did not hold the one predicted, eV/atom, eV/angstrom, eV/angstrom^3
    """

    method: str
    held: tuple[HeldOut, ...]
    places: tuple[Place, ...]
    folds: tuple[ErrorReport, ...]
    n_references: float
    n_copies: int
    resampled: dict[str, ResampledErrors] = field(default_factory=dict)
    spreads: dict[str, float | None] = field(default_factory=dict)

    @property
    def total(self) -> ErrorReport:
        """Return the errors over all structures."""
        return errors_of(self.held)


@dataclass(frozen=True)
class LearningCurve:
    """Errors on fixed held-out structures against the number of fitted ones.

    Attributes
    ----------
    points : by the number of structures
    n_held_out : structures the errors are on
    laws : by the name of an error, as ``force_rmse_eV_per_A``
    """

    points: tuple[CurvePoint, ...]
    n_held_out: int
    laws: dict[str, PowerLaw]
