"""What a labelled structure says of itself, before any model is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from ase.data import atomic_masses, chemical_symbols, covalent_radii
from ase.formula import Formula
from ase.units import kg, m

from otf.units import GPA

if TYPE_CHECKING:
    from otf.configuration import Configuration, FloatArray, IntArray, Labels

REACH: Final = 5.0  # angstrom, of the distances by which structures are compared
_WAVES = np.arange(12)
_GRAM_PER_CM3 = 1e-3 * kg / (0.01 * m) ** 3  # amu/angstrom^3


@dataclass(frozen=True, eq=False)
class Distances:
    """Every ordered pair of a structure within REACH.

    Attributes
    ----------
    first, second : (p,) atoms; both are the same for an image of the atom itself
    length : (p,) angstrom
    """

    first: IntArray
    second: IntArray
    length: FloatArray


@dataclass(frozen=True)
class Contact:
    """The two atoms that are nearest for their size.

    Attributes
    ----------
    atoms : their indices
    distance : angstrom
    ratio : distance over the sum of the covalent radii
    """

    atoms: tuple[int, int]
    distance: float
    ratio: float


@dataclass(frozen=True, eq=False)
class FrameFacts:
    """Numbers of one structure; what is not known is NaN, or None.

    Attributes
    ----------
    formula : reduced
    n_atoms : of the cell
    counts : atoms of every element, by atomic number
    volume : angstrom^3 per atom, of structures periodic along three axes
    density : g/cm^3, likewise
    energy : eV/atom
    largest_force, net_force : eV/angstrom, of an atom, and of all atoms divided by
        their number
    stress : (6,) GPa
    contact : None where no two atoms are within REACH
    fingerprint : equal for structures that differ by rotation, reflection, translation
        or the order of their atoms only
    kind : what structures must share to be the same, beside the fingerprint
    """

    formula: str
    n_atoms: int
    counts: dict[int, int]
    volume: float
    density: float
    energy: float
    largest_force: float
    net_force: float
    stress: FloatArray
    contact: Contact | None
    fingerprint: FloatArray
    kind: tuple[object, ...]


def facts_of(c: Configuration, labels: Labels, distances: Distances) -> FrameFacts:
    """Return the facts of a structure."""
    numbers, amounts = np.unique(c.numbers, return_counts=True)
    counts = {int(z): int(k) for z, k in zip(numbers, amounts, strict=True)}
    volume = c.volume if c.pbc.all() else np.nan
    mass = float(atomic_masses[c.numbers].sum())
    lengths = np.linalg.norm(labels.forces, axis=1)
    known = np.isfinite(lengths)
    moments = c.magnetic_moments
    return FrameFacts(
        formula=_formula(counts),
        n_atoms=c.n_atoms,
        counts=counts,
        volume=volume / c.n_atoms,
        density=mass / volume / _GRAM_PER_CM3,
        energy=labels.energy / c.n_atoms,
        largest_force=float(lengths[known].max()) if known.any() else np.nan,
        net_force=float(np.linalg.norm(labels.forces.sum(axis=0))) / c.n_atoms,
        stress=labels.stress / GPA,
        contact=_contact(c, distances),
        fingerprint=_fingerprint(c, distances),
        kind=(
            tuple(counts.items()),
            tuple(sorted(c.pbc.tolist())),
            c.charge,
            c.spin,
            None if moments is None else tuple(np.sort(np.round(moments, 3)).tolist()),
        ),
    )


def _formula(counts: dict[int, int]) -> str:
    whole = Formula.from_dict({chemical_symbols[z]: k for z, k in counts.items()})
    return str(whole.reduce()[0].format("metal"))


def _contact(c: Configuration, distances: Distances) -> Contact | None:
    if not len(distances.length):
        return None
    radii = covalent_radii[c.numbers]
    ratio = distances.length / (radii[distances.first] + radii[distances.second])
    k = int(ratio.argmin())
    pair = (int(distances.first[k]), int(distances.second[k]))
    return Contact(pair, float(distances.length[k]), float(ratio[k]))


def _fingerprint(c: Configuration, distances: Distances) -> FloatArray:
    """Return sums over the pairs of every two elements of waves of their distance.

    Every wave is damped towards REACH, so that no pair enters or leaves with a step,
    and divided by the square root of the number of pairs: displacements at random of
    d angstrom change it by about d.
    """
    x = distances.length / REACH
    waves = np.cos(np.pi * _WAVES * x[:, None]) * ((1.0 - x**2) ** 2)[:, None]
    one, other = c.numbers[distances.first], c.numbers[distances.second]
    elements = np.unique(c.numbers)
    scale = np.sqrt(max(len(x), 1))
    parts = [
        waves[(one == a) & (other == b)].sum(axis=0) / scale
        for k, a in enumerate(elements)
        for b in elements[k:]
    ]
    return np.concatenate(parts)
