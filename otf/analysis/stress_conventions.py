"""Conventions a file of stresses may have been written in."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np

from otf.units import GPA, KBAR

if TYPE_CHECKING:
    from otf.configuration import FloatArray

RIGHT: Final = "right"


@dataclass(frozen=True)
class Scale:
    """What the stress was multiplied by: sign, constant, and a power of the volume."""

    name: str
    sign: int
    constant: float
    power: int

    def of(self, volume: FloatArray) -> FloatArray:
        """Return the factor (F,) for volumes in angstrom^3."""
        return np.asarray(self.sign * self.constant * volume**self.power)


@dataclass(frozen=True)
class ShearOrder:
    """What stands in the places of yz, xz and xy: 0 for yz, 1 for xz, 2 for xy."""

    name: str
    places: tuple[int, int, int]


# Name, constant, and power of the volume.
UNITS: Final = (
    (RIGHT, 1.0, 0),
    ("ten times too large (kbar taken for GPa)", 10.0, 0),
    ("ten times too small (GPa taken for kbar)", 0.1, 0),
    ("GPa taken for eV/A^3", 1.0 / GPA, 0),
    ("kbar taken for eV/A^3", 1.0 / KBAR, 0),
    ("eV/A^3 taken for GPa", GPA, 0),
    ("eV/A^3 taken for kbar", KBAR, 0),
    ("virial of the cell taken for stress", 1.0, 1),
    ("stress taken for virial of the cell", 1.0, -1),
)
FLIPPED: Final = "sign flipped"


def _scale(unit: tuple[str, float, int], sign: int) -> Scale:
    name, constant, power = unit
    if sign < 0:
        name = FLIPPED if name == RIGHT else f"{FLIPPED}, {name}"
    return Scale(name, sign, constant, power)


# Scale k and k + len(UNITS) differ by their sign. The first of both lists is right.
SCALES: Final = tuple(_scale(unit, sign) for sign, unit in product((1, -1), UNITS))
# The first three are written by programs.
ORDERS: Final = (
    ShearOrder(RIGHT, (0, 1, 2)),
    ShearOrder("shear order xy yz xz (VASP)", (2, 0, 1)),
    ShearOrder("shear order xy xz yz (LAMMPS)", (2, 1, 0)),
    ShearOrder("shear order xz yz xy", (1, 0, 2)),
    ShearOrder("shear order yz xy xz", (0, 2, 1)),
    ShearOrder("shear order xz xy yz", (1, 2, 0)),
)


def factors_of(volume: FloatArray) -> FloatArray:
    """Return the factor of every scale, (F, scales), for volumes (F,) in angstrom^3."""
    return np.stack([scale.of(volume) for scale in SCALES], axis=1)


def as_meant(read: FloatArray, volume: FloatArray) -> FloatArray:
    """Return the true stress under every convention, (F, scales, orders, 6)."""
    scaled = read[:, None, :] / factors_of(volume)[:, :, None]
    out = np.repeat(scaled[:, :, None, :], len(ORDERS), axis=2)
    for k, order in enumerate(ORDERS):
        for place, source in enumerate(order.places):
            out[:, :, k, 3 + source] = scaled[:, :, 3 + place]
    return out


def as_written(
    stress: FloatArray, volume: FloatArray, scale: Scale, order: ShearOrder
) -> FloatArray:
    """Return what is read of true stresses (F, 6) in a file of another convention."""
    shears = stress[:, [3 + source for source in order.places]]
    return scale.of(volume)[:, None] * np.hstack([stress[:, :3], shears])
