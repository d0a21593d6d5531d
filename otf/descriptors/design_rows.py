"""Derivatives of many functions of the power spectrum at once, a few centres at a time.

A function U_B of the features has

    dU_B = sum_i [alpha_iB X_B . dX_i + gamma_iB X_i . dX_i]

With the derivatives of X_i by the neighbours of i, a Jacobian J_i, the rows are one
matrix product J_i X_B times alpha_iB. Where there are many more features than
coefficients c_i, it is cheaper done with the derivatives of c_i: X is quadratic in c_i,
so X_B . dX_i = g_iB . dc_i with g_iB linear in X_B and in c_i. Its cost per pair does
not depend on the number of species.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from otf.threads import in_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scipy.sparse import csr_array

    from otf.configuration import FloatArray, IntArray
    from otf.descriptors.coupling import Channels, Coupling, Prepared
    from otf.kernels import Backend, Kernels, RadialTable
    from otf.neighbors import Pairs

# Centres and columns done at once: what they need stays in the second-level cache. With
# few columns twice as many centres do, and with the rows of few atoms four times.
CENTRES = 4
BLOCK = 256
FEW_COLUMNS = 32
# Centres whose derivatives are held in memory together.
GROUP = 64
# A Jacobian costs about as much as this many columns.
COLUMNS_FOR_JACOBIAN = 200


@dataclass(eq=False)
class Geometry:
    """Pairs of a configuration and the coefficients made from them.

    Attributes
    ----------
    pairs : of the configuration
    species : (p,) of the neighbours
    c2 : (n, S, 1, n_max_two_body), empty without two-body part
    c3 : (n, S, M, N), empty without three-body part
    own_gradient : (p, 3), the derivatives X_i . dX_i by all pair vectors, once rows
        were asked for: those of new references need it again
    """

    pairs: Pairs
    species: IntArray
    c2: FloatArray
    c3: FloatArray
    own_gradient: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class Parts:
    """What the features are made of; None for a part that is left out.

    Arrays live where the backend has them. ``self_terms`` is None when they are kept,
    on a GPU a matrix with all its zeros.
    """

    backend: Backend
    n_species: int
    two: RadialTable | None
    three: RadialTable | None
    coupling: Coupling
    channels: Channels
    self_terms: csr_array | FloatArray | None

    @property
    def kernels(self) -> Kernels:
        """Return those of the backend."""
        return self.backend.kernels


class _Columns(NamedTuple):
    """Local reference configurations of one species, as columns b.

    Attributes
    ----------
    features : (q, b), scale factors of dX included
    two : (S, n2, b) two-body part
    three : three-body part as the coupling prepares it; empty in descriptor space
    own : (S, (L + 1) T, b) what multiplies the derivatives of the self terms; 0 rows
        when they are kept
    """

    features: FloatArray
    two: FloatArray
    three: Prepared
    own: FloatArray


class _Bundle(NamedTuple):
    """The summed derivatives of some centres by neighbours of one species.

    Attributes
    ----------
    species : of the neighbours
    first, targets : as of ``merge_rows``, places for atoms; rows r are as there, those
        of the strain only where they are wanted
    features : (r, q), of the whole descriptor, where rows are made from these
    three, overlap, two : (r, k), of c3, of the self terms and of c2
    own : (r, 1), of X_i . X_i / 2
    """

    species: int
    first: IntArray
    targets: IntArray
    features: FloatArray | None
    three: FloatArray | None
    overlap: FloatArray | None
    two: FloatArray | None
    own: FloatArray

    def rows_of(self, centre: int) -> Iterator[slice]:
        """Yield the rows of the targets of a centre, and those of its strain."""
        yield slice(3 * self.first[centre], 3 * self.first[centre + 1])
        strain = 3 * self.first[-1] + 6 * centre
        if len(self.own) > strain:
            yield slice(strain, strain + 6)

    def owners(self, centres: IntArray) -> IntArray:
        """Return the centre of every row, (r,)."""
        every = [np.repeat(centres, 3 * np.diff(self.first)), np.repeat(centres, 6)]
        return np.concatenate(every)[: len(self.own)]


class RowMaker:
    """Rows of one configuration for references of one species.

    Parameters
    ----------
    parts
        Of the descriptor.
    geometry
        Pairs and coefficients.
    own_gradient
        (p, 3), the derivatives X_i . dX_i by all pair vectors.
    references
        (m, q) X_B, scale factors of dX included.
    place
        (n,) where the rows of every atom are, in threes. Atoms of one place are summed
        up, but not what they do to each other.
    hidden
        Place whose rows, like those of the strain, nobody wants: pairs within it are
        left out. None where all are wanted.
    """

    def __init__(
        self,
        parts: Parts,
        geometry: Geometry,
        own_gradient: FloatArray,
        references: FloatArray,
        place: IntArray,
        *,
        hidden: int | None = None,
    ) -> None:
        self._parts = parts
        self._place = place
        self._hidden = hidden
        self._geometry = geometry
        self._own_gradient = own_gradient
        n_two = 0 if parts.two is None else parts.n_species * parts.two.values.shape[3]
        self._n_two = n_two
        self._with_jacobian = False
        if parts.three is not None:
            _, _, n_l, n_max = parts.three.values.shape
            n_three = references.shape[1] - n_two
            self._with_jacobian = (
                parts.coupling.jacobian is not None
                and n_three <= n_l * n_l * n_max
                and len(references) >= COLUMNS_FOR_JACOBIAN
            )
        self._blocks = [
            self._columns(references[low : low + BLOCK])
            for low in range(0, len(references), BLOCK)
        ]

    def add(
        self, centres: IntArray, alpha: FloatArray, gamma: FloatArray, rows: FloatArray
    ) -> None:
        """Add the part of some centres to rows, in place.

        ``alpha`` and ``gamma`` are theirs, (c, m); ``rows`` (3 k + 6, m) are those of k
        places, and of the strain.
        """
        for low in range(0, len(centres), GROUP):
            group = slice(low, low + GROUP)
            self._add_group(centres[group], alpha[group], gamma[group], rows)

    def _add_group(
        self, centres: IntArray, alpha: FloatArray, gamma: FloatArray, rows: FloatArray
    ) -> None:
        few = self._blocks[0].features.shape[1] <= FEW_COLUMNS
        size = (2 if few else 1) * (1 if self._hidden is None else 4) * CENTRES
        chunks = [slice(k, k + size) for k in range(0, len(centres), size)]
        found = in_order(lambda part: self._bundles(centres[part]), chunks)

        def fill(index: int, bundles: Iterable[list[_Bundle]]) -> None:
            """Compute one block of columns; no two touch the same memory."""
            block, column = self._blocks[index], BLOCK * index
            columns = slice(column, column + block.features.shape[1])
            for part, some in zip(chunks, bundles, strict=True):
                here, a, g = centres[part], alpha[part, columns], gamma[part, columns]
                products = self._products(here, some, block)
                for bundle, product in zip(some, products, strict=True):
                    self._parts.kernels.scatter_rows(
                        self._place[here],
                        bundle.first,
                        bundle.targets,
                        product,
                        a,
                        bundle.own,
                        g,
                        rows,
                        column,
                    )

        if len(self._blocks) == 1:
            fill(0, found)
            return
        bundles = list(found)
        for _ in in_order(lambda index: fill(index, bundles), range(len(self._blocks))):
            pass

    def _columns(self, references: FloatArray) -> _Columns:
        """Split references (b, q) into columns."""
        parts, n_columns = self._parts, len(references)
        columns = np.ascontiguousarray(references.T)
        two, three = columns[: self._n_two], columns[self._n_two :]
        two = two.reshape(parts.n_species, -1, n_columns)
        own = np.zeros((parts.n_species, 0, n_columns))
        prepared: Prepared = []
        if parts.three is not None and not self._with_jacobian:
            prepared = parts.coupling.prepare(parts.channels, three)
            if parts.self_terms is not None:
                own = -(parts.self_terms @ three)
                own = own.reshape(parts.n_species, -1, n_columns)
        return _Columns(columns, two, prepared, own)

    def _products(
        self, centres: IntArray, bundles: list[_Bundle], block: _Columns
    ) -> list[FloatArray]:
        """Return derivatives times columns of every bundle, (r, b)."""
        gradients = None
        if block.three:
            c = self._geometry.c3[centres]
            gradients = self._parts.coupling.columns(c, block.three)
        products = []
        for bundle in bundles:
            s = bundle.species
            if bundle.features is not None:
                product = bundle.features @ block.features
            elif bundle.two is not None:
                product = bundle.two @ block.two[s]
            else:
                product = np.zeros((len(bundle.own), block.features.shape[1]))
            if bundle.overlap is not None:
                product += bundle.overlap @ block.own[s]
            if bundle.three is not None and gradients is not None:
                for k in range(len(centres)):
                    g = gradients[k, :, s].reshape(-1, product.shape[1])
                    for rows in bundle.rows_of(k):
                        product[rows] += bundle.three[rows] @ g
            products.append(product)
        return products

    def _bundles(self, centres: IntArray) -> list[_Bundle]:
        """Return the summed derivatives by neighbours of each species that is there."""
        pairs, around = self._geometry.pairs, self._geometry.species
        three = self._parts.three
        index = np.concatenate(
            [np.arange(pairs.first[i], pairs.first[i + 1]) for i in centres]
        )
        owner = np.repeat(
            np.arange(len(centres)), pairs.first[centres + 1] - pairs.first[centres]
        )
        if self._hidden is not None:
            ends = self._place[centres][owner], self._place[pairs.neighbor[index]]
            seen = (ends[0] != self._hidden) | (ends[1] != self._hidden)
            index, owner = index[seen], owner[seen]
        # Pairs of one place follow each other.
        order = np.lexsort((self._place[pairs.neighbor[index]], owner))
        index = index[order]
        is_near = pairs.distance[index] < (0.0 if three is None else three.cutoff)
        out = []
        for s in range(self._parts.n_species):
            for near in (True, False):
                chosen = np.flatnonzero((around[index] == s) & (is_near == near))
                if len(chosen) and (near or self._n_two):
                    bundle = self._bundle(
                        centres, owner[chosen], index[chosen], s, near=near
                    )
                    out.append(bundle)
        return out

    def _bundle(
        self,
        centres: IntArray,
        owner: IntArray,
        index: IntArray,
        species: int,
        *,
        near: bool,
    ) -> _Bundle:
        """Return the summed derivatives along some pairs of the centres."""
        parts, pairs, n = self._parts, self._geometry.pairs, len(index)
        kernels = parts.kernels
        vector, distance = pairs.vector[index], pairs.distance[index]
        start = np.searchsorted(owner, np.arange(len(centres) + 1))
        places = self._place[centres], start, self._place[pairs.neighbor[index]]
        geometry = *places, vector

        own = self._own_gradient[index][:, :, None]
        first, targets, own = kernels.merge_rows(*geometry, own)
        n_rows = len(own) if self._hidden is None else 3 * len(targets)

        def summed(derivatives: FloatArray) -> FloatArray:
            """Sum over images, (r, k)."""
            out: FloatArray = kernels.merge_rows(
                *geometry, derivatives.reshape(n, 3, -1)
            )[2]
            return out[:n_rows]

        features = three = overlap = two = None
        if parts.two is not None:
            two = summed(kernels.pair_derivatives(vector, distance, parts.two))
        if near and parts.three is not None:
            three = summed(kernels.pair_derivatives(vector, distance, parts.three))
            if parts.self_terms is not None:
                d = kernels.overlap_derivatives(vector, distance, parts.three)
                overlap = summed(d)
        own = own[:n_rows]
        bundle = _Bundle(species, first, targets, features, three, overlap, two, own)
        if self._with_jacobian and near:
            return self._in_features(centres, bundle)
        return bundle

    def _in_features(self, centres: IntArray, bundle: _Bundle) -> _Bundle:
        """Return a bundle with the derivatives of the features."""
        parts, species = self._parts, bundle.species
        assert parts.coupling.jacobian is not None  # asked before
        assert bundle.three is not None  # it is near
        c = self._geometry.c3
        three = parts.coupling.jacobian(
            parts.kernels,
            bundle.owners(centres),
            c,
            parts.channels,
            species,
            bundle.three.reshape(-1, *c.shape[2:]),
        )
        if bundle.overlap is not None and parts.self_terms is not None:
            size = bundle.overlap.shape[1]
            own = parts.self_terms[species * size : (species + 1) * size]
            three -= bundle.overlap @ own
        features = three
        if bundle.two is not None:
            two = np.zeros((len(three), self._n_two))
            width = bundle.two.shape[1]
            two[:, species * width : (species + 1) * width] = bundle.two
            features = np.concatenate([two, three], axis=1)
        return bundle._replace(features=features, three=None, overlap=None, two=None)
