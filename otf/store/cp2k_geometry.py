"""Atoms and cell as the main output of CP2K prints them, for runs without a trajectory.

Positions have six digits behind the point (angstrom), enough for labels. The vectors of
the cell have three only, its lengths and angles six: where the cell lies as most
programs put it, a along x and b in the plane of x and y, these say what it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from ase.geometry import cellpar_to_cell

from otf.configuration import Configuration
from otf.errors import StoreError
from otf.store.text import element_of_label

if TYPE_CHECKING:
    from otf.configuration import FloatArray, IntArray
    from otf.store.text import Lines

_VECTORS = ("a", "b", "c")
_ANGLES = ("alpha", "beta", "gamma")
_ROUNDED = 6e-4  # half of the last digit of a vector, and what its length has lost
_FINE = 6  # digits behind the point of newer versions


@dataclass
class PrintedGeometry:
    """What the output has said of atoms and cell.

    Attributes
    ----------
    vectors : (3,) angstrom each, as printed, by their letter
    lengths : angstrom, by the letter of the vector
    angles : degrees, by their Greek letter
    digits : behind the point of the vectors
    axes : those along which the cell repeats
    numbers, positions : (n,), and (n, 3) angstrom
    """

    vectors: dict[str, list[float]] = field(default_factory=dict)
    lengths: dict[str, float] = field(default_factory=dict)
    angles: dict[str, float] = field(default_factory=dict)
    digits: int = 0
    axes: str = "XYZ"
    numbers: IntArray | None = None
    positions: FloatArray | None = None

    def take_cell(self, lines: Lines, line: str) -> None:
        """Take a line of the table of the cell."""
        words = line.split()
        if words[1:2] == ["Vector"]:
            numbers = [word for word in words if "." in word]
            values = lines.floats(numbers, 4, "a vector and its length")
            self.vectors[words[2]], self.lengths[words[2]] = values[:3], values[3]
            self.digits = len(numbers[0].partition(".")[2])
        elif words[1:2] == ["Angle"]:
            self.angles[words[3]] = lines.floats(words[-1:], 1, "an angle")[0]
        elif words[1:2] == ["Periodicity"]:
            self.axes = words[-1].upper()

    def take_atoms(self, lines: Lines) -> None:
        """Take the table of atoms below its title."""
        heading = lines.filled("the atoms").split()
        if heading[:6] != ["Atom", "Kind", "Element", "X", "Y", "Z"]:
            raise lines.wrong("expected Atom Kind Element X Y Z above the atoms")
        numbers: list[int] = []
        rows: list[list[float]] = []
        for line in lines:
            words = line.split()
            if not words and rows:
                break
            if not words:
                continue
            number = element_of_label(words[2]) if len(words) > 6 else None
            if number is None or words[0] != f"{len(rows) + 1}":
                raise lines.wrong(f"expected atom {len(rows) + 1}")
            numbers.append(number)
            rows.append(lines.floats(words[4:7], 3, "a position"))
        self.numbers = np.array(numbers, dtype=np.int64)
        self.positions = np.array(rows, dtype=np.float64).reshape(-1, 3)

    def configuration(self, where: str) -> Configuration:
        """Return the structure.

        Raises
        ------
        StoreError
            When atoms or cell are not in the output, or the cell is turned.
        """
        if self.numbers is None or self.positions is None:
            raise StoreError(
                f"{where}: has no atomic coordinates; let CP2K print them "
                "(GLOBAL/PRINT_LEVEL MEDIUM)"
            )
        pbc = np.array([axis in self.axes for axis in "XYZ"])
        return Configuration(self.numbers, self.positions, self._cell(where), pbc)

    def _cell(self, where: str) -> FloatArray:
        if set(self.lengths) != set(_VECTORS) or set(self.angles) != set(_ANGLES):
            raise StoreError(f"{where}: has no cell; let CP2K print it (SUBSYS/PRINT)")
        printed = np.array([self.vectors[letter] for letter in _VECTORS])
        if self.digits >= _FINE:
            return printed
        lengths = [self.lengths[letter] for letter in _VECTORS]
        angles = [self.angles[letter] for letter in _ANGLES]
        cell = np.array(cellpar_to_cell([*lengths, *angles]), dtype=np.float64)
        if np.abs(cell - printed).max() > _ROUNDED:
            raise StoreError(
                f"{where}: the cell is printed with {self.digits} digits and is not "
                "known better, because a does not lie along x or b not in the plane of "
                "x and y: turn the structure, or let CP2K write a trajectory"
            )
        return cell
