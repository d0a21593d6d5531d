"""A fitted kernel model: predictions and their posterior deviations, nothing else.

This is the production form. It is a value: learning makes a new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import qr, solve_triangular

from otf.configuration import masked_stress
from otf.models.basis import Basis, spilling
from otf.models.design import raw_rows
from otf.models.sparsify import pivoted_cholesky
from otf.potential import Prediction, Uncertainty

if TYPE_CHECKING:
    from otf.configuration import Configuration, FloatArray
    from otf.descriptors.interface import Descriptor, Environments
    from otf.models.baseline import Baseline
    from otf.models.composition import ElementEnergies
    from otf.models.references import References


@dataclass(frozen=True, eq=False)
class Gauge:
    """Local deviations and spilling against a set of references.

    Attributes
    ----------
    basis : the references and their factor L
    root : (m, r), posterior covariance of their weights is root root^T
    prior_precision : s_w
    """

    basis: Basis
    root: FloatArray
    prior_precision: float

    def measure(self, environments: Environments) -> Uncertainty:
        """Return deviations (eV) of every atom's own energy, and spilling.

        Notes
        -----
        sigma_i^2 = |k_i root|^2 + s_i K(i, i)/s_w, the deterministic training
        conditional: the second term stays where the references say nothing.
        """
        references = self.basis.references
        atoms = references.like(environments)
        kernel = references.kernel(atoms)
        own = atoms.diagonal
        share = spilling(self.basis.whiten(kernel), own)
        spread = kernel @ self.root
        variance = np.einsum("ij,ij->i", spread, spread)
        variance += share * own / self.prior_precision
        return Uncertainty(local=np.sqrt(variance), spilling=share)

    def reduced(self, limit: int) -> Gauge:
        """Return a cheaper gauge on at most ``limit`` of the references.

        Notes
        -----
        The subset S is chosen by pivoted Cholesky. The posterior of the function values
        at S, K_SB Sigma K_BS, is carried to an atom by the prior conditional
        k_S K_SS^-1; the rest enters through the spilling against S, which is an upper
        bound of the spilling against all references.
        """
        references = self.basis.references
        if references.n_references <= limit:
            return self
        chosen = pivoted_cholesky(
            references, bound=self.basis.jitter, limit=limit, known=None
        )
        subset = Basis.of(references.subset(chosen), self.basis.jitter)
        spread = references.kernel(subset.references) @ self.root
        for trans in ("N", "T"):
            spread = solve_triangular(subset.factor, spread, lower=True, trans=trans)
        triangle = qr(spread.T, mode="r")[0][: len(chosen)]
        return Gauge(subset, triangle.T, self.prior_precision)


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

    def predict(
        self, configuration: Configuration, environments: Environments | None = None
    ) -> Prediction:
        """Return energy, forces and stress; stress is 0 along non-periodic axes."""
        if environments is None:
            environments = self.descriptor.describe(configuration)
        slopes = self.references.slopes(environments)
        known = self.baseline.evaluate(configuration)
        gradient = (slopes.alpha * self.weights) @ self.references.directions
        gradient += (slopes.gamma @ self.weights)[:, None] * environments.features
        forces, strain = self.descriptor.backward(environments, gradient)
        energies = slopes.value @ self.weights + known.energies
        energies += self.elements.per_atom(configuration)
        return Prediction(
            energy=float(energies.sum()),
            forces=forces + known.forces,
            stress=_stress(strain + known.strain_derivative, configuration),
        )

    def describe(self, configuration: Configuration) -> Environments:
        """Return the environments of all atoms."""
        return self.descriptor.describe(configuration)

    def screen(self, environments: Environments) -> Uncertainty:
        """Return local deviations and spilling against a subset of the references.

        Its spilling is an upper bound of the full one.
        """
        return self.coarse.measure(environments)

    def local_uncertainty(self, environments: Environments) -> Uncertainty:
        """Return local deviations and spilling against all references."""
        return self.gauge.measure(environments)

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
            environments = self.descriptor.describe(configuration)
        kernel = self.references.kernel(self.references.like(environments))
        known = self.baseline.evaluate(configuration).energies
        learned = kernel @ self.weights
        return np.asarray(learned + known + self.elements.per_atom(configuration))

    def force_uncertainty(
        self, configuration: Configuration, environments: Environments | None = None
    ) -> Uncertainty:
        """Return the exact posterior deviations, without the noise of labels.

        Notes
        -----
        The variance of a row phi is |phi A|^2. Of forces sqrt(tr C_i/3) is returned,
        C_i the 3 x 3 covariance of atom i, which does not depend on the axes.
        """
        if environments is None:
            environments = self.descriptor.describe(configuration)
        local = self.gauge.measure(environments)
        raw = raw_rows(self.descriptor, self.references, environments)
        root = self.gauge.root
        spread = raw.forces @ root
        variance = np.einsum("ij,ij->i", spread, spread).reshape(-1, 3)
        strain = np.sqrt(((raw.strain @ root) ** 2).sum(axis=1))
        return Uncertainty(
            local=local.local,
            spilling=local.spilling,
            forces=np.sqrt(variance.mean(axis=1)),
            energy=float(np.linalg.norm(raw.energy @ root)),
            stress=_stress(strain, configuration),
        )


def _stress(strain_derivative: FloatArray, configuration: Configuration) -> FloatArray:
    volume = configuration.volume
    if volume == 0.0:
        return np.zeros(6)
    return np.nan_to_num(
        masked_stress(strain_derivative / volume, configuration.pbc), nan=0.0
    )
