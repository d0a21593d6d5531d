"""The frames of a run as the model it has learned sees them now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from otf.learning.queue import under
from otf.models.archive import posterior_from_arrays
from otf.models.baselines.interface import NoBaseline
from otf.report.elements import percent
from otf.store.checkpoint import load_newest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import Configuration, FloatArray, IntArray
    from otf.models.posterior import KernelPosterior
    from otf.store.schema import RunFolder

MAX_ATOMS = 8000  # described of labelled frames, and of those on the way
MAX_WORK = 3e10  # floating-point operations of all spillings
CLOUD = 2500  # atoms of a species that are drawn


@dataclass(frozen=True, eq=False)
class Seen:
    """One structure in the eyes of a model.

    Attributes
    ----------
    step : of the run
    mean : (s q,) features of the atoms of every species, averaged over all atoms
    atoms : (n, q) normalised features
    species : (n,) index in the descriptor's list
    spilling : (n,) against all references; empty where it was not asked for
    """

    step: int
    mean: FloatArray
    atoms: FloatArray
    species: IntArray
    spilling: FloatArray


def posterior_of(folder: RunFolder) -> KernelPosterior | None:
    """Return the model of the last checkpoint; None where there is none yet.

    The baseline is left out: environments do not depend on it.

    Raises
    ------
    StoreError
        When the model is damaged, or its descriptor is of another package.
    """
    checkpoint = load_newest(folder, with_model=True)
    if checkpoint is None:
        return None
    # A run that learns keeps what it learns from around it.
    arrays = under(checkpoint.model, "posterior") or dict(checkpoint.model)
    if "weights" not in arrays:
        return None
    return posterior_from_arrays(arrays, baseline=NoBaseline())


def seen_by(
    posterior: KernelPosterior,
    structures: Sequence[tuple[int, Configuration]],
    *,
    spilling: bool,
    share: float = 1.0,
) -> list[Seen]:
    """Return structures, with their steps, as a model sees them.

    Parameters
    ----------
    posterior
        The model.
    structures
        Steps and structures; so many, evenly chosen, that it takes seconds.
    spilling
        Whether spillings are wanted.
    share
        Of the seconds, for one of several groups of structures.

    Returns
    -------
    list of Seen
        None of structures so large that one alone takes longer.
    """
    m, q = posterior.references.directions.shape
    n_atoms = max((c.n_atoms for _, c in structures), default=0)
    if not 0 < n_atoms <= MAX_ATOMS:
        return []
    affordable = MAX_ATOMS
    if spilling:
        affordable = min(affordable, int(MAX_WORK / (m * (m + 2 * q) + 1)))
    limit = max(2, int(share * affordable) // n_atoms)
    stride = -(-len(structures) // limit)
    return [
        _seen(posterior, step, c, spilling=spilling) for step, c in structures[::stride]
    ]


def _seen(
    posterior: KernelPosterior, step: int, c: Configuration, *, spilling: bool
) -> Seen:
    environments = posterior.describe(c)
    atoms = posterior.references.like(environments)
    n_species = len(posterior.descriptor.species)
    means = [
        atoms.directions[atoms.species == k].sum(axis=0) / c.n_atoms
        for k in range(n_species)
    ]
    found = posterior.gauge.basis.spilling(atoms) if spilling else np.empty(0)
    return Seen(step, np.concatenate(means), atoms.directions, atoms.species, found)


@dataclass(frozen=True)
class Coverage:
    """How much of a part of a run lies inside the data, by the last model.

    Attributes
    ----------
    name : of the part, as sentences call it
    n_frames, n_atoms : looked at
    frames_outside, atoms_outside : with a spilling above the bound, or such an atom
    median, largest : of the largest spilling of every frame
    bound : largest spilling that is trusted
    """

    name: str
    n_frames: int
    n_atoms: int
    frames_outside: int
    atoms_outside: int
    median: float
    largest: float
    bound: float

    @property
    def sentence(self) -> str:
        """Return what was found."""
        if not self.frames_outside:
            return (
                f"{self.name}: all {self.n_frames} frames looked at lie inside of the "
                f"data; the largest spilling of an atom is {self.largest:.2g}, "
                f"trusted up to {self.bound:.2g}."
            )
        share = self.frames_outside / self.n_frames
        return (
            f"{self.name}: {self.frames_outside} of {self.n_frames} frames looked at "
            f"({percent(share, 0)}) have an atom outside of the data, "
            f"{self.atoms_outside} of {self.n_atoms:,} atoms in all; the largest "
            f"spilling is {self.largest:.2g}, trusted up to {self.bound:.2g}."
        )


def coverage_of(name: str, frames: Sequence[Seen], bound: float) -> Coverage | None:
    """Return the coverage of frames with spillings; None without frames."""
    if not frames:
        return None
    largest = np.array([float(frame.spilling.max(initial=0.0)) for frame in frames])
    outside = [int((frame.spilling > bound).sum()) for frame in frames]
    return Coverage(
        name=name,
        n_frames=len(frames),
        n_atoms=sum(len(frame.spilling) for frame in frames),
        frames_outside=sum(n > 0 for n in outside),
        atoms_outside=sum(outside),
        median=float(np.median(largest)),
        largest=float(largest.max()),
        bound=bound,
    )
