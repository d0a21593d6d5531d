"""Labelled frames a model has taken in, and the rows they give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from otf.models.composition import ElementEnergies
from otf.models.design import RowBlock, Targets, raw_rows, scaled_rows
from otf.models.evidence import Spectrum
from otf.models.interface import FORCEFUL, KINDS, PerKind, RowNoise
from otf.models.solvers import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otf.configuration import Configuration, FloatArray, Labels
    from otf.descriptors.interface import Descriptor, Environments
    from otf.models.baseline import Baseline
    from otf.models.basis import Basis, Growth
    from otf.models.prior import Prior
    from otf.models.references import References


@dataclass(eq=False)
class StoredFrame:
    """A labelled structure with its environments, which are described once when used.

    Attributes
    ----------
    configuration, labels : as they came
    targets : labels without the baseline, and masks
    """

    configuration: Configuration
    labels: Labels
    targets: Targets
    _environments: Environments | None = None

    @classmethod
    def of(
        cls, configuration: Configuration, labels: Labels, baseline: Baseline
    ) -> StoredFrame:
        """Subtract the baseline and mask what is missing."""
        return cls(configuration, labels, Targets.of(configuration, labels, baseline))

    def environments(self, descriptor: Descriptor) -> Environments:
        """Return the environments of all atoms."""
        if self._environments is None:
            self._environments = descriptor.describe(self.configuration)
        return self._environments


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
        parts: dict[str, list[FloatArray]] = {kind: [] for kind in KINDS}
        for frame in self.frames:
            raw = raw_rows(descriptor, new, frame.environments(descriptor))
            for kind, rows in scaled_rows(frame.targets, raw, self.noise).items():
                parts[kind].append(rows)
        for kind, block in self.blocks.items():
            raw_columns = np.concatenate(
                [np.empty((0, new.n_references)), *parts.pop(kind)]
            )
            block.add_columns(prior.new_columns(block.rows, raw_columns, growth))

    def rotate(self, rotation: FloatArray, first: int) -> None:
        """Carry all rows over to a basis without some references."""
        for block in self.blocks.values():
            block.rotate(rotation, first)

    def fractions(self, species: tuple[int, ...]) -> FloatArray:
        """Return the share of every species in each frame, (F, S)."""
        return np.array(
            [
                [np.mean(frame.configuration.numbers == z) for z in species]
                for frame in self.frames
            ]
        ).reshape(-1, len(species))

    def element_energies(
        self, species: tuple[int, ...], isolated: Mapping[int, float] | None
    ) -> ElementEnergies:
        """Fit the energies of the elements to the labelled energies."""
        known = np.array([len(f.targets.energy) > 0 for f in self.frames], dtype=bool)
        energies = np.concatenate([f.targets.energy for f in self.frames])
        return ElementEnergies.fitted(
            species, self.fractions(species)[known], energies, isolated
        )

    def subtract(self, elements: ElementEnergies) -> None:
        """Set the energy labels to those without the energies of the elements."""
        known = [f for f in self.frames if len(f.targets.energy)]
        shares = [elements.counts(f.configuration) / f.targets.n_atoms for f in known]
        for row, (frame, share) in enumerate(zip(known, shares, strict=True)):
            learned = frame.targets.energy[0] - share @ elements.values
            self.blocks["energy"].labels[row] = learned / self.noise.energy

    def problem(self, weights: PerKind, start: tuple[float, float]) -> Problem:
        """Return the regression on all rows, times the weights of their kinds."""
        return Problem(
            spectrum=lambda: self._spectrum(weights),
            residual_square=lambda w: sum(
                weights.of(kind) ** 2 * square
                for kind, square in self.residual_squares(w).items()
            ),
            rows=lambda: self._weighted_rows(weights),
            n_rows=sum(self.blocks[kind].n_rows for kind in _used(weights)),
            n_forceful=sum(is_forceful(frame.labels) for frame in self.frames),
            start=start,
        )

    def _spectrum(self, weights: PerKind) -> Spectrum:
        m = self.blocks["force"].n_columns
        gram, projection, square, n_rows = np.zeros((m, m)), np.zeros(m), 0.0, 0
        for kind in _used(weights):
            weight, block = weights.of(kind) ** 2, self.blocks[kind]
            gram += weight * block.gram
            projection += weight * (block.rows.T @ block.labels)
            square += weight * float(block.labels @ block.labels)
            n_rows += block.n_rows
        return Spectrum.of_gram(gram, projection, square, n_rows)

    def _weighted_rows(self, weights: PerKind) -> tuple[FloatArray, FloatArray]:
        rows = [weights.of(kind) * self.blocks[kind].rows for kind in _used(weights)]
        labels = [
            weights.of(kind) * self.blocks[kind].labels for kind in _used(weights)
        ]
        return np.concatenate(rows), np.concatenate(labels)

    def residual_squares(self, weights: FloatArray) -> dict[str, float]:
        """Return |y - Phi w|^2 of every kind, from the rows themselves."""
        out = {}
        for kind, block in self.blocks.items():
            left = block.labels - block.rows @ weights
            out[kind] = float(left @ left)
        return out

    def errors(self, weights: FloatArray) -> PerKind:
        """Return the training RMSE of every kind in its own unit; 0 without labels."""
        squares = self.residual_squares(weights)
        return PerKind(
            *(
                self.noise.of(kind)
                * float(np.sqrt(squares[kind] / max(self.blocks[kind].n_rows, 1)))
                for kind in KINDS
            )
        )
