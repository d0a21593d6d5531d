"""What every model offers to the learning loop, and the small values they share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from otf.errors import InputError
from otf.units import GPA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import Configuration, IntArray, Labels
    from otf.descriptors.interface import Environments
    from otf.potential import Prediction, Uncertainty

KINDS = ("energy", "force", "stress")
FORCEFUL = 0.1  # eV/angstrom, a structure with a larger force says something


@dataclass(frozen=True)
class PerKind:
    """One positive number for each kind of row of the regression."""

    energy: float
    force: float
    stress: float

    def __post_init__(self) -> None:
        for kind in KINDS:
            if not self.of(kind) >= 0:
                raise InputError(
                    f"{kind} of {type(self).__name__} must not be negative, "
                    f"got {self.of(kind)}"
                )

    def of(self, kind: str) -> float:
        """Return the number of one kind."""
        return float(getattr(self, kind))


@dataclass(frozen=True)
class RowNoise(PerKind):
    """Fixed noise scales: eV/atom, eV/angstrom and eV/angstrom^3."""

    energy: float = 0.001
    force: float = 0.1
    stress: float = 0.3 * GPA


@dataclass(frozen=True)
class RowWeights(PerKind):
    """Factors the user puts on rows that are already divided by their noise."""

    energy: float = 1.0
    force: float = 1.0
    stress: float = 1.0


@dataclass(frozen=True)
class FitReport:
    """What one fit found.

    Attributes
    ----------
    prior_precision : s_w = 1/sigma_w^2
    noise_precision : s_v = 1/sigma_v^2, on rows divided by their noise scales
    n_effective : gamma, the number of weights the labels determine
    iterations : of the fixed point
    log_evidence : of the scaled labels
    clamps : bounds in force, in words
    n_rows, n_references, n_frames : size of the regression
    errors : training RMSE, eV/atom, eV/angstrom, eV/angstrom^3
    """

    prior_precision: float
    noise_precision: float
    n_effective: float
    iterations: int
    log_evidence: float
    clamps: tuple[str, ...]
    n_rows: int
    n_references: int
    n_frames: int
    errors: PerKind

    def label_noise(self, scales: PerKind, weights: PerKind) -> PerKind:
        """Return the noise of single labels, in the units of ``errors``.

        Parameters
        ----------
        scales, weights
            Those the rows were divided and multiplied by. The fit knows no noise of a
            kind of weight 0: it is infinite.
        """
        unit = self.noise_precision**-0.5
        return PerKind(
            *(
                unit * scales.of(kind) / weights.of(kind)
                if weights.of(kind) > 0.0
                else math.inf
                for kind in KINDS
            )
        )


class Model(Protocol):
    """A model that predicts, knows what it does not know, and learns.

    ``environments`` is what ``describe`` returned for the same configuration; calls
    that are given it do not compute it again.
    """

    @property
    def is_fitted(self) -> bool:
        """Return whether there are weights to predict with."""
        ...

    def describe(self, configuration: Configuration) -> Environments:
        """Return the environments of all atoms."""
        ...

    def predict(self, configuration: Configuration) -> Prediction:
        """Return energy, forces and stress."""
        ...

    def predict_screened(self, configuration: Configuration) -> Prediction:
        """Return the same with cheap local deviations and spilling."""
        ...

    def screen(self, environments: Environments) -> Uncertainty:
        """Return cheap local deviations and spilling."""
        ...

    def local_uncertainty(self, environments: Environments) -> Uncertainty:
        """Return local deviations and spilling against all references."""
        ...

    def force_uncertainty(
        self,
        configuration: Configuration,
        environments: Environments | None = None,
        atoms: IntArray | None = None,
        *,
        with_stress: bool = True,
    ) -> Uncertainty:
        """Return deviations of energy, forces and stress as well.

        ``atoms`` (k,) are those whose forces are asked for, by default all n: what is
        returned of atoms is (k,).
        """
        ...

    def extend(
        self,
        frames: Sequence[tuple[Configuration, Labels]],
        candidates: Sequence[IntArray | None] | None = None,
    ) -> None:
        """Take in labelled frames and references from their candidate atoms."""
        ...

    def fit_weights(self) -> FitReport:
        """Fit weights to everything taken in."""
        ...
