"""From labelled structures to an examination: facts, duplicates, and a model's view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.analysis.duplicates import duplicates_of
from otf.analysis.examination import Examination, Place
from otf.analysis.frame_facts import REACH, Distances, facts_of
from otf.commands.conversion import joined
from otf.commands.model_check import check_against_model
from otf.models.stress_offset import MINIMUM_FRAMES
from otf.neighbors import NeighborList

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.analysis.frame_facts import FrameFacts
    from otf.commands.conversion import Source
    from otf.commands.dataset import Frame
    from otf.commands.stages import Stages
    from otf.settings.settings import Settings


def examine(
    sources: Sequence[Source],
    settings: Settings,
    *,
    n_references: int,
    ask_model: bool,
    stages: Stages,
) -> Examination:
    """Look at everything the files hold.

    Parameters
    ----------
    sources
        Files and what was read of them.
    settings
        Of the model; its stresses are never trained.
    n_references
        Most local references of an element.
    ask_model
        Whether labels are compared with a model.
    """
    reading = joined(sources)
    frames = reading.frames
    facts = [facts_of_frame(frame) for frame in frames]
    zero = np.array([bool((y.stress == 0.0).all()) for _, y in frames])
    stressed = [
        k
        for k, (c, labels) in enumerate(frames)
        if c.pbc.all() and labels.stress_mask.all() and not zero[k]
    ]
    usable = [
        k
        for k, (_, labels) in enumerate(frames)
        if np.isfinite(labels.energy) and labels.force_mask.all()
    ]
    why = "" if ask_model else "it was left out"
    if ask_model and len(usable) < MINIMUM_FRAMES:
        why = f"fewer than {MINIMUM_FRAMES} structures have an energy and forces"
    return Examination(
        places=_places(sources),
        facts=facts,
        missing={
            "energy": np.array([not np.isfinite(y.energy) for _, y in frames]),
            "forces": np.array([not y.force_mask.any() for _, y in frames]),
            "stress": np.array([not y.stress_mask.any() for _, y in frames]),
        },
        zero_stress=zero,
        duplicates=duplicates_of(facts),
        n_labellers=len(set(reading.fingerprints) - {""}),
        model=None
        if why
        else check_against_model(
            settings,
            frames,
            usable,
            stressed,
            n_references=n_references,
            stages=stages,
        ),
        why_no_model=why,
    )


def _places(sources: Sequence[Source]) -> list[Place]:
    return [
        Place(str(source.path), k, group)
        for source in sources
        for k, group in enumerate(source.reading.groups)
    ]


def facts_of_frame(frame: Frame) -> FrameFacts:
    """Return the facts of a structure with its labels."""
    configuration, labels = frame
    pairs = NeighborList(REACH, skin=0.0).pairs(configuration)
    first = np.repeat(np.arange(configuration.n_atoms), np.diff(pairs.first))
    distances = Distances(first, pairs.neighbor, pairs.distance)
    return facts_of(configuration, labels, distances)
