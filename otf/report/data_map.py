"""A map of the data: structures and environments along their principal components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

from otf.analysis.principal import principal_components
from otf.report.survey import CLOUD, coverage_of, posterior_of, seen_by
from otf.store.run_reader import RunView
from otf.store.schema import SweepFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import Configuration, FloatArray
    from otf.models.posterior import KernelPosterior
    from otf.report.survey import Coverage, Seen
    from otf.report.ways import Ways

FEWEST = 3  # structures that make a map


@dataclass(frozen=True, eq=False)
class StructureMap:
    """Labelled structures and those on the way, along two principal components.

    Attributes
    ----------
    labelled : (l, 2)
    steps : (l,) of the labelled
    ways : for every part its frames (f, 2)
    way_steps : (f,) of these
    shares : (2,) of the variance along the two
    """

    labelled: FloatArray
    steps: FloatArray
    ways: Sequence[FloatArray]
    way_steps: Sequence[FloatArray]
    shares: FloatArray


@dataclass(frozen=True, eq=False)
class Cloud:
    """Environments of one species along two principal components.

    Attributes
    ----------
    symbol : of the species
    labelled : (k, 2) some atoms of labelled structures
    steps : (k,) of their structures
    way : (w, 2) some atoms of structures on the way
    references : (m, 2), all local references
    shares : (2,) of the variance along the two
    """

    symbol: str
    labelled: FloatArray
    steps: FloatArray
    way: FloatArray
    references: FloatArray
    shares: FloatArray


@dataclass(frozen=True, eq=False)
class DataMap:
    """What the last model says of the data and of the run.

    Attributes
    ----------
    structures : None with too few of them
    clouds : one for each species
    coverage : of every part
    n_labelled : structures on the map
    is_too_large : whether structures are left out, because one alone takes too long
    """

    structures: StructureMap | None
    clouds: Sequence[Cloud]
    coverage: Sequence[Coverage]
    n_labelled: int
    is_too_large: bool = False


def data_map(
    view: RunView,
    ways: Ways,
    bound: float | None,
) -> DataMap | None:
    """Return the map of the data; None without a model.

    Parameters
    ----------
    view
        The run.
    ways
        Steps and structures of every part on the way, by its name in sentences.
    bound
        Largest spilling that is trusted; without it there is no coverage.

    Raises
    ------
    StoreError
        When the model, or the journal of runs that share one, cannot be read.
    """
    learned = learned_in(view)
    posterior = posterior_of(learned.folder)
    if posterior is None or not posterior.references.n_references:
        return None
    labelled = seen_by(posterior, _labelled(view, learned), spilling=False)
    n_ways = sum(bool(frames) for frames in ways.values())
    seen = {
        name: seen_by(posterior, frames, spilling=True, share=1.0 / max(n_ways, 1))
        for name, frames in ways.items()
    }
    covered = (
        []
        if bound is None
        else [coverage_of(name, frames, bound) for name, frames in seen.items()]
    )
    return DataMap(
        structures=_structures(labelled, list(seen.values())),
        clouds=_clouds(
            posterior, labelled, [s for part in seen.values() for s in part]
        ),
        coverage=[one for one in covered if one is not None],
        n_labelled=len(labelled),
        is_too_large=any(frames and not seen[name] for name, frames in ways.items()),
    )


def learned_in(view: RunView) -> RunView:
    """Return the run that has the model and the labels: runs may share them.

    Raises
    ------
    StoreError
        When the journal of what they share is damaged.
    """
    shared = SweepFolder(view.folder.path.resolve().parent).shared
    if view.labels or not shared.journal.is_file():
        return view
    return RunView.load(shared.path)


def _labelled(view: RunView, learned: RunView) -> list[tuple[int, Configuration]]:
    """Return the structures a run had labelled, with the steps it did so at."""
    steps = {d.key: d.step for d in view.decisions if d.key}
    return [
        (steps[label.key], label.configuration)
        for label in learned.labels
        if label.key in steps
    ]


def _structures(
    labelled: Sequence[Seen], ways: Sequence[Sequence[Seen]]
) -> StructureMap | None:
    everything = [*labelled, *(seen for way in ways for seen in way)]
    if len(everything) < FEWEST:
        return None
    found = principal_components(np.array([seen.mean for seen in everything]))

    def along(group: Sequence[Seen]) -> FloatArray:
        if not group:
            return np.empty((0, 2))
        return found.coordinates(np.array([seen.mean for seen in group]))

    return StructureMap(
        labelled=along(labelled),
        steps=np.array([seen.step for seen in labelled], dtype=np.float64),
        ways=[along(way) for way in ways],
        way_steps=[np.array([s.step for s in way], dtype=np.float64) for way in ways],
        shares=found.shares,
    )


def _clouds(
    posterior: KernelPosterior, labelled: Sequence[Seen], way: Sequence[Seen]
) -> list[Cloud]:
    references = posterior.references
    clouds = []
    for k, z in enumerate(posterior.descriptor.species):
        stored = references.directions[references.species == k]
        rows, steps = _atoms_of(labelled, k, stored.shape[1])
        passed, _ = _atoms_of(way, k, stored.shape[1])
        everything = np.concatenate([stored, rows, passed])
        if len(everything) < FEWEST:
            continue
        found = principal_components(everything)
        clouds.append(
            Cloud(
                symbol=chemical_symbols[z],
                labelled=found.coordinates(rows),
                steps=steps,
                way=found.coordinates(passed),
                references=found.coordinates(stored),
                shares=found.shares,
            )
        )
    return clouds


def _atoms_of(
    seen: Sequence[Seen], species: int, n_features: int
) -> tuple[FloatArray, FloatArray]:
    """Return the features (k, q) of some atoms of a species, and their steps (k,)."""
    total = sum(int((one.species == species).sum()) for one in seen)
    stride = max(1, -(-total // CLOUD))
    rows, steps, before = [np.empty((0, n_features))], [np.empty(0)], 0
    for one in seen:
        mine = np.flatnonzero(one.species == species)
        # Every stride-th atom of all, not always the same ones of a structure.
        chosen = mine[(-before) % stride :: stride]
        before += len(mine)
        rows.append(one.atoms[chosen])
        steps.append(np.full(len(chosen), one.step, dtype=np.float64))
    return np.concatenate(rows), np.concatenate(steps)
