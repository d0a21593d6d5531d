"""What a run will take: labels, local references, memory, disk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from otf.build import build_descriptor
from otf.descriptors.design_rows import GROUP
from otf.neighbors import NeighborList

if TYPE_CHECKING:
    from otf.configuration import Configuration
    from otf.descriptors.power_spectrum import PowerSpectrum
    from otf.settings.settings import Settings

REFERENCES_PER_LABEL = 25
FLOAT = 8  # bytes
FRAME_VALUES = 9  # positions, momenta and forces of an atom
SPARE_COLUMNS = 1.06  # rows keep room for an eighth more references at most
SQUARES = 17  # matrices of order m alive at once, at the worst moment
PAIR = 72  # bytes kept of a pair of neighbours
FIXED = 25_000_000  # bytes, buffers of the matrix library and the like


@dataclass(frozen=True)
class Forecast:
    """Sizes of a run before it starts.

    Attributes
    ----------
    n_labels : reference calls
    n_references : local reference configurations of all elements
    n_rows : of the design matrix
    memory : bytes that learning adds to the bare program, at most
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
    M = L (7 + 3n). L and m are rules of thumb: learning runs of 10,000 to 20,000 steps
    took 65 to 300 labels, and a label brought 7 (silicon) to 39 references (hot rock
    salt). A checkpoint holds the rows and six matrices of order m.
    """
    learning, n = settings.learning, configuration.n_atoms
    steps = settings.dynamics.n_steps
    labels = learning.budget_calls
    if labels is None:
        labels = len(learning.initial_rattles_A) + math.isqrt(steps)
    species, atoms_of = np.unique(configuration.numbers, return_counts=True)
    share = np.minimum(REFERENCES_PER_LABEL * atoms_of / n, atoms_of) * labels
    if learning.max_references is not None:
        share = np.minimum(share, learning.max_references)
    m = math.ceil(share.sum())
    rows = labels * (7 + 3 * n)
    descriptor = build_descriptor(settings, [int(z) for z in species])
    memory = learning_memory(descriptor, configuration, n_labels=labels, n_references=m)
    checkpoint = FLOAT * m * (rows + 6 * m + 2 * descriptor.n_features)
    frames = steps // settings.output.trajectory_interval + 2 * labels
    disk = FLOAT * FRAME_VALUES * n * frames + 2 * checkpoint
    return Forecast(labels, m, rows, memory, disk)


def learning_memory(
    descriptor: PowerSpectrum,
    configuration: Configuration,
    *,
    n_labels: int,
    n_references: int,
) -> int:
    """Return the bytes that learning labels of such a structure takes at most.

    Notes
    -----
    The rows 8 M m, the environments of all stored structures (features, density, pairs
    of neighbours), the derivatives of the atoms whose rows are made together, and at
    the worst moment, a fit or a checkpoint, 17 m^2 numbers: Gram
    matrices, factors, covariance roots, eigenvectors and their work space. The number
    17 was measured; a test holds the sum to within a fifth of what a process takes.
    """
    m, n = n_references, configuration.n_atoms
    rows = n_labels * (7 + 3 * n)
    pairs = len(NeighborList(descriptor.cutoff).pairs(configuration).distance)
    density = len(descriptor.species) * (
        descriptor.n_max * (descriptor.l_max + 1) ** 2 + descriptor.n_max_two_body
    )
    frame = FLOAT * n * (descriptor.n_features + density) + PAIR * pairs
    together = (
        min(n, GROUP) * (3 * pairs // n + 6) * max(descriptor.n_features, density)
    )
    matrices = together + m * (
        SPARE_COLUMNS * rows + SQUARES * m + 3 * descriptor.n_features
    )
    return int(FLOAT * matrices) + n_labels * frame + FIXED


def in_words(size: int) -> str:
    """Return bytes as people read them."""
    for unit in ("kB", "MB"):
        size_in = size / (1000.0 if unit == "kB" else 1e6)
        if size_in < 1000.0:
            return f"{size_in:.3g} {unit}"
    return f"{size / 1e9:.3g} GB"
