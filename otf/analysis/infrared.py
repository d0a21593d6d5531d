"""Infrared absorption from the velocities of atoms with constant charges.

References
----------
.. [1] D. A. McQuarrie, Statistical Mechanics (Harper & Row, 1976), chapter 21.
.. [2] M. Thomas, M. Brehm, R. Fligg, P. Voehringer, B. Kirchner, Phys. Chem. Chem.
   Phys. 15, 6608 (2013), doi 10.1039/c3cp44302g.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from ase import units
from scipy.signal import find_peaks, periodogram

from otf.analysis.thermal import temperatures
from otf.analysis.vibrations import (
    PER_CM,
    SEGMENTS,
    THZ,
    mean_of_segments,
    segments_of,
)
from otf.errors import InputError
from otf.units import COULOMB, FS, KB

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otf.configuration import FloatArray
    from otf.store.motion import Motion

LIGHT: Final = units._c * 1e10 / (1e15 * FS)  # angstrom / internal time
# Of a cross section of one square angstrom a cell: m^2/mol, per 1/cm, in km.
KM_PER_MOL: Final = units._Nav * 1e-20 * 100.0 * 1e-3
SEEN: Final = 0.01  # of the tallest value: where bands end
APART: Final = 2  # bins of less than that between two bands
DEEP: Final = 0.8  # of a peak, which falls by that much towards the next band


@dataclass(frozen=True)
class Band:
    """A part of the spectrum above a hundredth of its tallest value, around one peak.

    Between two peaks it falls to less than a fifth of the lower one.

    Attributes
    ----------
    position, position_error : its mean wavenumber, 1/cm
    intensity, intensity_error : its integral, km/mol of cells
    """

    position: float
    position_error: float
    intensity: float
    intensity_error: float


@dataclass(frozen=True, eq=False)
class Absorption:
    """Infrared absorption of a cell.

    Attributes
    ----------
    wavenumber : (k,) 1/cm
    intensity, intensity_error : (k,) refractive index times cross section,
        km/mol of cells per 1/cm
    total, total_error : integral, km/mol of cells
    bands : by wavenumber
    temperature : of the velocities, K
    resolution : 1/cm
    n_segments : independent parts of the trajectory
    """

    wavenumber: FloatArray
    intensity: FloatArray
    intensity_error: FloatArray
    total: float
    total_error: float
    bands: Sequence[Band]
    temperature: float
    resolution: float
    n_segments: int

    def coefficient(self, volume: float) -> tuple[FloatArray, FloatArray]:
        """Return refractive index times absorption coefficient and its error (k,).

        In 1/cm, for cells of a volume in angstrom^3.
        """
        factor = 1e8 / (KM_PER_MOL * volume)
        return factor * self.intensity, factor * self.intensity_error


def infrared(
    motion: Motion,
    interval: float,
    charges: Mapping[int, float],
    *,
    n_segments: int = SEGMENTS,
) -> Absorption:
    """Return the infrared absorption of atoms with constant charges.

    Parameters
    ----------
    motion
        With velocities, which are needed every few femtoseconds.
    interval
        Between frames, internal time.
    charges
        e by atomic number, of every species.
    n_segments
        Parts of the trajectory; fewer when they would hold less than 16 frames.

    Raises
    ------
    InputError
        When there are no velocities, less than 32 frames, a charge is missing, or
        nothing absorbs.

    Notes
    -----
    From the derivative of the dipole moment, dM/dt = sum_i q_i v_i relative to the
    centre of mass, with the harmonic quantum correction [1]_, [2]_:

    n(w) alpha(w) V = 1 / (6 eps_0 c kT) int exp(-i w t) <dM(0)/dt . dM(t)/dt> dt

    The correction makes intensities of harmonic vibrations independent of the
    temperature. Segments have a Hann window; errors are from their scatter.
    """
    velocities, parts = segments_of(motion, n_segments)
    missing = sorted({int(z) for z in motion.numbers} - set(charges))
    if missing:
        raise InputError(f"no charge is given for atomic number {missing[0]}")
    moving = temperatures(motion)
    assert moving is not None  # there are velocities
    temperature = float(moving.mean())
    q = np.array([charges[int(z)] for z in motion.numbers])
    change = np.einsum("n,tnk->tk", q, velocities)
    spectra = []
    for part in parts:
        frequency, power = periodogram(
            change[part], 1.0 / interval, "hann", detrend=False, axis=0
        )
        # One-sided: twice the Fourier transform of the correlation.
        spectra.append(0.5 * power.sum(axis=1))
    wavenumber = np.asarray(PER_CM * frequency / THZ, dtype=np.float64)
    area = 4.0 * math.pi * COULOMB / (6.0 * LIGHT * KB * temperature)
    rows = KM_PER_MOL * area * np.array(spectra)
    mean, error = mean_of_segments(rows)
    if not mean.max() > 0.0:
        raise InputError("the dipole moment of these charges does not change")
    step = float(wavenumber[1] - wavenumber[0])
    total, total_error = mean_of_segments(step * rows.sum(axis=1))
    return Absorption(
        wavenumber=wavenumber,
        intensity=mean,
        intensity_error=error,
        total=float(total),
        total_error=float(total_error),
        bands=[_band(wavenumber[k], step, rows[:, k]) for k in _bands(mean)],
        temperature=temperature,
        resolution=step,
        n_segments=len(parts),
    )


def _bands(mean: FloatArray) -> list[slice]:
    """Return the parts of a spectrum (k,) around its peaks."""
    seen = np.flatnonzero(mean > SEEN * mean.max())
    ends = np.flatnonzero(np.diff(seen) > APART + 1)
    edges = {int(seen[0]), int(seen[-1]) + 1}
    edges |= {int(k) for k in seen[ends + 1]} | {int(k) + 1 for k in seen[ends]}
    # A peak at the very ends of the spectrum is one, too.
    padded = np.concatenate([[0.0], mean, [0.0]])
    peaks, known = find_peaks(padded, prominence=0.0)
    deep = known["prominences"] > DEEP * padded[peaks]
    peaks = peaks[deep & (padded[peaks] > SEEN * mean.max())] - 1
    for a, b in pairwise(peaks):
        edges.add(int(a + mean[a:b].argmin()))
    parts = [slice(a, b) for a, b in pairwise(sorted(edges))]
    return [k for k in parts if any(k.start <= peak < k.stop for peak in peaks)]


def _band(wavenumber: FloatArray, step: float, rows: FloatArray) -> Band:
    """Return a band whose spectra in segments are (s, k)."""
    weights = rows.sum(axis=1)
    position = float(rows.sum(axis=0) @ wavenumber / weights.sum())
    # Segments count by their intensity, as they do in the mean.
    shifts = rows @ wavenumber - position * weights
    spread = shifts.std(ddof=1) / (weights.mean() * math.sqrt(len(rows)))
    intensity, error = mean_of_segments(step * weights)
    return Band(position, float(spread), float(intensity), float(error))
