"""Products of matrices that a library does."""

import numpy as np
from numba import njit
from scipy.linalg.blas import dtrmm, strmm

from otf.kernels.cpu.pairs import OPTIONS


@njit(**OPTIONS)
def _row_squares(rows, out):
    n_columns = rows.shape[1]
    whole = n_columns - n_columns % 4
    for i in range(len(rows)):
        row = rows[i]
        s0 = 0.0
        s1 = 0.0
        s2 = 0.0
        s3 = 0.0
        for k in range(0, whole, 4):
            x0, x1 = np.float64(row[k]), np.float64(row[k + 1])
            x2, x3 = np.float64(row[k + 2]), np.float64(row[k + 3])
            s0 += x0 * x0
            s1 += x1 * x1
            s2 += x2 * x2
            s3 += x3 * x3
        for k in range(whole, n_columns):
            s0 += np.float64(row[k]) * np.float64(row[k])
        out[i] = (s0 + s1) + (s2 + s3)


def row_squares(rows):
    out = np.empty(len(rows))
    _row_squares(np.ascontiguousarray(rows), out)
    return out


def triangle_product(rows, matrix, lower):
    # BLAS counts columns first: transposed, no array is copied.
    product = strmm if rows.dtype == np.float32 else dtrmm
    return product(1.0, matrix, rows.T, lower=lower).T
