"""Mean square displacements, diffusion coefficients, activation energies.

References
----------
.. [1] I.-C. Yeh, G. Hummer, System-size dependence of diffusion coefficients and
   viscosities from molecular dynamics simulations with periodic boundary conditions,
   J. Phys. Chem. B 108, 15873 (2004), doi 10.1021/jp0477147.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.stats import chi2

from otf.analysis.averages import BLOCKS, Mean, blocks
from otf.errors import InputError
from otf.units import FS, KB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import FloatArray

FEWEST_FRAMES: Final = 10  # of a block
LAGS: Final = 0.5  # of a block: longer ones are means over few time origins
WINDOW: Final = (0.2, 1.0)  # of these, where the line is fitted
YEH_HUMMER: Final = 2.837297
PS: Final = 1e3 * FS
_CHUNK = 1 << 24  # bytes of one array of the transforms


@dataclass(frozen=True, eq=False)
class Diffusion:
    """Displacements of one species and the line through them.

    Attributes
    ----------
    lags : (k,) internal time
    msd, error : (k,) angstrom^2, mean over blocks and its standard error
    coefficient : slope / 6, angstrom^2 / internal time
    exponent : of t in the window, 1 for diffusion, 0 for atoms that stay
    window : first and last lag of the fit, internal time
    """

    lags: FloatArray
    msd: FloatArray
    error: FloatArray
    coefficient: Mean
    exponent: Mean
    window: tuple[float, float]


def mean_square_displacement(positions: FloatArray, n_lags: int) -> FloatArray:
    """Return the displacement (n_lags,) over all atoms and time origins, angstrom^2.

    Parameters
    ----------
    positions
        (T, n, 3), unwrapped.
    n_lags
        From 0 on; at most T.

    Notes
    -----
    sum_t |r(t + l) - r(t)|^2 / (T - l), with the cross term by a Fourier transform.
    """
    n_frames, n_atoms, _ = positions.shape
    size = next_fast_len(2 * n_frames, real=True)
    total = np.zeros(n_lags)
    chunk = max(1, _CHUNK // (24 * size))
    for start in range(0, n_atoms, chunk):
        x = positions[:, start : start + chunk]
        x = x - x.mean(axis=0)  # smaller numbers lose fewer digits
        cross = irfft(np.abs(rfft(x, size, axis=0)) ** 2, size, axis=0)[:n_lags]
        squares = np.einsum("tnk,tnk->t", x, x)
        ends = np.concatenate([[0.0], np.cumsum(squares)])
        early = ends[n_frames - np.arange(n_lags)]  # first T - l frames
        late = ends[-1] - ends[np.arange(n_lags)]  # last T - l frames
        total += early + late - 2.0 * cross.sum(axis=(1, 2))
    origins = n_frames - np.arange(n_lags)
    # Rounding may leave a little less than nothing at lag zero.
    return np.asarray(np.maximum(total, 0.0) / origins / n_atoms, dtype=np.float64)


def diffusion(
    positions: FloatArray,
    interval: float,
    *,
    n_blocks: int = BLOCKS,
    window: tuple[float, float] | None = None,
) -> Diffusion:
    """Return displacements and the diffusion coefficient of some atoms.

    Parameters
    ----------
    positions
        (T, n, 3) angstrom, unwrapped.
    interval
        Between frames, internal time.
    n_blocks
        Independent parts of the trajectory, whose scatter gives the errors; fewer when
        these would hold less than 10 frames.
    window
        First and last lag of the fit, internal time; a fifth of the longest lag and
        this when None.

    Raises
    ------
    InputError
        When there are less than 20 frames, or fewer than two lags in the window.
    """
    n_frames = len(positions)
    n_blocks = min(n_blocks, n_frames // FEWEST_FRAMES)
    if n_blocks < 2:
        msg = (
            f"{n_frames} frames are too few for a diffusion coefficient with an error: "
            f"at least {2 * FEWEST_FRAMES} are needed"
        )
        raise InputError(msg)
    parts = blocks(n_frames, n_blocks)
    n_lags = int(LAGS * (parts[0].stop - parts[0].start)) + 1
    lags = interval * np.arange(n_lags)
    longest = float(lags[-1])
    low, high = window or (WINDOW[0] * longest, WINDOW[1] * longest)
    fitted = (lags >= low * (1.0 - 1e-9)) & (lags <= high * (1.0 + 1e-9)) & (lags > 0.0)
    if fitted.sum() < 2:
        msg = (
            f"fewer than two lags lie between {low / PS:g} and {high / PS:g} ps, where "
            f"the line is fitted; the longest of {n_blocks} blocks is "
            f"{longest / PS:g} ps"
        )
        raise InputError(msg)
    rows = np.array([mean_square_displacement(positions[p], n_lags) for p in parts])
    x = lags[fitted]
    slopes = np.polyfit(x, rows[:, fitted].T, 1)[0]
    with np.errstate(divide="ignore"):
        logs = np.log(np.maximum(rows[:, fitted], np.finfo(float).tiny))
    exponents = np.polyfit(np.log(x), logs.T, 1)[0]
    error = rows.std(axis=0, ddof=1) / math.sqrt(n_blocks)
    return Diffusion(
        lags=np.asarray(lags, dtype=np.float64),
        msd=rows.mean(axis=0),
        error=error,
        coefficient=_mean(slopes / 6.0),
        exponent=_mean(exponents),
        window=(float(x[0]), float(x[-1])),
    )


def _mean(values: FloatArray) -> Mean:
    n = len(values)
    return Mean(float(values.mean()), float(values.std(ddof=1)) / math.sqrt(n), n)


def finite_size_shift(temperature: float, viscosity: float, length: float) -> float:
    """Return what periodic images take from the diffusion coefficient of a liquid.

    Parameters
    ----------
    temperature
        K.
    viscosity
        eV internal time / angstrom^3.
    length
        Edge of the cubic cell, angstrom.

    Returns
    -------
    float
        2.837297 k_B T / (6 pi eta L), angstrom^2 / internal time, to be added [1]_.
    """
    return YEH_HUMMER * KB * temperature / (6.0 * math.pi * viscosity * length)


@dataclass(frozen=True)
class Arrhenius:
    """ln D = ln D_0 - E_a / (k_B T).

    Attributes
    ----------
    activation_energy, activation_error : eV
    prefactor : D_0 in the unit of the coefficients
    log_prefactor_error : standard error of ln D_0
    chi_square : of the fit, with n - 2 degrees of freedom
    probability : that a straight line gives a larger one; NaN for two points
    """

    activation_energy: float
    activation_error: float
    prefactor: float
    log_prefactor_error: float
    chi_square: float
    probability: float


def arrhenius(temperature: Sequence[float], coefficients: Sequence[Mean]) -> Arrhenius:
    """Fit diffusion coefficients, each weighted by its relative error.

    Parameters
    ----------
    temperature
        K, of every coefficient.
    coefficients
        All positive.

    Raises
    ------
    InputError
        When there are fewer than two different temperatures.
    """
    if len(set(temperature)) < 2:
        msg = "an activation energy needs diffusion at two temperatures at least"
        raise InputError(msg)
    x = 1.0 / (KB * np.asarray(temperature))
    values = np.array([c.value for c in coefficients])
    relative = np.array([c.error for c in coefficients]) / values
    # Unscaled: errors are what the coefficients say, not what the scatter says.
    (slope, level), covariance = np.polyfit(
        x, np.log(values), 1, w=1.0 / relative, cov="unscaled"
    )
    residuals = (np.log(values) - level - slope * x) / relative
    square, freedom = float(residuals @ residuals), len(x) - 2
    return Arrhenius(
        activation_energy=-float(slope),
        activation_error=math.sqrt(covariance[0, 0]),
        prefactor=math.exp(level),
        log_prefactor_error=math.sqrt(covariance[1, 1]),
        chi_square=square,
        probability=float(chi2.sf(square, freedom)) if freedom else math.nan,
    )
