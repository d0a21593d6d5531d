"""Bayesian linear regression in a kernel basis that grows and shrinks with learning."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from otf.errors import OTFError
from otf.models.baselines.interface import NoBaseline
from otf.models.basis import Basis
from otf.models.covariance import Polynomial
from otf.models.evidence import PrecisionBounds
from otf.models.gauge import Gauge
from otf.models.interface import FitReport, RowNoise, RowWeights
from otf.models.posterior import KernelPosterior
from otf.models.prior import prior_named
from otf.models.references import References
from otf.models.solvers import EvidenceMaximisation
from otf.models.sparsify import (
    LeverageColumns,
    pivoted_cholesky,
    redundant_references,
)
from otf.models.training import StoredFrame, TrainingSet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otf.configuration import Configuration, FloatArray, IntArray, Labels
    from otf.descriptors.interface import Descriptor, Environments
    from otf.models.baselines.interface import Baseline
    from otf.models.composition import ElementEnergies
    from otf.models.covariance import Covariance
    from otf.models.interface import PerKind
    from otf.models.solvers import Solution, Solver
    from otf.potential import Prediction, Uncertainty

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelOptions:
    """How references are chosen and kept, and how small the noise may become.

    Attributes
    ----------
    prior : "whitened" or "identity"
    selection_bound : smallest spilling with which a candidate becomes a reference
    jitter : on the diagonal of K_BB
    max_references : cap; the most redundant ones beyond it are dropped
    cur_epsilon : eigenvalues below this share of the largest count as zero
    screen_references : size of the subset of the screen
    noise_floor_force : eV/angstrom, smallest noise the evidence may find
    noise_floor_energy : eV/atom, likewise
    """

    prior: str = "whitened"
    selection_bound: float = 1e-4
    jitter: float = 1e-8
    max_references: int | None = None
    cur_epsilon: float = 1e-9
    screen_references: int = 500
    noise_floor_force: float = 0.01
    noise_floor_energy: float = 1e-4

    def solver(self, noise: PerKind) -> EvidenceMaximisation:
        """Return the evidence maximisation that keeps to the noise floors."""
        ratio = min(
            noise.force / self.noise_floor_force,
            noise.energy / self.noise_floor_energy,
        )
        return EvidenceMaximisation(PrecisionBounds(noise_high=ratio**2))


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fit that has been made and not yet taken up."""

    posterior: KernelPosterior
    report: FitReport


class BayesianLinear:
    """U = sum of e0, a baseline, and w . K(X_i, X_B) over references of equal species.

    The object changes in place, because its rows are large: ``extend`` and
    ``drop_redundant`` change what it has taken in, ``fit_weights`` replaces what it
    predicts with. Between them predictions are those of the last fit.

    The first ``extend`` scales the descriptor and sets the softening of the norm to a
    thousandth of the mean norm; environments described before it are void.

    Memory is 8 bytes times labels times references for the rows, and the environments
    of every stored frame.

    Parameters
    ----------
    descriptor
        Map from neighbourhoods to features.
    covariance
        Of two environments; the default is the polynomial of exponent 4.
    baseline
        Subtracted from labels and added to predictions.
    noise, weights
        Rows are divided by the first and multiplied by the second.
    options
        Prior, choice of references, noise floors.
    isolated_energies
        eV by atomic number, the point the fit of e0 starts from.
    solver
        From rows to weights; the default maximises the evidence.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        *,
        covariance: Covariance | None = None,
        baseline: Baseline | None = None,
        noise: RowNoise | None = None,
        weights: RowWeights | None = None,
        options: ModelOptions | None = None,
        isolated_energies: Mapping[int, float] | None = None,
        solver: Solver | None = None,
    ) -> None:
        self.descriptor = descriptor
        self.covariance = covariance or Polynomial()
        self.baseline = baseline or NoBaseline()
        self.weights = weights or RowWeights()
        self.options = options or ModelOptions()
        self.isolated_energies = isolated_energies
        self.training = TrainingSet(noise or RowNoise())
        self.prior = prior_named(self.options.prior)
        self.solver = solver or self.options.solver(self.training.noise)
        self.basis: Basis | None = None
        self.posterior: KernelPosterior | None = None
        self.report: FitReport | None = None
        self.pending: Fitted | None = None
        # The last basis, and epsilon, in which nothing was redundant.
        self._independent: tuple[Basis | None, float] = (None, 0.0)

    # ---------------------------------------------------------------- prediction

    @property
    def is_fitted(self) -> bool:
        """Return whether there are weights to predict with."""
        return self.posterior is not None

    @property
    def n_references(self) -> int:
        """Return the number of local reference configurations."""
        return 0 if self.basis is None else self.basis.n_references

    @property
    def n_frames(self) -> int:
        """Return the number of labelled frames taken in."""
        return len(self.training.frames)

    @property
    def fitted(self) -> KernelPosterior:
        """Return the posterior of the last fit.

        Raises
        ------
        OTFError
            When there was none.
        """
        if self.posterior is None:
            raise OTFError("the model has not been fitted yet: label a structure first")
        return self.posterior

    def describe(self, configuration: Configuration) -> Environments:
        """Return the environments of all atoms."""
        return self.descriptor.describe(configuration)

    def predict(self, configuration: Configuration) -> Prediction:
        """Return energy, forces and stress; stress is 0 along non-periodic axes."""
        return self.fitted.predict(configuration)

    def predict_screened(self, configuration: Configuration) -> Prediction:
        """Return a prediction with what ``screen`` says of its atoms."""
        return self.fitted.predict_screened(configuration)

    def atomic_energies(
        self, configuration: Configuration, environments: Environments | None = None
    ) -> FloatArray:
        """Return the energy of every atom, (n,) in eV."""
        return self.fitted.atomic_energies(configuration, environments)

    def screen(self, environments: Environments) -> Uncertainty:
        """Return local deviations and spilling against a subset of the references.

        Its spilling is an upper bound of the full one.
        """
        return self.fitted.screen(environments)

    def local_uncertainty(self, environments: Environments) -> Uncertainty:
        """Return local deviations and spilling against all references."""
        return self.fitted.local_uncertainty(environments)

    def force_uncertainty(
        self,
        configuration: Configuration,
        environments: Environments | None = None,
        atoms: IntArray | None = None,
        *,
        with_stress: bool = True,
    ) -> Uncertainty:
        """Return exact posterior deviations of energy, forces and stress as well.

        ``atoms`` (k,) are those whose forces are asked for, by default all.
        """
        return self.fitted.force_uncertainty(
            configuration, environments, atoms, with_stress=with_stress
        )

    def spilling(self, environments: Environments) -> FloatArray:
        """Return the spilling against everything taken in so far, (n,)."""
        if self.basis is None:
            return np.ones(environments.n_atoms)
        return self.basis.spilling(self.basis.references.like(environments))

    def composition_warning(self, configuration: Configuration) -> str | None:
        """Return one line when e0 is not determined for this composition."""
        return self.fitted.composition_warning(configuration)

    # ------------------------------------------------------------------ learning

    def extend(
        self,
        frames: Sequence[tuple[Configuration, Labels]],
        candidates: Sequence[IntArray | None] | None = None,
        references: Sequence[str] | None = None,
    ) -> None:
        """Take in labelled frames, and references from their candidate atoms.

        Parameters
        ----------
        frames
            Structures with their labels; missing labels are NaN.
        candidates
            For each frame the atoms that may become references, None for all. They
            enter by pivoted Cholesky while their spilling exceeds the selection bound.
        references
            For each frame the fingerprint of the calculator from whose zero its energy
            counts, empty for that of the model, None for all of them. Energies of the
            others may be shifted by a constant for each species.

        Notes
        -----
        Only new rows and columns are computed; the weights wait for ``fit_weights``.
        """
        if not frames:
            return
        if self.is_fitted and not self.training.frames:
            raise OTFError(
                "this model was fitted to a data set in one go and keeps no rows to "
                "extend: start the learning from its data set"
            )
        if self.basis is None:
            self.prepare([configuration for configuration, _ in frames])
        new = [
            StoredFrame.of(configuration, labels, self.baseline, reference)
            for (configuration, labels), reference in zip(
                frames, references or [""] * len(frames), strict=True
            )
        ]
        self._add_references(new, candidates or [None] * len(new))
        for frame in new:
            self.training.add(frame, self.current_basis, self.prior, self.descriptor)
        limit = self.options.max_references
        if limit is not None and self.n_references > limit:
            self._cap(limit)

    def prepare(self, configurations: Sequence[Configuration]) -> None:
        """Scale the descriptor on the first structures and set the softened norm."""
        self.descriptor = self.descriptor.scaled_to(configurations)
        norms = np.concatenate(
            [np.linalg.norm(self.describe(c).features, axis=1) for c in configurations]
        )
        mean = float(norms.mean())
        empty = References(
            np.empty((0, self.descriptor.n_features)),
            np.empty(0),
            np.empty(0, np.int64),
            self.covariance,
            1e-3 * mean if mean > 0.0 else 1e-3,
        )
        self.basis = Basis(empty, self.options.jitter, np.empty((0, 0)))

    @property
    def current_basis(self) -> Basis:
        """Return the basis of everything taken in so far."""
        if self.basis is None:
            raise OTFError("the model holds no labelled structure yet")
        return self.basis

    def _add_references(
        self, frames: Sequence[StoredFrame], candidates: Sequence[IntArray | None]
    ) -> None:
        basis = self.current_basis
        parts = [
            basis.references.like(frame.environments(self.descriptor))
            for frame in frames
        ]
        parts = [
            part if index is None else part.subset(np.asarray(index, dtype=np.int64))
            for part, index in zip(parts, candidates, strict=True)
        ]
        pool = parts[0]
        for part in parts[1:]:
            pool = pool.joined(part)
        known = basis.whiten(basis.references.kernel(pool))
        limit = self.options.max_references or pool.n_references
        chosen = pivoted_cholesky(
            pool, bound=self.options.selection_bound, limit=limit, known=known
        )
        if len(chosen):
            self.append_references(pool.subset(chosen))

    def append_references(self, new: References) -> None:
        """Make environments references, with their columns for all stored frames."""
        self.basis, growth = self.current_basis.appended(new)
        self.training.add_columns(new, growth, self.prior, self.descriptor)

    def drop_redundant(self, epsilon: float | None = None, bound: float = 1e-6) -> int:
        """Drop references that the others span, by CUR; return how many went.

        Parameters
        ----------
        epsilon
            Eigenvalues of K_BB below this share of the largest count as zero.
        bound
            A dropped reference whose spilling against the kept ones exceeds it stays.
        """
        if epsilon is None:
            epsilon = self.options.cur_epsilon
        basis = self.current_basis
        if self._independent == (basis, epsilon):
            return 0
        dropped = redundant_references(
            basis.references,
            epsilon=epsilon,
            bound=bound,
            factor=basis.factor,
            jitter=basis.jitter,
        )
        if not len(dropped):
            self._independent = (basis, epsilon)
        self.drop_references(dropped)
        return len(dropped)

    def drop_references(self, dropped: IntArray) -> None:
        """Drop references by index; rows and Gram matrices follow by rotation."""
        if not len(dropped):
            return
        self.basis, rotation = self.current_basis.without(dropped)
        self.training.rotate(self.prior.rotation(dropped, rotation), int(dropped.min()))

    def _cap(self, limit: int) -> None:
        references = self.current_basis.references
        kept = LeverageColumns().select(references, limit=limit)
        dropped = np.setdiff1d(np.arange(references.n_references), kept)
        logger.info(
            "%d references exceed the cap of %d; the most redundant %d are dropped",
            references.n_references,
            limit,
            len(dropped),
        )
        self.drop_references(dropped)

    # ----------------------------------------------------------------------- fit

    def fit_weights(self) -> FitReport:
        """Fit e0, both precisions and the weights to everything taken in.

        Raises
        ------
        OTFError
            When no frame has been taken in.
        """
        self.solve()
        return self.take_up()

    def take_up(self) -> FitReport:
        """Predict with the fit that ``solve`` left in ``pending`` from now on."""
        assert self.pending is not None  # whoever takes up has solved
        self.posterior, self.report = self.pending.posterior, self.pending.report
        self.pending = None
        return self.report

    def solve(self) -> None:
        """Fit to everything taken in, and go on predicting with the fit before.

        Raises
        ------
        OTFError
            When no frame has been taken in.
        """
        elements = self.training.element_energies(
            self.descriptor.species, self.isolated_energies
        )
        self.training.subtract(elements)
        problem = self.training.problem(self.weights, self._last_precisions())
        solution = self.solver.solve(problem)
        fit = solution.fit
        report = FitReport(
            prior_precision=fit.prior_precision,
            noise_precision=fit.noise_precision,
            n_effective=fit.n_effective,
            iterations=fit.iterations,
            log_evidence=fit.log_evidence,
            clamps=fit.clamps,
            n_rows=self.training.n_rows,
            n_references=self.n_references,
            n_frames=self.n_frames,
            errors=self.training.errors(solution.weights),
        )
        self.pending = Fitted(self._posterior_of(solution, elements), report)

    def adopt(self, solution: Solution, elements: ElementEnergies) -> None:
        """Predict with the weights of a solution from now on."""
        self.posterior = self._posterior_of(solution, elements)

    def _posterior_of(
        self, solution: Solution, elements: ElementEnergies
    ) -> KernelPosterior:
        basis = self.current_basis
        gauge = Gauge(
            basis,
            self.prior.weights(basis, solution.root),
            solution.fit.prior_precision,
        )
        return KernelPosterior(
            descriptor=self.descriptor,
            gauge=gauge,
            coarse=gauge.reduced(self.options.screen_references),
            weights=self.prior.weights(basis, solution.weights),
            elements=elements,
            baseline=self.baseline,
        )

    def _last_precisions(self) -> tuple[float, float]:
        if self.report is None:
            return 1.0, 1.0
        return self.report.prior_precision, self.report.noise_precision
