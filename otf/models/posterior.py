"""A fitted kernel model: predictions and their posterior deviations, nothing else.

This is the production form. It is a value: learning makes a new one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from otf.configuration import VOIGT
from otf.descriptors.interface import PairDescriptor
from otf.errors import InputError
from otf.kernels import load
from otf.models.baselines.interface import NoBaseline, pair_parts
from otf.models.design import raw_rows
from otf.models.forms import Direct, form_of, products
from otf.models.references import EVERY
from otf.potential import Prediction, Uncertainty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import Configuration, FloatArray, IntArray
    from otf.descriptors.interface import Descriptor, Environments, LocalFunction
    from otf.kernels import Backend, Device
    from otf.models.baselines.interface import Baseline, BaselineValues, PairBaseline
    from otf.models.composition import ElementEnergies
    from otf.models.forms import Form
    from otf.models.gauge import Gauge
    from otf.models.references import References
    from otf.neighbors import Pairs


@dataclass(frozen=True, eq=False)
class _Block:
    """What is learned of one species.

    Attributes
    ----------
    form : of the sum over its references
    references : all of them
    coarse : those the screen uses, and their places among all
    """

    form: Form
    references: References
    coarse: References
    places: IntArray


class PairPrediction(NamedTuple):
    """What is predicted of some atoms from their pairs, where the device has arrays.

    Attributes
    ----------
    energies : (c,) eV, of each of these atoms
    gradient : (p, 3) eV/angstrom, of the sum of these by the vectors of the pairs
    spilling : (c,) against all references; None where it was not asked for
    """

    energies: FloatArray
    gradient: FloatArray
    spilling: FloatArray | None


class _Found(NamedTuple):
    """What is known of every atom, filled in a few atoms at a time."""

    energies: FloatArray
    local: FloatArray
    spilling: FloatArray


@dataclass(frozen=True, eq=False)
class KernelPosterior:
    """Weights of a kernel basis with their posterior covariance.

    Attributes
    ----------
    descriptor : of the environments
    gauge : references, factor, and the root A of the posterior covariance A A^T
    coarse : the same on a subset of the references, for every step
    weights : (m,) eV
    elements : e0
    baseline : added to what is learned
    """

    descriptor: Descriptor
    gauge: Gauge
    coarse: Gauge
    weights: FloatArray
    elements: ElementEnergies
    baseline: Baseline

    @property
    def references(self) -> References:
        """Return the local reference configurations."""
        return self.gauge.basis.references

    def predict(self, configuration: Configuration) -> Prediction:
        """Return energy, forces and stress; stress is 0 along non-periodic axes."""
        return self._predict(configuration)

    def predict_screened(self, configuration: Configuration) -> Prediction:
        """Return a prediction with what ``screen`` says of its atoms.

        Covariances are computed once for both.
        """
        return self._predict(configuration, self.coarse)

    def predict_measured(self, configuration: Configuration) -> Prediction:
        """Return a prediction with what ``local_uncertainty`` says of its atoms."""
        return self._predict(configuration, self.gauge)

    def predict_batch(
        self, configurations: Sequence[Configuration], *, measured: bool = False
    ) -> list[Prediction]:
        """Return what ``predict``, or ``predict_measured``, says of each configuration.

        Those with fewer atoms than are evaluated together anyway are evaluated at once;
        the last bits then depend on what they are evaluated with.
        """
        gauge = self.gauge if measured else None
        small = [
            k for k, c in enumerate(configurations) if c.n_atoms < self.backend.chunk
        ]
        if len(small) < 2 or not isinstance(self.descriptor, PairDescriptor):
            return [self._predict(c, gauge) for c in configurations]
        together = [configurations[k] for k in small]
        found = _Found(*self.backend.xp.zeros((3, sum(c.n_atoms for c in together))))
        pulls = self.descriptor.evaluate_batch(
            together, self._contraction(found, gauge)
        )
        out: dict[int, Prediction] = {}
        low = 0
        for k, c, (forces, strain) in zip(small, together, pulls, strict=True):
            part = _Found(*(x[low : low + c.n_atoms] for x in found))
            out[k] = self._assembled(c, part, forces, strain, is_measured=measured)
            low += c.n_atoms
        return [
            out[k] if k in out else self._predict(c, gauge)
            for k, c in enumerate(configurations)
        ]

    def _predict(
        self, configuration: Configuration, gauge: Gauge | None = None
    ) -> Prediction:
        found = _Found(*self.backend.xp.zeros((3, configuration.n_atoms)))
        contract = self._contraction(found, gauge)
        forces, strain = self.descriptor.evaluate(configuration, contract)
        return self._assembled(
            configuration, found, forces, strain, is_measured=gauge is not None
        )

    def _assembled(
        self,
        configuration: Configuration,
        found: _Found,
        forces: FloatArray,
        strain: FloatArray,
        *,
        is_measured: bool,
    ) -> Prediction:
        """Return a prediction from what is learned and what is not."""
        backend = self.backend
        energy = found.energies.sum() + self.elements.total(configuration)
        if not isinstance(self.baseline, NoBaseline):
            known = self._known(configuration)
            energy += known.energies.sum()
            forces += backend.here(known.forces)
            strain += backend.here(known.strain_derivative)
        prediction = Prediction(
            energy=float(energy) if backend.is_host else energy,
            forces=forces,
            stress=stress_of(strain, configuration),
            uncertainty=Uncertainty(local=found.local, spilling=found.spilling)
            if is_measured
            else None,
        )
        # Positions on the host want an answer there.
        asked_here = not isinstance(configuration.positions, np.ndarray)
        is_there = asked_here or backend.is_host
        return prediction if is_there else prediction.of(backend.host)

    def predict_pairs(
        self, own: IntArray, species: IntArray, pairs: Pairs, *, measured: bool = False
    ) -> PairPrediction:
        """Return energies of some atoms and their derivatives by given pairs.

        Whoever found the pairs also sums up forces, so that neighbours may be atoms of
        another processor.

        Parameters
        ----------
        own, species, pairs
            As of ``PairDescriptor.pair_gradient``.
        measured
            Whether the spilling is computed as well.

        Raises
        ------
        InputError
            When descriptor or baseline need more than these pairs.
        """
        parts = self.require_pairs()
        found = _Found(*self.backend.xp.zeros((3, len(own))))
        contract = self._contraction(found, self.gauge if measured else None)
        assert isinstance(self.descriptor, PairDescriptor)
        gradient = self.descriptor.pair_gradient(own, species, pairs, contract)
        energies = found.energies + self.backend.here(self.elements.values[own])
        for part in parts:
            self._add_near(part, own, species, pairs, (energies, gradient))
        return PairPrediction(energies, gradient, found.spilling if measured else None)

    def require_pairs(self) -> list[PairBaseline]:
        """Return the parts of the baseline where near pairs are all a model needs.

        Raises
        ------
        InputError
            When its descriptor or baseline needs more.
        """
        if not isinstance(self.descriptor, PairDescriptor):
            raise InputError(
                f"the descriptor {type(self.descriptor).__name__} of the model cannot "
                "be evaluated from given pairs"
            )
        return pair_parts(self.baseline)

    def _add_near(
        self,
        part: PairBaseline,
        own: IntArray,
        species: IntArray,
        pairs: Pairs,
        out: tuple[FloatArray, FloatArray],
    ) -> None:
        """Add a part of the baseline to energies and gradient; it is evaluated here."""
        xp, host, here = self.backend.xp, self.backend.host, self.backend.here
        energies, gradient = out
        near = xp.flatnonzero(pairs.distance < part.reach)
        if not len(near):
            return
        centre = host(xp.searchsorted(pairs.first, near, side="right") - 1)
        numbers = np.array(self.descriptor.species)
        energy, slope = part.of_pairs(
            numbers[own[centre]],
            numbers[host(species[pairs.neighbor[near]])],
            host(pairs.vector[near]),
            host(pairs.distance[near]),
        )
        energies += here(np.bincount(centre, energy, minlength=len(own)))
        gradient[near] += here(slope)

    def _known(self, configuration: Configuration) -> BaselineValues:
        """Return what the baseline says; it is evaluated on the host."""
        if not isinstance(configuration.positions, np.ndarray):
            positions = self.backend.host(configuration.positions)
            configuration = configuration.moved(positions)
        return self.baseline.evaluate(configuration)

    def _contraction(self, found: _Found, gauge: Gauge | None) -> LocalFunction:
        """Return what fills in the energies of atoms and gives their slopes."""

        def contract(atoms: slice, environments: Environments) -> FloatArray:
            energies, local, spilling = found
            part = _Found(energies[atoms], local[atoms], spilling[atoms])
            return self._contract(part, environments, gauge)

        return contract

    def _contract(
        self, found: _Found, environments: Environments, gauge: Gauge | None
    ) -> FloatArray:
        """Fill in what is found of some atoms; return dU/dX, (n, q).

        Notes
        -----
        Every atom's energy is a function of u = x/n(x), see otf.models.forms.
        """
        kernels = self.backend.kernels
        atoms = self.references.like(environments, kernels)
        features, softening = environments.features, atoms.softening
        gradient = np.empty_like(features)
        one = len(self._blocks) == 1
        for species, rows in [(0, EVERY)] if one else atoms.rows_by_species():
            part, block, k = atoms.subset(rows), self._blocks[species], None
            if gauge is not None:
                kernel, k = self._kernel(block, part, gauge)
                found.local[rows], found.spilling[rows] = gauge.of_kernel(
                    kernel, part.diagonal, species
                )
            sums = block.form.sums(part, k)
            found.energies[rows] = sums.value
            pull: FloatArray = kernels.softened_gradient(
                features[rows], softening, sums.slope, sums.own
            )
            if isinstance(rows, slice):
                return pull
            gradient[rows] = pull
        return gradient

    def _kernel(
        self, block: _Block, atoms: References, gauge: Gauge
    ) -> tuple[FloatArray, FloatArray | None]:
        """Return K for a gauge, and k with all references where it was computed."""
        if gauge is self.coarse and not isinstance(block.form, Direct):
            return block.coarse.kernel(atoms), None
        k = products(atoms.directions, block.references.directions)
        if gauge is self.coarse:
            chosen, part = block.coarse, k[:, block.places]
        else:
            chosen, part = block.references, k
        return chosen.covariance.value(part, atoms.rho, chosen.rho), k

    @property
    def form(self) -> str:
        """Return how energies are evaluated: direct, quadratic or vector."""
        return "/".join(sorted({block.form.name for block in self._blocks}))

    @property
    def backend(self) -> Backend:
        """Return where predictions are made."""
        return load(self.descriptor.device)

    def on(self, device: Device) -> KernelPosterior:
        """Return the same model, which predicts on another device.

        Whatever else it says of environments it says on the host.
        """
        backend = load(device)
        return replace(
            self,
            descriptor=self.descriptor.on(device),
            gauge=self.gauge.on(backend),
            coarse=self.coarse.on(backend),
        )

    @cached_property
    def _blocks(self) -> list[_Block]:
        """Return what is learned of every species of the descriptor."""
        out = []
        for species in range(len(self.descriptor.species)):
            columns = np.flatnonzero(self.references.species == species)
            references = self.references.subset(columns)
            coarse = self.coarse.basis.references.of_species(species)
            place = {row.tobytes(): k for k, row in enumerate(references.directions)}
            places = [place[row.tobytes()] for row in coarse.directions]
            form = form_of(references, self.weights[columns], self.backend)
            out.append(
                _Block(
                    form,
                    references.on(self.backend),
                    coarse.on(self.backend),
                    self.backend.here(np.array(places, np.int64)),
                )
            )
        return out

    @cached_property
    def _on_host(self) -> KernelPosterior:
        return self if self.backend.is_host else self.on("cpu")

    def describe(self, configuration: Configuration) -> Environments:
        """Return the environments of all atoms."""
        return self._on_host.descriptor.describe(configuration)

    def screen(self, environments: Environments) -> Uncertainty:
        """Return local deviations and spilling against a subset of the references.

        Its spilling is an upper bound of the full one.
        """
        return self._on_host.coarse.measure(environments)

    def local_uncertainty(self, environments: Environments) -> Uncertainty:
        """Return local deviations and spilling against all references."""
        return self._on_host.gauge.measure(environments)

    def spilling(self, environments: Environments) -> FloatArray:
        """Return the spilling against all references, (n,)."""
        return self.gauge.basis.spilling(self.references.like(environments))

    def composition_warning(self, configuration: Configuration) -> str | None:
        """Return one line when e0 is not determined for this composition."""
        return self.elements.warning(configuration)

    def atomic_energies(
        self, configuration: Configuration, environments: Environments | None = None
    ) -> FloatArray:
        """Return the energy of every atom, (n,) in eV."""
        if environments is None:
            environments = self.describe(configuration)
        kernel = self.references.kernel(self.references.like(environments))
        known = self.baseline.evaluate(configuration).energies
        learned = kernel @ self.weights
        return np.asarray(learned + known + self.elements.per_atom(configuration))

    def force_uncertainty(
        self,
        configuration: Configuration,
        environments: Environments | None = None,
        atoms: IntArray | None = None,
        *,
        with_stress: bool = True,
    ) -> Uncertainty:
        """Return the exact posterior deviations, without the noise of labels.

        ``atoms`` (k,) are those whose forces are asked for, by default all n: what is
        returned of atoms is (k,). Of few, without the stress, they cost less.

        Notes
        -----
        The variance of a row phi is |phi A|^2. Of forces sqrt(tr C_i/3) is returned,
        C_i the 3 x 3 covariance of atom i, which does not depend on the axes.
        """
        if environments is None:
            environments = self.describe(configuration)
        here = self._on_host
        raw = raw_rows(
            here.descriptor,
            self.references,
            environments,
            atoms,
            by_strain=with_stress,
        )
        # At once, for it is the reading of the triangle that takes the time.
        rows = np.concatenate([raw.energy[None], raw.forces, raw.strain])
        energy, force, strain = np.split(
            self.gauge.deviations(rows), [1, 1 + len(raw.forces)]
        )
        return replace(
            here.gauge.measure(environments, atoms),
            forces=np.sqrt((force.reshape(-1, 3) ** 2).mean(axis=1)),
            energy=float(energy[0]),
            stress=stress_of(strain, configuration) if with_stress else None,
        )


def stress_of(
    strain_derivative: FloatArray, configuration: Configuration
) -> FloatArray:
    """Return the stress, (6,), of a strain derivative; 0 along non-periodic axes."""
    volume = configuration.volume
    if volume == 0.0:
        return 0.0 * strain_derivative
    stress = strain_derivative / volume
    periodic = configuration.pbc.tolist()
    if not all(periodic):
        for k, (a, b) in enumerate(VOIGT):
            if not (periodic[a] and periodic[b]):
                stress[k] = 0.0
    return stress
