"""Choice of references: what is spanned is not taken, what is not is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import eigvalsh, solve

from otf.models.basis import Basis
from otf.models.covariance import Gaussian, Polynomial
from otf.models.references import References
from otf.models.sparsify import (
    FarthestPoint,
    LeverageColumns,
    PivotedCholesky,
    is_independent,
    leverage,
    pivoted_cholesky,
    redundant_columns,
    redundant_references,
    spilling_of,
)

JITTER = 1e-8


def environments(features, covariance=None, species=None):
    if species is None:
        species = np.zeros(len(features), dtype=np.int64)
    return References.of(features, species, covariance or Polynomial(1), 1e-6)


def random_environments(n, q=6, seed=0, covariance=None):
    rng = np.random.default_rng(seed)
    return environments(rng.normal(size=(n, q)), covariance)


def groups(sizes, q=12, seed=0):
    """Groups of equal environments, unequal between groups."""
    rng = np.random.default_rng(seed)
    features = np.repeat(rng.normal(size=(len(sizes), q)), sizes, axis=0)
    return environments(features), np.repeat(np.arange(len(sizes)), sizes)


def greedy(matrix, bound, limit, first):
    """Pivoted Cholesky as in the textbooks, on a matrix held whole."""
    own = matrix.diagonal()
    left = matrix - np.outer(matrix[first], matrix[first]) / matrix[first, first]
    picks = [first]
    while len(picks) < limit + 1:
        share = left.diagonal() / own
        share[picks] = -1.0
        pick = int(np.argmax(share))
        if share[pick] <= bound:
            break
        picks.append(pick)
        left -= np.outer(left[pick], left[pick]) / left[pick, pick]
    return picks[1:]


def check_pivots(select, n):
    # 1000 candidates are more than one pool, 100 pivots more than one block.
    atoms = random_environments(n, q=8, covariance=Gaussian(0.5))
    limit = min(n, 100)
    # Without a known reference all candidates lead alike at the start.
    matrix = atoms.kernel(atoms)
    known = matrix[:, :1] / np.sqrt(matrix[0, 0])
    ours = select(atoms, bound=1e-6, limit=limit, known=known)
    np.testing.assert_array_equal(ours, greedy(matrix, 1e-6, limit, 0))


@pytest.mark.parametrize("n", [60, 1000])
def test_pivots_are_those_of_the_textbook_algorithm(n):
    check_pivots(pivoted_cholesky, n)


def first_columns(atoms, *, bound, limit, known=None):
    """Cholesky without pivots: the first column that the chosen ones do not span."""
    left, picks = atoms.kernel(atoms), []
    if known is not None:
        left -= known @ known.T
    for k, own in enumerate(atoms.diagonal):
        if left[k, k] > bound * own and len(picks) < limit:
            picks.append(k)
            left -= np.outer(left[k], left[k]) / left[k, k]
    return np.array(picks)


def stale_residual(atoms, *, bound, limit, known=None):
    """The residual is taken once and not after every pivot."""
    known = np.zeros((atoms.n_references, 1)) if known is None else known
    share = 1.0 - (known**2).sum(axis=1) / atoms.diagonal
    return np.argsort(-share, kind="stable")[:limit]


def pools_one_after_another(atoms, *, bound, limit, known=None):
    """A pool is used up although a candidate outside it leads."""
    half = atoms.n_references // 2
    parts = []
    for part in (np.arange(half), np.arange(half, atoms.n_references)):
        some = None if known is None else known[part]
        chosen = pivoted_cholesky(
            atoms.subset(part), bound=bound, limit=limit, known=some
        )
        parts.append(part[chosen])
    return np.concatenate(parts)[:limit]


def smallest_residual(atoms, *, bound, limit, known=None):
    chosen = pivoted_cholesky(atoms, bound=bound, limit=limit, known=known)
    return chosen[::-1]


def one_too_few(atoms, *, bound, limit, known=None):
    return pivoted_cholesky(atoms, bound=bound, limit=limit, known=known)[:-1]


def nothing_known(atoms, *, bound, limit, known=None):
    return pivoted_cholesky(atoms, bound=bound, limit=limit)


@pytest.mark.parametrize("n", [60, 1000])
@pytest.mark.parametrize(
    "mutant",
    [
        first_columns,
        stale_residual,
        pools_one_after_another,
        smallest_residual,
        one_too_few,
        nothing_known,
    ],
)
def test_check_of_the_pivots_rejects(mutant, n):
    with pytest.raises(AssertionError):
        check_pivots(mutant, n)


def test_candidates_spanned_by_known_references_are_not_chosen():
    atoms = random_environments(200, covariance=Gaussian(0.5))
    basis = Basis.of(atoms.subset(np.arange(50)), JITTER)
    known = basis.whiten(basis.references.kernel(atoms))
    chosen = pivoted_cholesky(atoms, bound=1e-2, limit=200, known=known)
    assert not np.intersect1d(chosen, np.arange(50)).size
    grown, _ = basis.appended(atoms.subset(chosen))
    assert basis.spilling(atoms).max() > 1e-2
    assert grown.spilling(atoms).max() <= 1e-2 * (1 + 1e-6)


def check_columns_of_rank_eight(select):
    atoms = random_environments(100, q=8)
    matrix, own = atoms.kernel(atoms), atoms.diagonal
    tail = np.append(np.cumsum(eigvalsh(matrix))[::-1][1:], 0.0)
    chosen = select(atoms, bound=1e-10, limit=100)
    assert len(chosen) == 8
    left = own.copy()
    for k in range(1, 9):
        # Each column is the one that those before it leave most of.
        share = left / own
        assert share[chosen[k - 1]] >= share.max() - 1e-9
        inner, cross = chosen[:k], matrix[:, chosen[:k]]
        block = matrix[np.ix_(inner, inner)]
        left = own - (cross * solve(block, cross.T).T).sum(axis=1)
        # The trace error is what is left of the diagonal, and the eigenvectors are
        # the best k columns there are.
        assert left.sum() >= tail[k - 1] - 1e-9
        assert (left.sum() < 1e-9) == (k == 8)


def test_trace_error_of_a_rank_eight_kernel_ends_at_eight_columns():
    check_columns_of_rank_eight(pivoted_cholesky)


def beyond_the_rank(atoms, *, bound, limit, known=None):
    chosen = pivoted_cholesky(atoms, bound=bound, limit=limit)
    return np.append(chosen, np.setdiff1d(np.arange(atoms.n_references), chosen)[0])


@pytest.mark.parametrize(
    "mutant",
    [
        first_columns,
        stale_residual,
        pools_one_after_another,
        smallest_residual,
        one_too_few,
        beyond_the_rank,
    ],
)
def test_check_of_the_columns_of_rank_eight_rejects(mutant):
    with pytest.raises(AssertionError):
        check_columns_of_rank_eight(mutant)


def test_isolated_atoms_are_never_chosen():
    features = np.random.default_rng(0).normal(size=(5, 6))
    features[2] = 0.0
    atoms = environments(features)
    for selector in (PivotedCholesky(1e-6), FarthestPoint(1e-6)):
        assert sorted(selector.select(atoms, limit=5)) == [0, 1, 3, 4]


def test_farthest_point_takes_one_of_each_group():
    atoms, group = groups([5, 1, 3, 7])
    chosen = FarthestPoint(1e-6).select(atoms, limit=16)
    assert sorted(group[chosen]) == [0, 1, 2, 3]


def test_farthest_point_takes_the_farthest():
    # On a circle with k = cos, 180 degrees is the farthest from the other three.
    angles = np.deg2rad([0.0, 10.0, 20.0, 180.0])
    atoms = environments(np.column_stack([np.cos(angles), np.sin(angles)]))
    assert 3 in FarthestPoint(1e-6).select(atoms, limit=2)


def test_leading_columns_are_not_taken_twice_from_a_group():
    atoms, group = groups([64, 2, 2, 1, 1])
    chosen = LeverageColumns().select(atoms, limit=5)
    assert sorted(group[chosen]) == [0, 1, 2, 3, 4]


def test_dropping_redundant_columns_leaves_one_of_each_group():
    atoms, group = groups([64, 2, 2, 1, 1])
    matrix = atoms.kernel(atoms)
    dropped = redundant_columns(matrix, epsilon=1e-9)
    kept = np.setdiff1d(np.arange(len(matrix)), dropped)
    assert sorted(group[kept]) == [0, 1, 2, 3, 4]
    assert spilling_of(matrix, kept, dropped).max() < 1e-8
    # The columns of largest leverage taken at once would delete a whole group.
    at_once = np.argsort(-leverage(matrix, epsilon=1e-9), kind="stable")
    survivors = group[np.sort(at_once[len(dropped) :])]
    assert len(set(survivors)) < 5


def test_first_dropped_column_has_the_largest_leverage():
    atoms, _ = groups([3, 9, 2], seed=3)
    matrix = atoms.kernel(atoms)
    weights = leverage(matrix, epsilon=1e-9)
    first = redundant_columns(matrix, epsilon=1e-9)[0]
    assert weights[first] == pytest.approx(weights.max(), rel=1e-6)


def test_leverages_sum_to_one():
    atoms, _ = groups([4, 3, 2])
    weights = leverage(atoms.kernel(atoms), epsilon=1e-9)
    assert weights.sum() == pytest.approx(1.0, rel=1e-12)


def test_independent_columns_are_not_redundant():
    atoms = random_environments(6, q=10)
    assert len(redundant_columns(atoms.kernel(atoms), epsilon=1e-9)) == 0


@pytest.mark.parametrize("shift", np.geomspace(1e-12, 1e-2, 11))
def test_cheap_bound_never_overlooks_a_low_eigenvalue(shift):
    matrix = random_environments(80, seed=3, covariance=Polynomial(4))
    matrix = matrix.kernel(matrix)
    matrix[np.diag_indices(80)] += shift
    jitter, values = 1e-13, eigvalsh(matrix)
    lower = np.linalg.cholesky(matrix + jitter * np.eye(80))
    share = values[0] / values[-1]
    anything = {"own": matrix.diagonal(), "bound": 1.0}
    assert not is_independent(lower, jitter, epsilon=share * 1.001, **anything)
    # How loose it is depends on the spectrum; here it would do with less.
    assert is_independent(lower, jitter, epsilon=share / 20, **anything)


@pytest.mark.parametrize("distance", [1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 1e-4, 0.0])
def test_what_the_others_leave_of_a_column_is_quickly_bounded(distance):
    rng = np.random.default_rng(3)
    base = rng.normal(size=(20, 12))
    twins = base[:6] + distance * rng.normal(size=(6, 12))
    atoms = environments(np.vstack([base, twins]), Polynomial(4))
    matrix = atoms.kernel(atoms)
    values, own = eigvalsh(matrix), matrix.diagonal()
    epsilon = max(values[0], 1e-12) / values[-1] * 2.0  # one eigenvalue is low
    lower = np.linalg.cholesky(matrix + JITTER * np.eye(len(matrix)))
    true = [
        spilling_of(matrix, np.delete(np.arange(26), k), np.array([k]))[0]
        for k in range(26)
    ]
    given = {"epsilon": epsilon, "own": own}
    assert not is_independent(lower, JITTER, **given, bound=1.001 * min(true) + 1e-12)
    if distance >= 3e-3:
        assert is_independent(lower, JITTER, **given, bound=0.5 * min(true))
        bound = 0.5 * min(true)
        assert not len(redundant_references(atoms, epsilon=epsilon, bound=bound))


def test_cheap_bound_changes_no_choice():
    atoms, _ = groups([64, 2, 2, 1, 1])
    mixed = environments(
        np.vstack([atoms.directions, random_environments(9, q=12).directions]),
        species=np.repeat([0, 1], [70, 9]),
    )
    basis = Basis.of(mixed, JITTER)
    options = {"epsilon": 1e-9, "bound": 1e-6}
    slow = redundant_references(mixed, **options)
    fast = redundant_references(mixed, **options, factor=basis.factor, jitter=JITTER)
    np.testing.assert_array_equal(fast, slow)
    assert len(slow) == 65


def test_references_that_the_kept_ones_do_not_span_stay():
    # Eigenvalues just below epsilon leave a spilling above the bound.
    rng = np.random.default_rng(1)
    base = rng.normal(size=(5, 12))
    atoms = environments(np.vstack([base, base + 1e-3 * rng.normal(size=(5, 12))]))
    dropped = redundant_references(atoms, epsilon=1e-5, bound=1e-9)
    assert len(redundant_references(atoms, epsilon=1e-5, bound=1.0)) > len(dropped)
    kept = np.setdiff1d(np.arange(10), dropped)
    matrix = atoms.kernel(atoms)
    if len(dropped):
        assert spilling_of(matrix, kept, dropped).max() < 1e-8


def test_spilling_is_the_share_of_covariance_that_is_not_spanned():
    atoms = random_environments(8, q=5, covariance=Polynomial(2))
    matrix = atoms.kernel(atoms)
    kept, dropped = np.arange(4), np.arange(4, 8)
    cross = matrix[np.ix_(kept, dropped)]
    inner = solve(matrix[np.ix_(kept, kept)], cross)
    expected = 1 - (cross * inner).sum(axis=0) / matrix.diagonal()[dropped]
    np.testing.assert_allclose(spilling_of(matrix, kept, dropped), expected, atol=1e-9)
