"""Sections on the force field: descriptor, regression, learning, production."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from otf.settings.base import Count, NotNegative, Positive, Section, Text
from otf.units import GPA

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Production(Section):
    """A finished model to run with, instead of learning one."""

    model: Text | None = Field(
        default=None,
        description="Model file; the run predicts only and never calls a reference.",
        examples=["model.h5"],
    )
    on_untrusted: Literal["stop", "flag"] = Field(
        default="stop",
        description="What happens when the spilling exceeds `max_spilling`.",
    )
    max_spilling: Fraction = Field(
        default=0.002,
        description="Largest trusted spilling factor of any atom.",
    )
    check_interval: Count = Field(
        default=10,
        description="Steps between two checks of the spilling factor.",
    )


class Descriptor(Section):
    """How the neighbourhood of an atom becomes a vector."""

    cutoff_three_body_A: Annotated[float, Field(gt=0.0, le=20.0)] = Field(
        default=5.5,
        description="Cutoff radius of the three-body part.",
    )
    n_max: Annotated[int, Field(ge=1, le=30)] = Field(
        default=8,
        description="Radial functions of the three-body part.",
    )
    l_max: Annotated[int, Field(ge=0, le=12)] = Field(
        default=4,
        description="Largest angular momentum of the three-body part.",
    )
    cutoff_two_body_A: Annotated[float, Field(gt=0.0, le=20.0)] = Field(
        default=6.5,
        description="Cutoff radius of the two-body part.",
    )
    n_max_two_body: Annotated[int, Field(ge=1, le=40)] = Field(
        default=12,
        description="Radial functions of the two-body part.",
    )
    sigma_A: Annotated[float, Field(ge=0.05, le=2.0)] = Field(
        default=0.5,
        description="Width of the Gaussian that stands for a neighbour.",
    )
    two_body_weight: Fraction = Field(
        default=0.1,
        description="Share of the two-body part in the covariance.",
    )
    self_terms: bool = Field(
        default=True,
        description="Keep the terms of a neighbour with itself in the power spectrum.",
    )
    angular_damping: NotNegative = Field(
        default=0.0,
        description="a in the weight 1/(1 + a [l(l+1)]^2) of angular momentum l.",
    )
    elements: Literal["full", "reduced"] = Field(
        default="full",
        description="All pairs of elements, or a form linear in their number (for four "
        "elements and more).",
    )


class Regression(Section):
    """The Bayesian linear regression on the local reference configurations."""

    covariance: Literal["polynomial", "gaussian"] = Field(
        default="polynomial",
        description="Similarity of two environments.",
    )
    exponent: Annotated[int, Field(ge=1, le=16)] = Field(
        default=4,
        description="Power of the polynomial covariance.",
    )
    length: Positive = Field(
        default=0.5,
        description="Length of the Gaussian covariance, in units of the normalised "
        "descriptor.",
    )
    prior: Literal["whitened", "identity"] = Field(
        default="whitened",
        description="Prior of the weights: the sparse Gaussian process, or identity.",
    )
    noise_energy_eV_per_atom: Positive = Field(
        default=0.001,
        description="Scale by which energy rows are divided.",
    )
    noise_force_eV_per_A: Positive = Field(
        default=0.1,
        description="Scale by which force rows are divided.",
    )
    noise_stress_GPa: Positive = Field(
        default=0.3,
        description="Scale by which stress rows are divided.",
    )
    weight_energy: NotNegative = Field(
        default=1.0,
        description="Weight of the energy rows.",
    )
    weight_force: NotNegative = Field(
        default=1.0,
        description="Weight of the force rows.",
    )
    weight_stress: NotNegative = Field(
        default=1.0,
        description="Weight of the stress rows.",
    )
    noise_floor_force_eV_per_A: Positive = Field(
        default=0.01,
        description="Smallest noise of forces the evidence may find.",
    )
    noise_floor_energy_eV_per_atom: Positive = Field(
        default=1e-4,
        description="Smallest noise of energies the evidence may find.",
    )
    jitter: Annotated[float, Field(gt=0.0, le=1e-2)] = Field(
        default=1e-8,
        description="Added to the diagonal of the covariance matrix of the references.",
    )
    train_stress: Literal["auto", "yes", "no"] = Field(
        default="auto",
        description="Fit stresses: where the reference gives them, always, or never.",
    )

    @property
    def noise_stress(self) -> float:
        """Return the scale of stress rows in eV/angstrom^3."""
        return self.noise_stress_GPa * GPA


class Learning(Section):
    """When the reference is called, and what of its answer is kept."""

    policy: Literal["calibrated", "history", "budget"] = Field(
        default="calibrated",
        description="Where the threshold comes from: a tolerated error, the history of "
        "the model's own deviations, or a number of calls.",
    )
    max_force_error_eV_per_A: Positive = Field(
        default=0.3,
        description="Largest tolerated force error on any atom (95 % quantile).",
    )
    max_stress_error_GPa: Positive = Field(
        default=0.3,
        description="Largest tolerated error of the stress (95 % quantile), with "
        'ensemble = "NPT".',
    )
    budget_calls: Count | None = Field(
        default=None,
        description='Reference calls the whole run may take (policy = "budget").',
        examples=[100],
    )
    selection_bound: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=1e-4,
        description="Spilling above which an environment becomes a local reference.",
    )
    max_spilling: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        default=None,
        description="Spilling above which the reference is called; without it 20 x "
        "`selection_bound`.",
        examples=[0.002],
    )
    max_references: Count | None = Field(
        default=None,
        description="Most local references of an element; the most redundant go first.",
        examples=[1000],
    )
    cur_epsilon: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=1e-9,
        description="Eigenvalues below this share of the largest mark redundant "
        "references.",
    )
    initial_rattles_A: Annotated[tuple[Positive, ...], Field(strict=False)] = Field(
        default=(0.02, 0.05, 0.1, 0.15),
        description="Displacements of the copies of the first structure that are "
        "labelled at the start.",
    )
    minimum_gap_steps: Annotated[int, Field(ge=0)] = Field(
        default=10,
        description="Steps between two labels, unless a step is critical.",
    )
    queue: Count = Field(
        default=5,
        description="Labels that wait before the model is fitted again.",
    )
    retrain_latency_steps: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="Steps after a label at which the model that knows it enters; the "
        "fit runs beside the steps between and `queue` has no meaning. With 0 the run "
        "waits for every fit.",
    )
    row_memory_GB: Positive | None = Field(
        default=None,
        description="Memory for the design matrix; what exceeds it is kept in unnamed "
        "files in the run folder. Without it half of the machine's memory.",
        examples=[8.0],
    )
    start_from: Annotated[tuple[Text, ...], Field(strict=False)] = Field(
        default=(),
        description="Folders of earlier runs, and files of any format `otf-md import` "
        "reads, whose labels are taken over.",
    )
    mix_references: bool = Field(
        default=False,
        description="Take over labels of other references, too. Their energies count "
        "from another zero: a constant for each element and reference is fitted with "
        "the model, which predicts the energies of `[reference]`.",
    )
    audits: bool = Field(
        default=True,
        description="Label some trusted steps too, to measure the true error.",
    )
    goal_force_rmse_eV_per_A: Positive | None = Field(
        default=None,
        description="Force error of the audits at which learning counts as converged; "
        "without it the threshold.",
        examples=[0.1],
    )

    @property
    def max_stress_error(self) -> float:
        """Return the tolerated error of the stress in eV/angstrom^3."""
        return self.max_stress_error_GPa * GPA

    @property
    def spilling_bound(self) -> float:
        """Return the spilling above which the reference is called."""
        if self.max_spilling is None:
            return min(1.0, 20.0 * self.selection_bound)
        return self.max_spilling
