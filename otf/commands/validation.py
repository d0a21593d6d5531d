"""Ways to validate a model setting: folds, leave-one-out, and the learning curve."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from otf.analysis.bootstrap import drawn, root_mean_square
from otf.analysis.errors import NAMES
from otf.analysis.held_out import KINDS, HeldOut, errors_of
from otf.analysis.learning_curve import CurvePoint, log_spaced, power_law
from otf.analysis.validation import HeldOutStudy, LearningCurve
from otf.commands.fitting import SECTIONS, fitted_model
from otf.commands.folds import distinct, without
from otf.commands.kept import key_of
from otf.commands.unseen import held_out, predicted_unseen
from otf.configuration import species_of
from otf.errors import InputError
from otf.models.resampled import out_of_bag_spread
from otf.recording import versions
from otf.store.labels import dataset_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.analysis.learning_curve import PowerLaw
    from otf.commands.dataset import Dataset, Frame
    from otf.commands.fitting import Basis, Stress
    from otf.commands.kept import Kept
    from otf.commands.stages import Stages
    from otf.configuration import IntArray
    from otf.models.bayesian_linear import BayesianLinear
    from otf.settings.settings import Settings

COMMITTEE = 20  # fits to structures drawn again; their matrices are held together
POINTS = 6  # of a learning curve
FEWEST = 5  # structures of its first point
FIRST_SHARE = 16  # one in so many structures makes the first point of a large set


class Validator:
    """Fits one setting of a model to parts of a data set, and asks for the rest.

    Parameters
    ----------
    settings, basis, stress
        Of every fit.
    data
        Labelled structures.
    seed
        Of everything drawn by lot.
    kept
        Where what every fit found is kept, and not computed again.
    """

    def __init__(
        self,
        settings: Settings,
        data: Dataset,
        *,
        basis: Basis,
        stress: Stress,
        seed: int,
        stages: Stages,
        kept: Kept,
    ) -> None:
        self.settings = settings
        self.data = data
        self.basis = basis
        self.stress: Stress = stress
        self.seed = seed
        self.stages = stages
        self.kept = kept
        self._common = {
            **{k: getattr(settings, k).model_dump(mode="json") for k in SECTIONS},
            "basis": asdict(basis),
            "stress": stress,
            "version": versions()["otf-md"],
        }

    def k_fold(self, folds: Sequence[IntArray]) -> HeldOutStudy:
        """Predict each part of the data by a fit to the others.

        Parameters
        ----------
        folds
            The structures of every part.
        """
        frames, stages, count = self.data.frames, self.stages, len(folds)
        held: list[HeldOut] = []
        reports, references = [], []
        for k, left_out in enumerate(folds):
            stages.part = f"fold {k + 1} of {count}, "
            found, n_references = self._judged(without(frames, left_out), left_out)
            held += found
            reports.append(errors_of(found))
            references.append(n_references)
        stages.part = ""
        return HeldOutStudy(
            method=f"{count}-fold cross-validation",
            held=tuple(sorted(held, key=lambda one: one.frame)),
            places=tuple(self.data.places),
            folds=tuple(reports),
            n_references=float(np.mean(references)),
            n_copies=len(frames) - len(distinct(frames)),
        )

    def leave_one_out(self) -> HeldOutStudy:
        """Predict each structure as by a fit to all others, in closed form.

        Raises
        ------
        InputError
            When there is but one structure.
        """
        frames = self.data.frames
        if len(frames) < 2:
            msg = "leaving one structure out needs at least 2, the data hold 1"
            raise InputError(msg)
        held, n_references = self._judged(frames, np.arange(len(frames)), fitted=True)
        return HeldOutStudy(
            method="leave-one-out",
            held=tuple(held),
            places=tuple(self.data.places),
            folds=(),
            n_references=n_references,
            n_copies=len(frames) - len(distinct(frames)),
        )

    def learning_curve(self, asked: IntArray, *, n_orders: int) -> LearningCurve:
        """Judge fits to growing parts of the data on the same held-out structures.

        Parameters
        ----------
        asked
            The structures that are held out.
        n_orders
            Random orders in which the others are taken in.

        Raises
        ------
        InputError
            When there are too few structures.
        """
        frames = self.data.frames
        training = without(frames, asked)
        n = len(training)
        first = max(FEWEST, len(species_of([c for c, _ in frames])), n // FIRST_SHARE)
        if n <= first:
            msg = (
                f"a learning curve needs more than {first} structures beside the "
                f"{len(asked)} held out, got {n}: give more data"
            )
            raise InputError(msg)
        orders = orders_of(training, count=n_orders, seed=self.seed)
        points = []
        for size in log_spaced(first, n, POINTS):
            reports, references = [], []
            # All structures are the same ones in any order.
            for k, order in enumerate(orders[: None if size < n else 1]):
                self.stages.part = f"{size} structures, order {k + 1} of {n_orders}, "
                part = [training[i] for i in order[:size]]
                found, n_references = self._judged(part, asked)
                reports.append(errors_of(found))
                references.append(n_references)
            points.append(CurvePoint(size, tuple(reports), float(np.mean(references))))
        self.stages.part = ""
        return LearningCurve(tuple(points), len(asked), _laws(points))

    def spreads(self) -> dict[str, float | None]:
        """Return how predictions scatter over fits to structures drawn again.

        RMS by kind, each structure predicted by the fits that did not see it.
        """
        frames = self.data.frames
        key = self._key(frames, draws=COMMITTEE, seed=self.seed)
        if (known := self.kept.find(key)) is not None:
            return dict(known["spreads"])
        model = self._fitted_to(frames)
        times = drawn(len(frames), n_samples=COMMITTEE, seed=self.seed)
        found = out_of_bag_spread(model, frames, times, progress=self.stages)
        parts = {
            "energy": [one[:1] for one in found],
            "forces": [one[1:-6] for one in found],
            "stress": [one[-6:] for one in found],
        }
        spreads = {k: root_mean_square(np.concatenate(v)) for k, v in parts.items()}
        self.kept.add(key, {"spreads": spreads})
        return spreads

    def _fitted_to(self, frames: Sequence[Frame]) -> BayesianLinear:
        return fitted_model(
            self.settings,
            frames,
            basis=self.basis,
            stress=self.stress,
            stages=self.stages,
        )

    def _judged(
        self, training: Sequence[Frame], asked: IntArray, *, fitted: bool = False
    ) -> tuple[list[HeldOut], int]:
        """Return what a fit says of structures; it is gone when this returns.

        ``fitted`` says that it was made to these, and each is to be left out again.
        """
        frames, chosen = self.data.frames, asked.tolist()
        questions = [frames[k] for k in chosen]
        key = self._key(
            training, asked=dataset_key(questions), numbers=chosen, fitted=fitted
        )
        if (known := self.kept.find(key)) is not None:
            return [HeldOut(**one) for one in known["held"]], known["n_references"]
        model = self._fitted_to(training)
        found = predicted_unseen(
            model,
            frames,
            chosen,
            fitted=frozenset(chosen if fitted else ()),
            stages=self.stages,
        )
        held, n_references = held_out(frames, chosen, found), model.n_references
        parts = [asdict(one) for one in held]
        self.kept.add(key, {"held": parts, "n_references": n_references})
        return held, n_references

    def _key(self, training: Sequence[Frame], **question: object) -> str:
        """Return what is equal for fits that find the same."""
        return key_of({**self._common, "fit": dataset_key(training), **question})


def orders_of(frames: Sequence[Frame], *, count: int, seed: int) -> list[list[int]]:
    """Return random orders that begin with structures that hold all elements."""
    generator = np.random.default_rng(seed)
    species = [set(species_of([configuration])) for configuration, _ in frames]
    orders = []
    for _ in range(count):
        order = generator.permutation(len(frames)).tolist()
        first: list[int] = []
        seen: set[int] = set()
        for k in order:
            if species[k] - seen:
                first.append(k)
                seen |= species[k]
        orders.append([*first, *(k for k in order if k not in first)])
    return orders


def _laws(points: Sequence[CurvePoint]) -> dict[str, PowerLaw]:
    out = {}
    for kind in KINDS:
        name = NAMES[kind].format("rmse")
        known = [(p.n_frames, found) for p in points if (found := p.rmse(name))]
        law = power_law([n for n, _ in known], [mean for _, (mean, _) in known])
        if law is not None:
            out[name] = law
    return out
