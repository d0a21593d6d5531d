"""Structures beside what models say that had not seen them: errors, and error bars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from otf.analysis.errors import report_of_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.analysis.errors import ErrorReport
    from otf.configuration import FloatArray

KINDS: Final = ("energy", "forces", "stress")
WITHIN: Final = (1.0, 2.0)  # deviations within which errors are counted


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A labelled structure beside what a model says that had not seen it.

    Attributes
    ----------
    frame : its number in the data set
    energy, label_energy, energy_deviation : eV/atom
    forces, label_forces : (n, 3) eV/angstrom
    force_deviations : (n,) of each component, eV/angstrom
    stress, label_stress, stress_deviations : (6,) eV/angstrom^3

    Unknown labels are NaN. Deviations are those of a label, its noise included; they
    are infinite for a kind the model was not fitted to.
    """

    frame: int
    energy: float
    label_energy: float
    energy_deviation: float
    forces: FloatArray
    label_forces: FloatArray
    force_deviations: FloatArray
    stress: FloatArray
    label_stress: FloatArray
    stress_deviations: FloatArray

    def errors(self, kind: str) -> FloatArray:
        """Return the errors of one kind, flat: (1,), (3 n,) or (6,)."""
        return np.ravel(getattr(self, kind) - getattr(self, f"label_{kind}"))

    def scores(self, kind: str) -> FloatArray:
        """Return the same in units of the predicted deviations; NaN where unknown."""
        deviations = {
            "energy": np.array([self.energy_deviation]),
            "forces": np.repeat(self.force_deviations, 3),
            "stress": self.stress_deviations,
        }[kind]
        known = np.isfinite(deviations) & (deviations > 0.0)
        scale = np.where(known, deviations, np.nan)
        return np.asarray(self.errors(kind) / scale)

    @property
    def worst_atom(self) -> int | None:
        """Return the atom of largest force error; None where no force is known."""
        lengths = self._force_errors
        return int(np.nanargmax(lengths)) if np.isfinite(lengths).any() else None

    @property
    def largest_force_error(self) -> float:
        """Return the length of the force error of that atom in eV/angstrom, or NaN."""
        atom = self.worst_atom
        return np.nan if atom is None else float(self._force_errors[atom])

    @property
    def largest_force_score(self) -> float:
        """Return the same in deviations of a vector of three components, or NaN."""
        atom = self.worst_atom
        if atom is None:
            return np.nan
        return float(
            self._force_errors[atom] / (np.sqrt(3.0) * self.force_deviations[atom])
        )

    @property
    def _force_errors(self) -> FloatArray:
        return np.asarray(np.linalg.norm(self.forces - self.label_forces, axis=1))


@dataclass(frozen=True)
class Reliability:
    """Whether predicted deviations of one kind can be believed.

    Attributes
    ----------
    n_values : labels judged
    within : shares of the errors within 1 and 2 deviations; 0.683 and 0.954 of normal
        errors
    score_rms : root mean square of error over deviation; 1 where deviations are right
    """

    n_values: int
    within: tuple[float, float]
    score_rms: float


def errors_of(held: Sequence[HeldOut]) -> ErrorReport:
    """Return the errors over all structures."""
    energy, forces, stress = (joined_errors(held, kind) for kind in KINDS)
    return report_of_errors(len(held), energy=energy, forces=forces, stress=stress)


def joined_errors(held: Sequence[HeldOut], kind: str) -> FloatArray:
    """Return the errors of one kind of all structures, flat."""
    return np.concatenate([np.empty(0), *(one.errors(kind) for one in held)])


def joined_scores(held: Sequence[HeldOut], kind: str) -> FloatArray:
    """Return the known scores of one kind of all structures, flat."""
    scores = np.concatenate([np.empty(0), *(one.scores(kind) for one in held)])
    return np.asarray(scores[np.isfinite(scores)])


def reliability_of(held: Sequence[HeldOut], kind: str) -> Reliability | None:
    """Return how errors of one kind compare with their deviations; None without any."""
    scores = np.abs(joined_scores(held, kind))
    if not len(scores):
        return None
    one, two = (float((scores <= bound).mean()) for bound in WITHIN)
    return Reliability(len(scores), (one, two), float(np.sqrt((scores**2).mean())))


def worst_energies(held: Sequence[HeldOut], limit: int) -> list[HeldOut]:
    """Return the structures of largest energy error, the worst first."""
    return _worst(held, [abs(one.energy - one.label_energy) for one in held], limit)


def worst_forces(held: Sequence[HeldOut], limit: int) -> list[HeldOut]:
    """Return the structures of largest force error on an atom, the worst first."""
    return _worst(held, [one.largest_force_error for one in held], limit)


def _worst(
    held: Sequence[HeldOut], sizes: Sequence[float], limit: int
) -> list[HeldOut]:
    known = np.asarray(sizes)
    order = np.argsort(-np.where(np.isfinite(known), known, -np.inf), kind="stable")
    return [held[k] for k in order[:limit] if np.isfinite(known[k])]
