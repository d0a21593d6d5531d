"""Labelled frames a model has taken in, and the rows they give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from otf.models.composition import ElementEnergies
from otf.models.design import Targets, raw_rows, scaled_rows
from otf.models.evidence import GramSystem
from otf.models.interface import FORCEFUL, KINDS, PerKind, RowNoise
from otf.models.rows import RowBlock
from otf.models.solvers import Problem
from otf.threads import in_order, one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otf.configuration import Configuration, FloatArray, Labels
    from otf.descriptors.interface import Descriptor, Environments
    from otf.models.baselines.interface import Baseline
    from otf.models.basis import Basis, Growth
    from otf.models.prior import Prior
    from otf.models.references import References
    from otf.models.rows import Allocate


@dataclass(eq=False)
class StoredFrame:
    """A labelled structure with its environments, which are described once when used.

    Attributes
    ----------
    configuration, labels : as they came
    targets : labels without the baseline, and masks
    is_forceful : whether a known force says something
    """

    configuration: Configuration
    labels: Labels
    targets: Targets
    is_forceful: bool
    _environments: Environments | None = None
    _shares: FloatArray | None = None

    @classmethod
    def of(
        cls, configuration: Configuration, labels: Labels, baseline: Baseline
    ) -> StoredFrame:
        """Subtract the baseline and mask what is missing."""
        targets = Targets.of(configuration, labels, baseline)
        return cls(configuration, labels, targets, is_forceful(labels))

    def environments(self, descriptor: Descriptor) -> Environments:
        """Return the environments of all atoms."""
        if self._environments is None:
            self._environments = descriptor.describe(self.configuration)
        return self._environments

    def shares(self, species: tuple[int, ...]) -> FloatArray:
        """Return the share of every species, (S,)."""
        if self._shares is None or len(self._shares) != len(species):
            numbers = self.configuration.numbers
            self._shares = np.array([np.mean(numbers == z) for z in species])
        return self._shares


def is_forceful(labels: Labels) -> bool:
    """Return whether a structure has a known force that says something."""
    return bool(np.nanmax(np.abs(labels.forces), initial=0.0) > FORCEFUL)


def _used(weights: PerKind) -> list[str]:
    return [kind for kind in KINDS if weights.of(kind) > 0.0]


class TrainingSet:
    """Frames and their transformed rows, kept per kind and updated, never recomputed.

    Parameters
    ----------
    noise
        Scales the rows of every kind are divided by.
    """

    def __init__(self, noise: RowNoise) -> None:
        self.noise = noise
        self.frames: list[StoredFrame] = []
        self.blocks = {kind: RowBlock() for kind in KINDS}

    def keep_rows_in(self, allocate: Allocate) -> None:
        """Take memory for rows from a function, before there are any."""
        assert not self.frames  # rows that exist do not move
        self.blocks = {kind: RowBlock(allocate=allocate) for kind in KINDS}

    @property
    def n_rows(self) -> int:
        """Return the number of labels."""
        return sum(block.n_rows for block in self.blocks.values())

    def add(
        self, frame: StoredFrame, basis: Basis, prior: Prior, descriptor: Descriptor
    ) -> None:
        """Fold the rows of one frame in."""
        raw = raw_rows(descriptor, basis.references, frame.environments(descriptor))
        for kind, rows in scaled_rows(frame.targets, raw, self.noise).items():
            labels = frame.targets.of_kind(kind) / self.noise.of(kind)
            self.blocks[kind].add_rows(prior.rows(basis, rows), labels)
        self.frames.append(frame)

    def add_columns(
        self, new: References, growth: Growth, prior: Prior, descriptor: Descriptor
    ) -> None:
        """Compute the columns of new references for all stored frames."""

        def columns(frame: StoredFrame) -> dict[str, FloatArray]:
            raw = raw_rows(descriptor, new, frame.environments(descriptor))
            return scaled_rows(frame.targets, raw, self.noise)

        parts: dict[str, list[FloatArray]] = {kind: [] for kind in KINDS}
        with one_blas_thread():
            for found in in_order(columns, self.frames):
                for kind, rows in found.items():
                    parts[kind].append(rows)
        for kind, block in self.blocks.items():
            raw_columns = np.concatenate(
                [np.empty((0, new.n_references)), *parts.pop(kind)]
            )
            block.add_columns(
                raw_columns, lambda rows, raw: prior.new_columns(rows, raw, growth)
            )

    def rotate(self, rotation: FloatArray, first: int) -> None:
        """Carry all rows over to a basis without some references."""
        for block in self.blocks.values():
            block.rotate(rotation, first)

    def fractions(self, species: tuple[int, ...]) -> FloatArray:
        """Return the share of every species in each frame, (F, S)."""
        return np.array([frame.shares(species) for frame in self.frames]).reshape(
            -1, len(species)
        )

    def element_energies(
        self, species: tuple[int, ...], isolated: Mapping[int, float] | None
    ) -> ElementEnergies:
        """Fit the energies of the elements to the labelled energies."""
        known = np.array([len(f.targets.energy) > 0 for f in self.frames], dtype=bool)
        return ElementEnergies.fitted(
            species, self.fractions(species)[known], self._energies(), isolated
        )

    def subtract(self, elements: ElementEnergies) -> None:
        """Set the energy labels to those without the energies of the elements."""
        known = [f for f in self.frames if len(f.targets.energy)]
        e0 = [f.shares(elements.species) @ elements.values for f in known]
        learned = self._energies() - np.array(e0)
        self.blocks["energy"].relabel(learned / self.noise.energy)

    def _energies(self) -> FloatArray:
        return np.concatenate([np.empty(0), *(f.targets.energy for f in self.frames)])

    def problem(self, weights: PerKind, start: tuple[float, float]) -> Problem:
        """Return the regression on all rows, times the weights of their kinds."""
        return Problem(
            spectrum=lambda: self._system(weights).spectrum(),
            posterior=lambda s_w, s_v: self._system(weights).posterior(s_w, s_v),
            residual_square=lambda w: sum(
                weights.of(kind) ** 2 * self.blocks[kind].residual_square(w)
                for kind in _used(weights)
            ),
            rows=lambda: self._weighted_rows(weights),
            n_rows=sum(self.blocks[kind].n_rows for kind in _used(weights)),
            n_forceful=sum(frame.is_forceful for frame in self.frames),
            start=start,
        )

    def _system(self, weights: PerKind) -> GramSystem:
        m = self.blocks["force"].n_columns
        gram, projection, square, n_rows = np.zeros((m, m)), np.zeros(m), 0.0, 0
        for kind in _used(weights):
            weight, block = weights.of(kind) ** 2, self.blocks[kind]
            gram += block.gram if weight == 1.0 else weight * block.gram
            projection += weight * block.projection
            square += weight * block.square
            n_rows += block.n_rows
        return GramSystem(gram, projection, square, n_rows)

    def _weighted_rows(self, weights: PerKind) -> tuple[FloatArray, FloatArray]:
        rows = [weights.of(kind) * self.blocks[kind].rows for kind in _used(weights)]
        labels = [
            weights.of(kind) * self.blocks[kind].labels for kind in _used(weights)
        ]
        return np.concatenate(rows), np.concatenate(labels)

    def errors(self, weights: FloatArray) -> PerKind:
        """Return the training RMSE of every kind in its own unit; 0 without labels."""
        means = {
            kind: block.residual_square(weights) / max(block.n_rows, 1)
            for kind, block in self.blocks.items()
        }
        return PerKind(*(self.noise.of(k) * float(np.sqrt(means[k])) for k in KINDS))
