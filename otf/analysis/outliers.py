"""Structures that lie far from the rest of their data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.analysis.frame_facts import FrameFacts
    from otf.configuration import BoolArray, FloatArray

CLOSE: Final = 0.6  # of the sum of the covalent radii; no bond is that short
UNBALANCED: Final = 0.01  # eV/angstrom per atom, of the sum of all forces
FENCE = 3.0  # interquartile ranges beyond the quartiles
ENERGY_STEP, FORCE_STEP = 1e-3, 1e-2  # eV/atom, eV/angstrom; nearer is not far
RARE = 0.05  # a larger share is a part of the set, not its outliers


def beyond_fences(values: FloatArray, *, least: float) -> BoolArray:
    """Return which values lie far outside the middle half; NaN does not.

    Parameters
    ----------
    values
        (F,)
    least
        Smallest distance from the middle half that is far, where most are alike.

    Notes
    -----
    Values beyond three interquartile ranges of the quartiles are far out [1]_; where
    they are more than one in twenty, none is.

    References
    ----------
    .. [1] J. W. Tukey, Exploratory Data Analysis, Addison-Wesley 1977, section 2D.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return np.zeros(len(values), dtype=np.bool_)
    low, high = np.percentile(known, [25.0, 75.0])
    reach = max(FENCE * (high - low), least)
    out = (values < low - reach) | (values > high + reach)
    return out if out.sum() <= RARE * len(known) else np.zeros_like(out)


def energy_residuals(frames: Sequence[FrameFacts]) -> FloatArray:
    """Return energies, eV/atom, without what the composition alone explains, (F,)."""
    elements = sorted({z for f in frames for z in f.counts})
    shares = np.array(
        [[f.counts.get(z, 0) / f.n_atoms for z in elements] for f in frames]
    )
    energies = np.array([f.energy for f in frames])
    known = np.isfinite(energies)
    if not known.any():
        return energies
    values = np.linalg.lstsq(shares[known], energies[known], rcond=None)[0]
    return np.asarray(energies - shares @ values)


def energy_outliers(frames: Sequence[FrameFacts]) -> BoolArray:
    """Return which energies per atom lie far from those of the rest."""
    return beyond_fences(energy_residuals(frames), least=ENERGY_STEP)


def force_outliers(frames: Sequence[FrameFacts]) -> BoolArray:
    """Return which largest forces are far larger than those of the rest."""
    forces = np.array([f.largest_force for f in frames])
    middle = np.nanmedian(forces) if np.isfinite(forces).any() else 0.0
    far = beyond_fences(forces, least=FORCE_STEP)
    return np.asarray(far & (forces > middle))


def unbalanced(frames: Sequence[FrameFacts]) -> BoolArray:
    """Return which forces do not sum to zero."""
    return np.array([f.net_force > UNBALANCED for f in frames], dtype=np.bool_)


def too_close(frames: Sequence[FrameFacts]) -> BoolArray:
    """Return which structures have two atoms nearer than any bond is long."""
    return np.array(
        [f.contact is not None and f.contact.ratio < CLOSE for f in frames],
        dtype=np.bool_,
    )
