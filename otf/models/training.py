"""Labelled frames a model has taken in, and the rows they give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from otf.models.composition import ElementEnergies
from otf.models.design import Targets, raw_rows, scaled_rows
from otf.models.evidence import GramSystem
from otf.models.interface import FORCEFUL, KINDS, PerKind, RowNoise
from otf.models.levels import shift_span
from otf.models.rows import RowBlock
from otf.models.solvers import Problem
from otf.threads import in_order, one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otf.configuration import Configuration, FloatArray, IntArray, Labels
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
    reference : fingerprint of the reference from whose zero the energy counts; empty
        for that of the model
    targets : labels without the baseline, and masks
    is_forceful : whether a known force says something
    """

    configuration: Configuration
    labels: Labels
    targets: Targets
    is_forceful: bool
    reference: str = ""
    _environments: Environments | None = None
    _shares: FloatArray | None = None

    @classmethod
    def of(
        cls,
        configuration: Configuration,
        labels: Labels,
        baseline: Baseline,
        reference: str = "",
    ) -> StoredFrame:
        """Subtract the baseline and mask what is missing."""
        targets = Targets.of(configuration, labels, baseline)
        return cls(configuration, labels, targets, is_forceful(labels), reference)

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

    Energies of other references are shifted by an unknown constant for every species.
    What such shifts span is taken out of the rows and labels of energies wherever the
    regression is made of them (see :mod:`otf.models.levels`); the rows themselves stay.

    Parameters
    ----------
    noise
        Scales the rows of every kind are divided by.
    """

    def __init__(self, noise: RowNoise) -> None:
        self.noise = noise
        self.frames: list[StoredFrame] = []
        self.blocks = {kind: RowBlock() for kind in KINDS}
        self._span = np.zeros((0, 0))  # of the energies ``subtract`` was called with

    def keep_rows_in(self, allocate: Allocate) -> None:
        """Take memory for rows from a function, before there are any."""
        assert not self.frames  # rows that exist do not move
        self.blocks = {kind: RowBlock(allocate=allocate) for kind in KINDS}

    @property
    def n_rows(self) -> int:
        """Return the number of labels that determine more than a shift."""
        return sum(self._n_rows(kind) for kind in self.blocks)

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
        """Fit the energies of the elements to those of the reference of the model."""
        mine = [f for f in self._with_energy() if not f.reference]
        energies = np.array([f.targets.energy[0] for f in mine])
        shares = np.array([f.shares(species) for f in mine]).reshape(-1, len(species))
        return ElementEnergies.fitted(species, shares, energies, isolated)

    def levels(self) -> tuple[list[str], IntArray]:
        """Return all references, that of the model first, and that of every frame."""
        names = ["", *sorted({f.reference for f in self.frames} - {""})]
        found = [names.index(f.reference) for f in self.frames]
        return names, np.array(found, dtype=np.int64)

    def subtract(self, elements: ElementEnergies) -> None:
        """Set the energy labels to those without the energies of the elements."""
        known = self._with_energy()
        shares = np.array([f.shares(elements.species) for f in known])
        shares = shares.reshape(-1, len(elements.species))
        # One sum a frame: that of a product depends on where its operands lie.
        e0 = [f.shares(elements.species) @ elements.values for f in known]
        learned = np.array([f.targets.energy[0] for f in known]) - np.array(e0)
        _, levels = self.levels()
        has_energy = [len(f.targets.energy) > 0 for f in self.frames]
        self._span = shift_span(levels[np.array(has_energy, dtype=bool)], shares)
        learned -= self._span @ (self._span.T @ learned)
        self.blocks["energy"].relabel(learned / self.noise.energy)

    def _with_energy(self) -> list[StoredFrame]:
        return [f for f in self.frames if len(f.targets.energy)]

    def problem(self, weights: PerKind, start: tuple[float, float]) -> Problem:
        """Return the regression on all rows, times the weights of their kinds."""
        return Problem(
            spectrum=lambda: self._system(weights).spectrum(),
            posterior=lambda s_w, s_v: self._system(weights).posterior(s_w, s_v),
            residual_square=lambda w: sum(
                weights.of(kind) ** 2 * self._residual_square(kind, w)
                for kind in _used(weights)
            ),
            rows=lambda: self._weighted_rows(weights),
            n_rows=sum(self._n_rows(kind) for kind in _used(weights)),
            n_forceful=sum(frame.is_forceful for frame in self.frames),
            start=start,
        )

    def _system(self, weights: PerKind) -> GramSystem:
        m = self.blocks["force"].n_columns
        gram, projection, square, n_rows = np.zeros((m, m)), np.zeros(m), 0.0, 0
        for kind in _used(weights):
            weight, block = weights.of(kind) ** 2, self.blocks[kind]
            gram += block.gram if weight == 1.0 else weight * block.gram
            if self._is_shifted(kind):
                lost = block.mixed(self._span)
                gram -= weight * (lost.T @ lost)
            projection += weight * block.projection
            square += weight * block.square
            n_rows += self._n_rows(kind)
        return GramSystem(gram, projection, square, n_rows)

    def _is_shifted(self, kind: str) -> bool:
        """Return whether the unknown shifts of other references are in such rows."""
        return kind == "energy" and self._span.shape[1] > 0

    def _n_rows(self, kind: str) -> int:
        """Return the labels of a kind that determine more than a shift."""
        n_lost = self._span.shape[1] if self._is_shifted(kind) else 0
        return self.blocks[kind].n_rows - n_lost

    def _residual_square(self, kind: str, weights: FloatArray) -> float:
        """Return |P (y - Phi w)|^2 of a kind; P takes the unknown shifts out."""
        block = self.blocks[kind]
        if not self._is_shifted(kind):
            return block.residual_square(weights)
        left = block.labels - block.times(weights)
        left -= self._span @ (self._span.T @ left)
        return float(left @ left)

    def _rows_of(self, kind: str) -> FloatArray:
        rows = self.blocks[kind].rows
        if self._is_shifted(kind):
            rows -= self._span @ (self._span.T @ rows)
        return rows

    def _weighted_rows(self, weights: PerKind) -> tuple[FloatArray, FloatArray]:
        rows = [weights.of(kind) * self._rows_of(kind) for kind in _used(weights)]
        labels = [
            weights.of(kind) * self.blocks[kind].labels for kind in _used(weights)
        ]
        return np.concatenate(rows), np.concatenate(labels)

    def errors(self, weights: FloatArray) -> PerKind:
        """Return the training RMSE of every kind in its own unit; 0 without labels."""
        means = {
            kind: self._residual_square(kind, weights) / max(self._n_rows(kind), 1)
            for kind in self.blocks
        }
        return PerKind(*(self.noise.of(k) * float(np.sqrt(means[k])) for k in KINDS))
