"""Vibrational densities of states and velocity autocorrelation from trajectories.

References
----------
.. [1] J. M. Dickey, A. Paskin, Computer simulation of the lattice dynamics of solids,
   Phys. Rev. 188, 1407 (1969), doi 10.1103/PhysRev.188.1407.
.. [2] P. D. Welch, The use of fast Fourier transform for the estimation of power
   spectra, IEEE Trans. Audio Electroacoust. 15, 70 (1967),
   doi 10.1109/TAU.1967.1161901.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import periodogram

from otf.analysis.averages import blocks
from otf.analysis.thermal import without_drift
from otf.errors import InputError
from otf.units import FS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otf.configuration import FloatArray
    from otf.store.motion import Motion

THZ: Final = 1e-3 / FS  # one terahertz in 1 / internal time
PER_CM: Final = 33.35640951981521  # 1/cm of one terahertz
SEGMENTS: Final = 8
FEWEST_FRAMES: Final = 16  # of a segment


@dataclass(frozen=True, eq=False)
class Vibrations:
    """Spectrum of the velocities of every species.

    Attributes
    ----------
    frequency : (k,) THz
    dos, dos_error : (k,) by atomic number, 1/THz; over all frequencies and species they
        integrate to three a atom
    lags : (l,) internal time
    correlation, correlation_error : (l,) by atomic number, 1 at lag zero
    resolution : distance of two frequencies, THz
    n_segments : independent parts of the trajectory
    """

    frequency: FloatArray
    dos: Mapping[int, FloatArray]
    dos_error: Mapping[int, FloatArray]
    lags: FloatArray
    correlation: Mapping[int, FloatArray]
    correlation_error: Mapping[int, FloatArray]
    resolution: float
    n_segments: int

    @property
    def total(self) -> tuple[FloatArray, FloatArray]:
        """Return the density of all species and its error (k,), 1/THz."""
        dos = np.sum(list(self.dos.values()), axis=0)
        error = np.sqrt(np.sum(np.square(list(self.dos_error.values())), axis=0))
        return dos, error


def vibrations(
    motion: Motion, interval: float, *, n_segments: int = SEGMENTS
) -> Vibrations:
    """Return the density of states and the autocorrelation of velocities.

    Parameters
    ----------
    motion
        With velocities, which are needed every few femtoseconds.
    interval
        Between frames, internal time.
    n_segments
        Parts of the trajectory; more of them give smaller errors and a coarser
        spectrum. Fewer when they would hold less than 16 frames.

    Raises
    ------
    InputError
        When there are no velocities, or less than 32 frames.

    Notes
    -----
    The density of states is the power spectrum of sqrt(m) v [1]_, averaged over
    segments with a Hann window [2]_ and scaled to 3 n in all. The motion of the centre
    of mass is taken out. Errors are from the scatter of the segments.
    """
    velocities, parts = segments_of(motion, n_segments)
    weighted = velocities * np.sqrt(motion.masses)[None, :, None]
    species = sorted({int(z) for z in motion.numbers})
    n_lags = (parts[0].stop - parts[0].start) // 2
    spectra: dict[int, list[FloatArray]] = {z: [] for z in species}
    decays: dict[int, list[FloatArray]] = {z: [] for z in species}
    for part in parts:
        for z in species:
            own = weighted[part][:, motion.numbers == z]
            own = own.reshape(len(own), -1)
            frequency, power = periodogram(
                own, 1.0 / interval, "hann", detrend=False, axis=0
            )
            spectra[z].append(power.sum(axis=1))
            decays[z].append(_correlation(own, n_lags))
    frequency = np.asarray(frequency / THZ, dtype=np.float64)
    step = float(frequency[1] - frequency[0])
    everything = np.sum([np.mean(spectra[z], axis=0) for z in species])
    if everything == 0.0:
        raise InputError("the atoms do not move: their velocities have no spectrum")
    scale = 3.0 * len(motion.numbers) / (everything * step)
    dos, dos_error, correlation, correlation_error = {}, {}, {}, {}
    for z in species:
        dos[z], dos_error[z] = mean_of_segments(scale * np.array(spectra[z]))
        rows = np.array(decays[z])
        correlation[z], correlation_error[z] = mean_of_segments(
            rows / rows[:, 0].mean()
        )
    return Vibrations(
        frequency=frequency,
        dos=dos,
        dos_error=dos_error,
        lags=np.asarray(interval * np.arange(n_lags), dtype=np.float64),
        correlation=correlation,
        correlation_error=correlation_error,
        resolution=step,
        n_segments=len(parts),
    )


def segments_of(motion: Motion, n_segments: int) -> tuple[FloatArray, list[slice]]:
    """Return velocities without that of the centre of mass, and parts of them.

    Parameters
    ----------
    motion
        With velocities.
    n_segments
        Fewer when they would hold less than 16 frames.

    Raises
    ------
    InputError
        When there are no velocities, or less than 32 frames.
    """
    if motion.velocities is None:
        msg = (
            "there are no velocities, whose spectrum this is: write them with the "
            "trajectory (momenta in ASE's formats, every few femtoseconds)"
        )
        raise InputError(msg)
    n_segments = min(n_segments, motion.n_frames // FEWEST_FRAMES)
    if n_segments < 2:
        msg = (
            f"{motion.n_frames} frames are too few for a spectrum with an error: at "
            f"least {2 * FEWEST_FRAMES} are needed"
        )
        raise InputError(msg)
    velocities = without_drift(motion.velocities, motion.masses)
    return velocities, blocks(motion.n_frames, n_segments)


def _correlation(series: FloatArray, n_lags: int) -> FloatArray:
    """Return the sum over columns of the autocorrelation of a segment (n_lags,)."""
    n = len(series)
    size = next_fast_len(2 * n, real=True)
    power = np.abs(rfft(series, size, axis=0)) ** 2
    products = irfft(power, size, axis=0)[:n_lags].sum(axis=1)
    return np.asarray(products / (n - np.arange(n_lags)), dtype=np.float64)


def mean_of_segments(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the mean of segments (s, ...) and its error from their scatter."""
    error = rows.std(axis=0, ddof=1) / math.sqrt(len(rows))
    return rows.mean(axis=0), np.asarray(error, dtype=np.float64)
