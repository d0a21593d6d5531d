"""Labels of several references in one model, each with its own element energies.

Two codes, or two settings of one, count the energy of an atom from different zeros.
When that is all in which they differ, their labels belong together up to a shift for
every species. One level is what the model predicts; the shifts of the others are
unknown numbers of the regression.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from otf.models.composition import RANK, fractions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otf.configuration import Configuration, FloatArray, IntArray, Labels
    from otf.potential import Prediction

    Frames = Sequence[tuple[Configuration, Labels]]


@dataclass(frozen=True, eq=False)
class Unshifted:
    """Rows and labels of energies in which no shift of a level can be seen.

    Attributes
    ----------
    rows : (F, m)
    labels : (F,)
    n_lost : rows that determine the shifts and nothing else
    """

    rows: FloatArray
    labels: FloatArray
    n_lost: int


def unshifted(
    rows: FloatArray, labels: FloatArray, levels: IntArray, fractions: FloatArray
) -> Unshifted:
    """Return energy rows with the shifts of all levels but the first integrated out.

    Parameters
    ----------
    rows, labels
        (F, m) and (F,), of one scale.
    levels
        (F,) 0 for the level the model predicts.
    fractions
        (F, S) share of every species in each structure.

    Notes
    -----
    With a flat prior on the shifts s of y = Phi w + Z s + noise, the posterior of w is
    that of P y and P Phi, P = 1 - Z Z^+.
    """
    span = shift_span(levels, fractions)
    return Unshifted(
        rows=rows - span @ (span.T @ rows),
        labels=labels - span @ (span.T @ labels),
        n_lost=span.shape[1],
    )


def shift_span(levels: IntArray, fractions: FloatArray) -> FloatArray:
    """Return what shifts of all levels but the first can do to energies per atom.

    Parameters
    ----------
    levels, fractions
        See :func:`unshifted`.

    Returns
    -------
    (F, r) orthonormal columns that span Z of the notes of :func:`unshifted`, so that
    P = 1 - span span^T; none where there is but one level.
    """
    columns = [
        np.where((levels == one)[:, None], fractions, 0.0)
        for one in range(1, int(levels.max(initial=0)) + 1)
    ]
    if not columns:
        return np.zeros((len(levels), 0))
    left, singular, _ = np.linalg.svd(np.hstack(columns), full_matrices=False)
    return np.asarray(left[:, singular > RANK * singular[0]])


def level_shifts(
    predict: Callable[[Configuration], Prediction],
    frames: Frames,
    levels: IntArray,
    species: tuple[int, ...],
) -> FloatArray:
    """Return how far every level lies above the first, (L, S) in eV per atom.

    Parameters
    ----------
    predict
        Of a model fitted to these frames.
    frames
        Structures with labels.
    levels
        (F,) 0 for the level the model predicts.
    species
        (S,) atomic numbers.

    Notes
    -----
    Where the compositions of a level do not tell its species apart, the smallest shifts
    are taken.
    """
    shifts = np.zeros((int(levels.max(initial=0)) + 1, len(species)))
    for one in range(1, len(shifts)):
        part = [
            (c, labels)
            for (c, labels), level in zip(frames, levels, strict=True)
            if level == one and np.isfinite(labels.energy)
        ]
        left = [(labels.energy - predict(c).energy) / c.n_atoms for c, labels in part]
        if part:
            shares = fractions_of([c for c, _ in part], species)
            shifts[one] = np.linalg.lstsq(shares, np.array(left), rcond=RANK)[0]
    return shifts


def on_one_level(
    frames: Frames, levels: IntArray, shifts: FloatArray, species: tuple[int, ...]
) -> list[tuple[Configuration, Labels]]:
    """Return the frames with all energies on the level the model predicts."""
    shares = fractions_of([c for c, _ in frames], species)
    per_atom = np.einsum("fs,fs->f", shares, shifts[levels])
    return [
        (c, replace(labels, energy=labels.energy - c.n_atoms * float(shift)))
        for (c, labels), shift in zip(frames, per_atom, strict=True)
    ]
