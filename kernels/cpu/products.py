"""Products of matrices that a library does."""

import numpy as np
from scipy.linalg.blas import dtrmm


def row_squares(rows):
    return np.einsum("im,im->i", rows, rows)


def triangle_product(rows, matrix, lower):
    # BLAS counts columns first: transposed, no array is copied.
    return dtrmm(1.0, matrix, rows.T, lower=lower).T
