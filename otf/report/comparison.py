"""Labelled frames beside what the model had said of them before it learned them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import halfnorm

from otf.analysis.averages import Mean, jackknife
from otf.analysis.bootstrap import resampled_errors
from otf.analysis.held_out import WITHIN, HeldOut, joined_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import FloatArray, IntArray
    from otf.store.entries import Decision
    from otf.store.run_reader import RunView

COVERED = 0.95  # share of component errors a calibrated deviation e_i is meant to cover
SIGMAS = float(halfnorm.ppf(COVERED))  # 1.96, e_i over the sigma of normal errors
NORMAL = tuple(float(halfnorm.cdf(bound)) for bound in WITHIN)
DRAWS, SEED = 400, 1  # of the frames, for intervals of errors
FEWEST = 4  # frames that can be drawn again
LEAST_IN_BIN = 30  # components


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
        """Return (n, 3) errors of the force components, eV/angstrom, not negative."""
        return np.abs(self.forces - self.label_forces)

    @property
    def force_rmse(self) -> float:
        """Return the RMSE of the force components in eV/angstrom; NaN without any."""
        known = self.force_errors[np.isfinite(self.force_errors)]
        return float(np.sqrt((known**2).mean())) if known.size else float("nan")

    @property
    def scores(self) -> FloatArray:
        """Return the known errors of components, flat, in units of their sigma.

        The sigma of an atom is that of a normal distribution whose 95 % quantile e_i
        is.
        """
        sigma = np.repeat(self.deviations, 3) / SIGMAS
        known = np.isfinite(sigma) & (sigma > 0.0)
        scores = np.where(known, self.force_errors.ravel(), np.nan)
        scores = scores / np.where(known, sigma, 1.0)
        return np.asarray(scores[np.isfinite(scores)])


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
    """Return the observed shares of force components inside their predicted quantiles.

    Parameters
    ----------
    frames
        Labelled frames.
    expected
        (k,) shares between 0 and 1.

    Returns
    -------
    observed : (k,), NaN without components to judge by
    n_components : that were judged

    Notes
    -----
    The calibrated deviation e_i is the 95 % quantile of the errors of the force
    components of an atom. Other quantiles are scaled from it as those of a normal
    distribution.
    """
    scores = np.sort(joined_scores(frames))
    if not scores.size:
        return np.full(len(expected), np.nan), 0
    inside = np.searchsorted(scores, halfnorm.ppf(expected), side="right") / scores.size
    return np.asarray(inside, dtype=np.float64), int(scores.size)


def joined_scores(frames: Sequence[Comparison]) -> FloatArray:
    """Return the scores of all frames, flat."""
    return np.concatenate([np.empty(0), *(frame.scores for frame in frames)])


def shares_within(frames: Sequence[Comparison]) -> list[Mean]:
    """Return the shares of the force errors within 1 and 2 sigma; none without any.

    Notes
    -----
    The standard errors are those of a jackknife over frames, for the components of a
    frame are right or wrong together; and at least those of normal errors on as many
    independent atoms, for a few frames may be alike by chance.
    """
    judged = [frame for frame in frames if frame.scores.size]
    if not judged:
        return []
    counts = np.array(
        [
            [scores.size, *((scores <= bound).sum() for bound in WITHIN)]
            for scores in (frame.scores for frame in judged)
        ],
        dtype=np.float64,
    )

    def shares(chosen: IntArray) -> FloatArray:
        total = counts[chosen].sum(axis=0)
        return np.asarray(total[1:] / total[0])

    n = len(judged)
    values, errors = jackknife(n, shares, n_blocks=n)
    n_atoms = counts[:, 0].sum() / 3.0
    least = [np.sqrt(share * (1.0 - share) / n_atoms) for share in NORMAL]
    return [
        Mean(float(value), float(np.maximum(error, floor)), float(n))
        for value, error, floor in zip(values, errors, least, strict=True)
    ]


@dataclass(frozen=True)
class Rmse:
    """A root mean square error and the interval of 95 % of it, in one unit.

    Attributes
    ----------
    value : over all frames
    low, high : ends of the interval; NaN for too few frames
    """

    value: float
    low: float = np.nan
    high: float = np.nan


def rmses(frames: Sequence[Comparison]) -> dict[str, Rmse]:
    """Return the error of every labelled kind: eV/atom, eV/angstrom, eV/angstrom^3.

    Notes
    -----
    Intervals are those of frames drawn again (:mod:`otf.analysis.bootstrap`).
    """
    held = [held_of(k, frame) for k, frame in enumerate(frames)]
    out = {}
    drawn = resampled_errors(held, n_samples=DRAWS, seed=SEED) if held else {}
    for kind, again in drawn.items():
        errors = joined_errors(held, kind)
        known = errors[np.isfinite(errors)]
        value = float(np.sqrt((known**2).mean()))
        ends = again.rmse_interval if len(held) >= FEWEST else (np.nan, np.nan)
        out[kind] = Rmse(value, *ends)
    return out


def held_of(number: int, c: Comparison) -> HeldOut:
    """Return a comparison as what an analysis knows of a frame not learned yet."""
    return HeldOut(
        frame=number,
        energy=c.energy,
        label_energy=c.label_energy,
        energy_deviation=np.nan,
        forces=c.forces,
        label_forces=c.label_forces,
        force_deviations=c.deviations / SIGMAS,
        stress=c.stress,
        label_stress=c.label_stress,
        stress_deviations=np.full(6, np.nan),
    )


def binned_errors(
    frames: Sequence[Comparison], *, n_bins: int = 10
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return predicted sigma, true RMSE and its error in bins of equal counts.

    Returns
    -------
    sigma : (k,) root mean square of the predicted deviations of a bin, eV/angstrom
    rmse : (k,) of the force components
    error : (k,) standard error of the RMSE, by a jackknife over frames

    Notes
    -----
    Deviations that are right lie on the diagonal; see D. Levi, L. Gispan, N. Giladi,
    E. Fetaya, Evaluating and calibrating uncertainty prediction in regression tasks,
    Sensors 22, 5540 (2022), doi 10.3390/s22155540.
    """
    found = [_known_pairs(frame) for frame in frames]
    owner = np.repeat(np.arange(len(found)), [len(sigma) for sigma, _ in found])
    sigma = np.concatenate([np.empty(0), *(s for s, _ in found)])
    error = np.concatenate([np.empty(0), *(e for _, e in found)])
    n_bins = min(n_bins, len(sigma) // LEAST_IN_BIN)
    if n_bins < 2:
        return np.empty(0), np.empty(0), np.empty(0)
    bins = np.array_split(np.argsort(sigma, kind="stable"), n_bins)
    # What every frame adds to every bin.
    counts, squares = (
        np.array([np.bincount(owner[b], w[b], minlength=len(found)) for b in bins])
        for w in (np.ones(len(error)), error**2)
    )

    def rmse(chosen: IntArray) -> FloatArray:
        n = counts[:, chosen].sum(axis=1)
        known = n > 0.0
        mean = np.divide(squares[:, chosen].sum(axis=1), n, where=known, out=0.0 * n)
        return np.asarray(np.sqrt(mean))

    values, spread = jackknife(len(found), rmse, n_blocks=len(found))
    predicted = [np.sqrt((sigma[b] ** 2).mean()) for b in bins]
    return np.array(predicted), values, spread


def _known_pairs(frame: Comparison) -> tuple[FloatArray, FloatArray]:
    """Return sigma and error of the components of a frame where both are known."""
    sigma = np.repeat(frame.deviations, 3) / SIGMAS
    error = frame.force_errors.ravel()
    known = np.isfinite(sigma) & (sigma > 0.0) & np.isfinite(error)
    return sigma[known], error[known]
