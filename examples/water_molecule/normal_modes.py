"""Bands of the simulation beside the normal modes of the reference and of the model.

    otf-md analyse infrared production --charges O=-0.819154 H=0.409577 -o infrared
    python normal_modes.py

From the folder of the example, after its two runs. Wavenumbers are of finite
displacements, intensities those of the double harmonic approximation with the charges
of the atoms, N_A |dM/dQ|^2 / (12 eps_0 c^2). A time step h makes a vibration of angular
frequency w one of 2/h arcsin(w h/2), as in velocity Verlet.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from ase import units
from ase.io import read
from ase.optimize import BFGS
from flexible_water import CHARGES, FlexibleWater

from otf.deploy.ase import OTFCalculator
from otf.deploy.saved_model import load_model
from otf.learning.production import ProductionPotential

STEP = 1e-3  # angstrom
H = 0.5 * units.fs  # of production.toml
KM_PER_MOL = 42.2561  # (D/angstrom)^2/amu
DEBYE = 1.0 / units.Debye  # e angstrom
# 1/cm of an angular frequency in ASE's units
PER_CM = units.second / (2.0 * np.pi * 100.0 * units._c)


def normal_modes(calculator) -> tuple[np.ndarray, np.ndarray]:
    """Return wavenumbers (3,), 1/cm, and intensities (3,), km/mol, of vibrations."""
    atoms = read("water.extxyz")
    atoms.calc = calculator
    BFGS(atoms, logfile=None).run(fmax=1e-6, steps=200)
    rest = atoms.positions.copy()
    hessian = np.empty((9, 9))
    for k in range(9):
        sides = []
        for sign in (1.0, -1.0):
            shift = np.zeros(9)
            shift[k] = sign * STEP
            atoms.positions = rest + shift.reshape(3, 3)
            sides.append(atoms.get_forces().ravel())
        hessian[k] = (sides[1] - sides[0]) / (2.0 * STEP)
    root = np.repeat(np.sqrt(atoms.get_masses()), 3)
    squares, modes = np.linalg.eigh(0.5 * (hessian + hessian.T) / np.outer(root, root))
    charges = np.array([CHARGES[s] for s in atoms.get_chemical_symbols()])
    # The six slowest are translations and rotations.
    moved = (modes[:, 6:].T / root).reshape(3, 3, 3)
    dipoles = DEBYE * np.einsum("n,knx->kx", charges, moved)
    intensities = KM_PER_MOL * (dipoles**2).sum(axis=1)
    return PER_CM * np.sqrt(squares[6:]), intensities


def in_steps(wavenumbers: np.ndarray) -> np.ndarray:
    """Return the wavenumbers at which the dynamics vibrates."""
    return PER_CM * 2.0 / H * np.arcsin(0.5 * H * wavenumbers / PER_CM)


def main() -> None:
    """Print both beside the bands."""
    found = json.loads(Path("infrared.json").read_text())["results"]
    by_name = {one["name"]: one for one in found}
    names = [name for name in by_name if f"{name}, intensity" in by_name]
    learned = ProductionPotential(load_model(Path("run/model.h5")))
    reference = normal_modes(FlexibleWater())
    model = normal_modes(OTFCalculator(learned))
    moving = in_steps(model[0])
    print(f"{'1/cm (km/mol)':16}{'reference':>18}{'model':>18}", end="")
    print(f"{'in steps':>10}   band of the dynamics")
    for k, mode in enumerate(("bend", "symmetric", "antisymmetric")):
        line = f"{mode:16}"
        for wavenumbers, intensities in (reference, model):
            line += f"{wavenumbers[k]:9.1f} ({intensities[k]:6.1f})"
        line += f"{moving[k]:10.1f}   "
        near = min(names, key=lambda name: abs(by_name[name]["value"] - moving[k]))
        band, intensity = by_name[near], by_name[f"{near}, intensity"]
        line += f"{band['value']:.1f} +- {band['error']:.1f} "
        line += f"({intensity['value']:.0f} +- {intensity['error']:.0f})"
        print(line)


if __name__ == "__main__":
    main()
