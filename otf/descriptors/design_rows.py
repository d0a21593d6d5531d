"""Derivatives of many functions of the power spectrum at once, one centre at a time.

A function U_B of the features has

    dU_B = sum_i [alpha_iB X_B . dX_i + gamma_iB X_i . dX_i]

and X is quadratic in the coefficients c_i, so X_B . dX_i = g_iB . dc_i with g_iB linear
in X_B and in c_i. For each centre and each species of neighbours the rows are then one
matrix product, (derivatives of c_i by the neighbours) @ (alpha_iB g_iB). Its cost per
pair does not depend on the number of species.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scipy.sparse import csr_array

    from otf.configuration import FloatArray, IntArray
    from otf.descriptors.coupling import Channels, Coupling, Prepared
    from otf.kernels import Kernels, RadialTable
    from otf.neighbors import Pairs

# Columns done at once: what one centre needs stays in the second-level cache.
BLOCK = 256


class Geometry(NamedTuple):
    """Pairs of a configuration and the coefficients made from them."""

    pairs: Pairs
    species: IntArray  # (p,) of the neighbours
    c2: FloatArray  # (n, S, 1, n_max_two_body), empty without two-body part
    c3: FloatArray  # (n, S, M, N), empty without three-body part


@dataclass(frozen=True, eq=False)
class Parts:
    """What the features are made of; None for a part that is left out.

    ``self_terms`` is None when they are kept.
    """

    kernels: Kernels
    n_species: int
    two: RadialTable | None
    three: RadialTable | None
    coupling: Coupling
    channels: Channels
    self_terms: csr_array | None


@dataclass(frozen=True, eq=False)
class References:
    """Local reference configurations of one species, as columns b.

    Attributes
    ----------
    two : (S, n2, b) two-body part
    three : three-body part as the coupling prepares it; empty without one
    own : (S, (L + 1) T, b) what multiplies the derivatives of the self terms; 0 rows
        when they are kept
    """

    two: FloatArray
    three: Prepared
    own: FloatArray

    @classmethod
    def from_features(cls, parts: Parts, features: FloatArray) -> References:
        """Split features (b, q), scale factors of dX included, into columns."""
        columns = np.ascontiguousarray(features.T)
        n_two = 0 if parts.two is None else parts.n_species * parts.two.values.shape[3]
        two = columns[:n_two].reshape(
            parts.n_species, n_two // parts.n_species, len(features)
        )
        own = np.zeros((parts.n_species, 0, len(features)))
        prepared: Prepared = []
        if parts.three is not None:
            three = columns[n_two:]
            prepared = parts.coupling.prepare(parts.channels, three)
            if parts.self_terms is not None:
                own = -(parts.self_terms @ three)
                own = own.reshape(parts.n_species, -1, len(features))
        return cls(two, prepared, own)


class _Bundle(NamedTuple):
    """The summed derivatives of one centre by neighbours of one species.

    ``near`` (3 t + 9, M N [+ (L + 1) T]) by the three-body coefficients, ``wide``
    (3 t + 9, n2 + 1) by the two-body ones and of X_i . X_i / 2.
    """

    species: int
    near_targets: IntArray
    near: FloatArray
    wide_targets: IntArray
    wide: FloatArray


def add_rows(
    parts: Parts,
    geometry: Geometry,
    atom: int,
    own_gradient: FloatArray,
    blocks: list[References],
    weights: tuple[FloatArray, FloatArray],
    rows: FloatArray,
) -> None:
    """Add one centre's part to rows (3 n + 6, b), in place.

    Parameters
    ----------
    own_gradient
        (p, 3), the derivatives X_i . dX_i by all pair vectors.
    blocks
        The references, together b.
    weights
        alpha and gamma of this centre, (b,) each.
    """
    scatter = parts.kernels.scatter_rows
    bundles = list(_bundles(parts, geometry, atom, own_gradient))
    low = 0
    for references in blocks:
        high = low + references.two.shape[2]
        alpha, gamma = weights[0][low:high], weights[1][low:high]
        if references.three:
            gradients = parts.coupling.columns(geometry.c3[atom], references.three)
            gradients *= alpha
        for bundle in bundles:
            s = bundle.species
            if len(bundle.near):
                g = gradients[:, s].reshape(-1, high - low)
                if parts.self_terms is not None:
                    g = np.concatenate([g, references.own[s] * alpha])
                scatter(atom, bundle.near_targets, bundle.near @ g, rows, low)
            g = np.concatenate([references.two[s] * alpha, gamma[None]])
            scatter(atom, bundle.wide_targets, bundle.wide @ g, rows, low)
        low = high


def _bundles(
    parts: Parts, geometry: Geometry, atom: int, own_gradient: FloatArray
) -> Iterator[_Bundle]:
    """Yield the summed derivatives by neighbours of each species that is there."""
    pairs = geometry.pairs
    low, high = pairs.first[atom], pairs.first[atom + 1]
    around = geometry.species[low:high]
    for s in range(parts.n_species):
        chosen = low + np.flatnonzero(around == s)
        if len(chosen) == 0:
            continue
        near_targets, near = _near(parts, pairs, atom, chosen)
        columns = [own_gradient[chosen][:, :, None]]
        if parts.two is not None:
            vector, distance = pairs.vector[chosen], pairs.distance[chosen]
            d = parts.kernels.pair_derivatives(vector, distance, parts.two)
            columns.insert(0, d.reshape(len(chosen), 3, -1))
        wide_targets, wide = parts.kernels.merge_rows(
            atom,
            pairs.neighbor[chosen],
            pairs.vector[chosen],
            np.concatenate(columns, axis=2),
        )
        yield _Bundle(s, near_targets, near, wide_targets, wide)


def _near(
    parts: Parts, pairs: Pairs, atom: int, chosen: IntArray
) -> tuple[IntArray, FloatArray]:
    """Return targets and summed derivatives of the three-body part, maybe empty."""
    if parts.three is None:
        return np.empty(0, dtype=np.int64), np.empty((0, 0))
    chosen = chosen[pairs.distance[chosen] < parts.three.cutoff]
    if len(chosen) == 0:
        return np.empty(0, dtype=np.int64), np.empty((0, 0))
    vector, distance = pairs.vector[chosen], pairs.distance[chosen]
    d = parts.kernels.pair_derivatives(vector, distance, parts.three)
    d = d.reshape(len(chosen), 3, -1)
    if parts.self_terms is not None:
        own = parts.kernels.overlap_derivatives(vector, distance, parts.three)
        d = np.concatenate([d, own.reshape(len(chosen), 3, -1)], axis=2)
    targets, sums = parts.kernels.merge_rows(atom, pairs.neighbor[chosen], vector, d)
    return targets, sums
