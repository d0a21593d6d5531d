"""Labelled frames beside what the model had said of them before it learned them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import chi

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import FloatArray
    from otf.store.entries import Decision
    from otf.store.run_reader import RunView

COVERED = 0.95  # share of true errors a calibrated deviation e_i is meant to cover


@dataclass(frozen=True, eq=False)
class Comparison:
    """One labelled frame and the prediction made before it was learned.

    Attributes
    ----------
    step : of the frame
    audit : whether it was chosen to judge the model, not because it was uncertain
    energy, label_energy : eV/atom
    forces, label_forces : (n, 3) eV/angstrom
    stress, label_stress : (6,) eV/angstrom^3, NaN where unknown
    deviations : (n,) calibrated e_i, eV/angstrom; NaN where unknown
    """

    step: int
    audit: bool
    energy: float
    label_energy: float
    forces: FloatArray
    label_forces: FloatArray
    stress: FloatArray
    label_stress: FloatArray
    deviations: FloatArray

    @property
    def force_errors(self) -> FloatArray:
        """Return (n,) lengths of the force errors, eV/angstrom."""
        errors: FloatArray = np.linalg.norm(self.forces - self.label_forces, axis=1)
        return errors


def comparisons(view: RunView) -> list[Comparison]:
    """Return every labelled frame that a prediction was made of, in order."""
    found = (_compared(decision) for decision in view.decisions)
    return [comparison for comparison in found if comparison is not None]


def _compared(d: Decision) -> Comparison | None:
    if d.forces is None or d.label_forces is None:
        return None
    n_atoms = len(d.forces)
    return Comparison(
        step=d.step,
        audit=d.reason == "audit",
        energy=d.energy / n_atoms,
        label_energy=d.label_energy / n_atoms,
        forces=d.forces,
        label_forces=d.label_forces,
        stress=known_or_nan(d.stress, 6),
        label_stress=known_or_nan(d.label_stress, 6),
        deviations=known_or_nan(d.force_errors, n_atoms),
    )


def known_or_nan(values: FloatArray | None, n: int) -> FloatArray:
    """Return the values, or n times NaN for None."""
    return np.full(n, np.nan) if values is None else values


def calibration_curve(
    frames: Sequence[Comparison], expected: FloatArray
) -> tuple[FloatArray, int]:
    """Return the observed shares of atoms inside their predicted quantiles.

    Parameters
    ----------
    frames
        Labelled frames.
    expected
        (k,) shares between 0 and 1.

    Returns
    -------
    observed : (k,), NaN without atoms to judge by
    n_atoms : atoms counted

    Notes
    -----
    The calibrated deviation e_i is the 95 % quantile of the length of a force error.
    Other quantiles are scaled from it as those of three independent normal components
    of equal width, that is by the chi distribution with three degrees of freedom.
    """
    errors = np.concatenate([np.empty(0), *(c.force_errors for c in frames)])
    deviations = np.concatenate([np.empty(0), *(c.deviations for c in frames)])
    known = np.isfinite(errors) & np.isfinite(deviations) & (deviations > 0)
    ratio = np.sort(errors[known] / deviations[known])
    if not ratio.size:
        return np.full(len(expected), np.nan), 0
    bounds = chi.ppf(expected, 3) / chi.ppf(COVERED, 3)
    inside = np.searchsorted(ratio, bounds, side="right") / ratio.size
    return np.asarray(inside, dtype=np.float64), int(ratio.size)
