"""Everything that was found out about a set of labelled structures."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.analysis.duplicates import Duplicates
    from otf.analysis.frame_facts import FrameFacts
    from otf.analysis.stress_verdict import StressVerdict
    from otf.configuration import BoolArray, FloatArray, IntArray


# Deviations from what the other structures say; their scale is that of the set, whose
# errors have long tails.
CONTRADICTED_ENERGY: Final = 8.0
CONTRADICTED_FORCE: Final = 12.0


@dataclass(frozen=True)
class Place:
    """Where a structure stands.

    Attributes
    ----------
    file : as it was given
    frame : number of the structure in it, from 0
    group : its ``config_type``, empty where there is none
    """

    file: str
    frame: int
    group: str


@dataclass(frozen=True, eq=False)
class StressCheck:
    """Stresses read beside those that a model of energies and forces implies.

    Attributes
    ----------
    frames : (K,) index of the structures compared
    read, implied, deviation : (K, 6) GPa
    verdict : on their convention
    offset_GPa : isotropic, of the stresses in their likeliest convention
    offset_scatter_GPa : of a structure
    offset_is_determined : whether the volumes vary enough to tell one
    offset_is_significant : whether stresses contradict the energies
    """

    frames: IntArray
    read: FloatArray
    implied: FloatArray
    deviation: FloatArray
    verdict: StressVerdict
    offset_GPa: float  # noqa: N815 - units as users write them
    offset_scatter_GPa: float  # noqa: N815
    offset_is_determined: bool
    offset_is_significant: bool


@dataclass(frozen=True, eq=False)
class ModelCheck:
    """Labels beside what a model says that was not fitted to them.

    Attributes
    ----------
    n_fitted, n_references : size of the model
    energy_errors : (F,) eV/atom, label minus prediction, NaN without label
    energy_scores : (F,) the same in deviations
    force_errors : (F,) eV/angstrom, of the atom with the largest score
    force_scores : (F,) that score
    force_atoms : (F,) that atom
    stress : None where fewer than a few stresses can be compared
    """

    n_fitted: int
    n_references: int
    energy_errors: FloatArray
    energy_scores: FloatArray
    force_errors: FloatArray
    force_scores: FloatArray
    force_atoms: IntArray
    stress: StressCheck | None

    @property
    def contradicted_energies(self) -> BoolArray:
        """Return which energies the other structures contradict."""
        return np.asarray(np.abs(self.energy_scores) > CONTRADICTED_ENERGY)

    @property
    def contradicted_forces(self) -> BoolArray:
        """Return which structures have a force that the others contradict."""
        return np.asarray(self.force_scores > CONTRADICTED_FORCE)

    def contradicted(self, times: float) -> BoolArray:
        """Return which structures are contradicted by so many times the bounds."""
        energies = np.abs(self.energy_scores) > times * CONTRADICTED_ENERGY
        forces = self.force_scores > times * CONTRADICTED_FORCE
        return np.asarray(energies | forces)


@dataclass(frozen=True, eq=False)
class Examination:
    """What is known of F structures.

    Attributes
    ----------
    places, facts : of every structure
    missing : kind of label to (F,), True where it is not there
    zero_stress : (F,), True where the stress is exactly zero
    duplicates : groups of equal structures
    n_labellers : how many references labelled them, as far as the files say
    model : None when no model was asked
    why_no_model : one phrase, empty with a model
    """

    places: Sequence[Place]
    facts: Sequence[FrameFacts]
    missing: dict[str, BoolArray]
    zero_stress: BoolArray
    duplicates: Sequence[Duplicates]
    n_labellers: int
    model: ModelCheck | None
    why_no_model: str

    @property
    def n_frames(self) -> int:
        """Return the number of structures."""
        return len(self.facts)


@dataclass(frozen=True)
class Composition:
    """Structures of one reduced formula; a range is None where nothing is known.

    Attributes
    ----------
    formula : reduced
    n_frames : structures
    atoms : smallest and largest number of a cell
    volumes, densities, energies : smallest and largest, angstrom^3/atom, g/cm^3 and
        eV/atom
    """

    formula: str
    n_frames: int
    atoms: tuple[float, float] | None
    volumes: tuple[float, float] | None
    densities: tuple[float, float] | None
    energies: tuple[float, float] | None


def compositions(data: Examination) -> list[Composition]:
    """Return the compositions, the most frequent first."""
    groups: dict[str, list[FrameFacts]] = {}
    for facts in data.facts:
        groups.setdefault(facts.formula, []).append(facts)
    out = [
        Composition(
            formula=formula,
            n_frames=len(some),
            atoms=_span([f.n_atoms for f in some]),
            volumes=_span([f.volume for f in some]),
            densities=_span([f.density for f in some]),
            energies=_span([f.energy for f in some]),
        )
        for formula, some in groups.items()
    ]
    return sorted(out, key=lambda one: -one.n_frames)


def named(places: Sequence[Place], frames: Sequence[int], *, limit: int) -> str:
    """Return file and frame numbers of some structures, shortened.

    Parameters
    ----------
    limit
        Most numbers or ranges of numbers; the rest is counted.
    """
    runs: list[tuple[str, int, int]] = []
    for k in sorted(frames):
        place = places[k]
        if runs and runs[-1][0] == place.file and runs[-1][2] == place.frame - 1:
            runs[-1] = (place.file, runs[-1][1], place.frame)
        else:
            runs.append((place.file, place.frame, place.frame))
    parts = [
        f"{file} {', '.join(_range(low, high) for _, low, high in some)}"
        for file, some in groupby(runs[:limit], key=lambda run: run[0])
    ]
    left = sum(high - low + 1 for _, low, high in runs[limit:])
    return "; ".join(parts) + (f" and {left} more" if left else "")


def _range(low: int, high: int) -> str:
    if low == high:
        return str(low)
    return f"{low}, {high}" if high == low + 1 else f"{low}-{high}"


def _span(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the smallest and the largest known value, None where none is known."""
    known = np.array([v for v in values if np.isfinite(v)])
    return (float(known.min()), float(known.max())) if len(known) else None
