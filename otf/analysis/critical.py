"""Order parameters that vanish as a power of the distance to a critical temperature.

References
----------
.. [1] R. A. Cowley, Structural phase transitions I. Landau theory, Adv. Phys. 29, 1
   (1980), doi 10.1080/00018738000101346.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import least_squares
from scipy.stats import chi2

from otf.analysis.averages import Mean
from otf.errors import InputError

if TYPE_CHECKING:
    from otf.configuration import FloatArray

FEWEST: Final = 5
STARTS: Final = 40  # critical temperatures the fit starts from
TRIED: Final = 5  # of them, the most promising
EXPONENTS: Final = (0.02, 5.0)  # 2 beta
UNIT: Final = 100.0  # K
DEEPER: Final = 4.0  # chi square of an interval of 95 %
FINE: Final = 161  # points of a grid in each direction
WIDENINGS: Final = 4


@dataclass(frozen=True, eq=False)
class CriticalFit:
    """y = A ((T_c - T) / 100 K)^(2 beta) below T_c, and 0 above [1]_.

    Attributes
    ----------
    critical_temperature : K, with a quarter of the width of its interval as error
    critical_interval : of 95 %, K; it may lie to one side
    beta : exponent of the order parameter whose square y is, likewise
    beta_interval : of 95 %
    amplitude : A, in the unit of y
    chi_square : NaN where the values came without errors
    probability : that the law scatters more; NaN where the values came without errors
    """

    critical_temperature: Mean
    critical_interval: tuple[float, float]
    beta: Mean
    beta_interval: tuple[float, float]
    amplitude: Mean
    chi_square: float
    probability: float

    def value(self, temperature: FloatArray) -> FloatArray:
        """Return y at temperatures (k,), K."""
        parameters = np.array(
            [
                self.critical_temperature.value,
                2.0 * self.beta.value,
                self.amplitude.value,
            ]
        )
        return _law(parameters, np.asarray(temperature, dtype=np.float64))


def fit_critical(
    temperature: FloatArray, values: FloatArray, errors: FloatArray | None = None
) -> CriticalFit:
    """Fit a critical temperature and an exponent.

    Parameters
    ----------
    temperature
        (k,) K.
    values
        (k,) of a quantity that grows as the square of the order parameter, such as the
        splitting of lattice parameters.
    errors
        (k,) standard errors; when None all points weigh the same, and the errors of the
        result are those that the scatter implies.

    Raises
    ------
    InputError
        When there are fewer than five points, an error is not positive, or none of the
        points lies below a critical temperature.

    Notes
    -----
    Least squares, from many critical temperatures, for the sum has a corner at every
    point. For the same reason the linearised law gives no honest errors: an interval
    holds all values with which the sum of squares can come within 4 of the least.
    """
    if len(values) < FEWEST:
        msg = f"a critical fit needs {FEWEST} points at least, got {len(values)}"
        raise InputError(msg)
    if errors is not None and not (errors > 0.0).all():
        msg = "errors of a critical fit must be positive"
        raise InputError(msg)
    sigma = np.ones_like(values) if errors is None else errors
    sign = 1.0 if values[temperature.argmin()] >= 0.0 else -1.0
    best = _best(temperature, sign * values, sigma)
    if best is None:
        msg = (
            "the values do not vanish as the temperature rises: no critical "
            "temperature can be fitted"
        )
        raise InputError(msg)
    parameters, jacobian, square = best
    freedom = len(values) - 3
    normal = jacobian.T @ jacobian
    if np.linalg.cond(normal) > 1e14:
        msg = "the points do not determine critical temperature and exponent together"
        raise InputError(msg)
    covariance = np.linalg.inv(normal)
    if errors is None:
        covariance *= square / max(freedom, 1)
    spread = np.sqrt(np.diagonal(covariance))
    t_c, double, amplitude = (float(p) for p in parameters)
    n = float(len(values))
    unit = 1.0 if errors is not None else square / max(freedom, 1)
    exponent, critical = _intervals(
        temperature, sign * values, sigma, parameters, spread, DEEPER * unit
    )
    return CriticalFit(
        critical_temperature=Mean(t_c, 0.25 * (critical[1] - critical[0]), n),
        critical_interval=critical,
        beta=Mean(0.5 * double, 0.125 * (exponent[1] - exponent[0]), n),
        beta_interval=(0.5 * exponent[0], 0.5 * exponent[1]),
        amplitude=Mean(sign * amplitude, float(spread[2]), n),
        chi_square=math.nan if errors is None else square,
        probability=math.nan if errors is None else float(chi2.sf(square, freedom)),
    )


def _law(parameters: FloatArray, temperature: FloatArray) -> FloatArray:
    t_c, double, amplitude = parameters
    distance = np.maximum(t_c - temperature, 0.0) / UNIT
    return np.asarray(amplitude * distance**double, dtype=np.float64)


def _best(
    temperature: FloatArray, values: FloatArray, sigma: FloatArray
) -> tuple[FloatArray, FloatArray, float] | None:
    """Return parameters, weighted Jacobian and sum of squares of the best fit."""
    span = float(np.ptp(temperature))
    coldest = np.sort(temperature)[1]
    starts = np.linspace(coldest, float(temperature.max()) + span, STARTS)
    guesses = []
    for t_c in starts[1:]:
        below = (temperature < t_c - 1e-9) & (values > 0.0)
        if below.sum() < 2:
            continue
        x, y = np.log((t_c - temperature[below]) / UNIT), np.log(values[below])
        slope, level = np.polyfit(x, y, 1, w=values[below] / sigma[below])
        guess = np.array([t_c, np.clip(slope, 0.05, 4.0), math.exp(level)])
        off = (_law(guess, temperature) - values) / sigma
        guesses.append((float(off @ off), guess))
    guesses.sort(key=lambda g: g[0])
    best = None
    for _, guess in guesses[:TRIED]:
        scale = np.array([max(span, 1.0) * 0.05, 0.1, max(abs(guess[2]), 1e-12) * 0.1])
        limits = (
            [float(coldest), EXPONENTS[0], 0.0],
            [float(temperature.max()) + 5.0 * span, EXPONENTS[1], np.inf],
        )
        found = least_squares(
            lambda p: (_law(p, temperature) - values) / sigma,
            guess,
            jac=lambda p: _slopes(p, temperature) / sigma[:, None],
            bounds=limits,
            x_scale=scale,
        )
        square = 2.0 * float(found.cost)
        if best is None or square < best[2]:
            best = found.x, np.asarray(found.jac, dtype=np.float64), square
    return best


def _intervals(
    temperature: FloatArray,
    values: FloatArray,
    sigma: FloatArray,
    parameters: FloatArray,
    spread: FloatArray,
    deeper: float,
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the intervals of 2 beta and T_c in which the sum stays below a limit.

    On a grid of both, widened until it holds them; the amplitude has a closed form.
    """
    coldest = float(np.sort(temperature)[1])
    reach = np.array([10.0 * spread[0] + 1e-9, 10.0 * spread[1] + 1e-9])
    for _ in range(WIDENINGS):
        critical = np.linspace(
            max(parameters[0] - reach[0], coldest), parameters[0] + reach[0], FINE
        )
        doubles = np.linspace(
            max(parameters[1] - reach[1], EXPONENTS[0]), parameters[1] + reach[1], FINE
        )
        distance = np.maximum(critical[:, None] - temperature, 0.0) / UNIT
        squares = np.empty((FINE, FINE))
        for k, double in enumerate(doubles):
            shape = np.where(distance > 0.0, distance**double, 0.0) / sigma
            overlap = np.maximum(shape @ (values / sigma), 0.0)
            norm = np.maximum((shape**2).sum(axis=1), np.finfo(float).tiny)
            squares[:, k] = ((values / sigma) ** 2).sum() - overlap**2 / norm
        inside = squares <= squares.min() + deeper
        rows = np.flatnonzero(inside.any(axis=1))
        columns = np.flatnonzero(inside.any(axis=0))
        wide_enough = rows[-1] < FINE - 1 and columns[-1] < FINE - 1
        if wide_enough and rows[0] > 0 and columns[0] > 0:
            break
        reach *= 2.0
    # Half a cell to either side: the limit is crossed between points of the grid.
    half_t, half_d = 0.5 * np.diff(critical[:2])[0], 0.5 * np.diff(doubles[:2])[0]
    return (
        (float(doubles[columns[0]] - half_d), float(doubles[columns[-1]] + half_d)),
        (float(critical[rows[0]] - half_t), float(critical[rows[-1]] + half_t)),
    )


def _slopes(parameters: FloatArray, temperature: FloatArray) -> FloatArray:
    """Return the derivatives of the law (k, 3) by T_c, 2 beta and A."""
    t_c, double, amplitude = parameters
    distance = np.maximum(t_c - temperature, 1e-9) / UNIT
    power = np.where(temperature < t_c, distance**double, 0.0)
    return np.column_stack(
        [
            amplitude * double * power / distance / UNIT,
            amplitude * power * np.log(distance),
            power,
        ]
    )
