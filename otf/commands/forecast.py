"""What a run will take: labels, local references, memory, disk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from otf.configuration import Configuration
    from otf.settings.settings import Settings

REFERENCES_PER_LABEL = 25
FLOAT = 8  # bytes
FRAME_VALUES = 9  # positions, momenta and forces of an atom


@dataclass(frozen=True)
class Forecast:
    """Sizes of a run before it starts.

    Attributes
    ----------
    n_labels : reference calls
    n_references : local reference configurations of all elements
    n_rows : of the design matrix
    memory : bytes, of the design matrix and the squares beside it
    disk : bytes, of trajectory, labels and two checkpoints
    """

    n_labels: int
    n_references: int
    n_rows: int
    memory: int
    disk: int


def forecast(settings: Settings, configuration: Configuration) -> Forecast:
    """Return the expected sizes of a learning run.

    Notes
    -----
    L = rattles + sqrt(steps) labels, or the budget. m = min(25 L, n L) references for n
    atoms, capped per element by `max_references`. A structure gives 1 + 3n + 6 rows, so
    M = L (7 + 3n), and the memory is 8 m (M + 4 m) bytes: the design matrix, the
    covariance matrix, its factor, the Gram matrix and the posterior. L and m are rules
    of thumb: learning runs of 10,000 to 20,000 steps took 65 to 300 labels, and a label
    brought 7 (silicon) to 39 references (hot rock salt).
    """
    learning, n = settings.learning, configuration.n_atoms
    steps = settings.dynamics.n_steps
    labels = learning.budget_calls
    if labels is None:
        labels = len(learning.initial_rattles_A) + math.isqrt(steps)
    _, atoms_of = np.unique(configuration.numbers, return_counts=True)
    share = np.minimum(REFERENCES_PER_LABEL * atoms_of / n, atoms_of) * labels
    if learning.max_references is not None:
        share = np.minimum(share, learning.max_references)
    references = math.ceil(share.sum())
    rows = labels * (7 + 3 * n)
    memory = FLOAT * references * (rows + 4 * references)
    frames = steps // settings.output.trajectory_interval + 2 * labels
    disk = FLOAT * FRAME_VALUES * n * frames + 2 * memory
    return Forecast(labels, references, rows, memory, disk)


def in_words(size: int) -> str:
    """Return bytes as people read them."""
    for unit in ("kB", "MB"):
        size_in = size / (1000.0 if unit == "kB" else 1e6)
        if size_in < 1000.0:
            return f"{size_in:.3g} {unit}"
    return f"{size / 1e9:.3g} GB"
