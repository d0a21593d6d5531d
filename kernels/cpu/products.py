"""Products of matrices that a library does, and the squares of their rows."""

import numpy as np
from numba import njit
from scipy.linalg.blas import dtrmm, strmm

from otf.kernels.cpu.pairs import OPTIONS
from otf.kernels.cpu.powers import square


@njit(**OPTIONS)
def _row_squares(rows, out):
    for i in range(len(rows)):
        out[i] = square(rows[i])


def row_squares(rows):
    out = np.empty(len(rows))
    _row_squares(np.ascontiguousarray(rows), out)
    return out


def triangle_product(rows, matrix, lower):
    # BLAS counts columns first: transposed, no array is copied.
    product = strmm if rows.dtype == np.float32 else dtrmm
    return product(1.0, matrix, rows.T, lower=lower).T
