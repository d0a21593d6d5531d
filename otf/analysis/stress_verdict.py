"""Sign, unit and shear order of stresses, told from the stresses a model implies.

A model of energies and forces alone implies the stress of every structure. The stress
that was read is compared with it under each of a finite list of conventions a file may
have been written in: a scale, which stands for sign and unit, and an order of the shear
components.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import logsumexp

from otf.analysis.stress_conventions import (
    ORDERS,
    RIGHT,
    SCALES,
    UNITS,
    as_meant,
    factors_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.analysis.stress_conventions import Scale, ShearOrder
    from otf.configuration import BoolArray, FloatArray, IntArray

UNDECIDED: Final = -1  # a stress too small or too symmetric to tell
ALIKE: Final = -2  # it is one of several conventions
OPEN: Final = "undecided"
UNEXPLAINED: Final = "no convention explains it"
# A stress is right, or wrong, above this probability, and what is wrong has a name
# above the next one ...
CERTAIN: Final = 0.99
LIKELY: Final = 0.9
# ... when it is told from its rivals by this logarithm of the ratio of likelihoods (20
# to 1); else the stress is too small or too symmetric.
TOLD: Final = 3.0
# Root mean square, in deviations, beyond which a stress tells nothing, and beyond which
# no convention explains it.
DOUBTFUL: Final = 5.0
MISFIT: Final = 10.0
_TAIL: Final = 4.0  # degrees of freedom of Student's t: models err more than they say
_SUPPORT = 0.05  # structures a convention counts for before any is seen
_RARE = 0.1  # factor on that for a second and third mistake of one file
_OFFSET_GAIN = 10.0  # logarithm of the likelihood an offset must gain
# The same for one more convention, at least and for each structure: errors of the
# model may favour a wrong convention a little, in many structures.
_SPARE, _SPARE_EACH = 10.0, 0.1
_DECIDED, _DECIDED_EACH = 4.6, 0.3  # likewise between two that are alike
_SEEN = 0.02  # structures
_LEAST = 1e-3  # scale of the deviations; the posterior may be too careful, too
_ROUNDS = 30
_ZERO = 1e-3  # of the largest component; files hold three digits or more
_SMALL = 3.0  # deviations
_COMMON = 3  # orders at the head of the list, which programs write
# Isotropic, deviatoric and shear parts: the first may be hardly determined where all
# volumes are alike, the last must not pay for it.
_GROUPS = (slice(0, 1), slice(1, 3), slice(3, 6))
_NORMAL = np.array([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [1.0, 1.0, -2.0]])
_NORMAL /= np.linalg.norm(_NORMAL, axis=1)[:, None]


@dataclass(frozen=True, eq=False)
class StressVerdict:
    """What was found of F structures.

    Attributes
    ----------
    scales, orders : (F,) index in SCALES and ORDERS, or UNDECIDED, or ALIKE
    scale_probabilities, order_probabilities : (F, scales) and (F, orders)
    corrected : (F, 6) eV/angstrom^3, the stress read, in the likeliest convention
    misfit : (F,) root mean square difference of corrected and implied, in deviations
    set_scale, set_order : index of the convention of most structures
    offset : eV/angstrom^3, isotropic, of corrected against implied stresses
    inflation : factors on the deviations of the isotropic, deviatoric and shear parts,
        by which the residuals of most structures are explained
    """

    scales: IntArray
    orders: IntArray
    scale_probabilities: FloatArray
    order_probabilities: FloatArray
    corrected: FloatArray
    misfit: FloatArray
    set_scale: int
    set_order: int
    offset: float
    inflation: tuple[float, float, float]

    @property
    def n_frames(self) -> int:
        """Return the number of structures."""
        return len(self.scales)

    def name_of(self, k: int) -> str:
        """Return what is wrong with structure k, ``right``, or ``undecided``."""
        if self.misfit[k] > MISFIT:
            return UNEXPLAINED
        names = (
            _name(SCALES, self.scales[k], self.scale_probabilities[k]),
            _name(ORDERS, self.orders[k], self.order_probabilities[k]),
        )
        wrong = [name for name in names if name not in (RIGHT, OPEN)]
        if wrong:
            return ", ".join(wrong)
        return OPEN if OPEN in names else RIGHT


def _name(
    conventions: Sequence[Scale] | Sequence[ShearOrder],
    chosen: int,
    probabilities: FloatArray,
) -> str:
    """Return the name of a convention, or of two alike of which one it is."""
    if chosen >= 0:
        return conventions[chosen].name
    second, first = np.argsort(probabilities)[-2:]
    names = (conventions[first].name, conventions[second].name)
    known = chosen == ALIKE and probabilities[[first, second]].sum() >= CERTAIN
    return " or ".join(names) if known and RIGHT not in names else OPEN


@dataclass(frozen=True, eq=False)
class _Fit:
    """Offset, inflation (3,) and logarithm (H,) of the shares of the conventions."""

    offset: float
    inflation: FloatArray
    log_shares: FloatArray


def judge_stresses(
    read: FloatArray, implied: FloatArray, deviation: FloatArray, volume: FloatArray
) -> StressVerdict:
    """Tell the convention of every stress, and that of most.

    Parameters
    ----------
    read
        (F, 6) eV/angstrom^3, Voigt xx yy zz yz xz xy, tension positive, as far as the
        file was understood.
    implied
        (F, 6) the same of a model that saw no stress.
    deviation
        (F, 6) of the implied stress; only its ratios between structures count, because
        its scale is taken from the residuals.
    volume
        (F,) angstrom^3.

    Notes
    -----
    Under a convention with factor f the true stress is u = read/f, its shears in order,
    and its density that of Student's t in six dimensions around the implied stress plus
    an isotropic offset, divided by abs(f)^n, n the number of components that symmetry
    does not make zero. The shares of the conventions in the set, the offset and the
    scale of the deviations are found by expectation maximisation, from those of the
    single convention that explains the whole set best.
    """
    candidates = as_meant(read, volume)
    parts = _parts(candidates - implied[:, None, None, :])
    deviations = _floored(deviation)
    jacobian = _jacobian(read, volume)
    fit = _start(parts, deviations, jacobian)
    for _ in range(_ROUNDS):
        log_density = _log_density(parts, deviations, fit) + jacobian
        best = _likeliest(log_density + fit.log_shares)
        updated = _updated(parts, deviations, fit, log_density, best)
        settled = np.allclose(updated.log_shares, fit.log_shares, atol=1e-4)
        fit = updated
        if settled:
            break
    log_density = _log_density(parts, deviations, fit) + jacobian
    fit = replace(fit, log_shares=_without_spare(log_density, fit.log_shares))
    return _verdict(candidates, parts, deviations, fit, jacobian)


def _jacobian(read: FloatArray, volume: FloatArray) -> FloatArray:
    """Return the logarithm of abs(f)^-n, (F, scales, 1).

    A component that symmetry makes zero is zero under every factor, and no evidence for
    a small one.
    """
    sizes = np.abs(read)
    n = (sizes > _ZERO * sizes.max(axis=1, keepdims=True)).sum(axis=1)
    return np.asarray(-n[:, None] * np.log(np.abs(factors_of(volume))))[:, :, None]


def _parts(stress: FloatArray) -> FloatArray:
    """Rotate the normal components into one isotropic and two deviatoric ones."""
    return np.concatenate([stress[..., :3] @ _NORMAL.T, stress[..., 3:]], axis=-1)


def _floored(deviation: FloatArray) -> FloatArray:
    """Return deviations (F, 6) of the parts, none of them zero."""
    normal = np.sqrt((deviation[:, :3] ** 2).mean(axis=1, keepdims=True))
    out = np.hstack([np.repeat(normal, 3, axis=1), deviation[:, 3:]])
    return np.asarray(np.maximum(out, 1e-3 * np.median(out) + 1e-12))


# ------------------------------------------------------------------------- the fit
def _shifted(parts: FloatArray, offset: float) -> FloatArray:
    out = parts.copy()
    out[..., 0] -= np.sqrt(3.0) * offset
    return out


def _distances(parts: FloatArray, deviations: FloatArray, fit: _Fit) -> FloatArray:
    """Return |z|^2, (F, scales, orders)."""
    widths = deviations * _spread(fit.inflation)
    z = _shifted(parts, fit.offset) / widths[:, None, None, :]
    return np.asarray((z**2).sum(axis=-1))


def _log_density(parts: FloatArray, deviations: FloatArray, fit: _Fit) -> FloatArray:
    """Return the logarithm of the density up to a constant of the structure."""
    z_square = _distances(parts, deviations, fit)
    return np.asarray(-0.5 * (_TAIL + 6.0) * np.log1p(z_square / _TAIL))


def _spread(inflation: FloatArray) -> FloatArray:
    out = np.empty(6)
    for value, group in zip(inflation, _GROUPS, strict=True):
        out[group] = value
    return out


def _inflation(parts: FloatArray, deviations: FloatArray) -> FloatArray:
    """Return the robust scale (3,) of z (F, 6) for every group."""
    z = np.abs(parts) / deviations
    found = [float(np.median(z[:, group])) / 0.6745 for group in _GROUPS]
    return np.maximum(found, _LEAST)


def _isotropic(parts: FloatArray) -> float:
    return float(np.median(parts[:, 0]) / np.sqrt(3.0))


def _start(parts: FloatArray, deviations: FloatArray, jacobian: FloatArray) -> _Fit:
    """Return offset and inflation of the one convention that fits the set best.

    The shares are equal, so that of two conventions that are alike none is preferred.
    """
    shape = (len(SCALES), len(ORDERS))
    best, start = -np.inf, None
    for scale, order in np.ndindex(shape):
        one = parts[:, scale, order]
        for offset in (0.0, _isotropic(one)):
            inflation = _inflation(_shifted(one, offset), deviations)
            fit = _Fit(offset, inflation, np.zeros(shape))
            density = _log_density(one[:, None, None, :], deviations, fit)
            widths = float(np.log(_spread(inflation)).sum())
            gain = float((density[:, 0, 0] + jacobian[:, scale, 0] - widths).sum())
            gain += float(_log_support()[scale, order])
            gain -= _OFFSET_GAIN if offset else 0.0
            if gain > best:
                best, start = gain, fit
    assert start is not None  # the list of conventions is not empty
    return start


def _log_support() -> FloatArray:
    """Return the logarithm of what every convention counts for unseen."""
    mistakes = np.array(
        [
            [(s.sign < 0) + (s.constant != 1.0 or s.power != 0) + (k > 0)]
            for s in SCALES
            for k in range(len(ORDERS))
        ],
        dtype=np.float64,
    ).reshape(len(SCALES), len(ORDERS))
    extra = np.maximum(mistakes - 1.0, 0.0)
    return np.asarray(np.log(_SUPPORT) + np.log(_RARE) * extra)


def _log_shares(counts: FloatArray) -> FloatArray:
    weighted = counts + np.exp(_log_support())
    return np.asarray(np.log(weighted / weighted.sum()))


def _likeliest(log_weight: FloatArray) -> tuple[IntArray, IntArray]:
    flat = log_weight.reshape(len(log_weight), -1).argmax(axis=1)
    scales, orders = np.unravel_index(flat, log_weight.shape[1:])
    return scales, orders


def _updated(
    parts: FloatArray,
    deviations: FloatArray,
    fit: _Fit,
    log_density: FloatArray,
    best: tuple[IntArray, IntArray],
) -> _Fit:
    chosen = parts[np.arange(len(parts)), *best]
    offset = _isotropic(chosen) if fit.offset else 0.0
    return _Fit(
        offset,
        _inflation(_shifted(chosen, offset), deviations),
        _log_shares(_shares(log_density, fit.log_shares).sum(axis=0)),
    )


def _shares(log_density: FloatArray, log_shares: FloatArray) -> FloatArray:
    """Return the probability of every convention for every structure."""
    weight = log_density + log_shares
    return np.asarray(np.exp(weight - logsumexp(weight, axis=(1, 2), keepdims=True)))


def _without_spare(log_density: FloatArray, log_shares: FloatArray) -> FloatArray:
    """Return shares without the conventions that the others explain as well.

    Two conventions may be alike for many structures, as kbar taken for eV/A^3 and a
    virial are in a cell of 1600 A^3. A file is written in few conventions, so one that
    gains little is none, unless the one that takes its structures over gains no more.
    """
    counts = _shares(log_density, log_shares).sum(axis=0)
    least = max(_SPARE, _SPARE_EACH * len(log_density))
    order = np.argsort(counts, axis=None)
    for flat in order[np.sort(counts, axis=None) >= _SEEN]:
        one = np.unravel_index(flat, counts.shape)
        before = _shares(log_density, log_shares).sum(axis=0)
        rest = _shares_without(log_density, log_shares, one)
        with_rest = _evidence(log_density, rest)
        if _evidence(log_density, log_shares) - with_rest >= least:
            continue
        after = _shares(log_density, rest).sum(axis=0)
        heir = np.unravel_index((after - before).argmax(), counts.shape)
        without_heir = _shares_without(log_density, log_shares, heir)
        enough = max(_DECIDED, _DECIDED_EACH * (before[one] + before[heir]))
        if with_rest - _evidence(log_density, without_heir) >= enough:
            log_shares = rest
    return log_shares


def _shares_without(
    log_density: FloatArray, log_shares: FloatArray, one: tuple[np.intp, ...]
) -> FloatArray:
    log_rest = log_shares.copy()
    log_rest[one] = -np.inf
    return _log_shares(_shares(log_density, log_rest).sum(axis=0))


def _evidence(log_density: FloatArray, log_shares: FloatArray) -> float:
    return float(logsumexp(log_density + log_shares, axis=(1, 2)).sum())


# --------------------------------------------------------------------- the verdict
def _verdict(
    candidates: FloatArray,
    parts: FloatArray,
    deviations: FloatArray,
    fit: _Fit,
    jacobian: FloatArray,
) -> StressVerdict:
    log_density = _log_density(parts, deviations, fit) + jacobian
    shares = _shares(log_density, fit.log_shares)
    of_scale, of_order = shares.sum(axis=2), shares.sum(axis=1)
    best = _likeliest(log_density + fit.log_shares)
    frames = np.arange(len(parts))
    misfit = np.sqrt(_distances(parts, deviations, fit)[frames, *best] / 6.0)
    fits = misfit <= DOUBTFUL
    set_scale = int(of_scale.sum(axis=0).argmax())
    told_scale = _margin_of_sign(log_density, of_scale.argmax(axis=1))
    own, order = candidates[:, set_scale], best[1]
    small = _is_small(parts[:, set_scale], own, deviations, fit)[frames, order]
    told_order = _margin_of_order(log_density, of_order.argmax(axis=1), fit.log_shares)
    return StressVerdict(
        scales=_named(of_scale, fits & ~small & (told_scale >= TOLD)),
        orders=_named(of_order, fits & (told_order >= TOLD)),
        scale_probabilities=of_scale,
        order_probabilities=of_order,
        corrected=candidates[frames, *best],
        misfit=misfit,
        set_scale=set_scale,
        set_order=int(of_order.sum(axis=0).argmax()),
        offset=fit.offset,
        inflation=(
            float(fit.inflation[0]),
            float(fit.inflation[1]),
            float(fit.inflation[2]),
        ),
    )


def _is_small(
    parts: FloatArray, stress: FloatArray, deviations: FloatArray, fit: _Fit
) -> BoolArray:
    """Return which stresses are zero, and implied to be, within the deviations.

    Nothing scales or flips them visibly. A factor that makes stresses small would
    explain a relaxed cell better than the errors of the model do.

    Parameters
    ----------
    parts, stress
        (F, orders, 6), residual and stress in the scale of the set.
    """
    widths = (deviations * _spread(fit.inflation))[:, None, :]
    residual = np.linalg.norm(_shifted(parts, fit.offset) / widths, axis=-1)
    size = np.linalg.norm(_parts(stress) / widths, axis=-1)
    return np.asarray((residual <= _SMALL) & (size <= _SMALL))


def _named(probability: FloatArray, told: BoolArray) -> IntArray:
    right, best = probability[:, 0], probability.argmax(axis=1)
    certain = (right >= CERTAIN) | (right <= 1.0 - CERTAIN)
    named = certain & (probability.max(axis=1) >= LIKELY)
    return np.where(told, np.where(named, best, ALIKE), UNDECIDED).astype(np.int64)


def _margin_of_sign(log_density: FloatArray, names: IntArray) -> FloatArray:
    """Return by how much every stress tells its scale from the negative of that.

    A stress too small for that says nothing of its unit either.
    """
    of_scale = logsumexp(log_density, axis=2)
    frames, n_units = np.arange(len(names)), len(UNITS)
    other = (names + n_units) % (2 * n_units)
    return np.asarray(of_scale[frames, names] - of_scale[frames, other])


def _margin_of_order(
    log_density: FloatArray, names: IntArray, log_shares: FloatArray
) -> FloatArray:
    """Return by how much every stress tells its order from the next likely one.

    A wrong order must be told from the right one, the right one from those of programs
    and from those found in the set. Nearly equal components tell little, and need not
    be told from what nobody writes.
    """
    log_scales = logsumexp(log_shares, axis=1)
    of_order = logsumexp(log_density + log_scales[:, None], axis=1)
    found = np.exp(logsumexp(log_shares, axis=0)) * len(names) >= 1.0
    places, is_right = np.arange(len(ORDERS)), names[:, None] == 0
    rivals = np.where(is_right, (places < _COMMON) | found, places == 0)
    rivals &= places != names[:, None]
    frames = np.arange(len(names))
    next_one = np.where(rivals, of_order, -np.inf).max(axis=1)
    return np.asarray(of_order[frames, names] - next_one)
