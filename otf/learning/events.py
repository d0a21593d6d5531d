"""What a learning potential tells of itself: calls, structures without labels, fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from otf.configuration import Configuration, Labels
    from otf.learning.policy import Reason
    from otf.models.interface import FitReport
    from otf.potential import Prediction


@dataclass(frozen=True, eq=False)
class Decision:
    """One reference call, with what the model had said before it.

    Attributes
    ----------
    step : the sampler's clock
    reason : why the reference was called
    threshold : t in eV/angstrom
    configuration, labels : the frame
    before : prediction before the frame was learned, its uncertainty included; None
        for frames that no prediction was made for
    """

    step: int
    reason: Reason
    threshold: float
    configuration: Configuration
    labels: Labels
    before: Prediction | None

    @property
    def error(self) -> float:
        """Return e in eV/angstrom, NaN when no model could say."""
        if self.before is None or self.before.uncertainty is None:
            return float("nan")
        errors = self.before.uncertainty.errors
        return float("nan") if errors is None else float(errors.max())

    @property
    def max_spilling(self) -> float:
        """Return the largest spilling, NaN when no model could say."""
        if self.before is None or self.before.uncertainty is None:
            return float("nan")
        return float(self.before.uncertainty.spilling.max())


@dataclass(frozen=True, eq=False)
class Failure:
    """A structure that the reference gave no labels for.

    Attributes
    ----------
    step : the sampler's clock
    reason : why the reference was called
    configuration : the structure
    text : why there are no labels, in one line
    files : folder with what its code wrote, None where all codes write
    """

    step: int
    reason: Reason
    configuration: Configuration
    text: str
    files: Path | None = None


class LearningLog(Protocol):
    """Where a learning potential writes what it does."""

    def decision(self, decision: Decision) -> None:
        """Write one reference call."""
        ...

    def retrain(self, step: int, report: FitReport, seconds: float) -> None:
        """Write one fit and the wall time it took."""
        ...

    def failure(self, failure: Failure) -> None:
        """Put a structure without labels aside, with what its code wrote."""
        ...
