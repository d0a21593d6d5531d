"""Normalisation of the real spherical harmonics, for every implementation."""

from __future__ import annotations

from functools import lru_cache
from math import factorial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@lru_cache(maxsize=16)
def harmonic_norms(l_max: int) -> NDArray[np.float64]:
    """Return the factors (L + 1, L + 1) of d^m P_l/dz^m in real Y_lm."""
    norms = np.zeros((l_max + 1, l_max + 1))
    for order in range(l_max + 1):
        for m in range(order + 1):
            ratio = factorial(order - m) / factorial(order + m) * (2.0 if m else 1.0)
            norms[order, m] = np.sqrt((2 * order + 1) / (4 * np.pi) * ratio)
    return norms
