"""Two-body radial and three-body power-spectrum descriptor of the neighbour density.

Coefficients c_nlm^iJ expand the Gaussian-broadened, cut-off density of species J around
atom i (radial functions: otf.descriptors.radial). Features are

    X2_(J n) = c_n00^iJ                                          (two-body cutoff)
    X3_(n J n' J' l) = eta_l sqrt(8 pi^2 / (2 l + 1))
                       [ sum_m c_nlm^iJ c_n'lm^iJ' - s delta_JJ' o_lnn'^iJ ]

with o the self terms (the part of a neighbour with itself), s = 0 when they are kept,
eta_l = 1 / (1 + a [l (l + 1)]^2), and X = [w2 X2 | w3 X3]. References: A. P. Bartok,
R. Kondor, G. Csanyi, Phys. Rev. B 87, 184115 (2013), DOI 10.1103/PhysRevB.87.184115;
R. Jinnouchi, F. Karsai, C. Verdi, R. Asahi, G. Kresse, J. Chem. Phys. 152, 234102
(2020), DOI 10.1063/5.0009491.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from otf.descriptors.coupling import Channels, couplings
from otf.descriptors.design_rows import Geometry, Parts, RowMaker
from otf.descriptors.interface import Environments
from otf.descriptors.radial import radial_table
from otf.errors import InputError
from otf.kernels import load
from otf.neighbors import NeighborList, joined
from otf.threads import in_order, one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scipy.sparse import csr_array

    from otf.configuration import Configuration, FloatArray, IntArray
    from otf.descriptors.interface import LocalFunction
    from otf.kernels import Device, RadialTable
    from otf.neighbors import Pairs
    from otf.potential import Arrays

_R = TypeVar("_R")

_PARAMETERS = (
    "cutoff_three_body",
    "n_max",
    "l_max",
    "cutoff_two_body",
    "n_max_two_body",
    "sigma",
    "two_body_weight",
    "self_terms",
    "angular_damping",
    "scale_two_body",
    "scale_three_body",
)


@dataclass(frozen=True, eq=False, kw_only=True)
class PowerSpectrum:
    """Two- and three-body features of the neighbour density.

    Attributes
    ----------
    species : atomic numbers, sorted
    cutoff_three_body, cutoff_two_body : angstrom
    n_max, l_max : radial functions and largest angular order of the three-body part
    n_max_two_body : radial functions of the two-body part, 0 for none
    sigma : angstrom, width of the Gaussians
    two_body_weight : beta, share of the two-body part in the squared norm; 0 and 1
        leave one part out
    self_terms : False subtracts the part of each neighbour with itself
    angular_damping : a in eta_l
    elements : 'full' or 'reduced', see otf.descriptors.coupling
    scale_two_body, scale_three_body : w2 and w3, set by ``scaled_to``
    device : whose kernels
    """

    species: tuple[int, ...]
    cutoff_three_body: float = 5.5
    n_max: int = 8
    l_max: int = 4
    cutoff_two_body: float = 6.5
    n_max_two_body: int = 12
    sigma: float = 0.5
    two_body_weight: float = 0.1
    self_terms: bool = True
    angular_damping: float = 0.0
    elements: str = "full"
    scale_two_body: float = 1.0
    scale_three_body: float = 1.0
    device: Device = "cpu"

    def __post_init__(self) -> None:
        if list(self.species) != sorted(set(self.species)) or not self.species:
            raise InputError(f"species must be sorted and unique, got {self.species}")
        if self.elements not in couplings:
            raise InputError(
                f"elements must be one of {', '.join(couplings)}, got {self.elements!r}"
            )
        for name in ("cutoff_three_body", "cutoff_two_body", "sigma"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be positive, got {getattr(self, name)}")
        if self.n_max < 1 or self.l_max < 0 or self.n_max_two_body < 0:
            raise InputError("n_max must be at least 1, l_max and n_max_two_body 0")
        if not 0 <= self.two_body_weight <= 1:
            raise InputError(
                f"two_body_weight must lie in [0, 1], got {self.two_body_weight}"
            )
        if not (self.has_two_body or self.has_three_body):
            raise InputError(
                "two_body_weight = 1 leaves no features with n_max_two_body = 0"
            )

    # ------------------------------------------------------------------ dimensions

    @property
    def has_two_body(self) -> bool:
        """Return whether there is a two-body part."""
        return self.n_max_two_body > 0 and self.two_body_weight > 0

    @property
    def has_three_body(self) -> bool:
        """Return whether there is a three-body part."""
        return self.two_body_weight < 1

    @property
    def cutoff(self) -> float:
        """Return the largest cutoff in angstrom."""
        two = self.cutoff_two_body if self.has_two_body else 0.0
        three = self.cutoff_three_body if self.has_three_body else 0.0
        return max(two, three)

    @property
    def n_two_body(self) -> int:
        """Return the number of two-body features, the first ones."""
        return len(self.species) * self.n_max_two_body if self.has_two_body else 0

    @property
    def n_features(self) -> int:
        """Return q."""
        if not self.has_three_body:
            return self.n_two_body
        return self.n_two_body + couplings[self.elements].n_features(self._channels)

    @property
    def tables(self) -> dict[str, RadialTable]:
        """Return the radial table of each part there is."""
        out = {}
        if self.has_two_body:
            n_max = self.n_max_two_body
            out["two_body"] = radial_table(self.cutoff_two_body, n_max, 0, self.sigma)
        if self.has_three_body:
            out["three_body"] = radial_table(
                self.cutoff_three_body, self.n_max, self.l_max, self.sigma
            )
        return out

    # -------------------------------------------------------------------- protocol

    def on(self, device: Device) -> PowerSpectrum:
        """Return the same with its arrays and kernels on another device."""
        return replace(self, device=device)

    def describe(self, configuration: Configuration) -> Environments:
        """Return the environments of all atoms.

        Raises
        ------
        InputError
            When a species is not in the list.
        """
        species, around = self._last_species_of(configuration)
        pairs = self._neighbors.pairs(configuration)
        return self._environments(species, pairs, around)

    def evaluate(
        self, configuration: Configuration, local: LocalFunction
    ) -> tuple[FloatArray, FloatArray]:
        """Chain functions of single environments to forces and strain derivative.

        Raises
        ------
        InputError
            When a species is not in the list.
        """
        species, around = self._last_species_of(configuration)
        pairs_of = self._neighbors.search(configuration)
        backend = self._parts.backend

        def pull(atoms: slice) -> tuple[int, Pairs, FloatArray]:
            pairs = pairs_of(atoms)
            here = self._environments(species[atoms], pairs, around)
            gradient = backend.xp.zeros(pairs.vector.shape)
            self._add_pair_gradient(here, local(atoms, here), gradient)
            return atoms.start, pairs, gradient

        n_atoms = configuration.n_atoms
        forces, strain = backend.xp.zeros((n_atoms, 3)), backend.xp.zeros(6)
        for low, pairs, gradient in self._in_chunks(pull, n_atoms):
            backend.kernels.add_forces(
                low,
                pairs.first,
                pairs.neighbor,
                pairs.vector,
                gradient,
                forces,
                strain,
            )
        return forces, strain

    def evaluate_batch(
        self, configurations: Sequence[Configuration], local: LocalFunction
    ) -> list[tuple[FloatArray, FloatArray]]:
        """Chain functions of the environments of several configurations at once.

        See the protocol.
        """
        backend = self._parts.backend
        xp, add_forces = backend.xp, backend.kernels.add_forces
        parts = [
            self._list(place).search(c)(slice(0, c.n_atoms))
            for place, c in enumerate(configurations)
        ]
        own = np.concatenate([self._species_of(c) for c in configurations])
        whole = joined(parts, xp)
        gradient = self.pair_gradient(own, backend.here(own), whole, local)
        out, low = [], 0
        for c, part in zip(configurations, parts, strict=True):
            forces, strain = xp.zeros((c.n_atoms, 3)), xp.zeros(6)
            pulls = gradient[low : low + part.n_pairs]
            low += part.n_pairs
            place = part.first, part.neighbor, part.vector
            add_forces(0, *place, pulls, forces, strain)
            out.append((forces, strain))
        return out

    def pair_gradient(
        self, own: IntArray, species: IntArray, pairs: Pairs, local: LocalFunction
    ) -> FloatArray:
        """Chain functions of some centres to given pairs (see the protocol)."""
        gradient = np.zeros_like(pairs.vector)

        def pull(atoms: slice) -> None:
            here, part = pairs.of_centres(atoms)
            environments = self._environments(own[atoms], part, species)
            weights = local(atoms, environments)
            self._add_pair_gradient(environments, weights, gradient[here])

        for _ in self._in_chunks(pull, len(own)):
            pass
        return gradient

    def gradient_rows(
        self,
        environments: Environments,
        references: FloatArray,
        reference_species: IntArray,
        alpha: FloatArray,
        gamma: FloatArray,
        atoms: IntArray | None = None,
        *,
        by_strain: bool = True,
    ) -> tuple[FloatArray, FloatArray]:
        """Return derivatives of many functions U_B at once (see the protocol).

        Notes
        -----
        See otf.descriptors.design_rows.
        """
        n, m = environments.n_atoms, len(references)
        wanted = np.arange(n) if atoms is None else atoms
        n_rows = 3 * len(wanted)
        # Atoms that nobody asked for share a place behind the others.
        place = np.full(n, len(wanted))
        place[wanted] = np.arange(len(wanted))
        rows = np.zeros((n_rows + 3 + 6, m))
        geometry = _geometry(environments)
        if geometry.own_gradient is None:
            own = np.zeros_like(geometry.pairs.vector)
            self._add_pair_gradient(environments, environments.features, own)
            geometry.own_gradient = own
        for z in np.unique(reference_species):
            columns = np.flatnonzero(reference_species == z)
            centres = np.flatnonzero(environments.species == z)
            maker = RowMaker(
                self._parts,
                geometry,
                geometry.own_gradient,
                references[columns],
                place,
                hidden=None if by_strain else len(wanted),
            )
            part = rows if len(columns) == m else np.zeros((len(rows), len(columns)))
            at = np.ix_(centres, columns)
            maker.add(centres, alpha[at], gamma[at], part)
            if part is not rows:
                rows[:, columns] = part
        return rows[:n_rows], rows[n_rows + 3 :] if by_strain else rows[:0]

    def scaled_to(self, configurations: Sequence[Configuration]) -> PowerSpectrum:
        """Return a copy whose parts have mean norms sqrt(beta) and sqrt(1 - beta).

        The mean is over the atoms of these structures that have neighbours at all. A
        lone part gets mean norm 1.
        """
        raw = replace(self, scale_two_body=1.0, scale_three_body=1.0)
        features = [raw.describe(c).features for c in configurations]
        beta = self.two_body_weight if self.has_two_body else 0.0
        two = _mean_norm([x[:, : self.n_two_body] for x in features])
        three = _mean_norm([x[:, self.n_two_body :] for x in features])
        return replace(
            self,
            scale_two_body=float(np.sqrt(beta)) / two if self.has_two_body else 1.0,
            scale_three_body=float(np.sqrt(1.0 - beta)) / three
            if self.has_three_body
            else 1.0,
        )

    def to_arrays(self) -> Arrays:
        """Return all parameters; tables are rebuilt from them."""
        arrays = {name: np.array(getattr(self, name)) for name in _PARAMETERS}
        arrays["species"] = np.array(self.species, dtype=np.int64)
        arrays["elements_reduced"] = np.array(self.elements == "reduced")
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays, *, device: Device = "cpu") -> PowerSpectrum:
        """Return the descriptor that ``to_arrays`` wrote."""
        return cls(
            species=tuple(int(z) for z in arrays["species"]),
            elements="reduced" if bool(arrays["elements_reduced"]) else "full",
            device=device,
            **{name: np.asarray(arrays[name]).item() for name in _PARAMETERS},
        )

    # --------------------------------------------------------------------- private

    def _environments(
        self, own: IntArray, pairs: Pairs, species: IntArray
    ) -> Environments:
        """Return the environments of the centres, of species ``own``, of some pairs.

        ``species`` are those of all atoms, where the backend has its arrays.
        """
        parts, around = self._parts, species[pairs.neighbor]
        first, vector, distance = pairs.first, pairs.vector, pairs.distance
        n, n_species, kernels = len(own), len(self.species), parts.kernels
        features = []
        c2 = c3 = np.empty((n, n_species, 0, 0))
        if parts.two is not None:
            c2 = kernels.expand(first, around, vector, distance, parts.two, n_species)
            features.append(c2.reshape(n, -1))
        if parts.three is not None:
            c3 = kernels.expand(first, around, vector, distance, parts.three, n_species)
            spectrum = parts.coupling.spectrum(kernels, c3, self._channels)
            if parts.self_terms is not None:
                overlap = kernels.overlap(
                    first, around, distance, parts.three, n_species
                )
                spectrum -= overlap.reshape(n, -1) @ parts.self_terms
            features.append(spectrum)
        both = features[0] if len(features) == 1 else np.concatenate(features, axis=1)
        return Environments(own, both, Geometry(pairs, around, c2, c3))

    def _in_chunks(self, function: Callable[[slice], _R], n_atoms: int) -> Iterator[_R]:
        """Yield what a function says of a few atoms after the other, in their order."""
        backend = self._parts.backend
        # A GPU has one queue of work, and needs no threads to fill it.
        each = in_order if backend.is_host else map
        with one_blas_thread():
            yield from each(function, _chunks(n_atoms, backend.chunk))

    @cached_property
    def _neighbors(self) -> NeighborList:
        return NeighborList(self.cutoff, backend=self._parts.backend)

    @cached_property
    def _lists(self) -> list[NeighborList]:
        return []

    def _list(self, place: int) -> NeighborList:
        """Return the list of a place in batches, which remembers who was there last."""
        while len(self._lists) <= place:
            self._lists.append(NeighborList(self.cutoff, backend=self._parts.backend))
        return self._lists[place]

    @cached_property
    def _channels(self) -> Channels:
        order = np.arange(self.l_max + 1)
        damping = 1.0 + self.angular_damping * (order * (order + 1.0)) ** 2
        weights = np.sqrt(8 * np.pi**2 / (2 * order + 1)) / damping
        weights *= self.scale_three_body
        return Channels(len(self.species), self.n_max, tuple(weights.tolist()))

    @cached_property
    def _parts(self) -> Parts:
        """Return tables and kernels, made on first use.

        What both parts are scaled with is in the table of the two-body part and in the
        weights of the channels.
        """
        backend, coupling = load(self.device), couplings[self.elements]
        tables = {
            name: table._replace(values=backend.here(table.values))
            for name, table in self.tables.items()
        }
        two = tables.get("two_body")
        if two is not None:
            two = two._replace(values=self.scale_two_body * two.values)
        self_terms: csr_array | FloatArray | None = None
        if self.has_three_body and not self.self_terms:
            sparse = coupling.self_terms(self._channels)
            dense = not backend.is_host
            self_terms = backend.here(sparse.toarray()) if dense else sparse
        return Parts(
            backend,
            len(self.species),
            two,
            tables.get("three_body"),
            coupling,
            self._channels,
            self_terms,
        )

    @cached_property
    def _index(self) -> IntArray:
        """Return the species of every atomic number, -1 for those not in the list."""
        index = np.full(max(self.species) + 2, -1, dtype=np.int64)
        index[list(self.species)] = np.arange(len(self.species))
        return index

    def _species_of(self, configuration: Configuration) -> IntArray:
        """Return the (n,) indices of the atoms' species."""
        species = self._index[np.minimum(configuration.numbers, len(self._index) - 1)]
        if species.min(initial=0) < 0:
            strange = configuration.numbers[species < 0].min()
            raise InputError(
                f"atomic number {strange} is not among the species "
                f"{self.species} of the descriptor: train a model that has it"
            )
        return np.asarray(species)

    def _last_species_of(
        self, configuration: Configuration
    ) -> tuple[IntArray, IntArray]:
        """Return the (n,) species indices, here and where the backend has its arrays.

        Those of the last atoms are kept: a step moves them and changes no number.
        """
        numbers, species, around = self._last_species
        if numbers is not configuration.numbers:
            species = self._species_of(configuration)
            around = self._parts.backend.here(species)
            self._last_species[:] = configuration.numbers, species, around
        return species, around

    @cached_property
    def _last_species(self) -> list[Any]:  # numbers, and species of them twice
        return [None, None, None]

    def _add_pair_gradient(
        self, environments: Environments, gradient: FloatArray, out: FloatArray
    ) -> None:
        """Chain dU/dX, (n, q), to the pair vectors and add that to out, (p, 3)."""
        geometry = _geometry(environments)
        pairs, parts = geometry.pairs, self._parts
        kernels, xp = parts.kernels, parts.backend.xp
        place = pairs.first, geometry.species, pairs.vector, pairs.distance
        x: FloatArray = xp.ascontiguousarray(gradient[:, self.n_two_body :])
        if parts.two is not None:
            w: FloatArray = xp.ascontiguousarray(gradient[:, : self.n_two_body])
            w = w.reshape(geometry.c2.shape)
            kernels.add_pair_gradient(*place, parts.two, w, out)
        if parts.three is not None:
            w = parts.coupling.adjoint(kernels, geometry.c3, self._channels, x)
            kernels.add_pair_gradient(*place, parts.three, w, out)
            if parts.self_terms is not None:
                own: FloatArray = xp.ascontiguousarray(-(x @ parts.self_terms.T))
                w = own.reshape(len(x), len(self.species), self.l_max + 1, -1)
                kernels.add_overlap_gradient(*place, parts.three, w, out)


@lru_cache(maxsize=64)
def _chunks(n_atoms: int, largest: int) -> Sequence[slice]:
    """Return ranges of atoms that are evaluated together, two at least of many atoms.

    The ranges, and with them the last bits of a sum, depend on nothing else.
    """
    size = min(largest, max(largest // 4, -(-n_atoms // 2)))
    return [slice(k, min(k + size, n_atoms)) for k in range(0, n_atoms, size)]


def _geometry(environments: Environments) -> Geometry:
    """Return the private part of environments that this descriptor made."""
    geometry = environments.geometry
    if not isinstance(geometry, Geometry):
        raise TypeError("these environments come from another descriptor")
    return geometry


def _mean_norm(features: list[FloatArray]) -> float:
    """Return the mean norm of the rows that are not zero; 1 when all are."""
    norms = np.concatenate([np.linalg.norm(x, axis=1) for x in features])
    norms = norms[norms > 0]
    return float(norms.mean()) if len(norms) else 1.0
