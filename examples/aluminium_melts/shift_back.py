"""How far a model melts from its reference, from simulations of the model.

    python shift_back.py SOLID LIQUID MODEL

SOLID and LIQUID are folders of runs with the model at one temperature and no pressure
(phase_solid.toml, phase_liquid.toml). The reference gives the energies of their frames;
the differences of the free energies follow to second order. The other way, from
simulations of the reference, goes `examples/benchmarks/coexistence.py WORK shift`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from aluminium_eam import Aluminium
from ase import Atoms
from ase.units import kB

from otf.analysis.averages import mean_of
from otf.configuration import Configuration
from otf.deploy.saved_model import load_model
from otf.store.motion import read_motion

TEMPERATURE = 930.0  # K
BEGIN = 0.25  # of the frames are left out


@dataclass(frozen=True)
class Difference:
    """Model less reference in one phase, eV per atom.

    Attributes
    ----------
    free_energy, error : to second order, and its standard error
    energy : of the model
    """

    free_energy: float
    error: float
    energy: float


def difference(run: Path, model_file: Path) -> Difference:
    """Return the difference of the free energies of model and reference.

    Notes
    -----
    G_model - G = kT ln <exp(dU/kT)> over the ensemble of the model at constant
    pressure, dU the energy of the model less that of the reference, is
    <dU> + var(dU)/2kT to second order.
    """
    model, motion = load_model(model_file), read_motion(run)
    begin, n = int(BEGIN * len(motion.positions)), len(motion.numbers)
    learned, known = [], []
    for positions, cell in zip(
        motion.positions[begin:], motion.cells[begin:], strict=True
    ):
        atoms = Atoms(motion.numbers, positions=positions, cell=cell, pbc=True)
        learned.append(model.predict(Configuration.from_atoms(atoms)).energy)
        atoms.calc = Aluminium()
        known.append(atoms.get_potential_energy())
    apart = np.array(learned) - np.array(known)
    mean = mean_of(apart)
    second = float(np.var(apart, ddof=1)) / (2.0 * kB * TEMPERATURE)
    # The variance of m independent values is known to sqrt(2/m) of itself.
    error = float(np.hypot(mean.error, second * np.sqrt(2.0 / mean.n_independent)))
    return Difference((mean.value + second) / n, error / n, float(np.mean(learned)) / n)


def main() -> None:
    """Print the differences, and that of the melting temperatures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("solid", "liquid", "model"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    solid = difference(arguments.solid, arguments.model)
    liquid = difference(arguments.liquid, arguments.model)
    for name, phase in (("solid", solid), ("liquid", liquid)):
        print(
            f"{name}: {1e3 * phase.free_energy:+.3f} +- {1e3 * phase.error:.3f} "
            "meV/atom"
        )
    melting = liquid.energy - solid.energy
    moved = TEMPERATURE * (liquid.free_energy - solid.free_energy) / melting
    error = TEMPERATURE * float(np.hypot(solid.error, liquid.error)) / melting
    print(
        f"heat of melting {1e3 * melting:.1f} meV/atom; the model melts "
        f"{moved:+.1f} +- {error:.1f} K from the reference"
    )


if __name__ == "__main__":
    main()
