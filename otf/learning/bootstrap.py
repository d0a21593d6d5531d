"""The frames a run starts to learn from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from otf.kernels.noise import normal

if TYPE_CHECKING:
    from otf.configuration import Configuration

# A noise stream of its own, far from those the samplers count up from 0.
RATTLE_STREAM = 0x0F7A


def rattled(
    configuration: Configuration,
    amplitude: float,
    *,
    seed: int,
    index: int,
    strain: float = 0.0,
) -> Configuration:
    """Return a copy with every coordinate displaced by Gaussian noise.

    Consecutive steps of a trajectory are near-duplicates: three of them make a fit
    whose deviations are small and wrong everywhere. Rattled copies do not.

    Parameters
    ----------
    amplitude
        Standard deviation in angstrom.
    index
        Numbers the copies; equal arguments give equal copies.
    strain
        Standard deviation of the six strains of cell and positions. Copies of one cell
        say little about a cell that moves.
    """
    n = 3 * configuration.n_atoms
    noise = normal(seed, RATTLE_STREAM, index, n + 6)
    moved = configuration.moved(
        configuration.positions + amplitude * noise[:n].reshape(-1, 3)
    )
    if strain == 0.0:
        return moved
    deformation = np.eye(3)
    deformation[np.tril_indices(3)] += strain * noise[n:]
    return replace(
        moved,
        positions=moved.positions @ deformation,
        cell=moved.cell @ deformation,
    )
