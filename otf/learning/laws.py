"""From the deviations of a finished model to its errors, and where that was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from otf.learning.calibration import Calibration, Law

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from otf.configuration import FloatArray, IntArray
    from otf.models.blind import BlindFrame

# With which labels deviations were compared.
RUN: Final = "run"
SELECTION: Final = "selection"
LEFT_OUT: Final = "left-out frames"
NONE: Final = "none"
FEWEST_FRAMES = 3  # an element in fewer has the law that a run starts with


@dataclass(frozen=True)
class Laws:
    """What the deviations of one model are worth.

    All errors meant are those that 95 % of the true ones lie below; forces and stresses
    are meant by component.

    Attributes
    ----------
    forces : by atomic number
    energy : of an energy, eV in and out; None where unknown
    stress : of the six components of a stress, eV/angstrom^3; None where unknown
    origin : of all of them: run, selection (the labels that otf-md select asked for)
        or left-out frames
    n_frames : they were found from; 0 where nobody counted
    """

    forces: Mapping[int, Law]
    energy: Law | None = None
    stress: Law | None = None
    origin: str = RUN
    n_frames: int = 0

    @classmethod
    def of_calibration(
        cls,
        calibration: Calibration,
        species: Iterable[int],
        *,
        energy: Law | None = None,
        stress: Law | None = None,
        origin: str = RUN,
    ) -> Self:
        """Return those found while learning, of forces by a calibration."""
        forces = {z: calibration.law(z) for z in species}
        return cls(forces, energy, stress, origin)

    @classmethod
    def of_blind(cls, frames: Sequence[BlindFrame], species: Iterable[int]) -> Self:
        """Return those of frames that were left out of the fit in turn.

        The same law as in a run, over all frames instead of the last twenty.
        """
        forces = {}
        for z in species:
            mine = [(one, one.numbers == z) for one in frames if z in one.numbers]
            forces[z] = _law(
                [(one.force_errors[at], one.force_deviations[at]) for one, at in mine]
            )
        energies = [
            (one.energy_error[:, None], one.energy_deviation)
            for one in frames
            if len(one.energy_error)
        ]
        stresses = [
            (one.stress_errors[:, None], one.stress_deviations)
            for one in frames
            if len(one.stress_errors)
        ]
        return cls(
            forces,
            _law(energies) if len(energies) >= FEWEST_FRAMES else None,
            _law(stresses) if len(stresses) >= FEWEST_FRAMES else None,
            LEFT_OUT,
            len(frames),
        )

    def force_errors(self, numbers: IntArray, deviations: FloatArray) -> FloatArray:
        """Return e_i (n,) in eV/angstrom of atoms with deviations sigma_i (n,)."""
        out = np.full(len(numbers), np.nan)
        for z in np.unique(numbers):
            if int(z) in self.forces:
                mine = numbers == z
                out[mine] = self.forces[int(z)].errors(deviations[mine])
        return out


def _law(frames: Sequence[tuple[FloatArray, FloatArray]]) -> Law:
    """Return the law of errors (n, c) and deviations (n,) of frames."""
    found = Calibration(window=max(len(frames), 1), minimum_frames=FEWEST_FRAMES)
    for errors, deviations in frames:
        one = np.zeros(len(deviations), dtype=np.int64)  # all count as of one species
        found.add(one, errors, deviations, audit=False)
    return found.law(0)
