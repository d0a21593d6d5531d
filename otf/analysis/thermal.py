"""The temperature of moving atoms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.units import KB

if TYPE_CHECKING:
    from otf.configuration import FloatArray
    from otf.store.motion import Motion


def temperatures(motion: Motion) -> FloatArray | None:
    """Return the kinetic temperature of every frame (T,), K; None without velocities.

    Notes
    -----
    2 K / ((3 n - 3) k_B) with the velocity of the centre of mass taken out, so that it
    is right whether a thermostat moves the whole or not. A single atom keeps its three
    degrees of freedom.
    """
    if motion.velocities is None:
        return None
    velocities, n = motion.velocities, len(motion.numbers)
    if n > 1:
        velocities = without_drift(velocities, motion.masses)
    twice_kinetic = np.einsum("n,tnk,tnk->t", motion.masses, velocities, velocities)
    return np.asarray(twice_kinetic / (max(3 * n - 3, 3) * KB), dtype=np.float64)


def without_drift(vectors: FloatArray, masses: FloatArray) -> FloatArray:
    """Return positions or velocities (T, n, 3) relative to the centre of mass."""
    center = np.einsum("n,tnk->tk", masses / masses.sum(), vectors)
    return np.asarray(vectors - center[:, None], dtype=np.float64)
