"""Compare a model that has seen melts with its reference on crystals it has not.

    python crystals.py MODEL

For fcc, hcp and bcc: volume at rest, energy above that of fcc and bulk modulus, from
equations of state of both; and what the model makes of the crystal of the reference:
its error, its own deviation (meV/atom), and the largest spilling of an atom.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from aluminium_eam import Aluminium
from ase.build import bulk

from otf.analysis.eos import EquationOfState, energies_of_volumes, fit_equation
from otf.configuration import Configuration
from otf.deploy.ase import OTFCalculator
from otf.deploy.saved_model import load_model
from otf.learning.production import ProductionPotential
from otf.units import GPA

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from otf.models.posterior import KernelPosterior

VOLUMES = np.linspace(0.94, 1.06, 9)  # in units of that at rest
HEAD = f"""\
{"":4} {"V_0 (A^3)":^15}  {"E - E_fcc (meV)":^15}  {"B (GPa)":^16}  {"at rest":^21}
{"":4} {"ref.":>7} {"model":>7}  {"ref.":>7} {"model":>7}  \
{"ref.":>8} {"model":>7}  {"error":>7} {"dev.":>5} {"spill.":>7}"""


def crystals() -> dict[str, Atoms]:
    """Return crystals of aluminium near rest, in their smallest cells."""
    return {
        "fcc": bulk("Al", "fcc", a=4.05),
        "hcp": bulk("Al", "hcp", a=2.86, c=4.67),
        "bcc": bulk("Al", "bcc", a=3.24),
    }


def equation(atoms: Atoms, calculator: Calculator) -> EquationOfState:
    """Return the equation of state of a crystal, its shape relaxed."""
    atoms = atoms.copy()
    atoms.calc = calculator
    return fit_equation(*energies_of_volumes(atoms, relative=VOLUMES.tolist()))


@dataclass(frozen=True)
class Seen:
    """What a model makes of a crystal.

    Attributes
    ----------
    error, deviation : of the energy, eV per atom; the deviation is the model's own
    spilling : the largest of an atom
    """

    error: float
    deviation: float
    spilling: float


def seen_by(model: KernelPosterior, atoms: Atoms, energy: float) -> Seen:
    """Return what a model makes of a crystal whose energy (eV) is known."""
    configuration = Configuration.from_atoms(atoms)
    uncertainty = model.force_uncertainty(configuration)
    n = len(atoms)
    assert uncertainty.energy is not None  # the exact deviations have it
    return Seen(
        (model.predict(configuration).energy - energy) / n,
        uncertainty.energy / n,
        float(uncertainty.spilling.max()),
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    model = load_model(parser.parse_args().model)
    learned = OTFCalculator(ProductionPotential(model, stop=False))
    reference = Aluminium()
    found = {
        name: (equation(atoms, reference), equation(atoms, learned), atoms)
        for name, atoms in crystals().items()
    }
    origin = [curve.parameters[0] for curve in found["fcc"][:2]]
    print(HEAD)
    for name, (*curves, atoms) in found.items():
        volumes = [curve.parameters[3] for curve in curves]
        energies = [
            1e3 * (c.parameters[0] - e) for c, e in zip(curves, origin, strict=True)
        ]
        moduli = [curve.parameters[1] / GPA for curve in curves]
        at_rest = atoms.copy()
        scale = (volumes[0] * len(atoms) / atoms.get_volume()) ** (1.0 / 3.0)
        at_rest.set_cell(scale * at_rest.cell.array, scale_atoms=True)
        at_rest.calc = reference
        seen = seen_by(model, at_rest, at_rest.get_potential_energy())
        print(
            f"{name}  {volumes[0]:7.3f} {volumes[1]:7.3f}  {energies[0]:7.2f} "
            f"{energies[1]:7.2f}  {moduli[0]:8.1f} {moduli[1]:7.1f}  "
            f"{1e3 * seen.error:7.2f} {1e3 * seen.deviation:5.2f} {seen.spilling:.1e}"
        )


if __name__ == "__main__":
    main()
