"""A configuration in motion: all that a sampler needs to make its next step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from otf.configuration import BoolArray, Configuration, FloatArray
    from otf.potential import Convert


@dataclass(frozen=True, eq=False)
class State:
    """Positions, momenta and everything else the next step depends on.

    Attributes
    ----------
    configuration : where the atoms are
    momenta : (n, 3) amu angstrom / internal time
    masses : (n,) amu
    free : (n, 3) False where a coordinate is fixed
    step : steps made so far
    time : internal time since the start
    seed : of the noise, which is a pure function of (seed, stream, step)
    stream : noise stream; a roll-back takes a new one
    thermostat : variables of the thermostat, shape its own, empty when it has none
    barostat : (k,) rates of strain in 1/internal time, empty for a cell without inertia
    first_cell : (3, 3) angstrom, that of the first step, which pressures that differ
        along the axes are meant for; empty where the cell cannot move
    heat : eV handed to the thermostat and the barostat so far
        (conserved = K + U + heat - learning_work)
    learning_work : eV, the ledger of model changes
    """

    configuration: Configuration
    momenta: FloatArray
    masses: FloatArray
    free: BoolArray
    step: int
    time: float
    seed: int
    stream: int = 0
    thermostat: FloatArray = field(default_factory=lambda: np.empty(0))
    barostat: FloatArray = field(default_factory=lambda: np.empty(0))
    first_cell: FloatArray = field(default_factory=lambda: np.empty((0, 0)))
    heat: float = 0.0
    learning_work: float = 0.0

    @property
    def kinetic_energy(self) -> float:
        """Return the kinetic energy in eV; of arrays on a GPU an array of no axes."""
        energy: float = 0.5 * (self.momenta**2 / self.masses[:, None]).sum()
        return float(energy) if isinstance(energy, float) else energy

    def of(self, convert: Convert) -> State:
        """Return the same, of what ``convert`` makes of all arrays of atoms.

        Species, cell and the variables of a thermostat are always on the host.
        """
        c = self.configuration
        return replace(
            self,
            configuration=c.moved(convert(c.positions)),
            momenta=convert(self.momenta),
            masses=convert(self.masses),
            free=convert(self.free),
            heat=float(convert(self.heat)),
            learning_work=float(self.learning_work),
        )
