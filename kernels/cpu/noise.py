"""Counter-based random numbers in numba; defined in ``otf.kernels.noise``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numba
import numpy as np

from otf.kernels.noise import LOW, MULTIPLIERS, ROUNDS, UNIT, WEYL, check_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOW = np.uint64(LOW)
_M0, _M1 = np.uint64(MULTIPLIERS[0]), np.uint64(MULTIPLIERS[1])
_W0, _W1 = np.uint64(WEYL[0]), np.uint64(WEYL[1])
_HALF = np.uint64(32)
_TAIL = np.uint64(11)
_ONE = np.uint64(1)


@numba.njit(cache=True, inline="always")
def _block(seed, stream, step, block):
    c0, c1, c2, c3 = block, step & _LOW, step >> _HALF, stream
    k0, k1 = seed & _LOW, seed >> _HALF
    for _ in range(ROUNDS):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c2 = (p1 >> _HALF) ^ c1 ^ k0, (p0 >> _HALF) ^ c3 ^ k1
        c1, c3 = p1 & _LOW, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return (c0 | (c1 << _HALF)) >> _TAIL, (c2 | (c3 << _HALF)) >> _TAIL


@numba.njit(cache=True, nogil=True, fastmath=False)
def _uniform(seed, stream, step, out):
    for b in range((len(out) + 1) // 2):
        first, second = _block(seed, stream, step, np.uint64(b))
        out[2 * b] = first * UNIT
        if 2 * b + 1 < len(out):
            out[2 * b + 1] = second * UNIT


@numba.njit(cache=True, nogil=True, fastmath=False)
def _normal(seed, stream, step, out):
    for b in range((len(out) + 1) // 2):
        first, second = _block(seed, stream, step, np.uint64(b))
        radius = math.sqrt(-2.0 * math.log((first + _ONE) * UNIT))
        angle = (2.0 * math.pi) * (second * UNIT)
        out[2 * b] = radius * math.cos(angle)
        if 2 * b + 1 < len(out):
            out[2 * b + 1] = radius * math.sin(angle)


def uniform(seed: int, stream: int, step: int, n: int) -> NDArray[np.float64]:
    """Return (n,) numbers in [0, 1); see ``otf.kernels.noise.uniform``."""
    check_key(seed, stream, step, n)
    out = np.empty(n)
    _uniform(np.uint64(seed), np.uint64(stream), np.uint64(step), out)
    return out


def normal(seed: int, stream: int, step: int, n: int) -> NDArray[np.float64]:
    """Return (n,) independent normal numbers; see ``otf.kernels.noise.normal``."""
    check_key(seed, stream, step, n)
    out = np.empty(n)
    _normal(np.uint64(seed), np.uint64(stream), np.uint64(step), out)
    return out
