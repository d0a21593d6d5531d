"""Fits to structures drawn again with replacement: how much weights hang on the draw.

All share the basis, the precisions and the energies of the elements of one fit, so that
each costs a Cholesky factorisation and none needs its rows again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.models.design import raw_rows
from otf.models.evidence import GramSystem
from otf.models.leave_out import asked_rows, fitted_rows
from otf.threads import in_order, one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otf.configuration import Configuration, FloatArray, IntArray, Labels
    from otf.models.bayesian_linear import BayesianLinear

    Frame = tuple[Configuration, Labels]
    Progress = Callable[[str, int, int], None]


def resampled_weights(
    model: BayesianLinear,
    frames: Sequence[Frame],
    times: IntArray,
    *,
    progress: Progress,
) -> FloatArray:
    """Return the weights of B fits, (B, m).

    Parameters
    ----------
    model
        Fitted to the structures.
    frames
        All F of them.
    times
        (B, F), how often each draw holds every structure.

    Notes
    -----
    With Phi_k the transformed rows of structure k and c_k its times, the weights solve
    (s_v sum c_k Phi_k^T Phi_k + s_w) w = s_v sum c_k Phi_k^T y_k. B matrices of m x m
    are held, whatever the number of structures.
    """
    fit, report = model.fitted, model.report
    assert report is not None  # set by the fit
    basis = fit.gauge.basis
    m = basis.n_references

    def system_of(frame: Frame) -> tuple[FloatArray, FloatArray]:
        raw = raw_rows(fit.descriptor, fit.references, model.describe(frame[0]))
        rows, labels = fitted_rows(model, *frame, raw)
        rows = model.prior.rows(basis, rows)
        return rows.T @ rows, rows.T @ labels

    grams, projections = np.zeros((len(times), m, m)), np.zeros((len(times), m))
    with one_blas_thread():
        for k, (gram, projection) in enumerate(in_order(system_of, frames)):
            progress("rows", k, len(frames))
            for b in np.flatnonzero(times[:, k]):
                grams[b] += times[b, k] * gram
                projections[b] += times[b, k] * projection
        solved = [
            # Of the labels themselves only their projection says anything of weights.
            GramSystem(gram, projection, 0.0, 0).posterior(
                report.prior_precision, report.noise_precision
            )
            for gram, projection in zip(grams, projections, strict=True)
        ]
    weights = np.array([one.weights for one in solved])
    return np.asarray(model.prior.weights(basis, weights.T).T)


def out_of_bag_spread(
    model: BayesianLinear,
    frames: Sequence[Frame],
    times: IntArray,
    *,
    progress: Progress,
) -> list[FloatArray]:
    """Return how predictions scatter over the fits that did not see a structure.

    Parameters
    ----------
    model, frames, times
        As for ``resampled_weights``.

    Returns
    -------
    spreads : for each structure (1 + 3 n + 6,), standard deviations of the energy in
        eV/atom, forces and stress; NaN where fewer than two fits did not see it
    """
    weights = resampled_weights(model, frames, times, progress=progress)
    fit = model.fitted

    def spread_of(k: int) -> FloatArray:
        configuration, _ = frames[k]
        blind = np.flatnonzero(times[:, k] == 0)
        raw = raw_rows(fit.descriptor, fit.references, model.describe(configuration))
        asked = asked_rows(configuration, raw)
        if len(blind) < 2:
            return np.full(len(asked), np.nan)
        return np.asarray(np.std(asked @ weights[blind].T, axis=1, ddof=1))

    out: list[FloatArray] = []
    with one_blas_thread():
        for spread in in_order(spread_of, range(len(frames))):
            progress("predict", len(out), len(frames))
            out.append(spread)
    return out
