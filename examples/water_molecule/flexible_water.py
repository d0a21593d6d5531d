"""One flexible molecule of water: the bonds and the angle of q-TIP4P/F.

References
----------
S. Habershon, T. E. Markland, D. E. Manolopoulos, J. Chem. Phys. 131, 024501 (2009),
doi 10.1063/1.3167790, eqs 3-5 and table I.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from ase import units
from ase.calculators.calculator import Calculator, all_changes

DEPTH = 116.09 * units.kcal / units.mol
STEEPNESS = 2.287  # 1/angstrom
LENGTH = 0.9419  # angstrom
BENDING = 87.85 * units.kcal / units.mol  # a squared radian
ANGLE = np.deg2rad(107.4)
# The negative charge lies between the atoms; these have the same dipole moment.
SHARE, CHARGE = 0.73612, 1.1128
CHARGES = {"O": -SHARE * CHARGE, "H": 0.5 * SHARE * CHARGE}


class FlexibleWater(Calculator):
    """Energy and forces of O, H and H in any order, without boundaries."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def calculate(self, atoms=None, properties=("energy",), changes=all_changes):
        """Compute both."""
        super().calculate(atoms, properties, changes)
        symbols = self.atoms.get_chemical_symbols()
        if sorted(symbols) != ["H", "H", "O"] or self.atoms.pbc.any():
            msg = "this potential is that of one water molecule, not periodic"
            raise ValueError(msg)
        o = symbols.index("O")
        hydrogens = [k for k in range(3) if k != o]
        bonds = self.atoms.positions[hydrogens] - self.atoms.positions[o]
        lengths = np.linalg.norm(bonds, axis=1)
        directions = bonds / lengths[:, None]
        a, x = STEEPNESS, lengths - LENGTH
        energy = DEPTH * (a**2 * x**2 - a**3 * x**3 + 7 / 12 * a**4 * x**4).sum()
        slopes = DEPTH * (2 * a**2 * x - 3 * a**3 * x**2 + 7 / 3 * a**4 * x**3)
        cosine = directions[0] @ directions[1]
        opening = np.arccos(cosine) - ANGLE
        energy += 0.5 * BENDING * opening**2
        turned = (directions[::-1] - cosine * directions) / lengths[:, None]
        bend = -BENDING * opening / np.sqrt(1.0 - cosine**2)
        gradient = slopes[:, None] * directions + bend * turned
        forces = np.empty((3, 3))
        forces[hydrogens], forces[o] = -gradient, gradient.sum(axis=0)
        self.results = {"energy": float(energy), "forces": forces}
