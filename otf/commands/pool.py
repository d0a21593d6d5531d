"""Offline active learning: which structures of a pool are worth a label.

Every structure of the pool is predicted with its deviations; those the model knows
least are labelled, and the model is fitted again, until nothing in the pool exceeds the
thresholds of a run or the labels are used up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from otf.configuration import masked_stress
from otf.learning.calibration import Calibration
from otf.learning.energy import EnergyErrors
from otf.learning.laws import SELECTION, Laws
from otf.learning.stress import StressErrors
from otf.models.sparsify import pivoted_cholesky
from otf.threads import in_order, one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from otf.commands.labeller import Labeller
    from otf.configuration import Configuration, FloatArray, Labels
    from otf.models.bayesian_linear import BayesianLinear
    from otf.models.references import References

    Progress = Callable[[str, int, int], None]
    Frame = tuple[Configuration, Labels]

# Of the structures above a threshold, so many times the batch are candidates for it.
CHOICE = 4
# Fewer structures make a first fit whose deviations mean nothing.
START = 4


@dataclass(frozen=True)
class Rules:
    """When a structure is worth a label, and how many are.

    Attributes
    ----------
    threshold : eV/angstrom, tolerated calibrated force error on any atom
    max_spilling : tolerated spilling of any atom
    batch : labels between two fits
    budget : most labels altogether, None for no limit
    """

    threshold: float
    max_spilling: float
    batch: int = 5
    budget: int | None = None


@dataclass(frozen=True, eq=False)
class Look:
    """What the model thinks of one structure of the pool.

    Attributes
    ----------
    index : in the pool
    error : eV/angstrom, largest calibrated force error of its atoms
    spilling : largest of its atoms
    score : largest of both in units of their thresholds; above 1 it is worth a label
    worst : environment of the atom with the largest score
    """

    index: int
    error: float
    spilling: float
    score: float
    worst: References


@dataclass(frozen=True)
class Cycle:
    """One round of labels.

    Attributes
    ----------
    n_labels, n_references : after it
    error, spilling : largest in the unlabelled pool before it, NaN without a model
    n_above : structures above a threshold before it
    force_rmse : eV/angstrom, of the structures labelled in it before they were learned
    """

    n_labels: int
    n_references: int
    error: float = np.nan
    spilling: float = np.nan
    n_above: int = 0
    force_rmse: float = np.nan


class Selection:
    """Label, fit, look; a generator of cycles with the reason of its end.

    Parameters
    ----------
    model
        Empty.
    pool
        Structures to choose from.
    labeller
        Labels a structure of the pool, or knows the label already.
    rules
        Thresholds and sizes.
    progress
        Called with (stage, done, total).

    Attributes
    ----------
    reason : why it ended, in words
    calibration : of the model's deviations by the labels of every cycle
    """

    def __init__(
        self,
        model: BayesianLinear,
        pool: Sequence[Configuration],
        labeller: Labeller,
        rules: Rules,
        progress: Progress,
    ) -> None:
        self.model = model
        self.reason = ""
        self._pool = pool
        self._labeller = labeller
        self._rules = rules
        self._progress = progress
        self.calibration = Calibration()
        self._energies, self._stresses = EnergyErrors(), StressErrors(None)
        self._waiting = [k for k in range(len(pool)) if not labeller.has(k)]

    def laws(self) -> Laws:
        """Return what the deviations of the model are worth, by all labels compared."""
        return Laws.of_calibration(
            self.calibration,
            self.model.descriptor.species,
            energy=self._energies.law(),
            stress=self._stresses.law(),
            origin=SELECTION,
        )

    def cycles(self) -> Iterator[Cycle]:
        """Yield one cycle after another; the model is fitted whenever one is given.

        Raises
        ------
        ReferenceFailure
            When several structures in a row got no labels.
        """
        yield self._start()
        while not self.reason:
            if not self._waiting:
                self.reason = "every structure of the pool is labelled"
                return
            if self._left() == 0:
                self.reason = f"all {self._rules.budget} labels are used"
                return
            looks = self._look()
            above = [look for look in looks if look.score > 1.0]
            if not above:
                self.reason = "nothing in the pool exceeds the thresholds"
                return
            size = min(self._rules.batch, self._left())
            batch = diverse_batch(self.model, above, limit=size)
            rmse = self._label([look.index for look in batch])
            yield Cycle(
                n_labels=len(self._labeller.frames),
                n_references=self.model.n_references,
                error=max(look.error for look in looks),
                spilling=max(look.spilling for look in looks),
                n_above=len(above),
                force_rmse=rmse,
            )

    def _start(self) -> Cycle:
        """Learn what is labelled already, else a few structures far from each other."""
        if self._labeller.frames:
            self._learn(self._labeller.frames)
        else:
            size = min(max(START, self._rules.batch), self._left())
            self._label(first_batch(self.model, self._pool, limit=size))
        return Cycle(len(self._labeller.frames), self.model.n_references)

    def _left(self) -> int:
        """Return how many labels the budget still has, at most the whole pool."""
        budget = self._rules.budget
        if budget is None:
            return len(self._pool)
        return max(0, budget - len(self._labeller.frames))

    def _look(self) -> list[Look]:
        looks: list[Look] = []
        with one_blas_thread():  # structures share the cores, not their products
            for look in in_order(self._look_at, list(self._waiting)):
                self._progress("predict", len(looks), len(self._waiting))
                looks.append(look)
        return looks

    def _look_at(self, index: int) -> Look:
        configuration = self._pool[index]
        environments = self.model.describe(configuration)
        found = self.model.force_uncertainty(configuration, environments)
        assert found.forces is not None  # the exact form always has them
        errors = self.calibration.errors(configuration.numbers, found.forces)
        scores = np.maximum(
            errors / self._rules.threshold, found.spilling / self._rules.max_spilling
        )
        atoms = self.model.current_basis.references.like(environments)
        worst = int(scores.argmax())
        return Look(
            index=index,
            error=float(errors.max()),
            spilling=float(found.spilling.max()),
            score=float(scores[worst]),
            worst=atoms.subset(np.array([worst])),
        )

    def _label(self, indices: Sequence[int]) -> float:
        """Label structures and learn them; return their force RMSE before that."""
        frames, differences = [], [np.empty(0)]
        self._labeller.begin(indices)
        for index in indices:
            self._waiting.remove(index)
            labels = self._labeller.label(index)
            if labels is None:
                continue
            frames.append((self._pool[index], labels))
            if self.model.is_fitted:
                differences.append(self._compare(self._pool[index], labels))
        self._learn(frames)
        known = np.concatenate(differences)
        known = known[np.isfinite(known)]
        return float(np.sqrt((known**2).mean())) if len(known) else np.nan

    def _compare(self, configuration: Configuration, labels: Labels) -> FloatArray:
        """Return the errors of the forces, (3 n,), and calibrate with them."""
        found = self.model.force_uncertainty(configuration)
        assert found.forces is not None  # the exact form always has them
        predicted = self.model.predict(configuration)
        difference = labels.forces - predicted.forces
        self.calibration.add(
            configuration.numbers, difference, found.forces, audit=False
        )
        error = labels.energy - predicted.energy
        self._energies.learn(error, found.energy, audit=False)
        stresses = masked_stress(labels.stress, configuration.pbc) - predicted.stress
        self._stresses.learn(stresses, found.stress, audit=False)
        return np.asarray(difference.ravel())

    def _learn(self, frames: Sequence[Frame]) -> None:
        if not frames:
            return
        self.model.extend(frames)
        self.model.drop_redundant()
        self.model.fit_weights()


def first_batch(
    model: BayesianLinear, pool: Sequence[Configuration], *, limit: int
) -> list[int]:
    """Return structures far from each other.

    Notes
    -----
    A structure stands for its mean features, those of every element for themselves; the
    next one is the farthest from all before it. The first is the nearest to the mean of
    all, an ordinary one.
    """
    n_species = len(model.descriptor.species)
    points = np.array([_mean_features(model, c, n_species) for c in pool])
    distance = np.linalg.norm(points - points.mean(axis=0), axis=1)
    chosen = [int(distance.argmin())]
    distance = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < min(limit, len(pool)) and distance.max() > 0.0:
        chosen.append(int(distance.argmax()))
        step = np.linalg.norm(points - points[chosen[-1]], axis=1)
        distance = np.minimum(distance, step)
    return chosen


def diverse_batch(
    model: BayesianLinear, looks: Sequence[Look], *, limit: int
) -> list[Look]:
    """Return the structure of largest score, and others that add most to it.

    Notes
    -----
    Among the candidates of largest score the others are the pivots of a Cholesky
    decomposition of their worst environments, after what the references and the first
    one span.
    """
    ranked = sorted(looks, key=lambda look: -look.score)[: CHOICE * limit]
    first, rest = ranked[0], ranked[1:]
    if limit < 2 or not rest:
        return [first]
    basis = model.current_basis
    if first.spilling > model.options.selection_bound:
        basis, _ = basis.appended(first.worst)
    atoms = rest[0].worst.joined(*(look.worst for look in rest[1:]))
    order = pivoted_cholesky(
        atoms,
        bound=model.options.jitter,
        limit=limit - 1,
        known=basis.whiten(basis.references.kernel(atoms)),
    )
    return [first, *(rest[k] for k in order)]


def _mean_features(
    model: BayesianLinear, configuration: Configuration, n_species: int
) -> FloatArray:
    """Return the mean features of every species, weighted by its share, (S q,)."""
    environments = model.describe(configuration)
    parts = [
        environments.features[environments.species == s].sum(axis=0)
        for s in range(n_species)
    ]
    return np.concatenate(parts) / configuration.n_atoms
