"""Labels of several references in one fit, and what people are told of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

from otf.commands.dataset import Shift
from otf.models.levels import level_shifts, on_one_level
from otf.store.description import difference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otf.commands.dataset import Dataset
    from otf.models.bayesian_linear import BayesianLinear


def on_its_level(model: BayesianLinear, data: Dataset) -> Dataset:
    """Return a data set with all energies on the level a model predicts."""
    if data.levels is None:
        return data
    species = model.descriptor.species
    found = level_shifts(model.predict, data.frames, data.levels, species)
    frames = on_one_level(data.frames, data.levels, found, species)
    symbols = [chemical_symbols[z] for z in species]
    shifts = tuple(
        Shift(
            reference=mark,
            description=words,
            n_frames=int(np.count_nonzero(data.levels == level)),
            shifts=dict(zip(symbols, map(float, found[level]), strict=True)),
        )
        for level, (mark, words) in enumerate(data.others, start=1)
    )
    return replace(data, frames=frames, levels=None, shifts=shifts)


def shift_lines(data: Dataset) -> Iterator[str]:
    """Yield lines that tell which labels were shifted, and how far."""
    if data.shifts:
        yield f"Energies are those of reference {data.reference or 'without a name'}."
    for one in data.shifts:
        found = difference(data.description, one.description)
        how = ", ".join(f"{symbol} {x:+.4f}" for symbol, x in one.shifts.items())
        yield (
            f"{one.n_frames} labels of reference {one.reference or 'without a name'}"
            f"{f' ({found})' if found else ''} lie above by {how} eV an atom, and were "
            "shifted."
        )
