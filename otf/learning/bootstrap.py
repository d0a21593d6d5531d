"""The frames a run starts to learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otf.kernels.noise import normal

if TYPE_CHECKING:
    from otf.configuration import Configuration

# A noise stream of its own, far from those the samplers count up from 0.
RATTLE_STREAM = 0x0F7A


def rattled(
    configuration: Configuration, amplitude: float, *, seed: int, index: int
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
    """
    noise = normal(seed, RATTLE_STREAM, index, 3 * configuration.n_atoms)
    return configuration.moved(
        configuration.positions + amplitude * noise.reshape(-1, 3)
    )
