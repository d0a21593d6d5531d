"""Atoms at rest: a configuration, and the labels a reference gives to it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ase import Atoms

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Configuration:
    """Species, positions and cell of n atoms.

    Attributes
    ----------
    numbers : (n,) atomic numbers
    positions : (n, 3) angstrom
    cell : (3, 3) angstrom, rows are the cell vectors
    pbc : (3,) periodic directions
    charge : total charge in e, None when the user gave none
    spin : multiplicity 2S + 1, None when the user gave none
    initial_charges : (n,) e, or None
    magnetic_moments : (n,) initial moments in Bohr magnetons, or None
    """

    numbers: IntArray
    positions: FloatArray
    cell: FloatArray
    pbc: BoolArray
    charge: float | None = None
    spin: int | None = None
    initial_charges: FloatArray | None = None
    magnetic_moments: FloatArray | None = None

    @property
    def n_atoms(self) -> int:
        """Return the number of atoms."""
        return len(self.numbers)

    @property
    def volume(self) -> float:
        """Return the cell volume in angstrom^3; 0 without a three-dimensional cell."""
        (a, b, c), (d, e, f), (g, h, i) = self.cell.tolist()
        triple = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
        return abs(float(triple))

    def moved(self, positions: FloatArray) -> Configuration:
        """Return the same atoms at other positions, (n, 3) angstrom."""
        # Written out, for it is asked for several times at every step.
        return Configuration(
            self.numbers,
            positions,
            self.cell,
            self.pbc,
            self.charge,
            self.spin,
            self.initial_charges,
            self.magnetic_moments,
        )

    @classmethod
    def from_atoms(cls, atoms: Atoms) -> Configuration:
        """Take over an ASE Atoms object; charge and spin come from ``atoms.info``."""
        charge, spin = atoms.info.get("charge"), atoms.info.get("spin")
        charges = atoms.arrays.get("initial_charges")
        moments = atoms.arrays.get("initial_magmoms")
        return cls(
            numbers=np.asarray(atoms.numbers, dtype=np.int64),
            positions=np.array(atoms.positions, dtype=np.float64),
            cell=np.array(atoms.cell[:], dtype=np.float64),
            pbc=np.array(atoms.pbc, dtype=np.bool_),
            charge=None if charge is None else float(charge),
            spin=None if spin is None else int(spin),
            initial_charges=None if charges is None else np.array(charges, np.float64),
            magnetic_moments=None if moments is None else np.array(moments, np.float64),
        )

    def to_atoms(self) -> Atoms:
        """Return an ASE Atoms object with charge and spin in ``info`` where given."""
        from ase import Atoms

        atoms = Atoms(
            numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc
        )
        if self.charge is not None:
            atoms.info["charge"] = self.charge
        if self.spin is not None:
            atoms.info["spin"] = self.spin
        if self.initial_charges is not None:
            atoms.set_initial_charges(self.initial_charges)
        if self.magnetic_moments is not None:
            atoms.set_initial_magnetic_moments(self.magnetic_moments)
        return atoms

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return all fields as named arrays; those nobody gave are left out."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {k: np.asarray(v) for k, v in values.items() if v is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Configuration:
        """Return the configuration that ``to_arrays`` took apart."""
        charge, spin = arrays.get("charge"), arrays.get("spin")
        charges, moments = (
            None if x is None else np.array(x, np.float64)
            for x in (arrays.get("initial_charges"), arrays.get("magnetic_moments"))
        )
        return cls(
            numbers=np.array(arrays["numbers"], np.int64),
            positions=np.array(arrays["positions"], np.float64),
            cell=np.array(arrays["cell"], np.float64),
            pbc=np.array(arrays["pbc"], np.bool_),
            charge=None if charge is None else float(charge.item()),
            spin=None if spin is None else int(spin.item()),
            initial_charges=charges,
            magnetic_moments=moments,
        )


@dataclass(frozen=True, eq=False)
class Labels:
    """What a reference says of a configuration; a missing value is NaN.

    Attributes
    ----------
    energy : eV
    forces : (n, 3) eV/angstrom
    stress : (6,) eV/angstrom^3, Voigt xx yy zz yz xz xy, tension positive
    """

    energy: float
    forces: FloatArray
    stress: FloatArray

    @property
    def force_mask(self) -> BoolArray:
        """Return (n, 3), True where a force component is known."""
        return np.isfinite(self.forces)

    @property
    def stress_mask(self) -> BoolArray:
        """Return (6,), True where a stress component is known."""
        return np.isfinite(self.stress)


VOIGT: tuple[tuple[int, int], ...] = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def masked_stress(stress: FloatArray, pbc: BoolArray) -> FloatArray:
    """Return the stress (6,) with NaN where a component touches a non-periodic axis."""
    out = np.array(stress, dtype=np.float64)
    for k, (a, b) in enumerate(VOIGT):
        if not (pbc[a] and pbc[b]):
            out[k] = np.nan
    return out


def species_of(configurations: Sequence[Configuration]) -> tuple[int, ...]:
    """Return the sorted atomic numbers that occur."""
    return tuple(sorted({int(z) for c in configurations for z in c.numbers}))
