"""Choice of the environments that become, or stay, local reference configurations.

Three selectors share one interface: given a kernel matrix oracle they return indices
in order of importance. Spilling of an environment is the share of its covariance that
the chosen ones do not span, 1 - k^T K^-1 k / K_ii.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.linalg import cholesky, qr, solve_triangular
from scipy.linalg.lapack import dpstrf, dtrtri

if TYPE_CHECKING:
    from otf.configuration import FloatArray, IntArray
    from otf.models.references import References

# Candidates whose own covariance is below this are isolated atoms: nothing to learn.
ISOLATED = 1e-12
_WHOLE = 2000
_POOL = 768
_BLOCK = 64


class Selector(Protocol):
    """A way to choose at most ``limit`` of the candidates."""

    def select(self, candidates: References, *, limit: int) -> IntArray:
        """Return indices of the chosen candidates, most important first."""
        ...


@dataclass(frozen=True)
class PivotedCholesky:
    """Take the candidate of largest spilling while that exceeds the bound.

    Attributes
    ----------
    bound : smallest spilling worth a reference

    References
    ----------
    H. Harbrecht, M. Peters, R. Schneider, Appl. Numer. Math. 62, 428 (2012),
    doi 10.1016/j.apnum.2011.10.001.
    """

    bound: float = 1e-4

    def select(self, candidates: References, *, limit: int) -> IntArray:
        """Return indices of the chosen candidates, in the order of the pivots."""
        return pivoted_cholesky(candidates, bound=self.bound, limit=limit)


@dataclass(frozen=True)
class FarthestPoint:
    """Take the candidate farthest from those chosen, d^2 = K_ii + K_jj - 2 K_ij.

    Attributes
    ----------
    bound : smallest squared distance worth a reference
    """

    bound: float = 1e-4

    def select(self, candidates: References, *, limit: int) -> IntArray:
        """Return indices of the chosen candidates; the first has the largest K_ii."""
        own = candidates.diagonal
        square = np.where(own > ISOLATED, np.inf, -np.inf)
        chosen: list[int] = []
        while len(chosen) < min(limit, len(own)):
            pick = int(np.argmax(square if chosen else np.where(square > 0, own, -1.0)))
            if not square[pick] > self.bound:
                break
            chosen.append(pick)
            one = np.array([pick])
            column = candidates.subset(one).kernel(candidates)[:, 0]
            # Covariance across species is 0, so other species stay at K_ii + K_jj.
            square = np.minimum(square, own + own[pick] - 2.0 * column)
        return np.array(chosen, dtype=np.int64)


@dataclass(frozen=True)
class LeverageColumns:
    """Take the columns that span the leading eigenvectors of the kernel matrix.

    The columns are pivots of a QR factorisation with column pivoting of the leading
    eigenvectors; the first pivot is the column of largest leverage, each later one is
    judged after those before it, so that equal environments are not taken twice.

    References
    ----------
    M. W. Mahoney, P. Drineas, PNAS 106, 697 (2009), doi 10.1073/pnas.0803205106.
    """

    def select(self, candidates: References, *, limit: int) -> IntArray:
        """Return indices of the chosen candidates, in the order of the pivots."""
        matrix = candidates.kernel(candidates)
        limit = min(limit, len(matrix))
        _, vectors = np.linalg.eigh(matrix)
        return _pivots(vectors[:, len(matrix) - limit :], limit)


def pivoted_cholesky(
    candidates: References,
    *,
    bound: float,
    limit: int,
    known: FloatArray | None = None,
) -> IntArray:
    """Choose candidates by pivoted Cholesky of their kernel matrix.

    Parameters
    ----------
    candidates
        N environments.
    bound
        Smallest spilling that is taken.
    limit
        Largest number taken.
    known
        (N, m) whitened covariances with references that exist already; what they span
        is not chosen again.

    Returns
    -------
    Indices in the order of the pivots.

    Notes
    -----
    The pivots are those of the textbook algorithm. Up to two thousand candidates have
    their kernel matrix made once. With more, work is done in blocks: pivots are
    searched in a pool of the candidates with the largest residual for as long as one
    of the pool leads, and the rest is updated by matrix products. Memory is N times
    the number of columns, known and chosen.
    """
    own = candidates.diagonal
    n = len(own)
    if n <= _WHOLE:
        return _whole_pivots(candidates, bound, limit, known)
    n_known = 0 if known is None else known.shape[1]
    limit = min(limit, n)
    rows = np.empty((n_known + min(limit, 4 * _BLOCK), n))
    residual = own.copy()
    if known is not None:
        rows[:n_known] = known.T
        residual -= np.einsum("ij,ij->i", known, known)
    residual[own <= ISOLATED] = -1.0
    own = np.maximum(own, ISOLATED)
    chosen: list[int] = []
    count = n_known
    while len(chosen) < limit:
        block, lower = _pool_pivots(
            candidates, rows[:count], residual / own, bound, limit - len(chosen)
        )
        if not len(block):
            break
        column = candidates.subset(block).kernel(candidates).T
        column -= rows[:count, block].T @ rows[:count]
        fresh = solve_triangular(lower, column, lower=True, check_finite=False)
        if count + len(block) > len(rows):
            grown = np.empty((min(n_known + limit, 2 * len(rows) + len(block)), n))
            grown[:count] = rows[:count]
            rows = grown
        rows[count : count + len(block)] = fresh
        residual -= np.einsum("ji,ji->i", fresh, fresh)
        residual[block] = -1.0
        chosen += block.tolist()
        count += len(block)
    return np.array(chosen, dtype=np.int64)


def _whole_pivots(
    candidates: References, bound: float, limit: int, known: FloatArray | None
) -> IntArray:
    """Return the pivots of candidates that are few enough for one matrix."""
    worth = np.flatnonzero(candidates.diagonal > ISOLATED)
    if known is not None and len(worth):
        known = known[worth]
        share = 1.0 - (known**2).sum(axis=1) / candidates.diagonal[worth]
        open_ = share > bound  # what is spanned already stays so
        worth, known = worth[open_], known[open_]
    if not len(worth):
        return np.empty(0, np.int64)
    atoms = candidates.subset(worth)
    matrix = atoms.kernel(atoms)
    if known is not None:
        matrix -= known @ known.T
    # Scaled, the diagonal is the spilling, and the largest is the next pivot.
    scale = 1.0 / np.sqrt(atoms.diagonal)
    matrix *= scale[:, None]
    matrix *= scale
    _, order, rank, _ = dpstrf(matrix.T, tol=bound, lower=1, overwrite_a=1)
    return np.asarray(worth[order[: min(rank, limit)] - 1], dtype=np.int64)


def _pool_pivots(
    candidates: References,
    rows: FloatArray,
    spilling: FloatArray,
    bound: float,
    limit: int,
) -> tuple[IntArray, FloatArray]:
    """Return the next pivots and the Cholesky factor of their residual kernel."""
    pool = np.arange(len(spilling))
    outside = bound
    if len(pool) > _POOL:
        pool = np.argpartition(-spilling, _POOL)
        outside = max(bound, float(spilling[pool[_POOL]]))
        pool = pool[:_POOL]
    pool = pool[spilling[pool] > bound]
    if not len(pool):
        return np.empty(0, np.int64), np.empty((0, 0))
    atoms = candidates.subset(pool)
    matrix = atoms.kernel(atoms) - rows[:, pool].T @ rows[:, pool]
    own = np.maximum(atoms.diagonal, ISOLATED)
    left = matrix.diagonal().copy()
    size = min(_BLOCK, limit, len(pool))
    factor = np.zeros((size, len(pool)))
    picks: list[int] = []
    for step in range(size):
        pick = int(np.argmax(left / own))
        leads = left[pick] >= outside * own[pick] or step == 0
        if not (leads and left[pick] > bound * own[pick]):
            break
        column = matrix[pick] - factor[:step, pick] @ factor[:step]
        factor[step] = column / np.sqrt(left[pick])
        left -= factor[step] ** 2
        left[pick] = -1.0
        picks.append(pick)
    lower = np.tril(factor[: len(picks), picks].T)
    return pool[picks], lower


def redundant_columns(matrix: FloatArray, *, epsilon: float) -> IntArray:
    """Return the columns of a kernel matrix that the others span.

    Parameters
    ----------
    matrix
        (m, m) kernel matrix of one species, without jitter.
    epsilon
        Eigenvalues below epsilon times the largest count as zero.

    Notes
    -----
    The columns are the first N_low pivots of a QR factorisation with column pivoting of
    the transposed low eigenvectors, N_low their number. Taking the N_low columns of
    largest leverage at once would drop every member of a group of equal environments.
    """
    values, vectors = np.linalg.eigh(matrix)
    n_low = int(np.count_nonzero(values < epsilon * values[-1]))
    return _pivots(vectors[:, :n_low], n_low)


def redundant_references(
    references: References,
    *,
    epsilon: float,
    bound: float,
    factor: FloatArray | None = None,
    jitter: float = 0.0,
) -> IntArray:
    """Return the sorted indices of references that the others of their species span.

    Parameters
    ----------
    references
        Of any species.
    epsilon
        Eigenvalues below epsilon times the largest of a species count as zero.
    bound
        One whose spilling against the kept ones would exceed it is kept as well.
    factor, jitter
        (m, m), lower Cholesky factor of the kernel matrix with this on its diagonal.
        With it a species that has no such eigenvalue is mostly recognised without a
        decomposition.
    """
    dropped: list[int] = []
    for one in np.unique(references.species):
        index = np.flatnonzero(references.species == one)
        atoms = references.subset(index)
        if factor is not None and is_independent(
            factor[np.ix_(index, index)],
            jitter,
            epsilon=epsilon,
            own=np.maximum(atoms.diagonal, ISOLATED),
            bound=bound,
        ):
            continue
        block = atoms.kernel(atoms)
        out = redundant_columns(block, epsilon=epsilon)
        dropped += index[_spanned(block, out, bound)].tolist()
    return np.array(sorted(dropped), dtype=np.int64)


def is_independent(
    factor: FloatArray,
    jitter: float,
    *,
    epsilon: float,
    own: FloatArray,
    bound: float,
) -> bool:
    """Return whether the others span no column of K, so far as is quickly known.

    A cheap bound: where it returns False, there may be such a column or not.

    Parameters
    ----------
    factor
        (m, m), lower triangle L of K + jitter = L L^T.
    jitter
        On the diagonal.
    epsilon
        Eigenvalues of K below this share of the largest count as zero; without one
        there is no such column.
    own
        (m,) diagonal of K.
    bound
        A column whose spilling against all others exceeds it is not spanned.

    Notes
    -----
    The largest eigenvalue is at most the largest of (B x)_i/x_i for B = |L| |L|^T and
    any positive x (Collatz and Wielandt). That of M = (L L^T)^-1 is at most its trace,
    |M|, and |M^2|^1/2, which are tried in this order: each costs one product more.

    What the others leave of column i is 1/(K^-1)_ii. With l the lowest eigenvalue, or
    less, (K^-1)_ii is at most (1 + jitter/l) M_ii.
    """
    if not len(factor):
        return True
    size, x = np.abs(factor), np.ones(len(factor))
    for _ in range(4):
        x, last = size @ (x @ size), x
    limit = epsilon * float((x / last).max()) + jitter
    inverse, info = dtrtri(factor.T, lower=0)
    if info != 0:
        return False
    diagonal = (inverse**2).sum(axis=1)
    if diagonal.sum() * limit < 1.0:
        return True
    product = inverse @ inverse.T
    largest = float(np.linalg.norm(product))
    if largest * limit >= 1.0:
        largest = float(np.linalg.norm(product @ product.T)) ** 0.5
    if largest * limit < 1.0:
        return True
    lowest = 1.0 / largest - jitter
    if lowest <= 0.0:
        return False
    left = 1.0 / (diagonal * (1.0 + jitter / lowest))
    return bool((left > bound * own).all())


def _spanned(matrix: FloatArray, out: IntArray, bound: float) -> IntArray:
    """Return those columns that the rest span, the worst of the others being kept."""
    if not len(out):
        return out
    kept = np.setdiff1d(np.arange(len(matrix)), out)
    v, jitter = _projected(matrix, kept, out)
    left = matrix[np.ix_(out, out)] - v.T @ v
    own = np.maximum(matrix.diagonal()[out], ISOLATED)
    stays = np.zeros(len(out), dtype=np.bool_)
    while not stays.all():
        share = np.where(stays, -np.inf, left.diagonal() / own)
        worst = int(np.argmax(share))
        if share[worst] <= bound:
            break
        stays[worst] = True
        column = left[worst] / np.sqrt(left[worst, worst] + jitter)
        left -= np.outer(column, column)
    return out[~stays]


def leverage(matrix: FloatArray, *, epsilon: float) -> FloatArray:
    """Return the leverage of every column over the low eigenvectors, (m,).

    omega_j = (1/N_low) sum of u_jx^2 over eigenvalues below epsilon times the largest.
    """
    values, vectors = np.linalg.eigh(matrix)
    low = values < epsilon * values[-1]
    share = (vectors[:, low] ** 2).sum(axis=1) / max(int(low.sum()), 1)
    return np.asarray(share, dtype=np.float64)


def spilling_of(matrix: FloatArray, kept: IntArray, dropped: IntArray) -> FloatArray:
    """Return the spilling of dropped columns of a kernel matrix against the kept."""
    v, _ = _projected(matrix, kept, dropped)
    own = np.maximum(matrix.diagonal()[dropped], ISOLATED)
    return np.asarray(1.0 - (v**2).sum(axis=0) / own, dtype=np.float64)


def _projected(
    matrix: FloatArray, kept: IntArray, dropped: IntArray
) -> tuple[FloatArray, float]:
    """Return L^-1 K of the dropped columns for the kept ones, and the jitter of L."""
    inner = matrix[np.ix_(kept, kept)]
    # Just enough to make a numerically singular matrix factorise.
    jitter = 1e-12 * max(1.0, float(np.trace(inner)))
    inner[np.diag_indices_from(inner)] += jitter
    lower = cholesky(inner, lower=True, overwrite_a=True, check_finite=False)
    cross = matrix[np.ix_(kept, dropped)]
    v = solve_triangular(lower, cross, lower=True, check_finite=False)
    return np.asarray(v, dtype=np.float64), jitter


def _pivots(vectors: FloatArray, count: int) -> IntArray:
    if count == 0:
        return np.empty(0, np.int64)
    order = qr(vectors.T, mode="r", pivoting=True)[1]
    return np.asarray(order[:count], dtype=np.int64)
