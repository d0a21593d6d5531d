"""Crystal and melt in one cell: which is where, whether they settled, where they rest.

References
----------
.. [1] J. R. Morris, C. Z. Wang, K. M. Ho, C. T. Chan, Melting line of aluminum from
   simulations of coexisting phases, Phys. Rev. B 49, 3109 (1994),
   doi 10.1103/PhysRevB.49.3109.
.. [2] W. Lechner, C. Dellago, Accurate determination of crystal structures based on
   averaged local bond order parameters, J. Chem. Phys. 129, 114707 (2008),
   doi 10.1063/1.2977970.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from otf.analysis.averages import Mean, blocks, mean_of
from otf.analysis.order import Surroundings, bond_order
from otf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import BoolArray, Configuration, FloatArray

DEGREE: Final = 6
FEWEST_NEIGHBORS: Final = 12
SHELL_GAP: Final = 0.08  # of the distance; closer ones are of one shell
MOST_WRONG: Final = 0.05  # of the atoms of either phase taken for the other
PRESENT: Final = 0.1  # share of the atoms a phase needs to count as present
BLOCKS: Final = 10  # of the half of a run that is judged
SIGNIFICANT: Final = 2.0  # standard errors
RATE_BLOCKS: Final = 6
FEWEST_FRAMES: Final = 4  # of a block whose slope is taken


# ------------------------------------------------------------------ crystal and melt
def closed_shells(crystal: Configuration) -> int:
    """Return the neighbours of an atom up to a gap between shells, 12 or more.

    Of a crystal at rest: 12 in fcc, 14 in bcc, 16 in diamond. The gap is looked for in
    the mean of the sorted distances over all atoms.

    Raises
    ------
    InputError
        When there is no gap among the first 30 neighbours.
    """
    from vesin import NeighborList

    atoms, volume = crystal.n_atoms, crystal.volume
    cutoff = (3.0 * 40.0 * volume / atoms / (4.0 * math.pi)) ** (1.0 / 3.0)
    i, d = NeighborList(cutoff=cutoff, full_list=True).compute(
        crystal.positions, crystal.cell, periodic=True, quantities="id"
    )
    fewest = int(np.bincount(i, minlength=atoms).min())
    most = min(fewest, 31)
    order = np.lexsort((d, i))
    starts = np.searchsorted(i[order], np.arange(atoms))
    shells = d[order][starts[:, None] + np.arange(most)].mean(axis=0)
    gaps = np.diff(shells) > SHELL_GAP * shells[:-1]
    closed = np.flatnonzero(gaps) + 1
    closed = closed[closed >= FEWEST_NEIGHBORS]
    if not len(closed):
        msg = (
            "the neighbours of the crystal make no shells: give their number "
            "(coexistence.neighbors)"
        )
        raise InputError(msg)
    return int(closed[0])


@dataclass(frozen=True)
class Boundary:
    """What tells atoms of the crystal from those of the melt.

    Attributes
    ----------
    neighbors : nearest atoms that are looked at
    crystal, melt : means of the averaged q6 in either
    value : q6 above which an atom is crystalline
    wrong : share of the atoms of either phase taken for the other, the larger one
    """

    neighbors: int
    crystal: float
    melt: float
    value: float
    wrong: float

    def crystalline(self, configuration: Configuration) -> BoolArray:
        """Return whether each atom (n,) is of the crystal."""
        found: BoolArray = averaged_order(configuration, self.neighbors) > self.value
        return found


def averaged_order(configuration: Configuration, neighbors: int) -> FloatArray:
    """Return q6 averaged over each atom and its neighbours, (n,) [2]_."""
    near = Surroundings(number=neighbors)
    return bond_order(configuration, (DEGREE,), near, averaged=True)[:, 0]


def boundary_between(
    crystal: FloatArray, melt: FloatArray, *, neighbors: int
) -> Boundary:
    """Return what tells the atoms of two samples apart.

    Parameters
    ----------
    crystal, melt
        Averaged q6 of atoms of either.
    neighbors
        It was averaged over.

    Raises
    ------
    InputError
        When more than 5 % of either are taken for the other.

    Notes
    -----
    The value lies as many standard deviations below the mean of the crystal as above
    that of the melt.
    """
    a, b = float(crystal.mean()), float(melt.mean())
    value = (a * float(melt.std()) + b * float(crystal.std())) / (
        float(crystal.std()) + float(melt.std())
    )
    wrong = max(float((crystal <= value).mean()), float((melt > value).mean()))
    if a <= b or wrong > MOST_WRONG:
        msg = (
            "the part that was heated is not told from the crystal (averaged q6 "
            f"{b:.3f} and {a:.3f}, {wrong:.0%} of the atoms on the wrong side): it did "
            "not melt, or it froze again; raise melt_temperature_K or melt_steps "
            "(coexistence.melt_temperature_K)"
        )
        raise InputError(msg)
    return Boundary(neighbors, a, b, value, wrong)


def shares(frames: Sequence[Configuration], boundary: Boundary) -> FloatArray:
    """Return the crystalline share of the atoms of every frame (T,)."""
    return np.array([boundary.crystalline(c).mean() for c in frames])


def profile(
    frames: Sequence[Configuration], boundary: Boundary, *, slices: int
) -> FloatArray:
    """Return the crystalline share in slices along the third cell vector, (slices,)."""
    crystal, every = np.zeros(slices), np.zeros(slices)
    for c in frames:
        s = np.mod(np.linalg.solve(c.cell.T, c.positions.T)[2], 1.0)
        at = np.minimum((s * slices).astype(np.int64), slices - 1)
        solid = boundary.crystalline(c).astype(np.float64)
        crystal += np.bincount(at, solid, minlength=slices)
        every += np.bincount(at, minlength=slices)
    found: FloatArray = crystal / np.maximum(every, 1.0)
    return found


# ------------------------------------------------------------- at constant enthalpy
@dataclass(frozen=True)
class Settling:
    """What a run at constant enthalpy says once it has come to rest.

    Attributes
    ----------
    temperature : K, its mean with the error that its correlation leaves
    drift, drift_error : K/ps, slope of the means of ten blocks
    crystal : lowest and highest share of crystalline atoms
    """

    temperature: Mean
    drift: float
    drift_error: float
    crystal: tuple[float, float]

    @property
    def gone(self) -> str:
        """Return which phase is gone, in words; empty when both are there."""
        low, high = self.crystal
        if high > 1.0 - PRESENT:
            return f"the melt is gone, {high:.0%} of the atoms are crystalline"
        if low < PRESENT:
            return f"the crystal is gone, {low:.0%} of the atoms are crystalline"
        return ""

    @property
    def reason(self) -> str:
        """Return why the run has not settled; empty when it has."""
        return self.gone or drifting([self])

    @property
    def is_settled(self) -> bool:
        """Return whether the temperature is that of two phases at rest."""
        return not self.reason


def drifting(replicas: Sequence[Settling]) -> str:
    """Return how the temperature of one start drifts, in words; empty at rest.

    The mean of the drifts of its replicas is compared with two of its standard errors:
    of four settled runs one is beyond its own two in 28 % of all cases.
    """
    drift = float(np.mean([one.drift for one in replicas]))
    errors = np.array([one.drift_error for one in replicas])
    error = float(np.hypot.reduce(errors)) / len(errors)
    if abs(drift) <= SIGNIFICANT * error:
        return ""
    mean = f" in the mean of {len(replicas)} runs" if len(replicas) > 1 else ""
    return f"the temperature drifts by {drift:.2g} ± {error:.1g} K/ps{mean}"


def settling(
    times: FloatArray,
    temperatures: FloatArray,
    share_times: FloatArray,
    crystal: FloatArray,
    *,
    begin: float | None = None,
) -> Settling:
    """Judge a run without its beginning.

    Parameters
    ----------
    times, temperatures
        (T,) ps and K.
    share_times, crystal
        (F,) ps and shares of crystalline atoms.
    begin
        ps, from where it is judged; without it the second half.

    Raises
    ------
    InputError
        When fewer than 20 temperatures or one share are left.

    Notes
    -----
    Settled is a run with both phases to its end, and block means of the temperature
    whose slope is within two standard errors of zero. That of a fit to ten independent
    values is beyond them in 8 % of all settled runs, Student's t of 8 degrees.
    """
    if begin is None:
        begin = 0.5 * float(times[0] + times[-1])
    late, T = times[times >= begin], temperatures[times >= begin]
    seen = crystal[share_times >= begin]
    if len(T) < 2 * BLOCKS or not len(seen):
        msg = (
            f"{len(T)} temperatures and {len(seen)} frames are too few to judge a run: "
            "give more steps (coexistence.steps)"
        )
        raise InputError(msg)
    parts = blocks(len(T), BLOCKS)
    drift, error = slope_of(
        np.array([late[part].mean() for part in parts]),
        np.array([T[part].mean() for part in parts]),
    )
    share = float(seen.min()), float(seen.max())
    return Settling(mean_of(T), drift, error, share)


def slope_of(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Return the slope of a straight line through points and its standard error."""
    dx = x - x.mean()
    slope = float(dx @ y / (dx @ dx))
    rest = y - y.mean() - slope * dx
    error = math.sqrt(float(rest @ rest) / (len(x) - 2) / float(dx @ dx))
    return slope, error


@dataclass(frozen=True)
class Agreement:
    """Temperatures of starts above and below, K.

    Attributes
    ----------
    value : their mean, weighted by their errors
    error : of the mean, or half of what they are apart where that is more
    agree : whether they are within two standard errors of each other
    """

    value: float
    error: float
    agree: bool


def pooled(replicas: Sequence[Mean]) -> Mean:
    """Return the mean of replicas of one start.

    Its error is that of their own errors, or that of their scatter where it is more: a
    run knows nothing of what is slower than itself.
    """
    values = np.array([m.value for m in replicas])
    errors = np.array([m.error for m in replicas])
    n = len(values)
    error = float(np.hypot.reduce(errors)) / n
    if n > 1:
        error = max(error, float(values.std(ddof=1)) / math.sqrt(n))
    return Mean(float(values.mean()), error, sum(m.n_independent for m in replicas))


def agreement(means: Sequence[Mean]) -> Agreement:
    """Return what several starts say together."""
    values = np.array([m.value for m in means])
    errors = np.array([m.error for m in means])
    weights = 1.0 / errors**2
    value = float(weights @ values / weights.sum())
    error = float(weights.sum() ** -0.5)
    apart = float(np.ptp(values))
    ends = values.argmin(), values.argmax()
    expected = float(np.hypot(errors[ends[0]], errors[ends[1]]))
    return Agreement(value, max(error, 0.5 * apart), apart <= SIGNIFICANT * expected)


# -------------------------------------------------------------- at held temperatures
@dataclass(frozen=True)
class Rate:
    """How fast the crystal grows, in shares of the atoms.

    Attributes
    ----------
    value : 1/ps, negative where it melts
    error : standard error, from blocks
    time : ps that were used, to where one of the phases was gone
    """

    value: float
    error: float
    time: float


def rate_of(times: FloatArray, crystal: FloatArray) -> Rate | None:
    """Return the mean slope of the crystalline share while both phases are there.

    Parameters
    ----------
    times, crystal
        (T,) ps and shares of crystalline atoms.

    Returns
    -------
    Rate or None
        None when a phase is gone before six blocks of four frames have passed.

    Notes
    -----
    The mean of the slopes of six adjoining blocks, with the scatter of these as the
    error. A share that grows and wanders at random has independent slopes in them.
    """
    both = (crystal >= PRESENT) & (crystal <= 1.0 - PRESENT)
    end = len(both) if both.all() else int(np.argmin(both))
    if end < RATE_BLOCKS * FEWEST_FRAMES:
        return None
    parts = blocks(end, RATE_BLOCKS)
    slopes = np.array([slope_of(times[part], crystal[part])[0] for part in parts])
    error = float(slopes.std(ddof=1)) / math.sqrt(len(slopes))
    used = float(times[end - 1] - times[parts[0].start])
    return Rate(float(slopes.mean()), error, used)


@dataclass(frozen=True)
class Crossing:
    """Where a straight line through rates of growth is zero.

    Attributes
    ----------
    temperature, error : K
    slope, slope_error : 1/(ps K), negative: a hotter crystal grows less
    misfit : chi^2 over the degrees of freedom; errors are widened where it exceeds one
    reason : why the temperature is none of melting; empty when it is
    """

    temperature: float
    error: float
    slope: float
    slope_error: float
    misfit: float
    reason: str

    @property
    def is_found(self) -> bool:
        """Return whether the rates show where the crystal neither grows nor melts."""
        return not self.reason


def crossing(temperatures: FloatArray, rates: Sequence[Rate]) -> Crossing:
    """Fit a line to rates of growth and return where it crosses zero.

    Parameters
    ----------
    temperatures
        (k,) K.
    rates
        Of each.

    Raises
    ------
    InputError
        When there are fewer than three.

    Notes
    -----
    v = a + b (T - T0) by least squares, weighted by the errors, about their centre T0,
    where a and b are not correlated: T_m = T0 - a/b with
    var T_m = (var a + (T_m - T0)^2 var b)/b^2.
    """
    if len(rates) < 3:
        msg = (
            f"{len(rates)} rates of growth are too few for a line: a phase is gone too "
            "soon at the other temperatures; lower spread, or raise the third number "
            "of structure.repeat (coexistence.spread)"
        )
        raise InputError(msg)
    v = np.array([rate.value for rate in rates])
    weights = 1.0 / np.array([rate.error for rate in rates]) ** 2
    centre = float(weights @ temperatures / weights.sum())
    away = temperatures - centre
    a, b = (
        float(weights @ v / weights.sum()),
        float(weights @ (away * v) / (weights @ away**2)),
    )
    misfit = float(weights @ (v - a - b * away) ** 2) / (len(v) - 2)
    wider = max(1.0, misfit)
    var_a, var_b = wider / weights.sum(), wider / float(weights @ away**2)
    found = centre - a / b
    error = math.sqrt(var_a + (found - centre) ** 2 * var_b) / abs(b)
    reason = ""
    if not b < -SIGNIFICANT * math.sqrt(var_b):
        reason = "the growth does not fall with the temperature beyond its error"
    elif not temperatures.min() <= found <= temperatures.max():
        reason = (
            f"the crossing lies outside of the {temperatures.min():.0f} to "
            f"{temperatures.max():.0f} K that were simulated"
        )
    return Crossing(found, error, b, math.sqrt(var_b), misfit, reason)
