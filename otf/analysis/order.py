"""Bond order parameters and the structure around every atom.

References
----------
.. [1] P. J. Steinhardt, D. R. Nelson, M. Ronchetti, Bond-orientational order in liquids
   and glasses, Phys. Rev. B 28, 784 (1983), doi 10.1103/PhysRevB.28.784.
.. [2] W. Lechner, C. Dellago, Accurate determination of crystal structures based on
   averaged local bond order parameters, J. Chem. Phys. 129, 114707 (2008),
   doi 10.1063/1.2977970.
.. [3] A. Stukowski, Structure identification methods for atomistic simulations of
   crystalline materials, Model. Simul. Mater. Sci. Eng. 20, 045021 (2012),
   doi 10.1088/0965-0393/20/4/045021.
.. [4] E. Maras, O. Trushin, A. Stukowski, T. Ala-Nissila, H. Jónsson, Global transition
   path search for dislocation formation in Ge on Si(001), Comput. Phys. Commun. 205,
   13 (2016), doi 10.1016/j.cpc.2016.04.001.
.. [5] P. R. ten Wolde, M. J. Ruiz-Montero, D. Frenkel, Numerical calculation of the
   rate of crystal nucleation in a Lennard-Jones system at moderate undercooling,
   J. Chem. Phys. 104, 9932 (1996), doi 10.1063/1.471721.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from otf.analysis.libraries import library
from otf.configuration import Configuration
from otf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from otf.configuration import BoolArray, FloatArray, IntArray

STRUCTURES: Final = (
    "other",
    "fcc",
    "hcp",
    "bcc",
    "icosahedral",
    "cubic diamond",
    "hexagonal diamond",
)
_CUBIC, _HEXAGONAL = 5, 6
SOLID_BOND: Final = 0.5  # of normalised q6 vectors of two atoms
SOLID_SHARE: Final = 0.5  # of the bonds of a solid atom
SOLID_MEAN: Final = 0.5  # of its bonds; 0.6 would take hot crystals for liquid


def sublattice(
    configuration: Configuration, species: Sequence[int] | None
) -> Configuration:
    """Return the atoms of some species alone, all of them taken for alike.

    Parameters
    ----------
    configuration
        With atoms of at least one of the species.
    species
        Atomic numbers; None for all atoms.
    """
    c = configuration
    kept = slice(None) if species is None else np.isin(c.numbers, species)
    numbers = np.ones_like(c.numbers[kept])
    return Configuration(numbers, c.positions[kept], c.cell, c.pbc)


@dataclass(frozen=True)
class Surroundings:
    """Which atoms are neighbours: those within a cutoff, or the nearest of a number.

    Attributes
    ----------
    cutoff : angstrom, or None
    number : of neighbours, or None
    """

    cutoff: float | None = None
    number: int | None = None

    def find(self, configuration: Configuration) -> Atoms:
        """Return ASE atoms that carry their neighbours for pyscal3.

        Raises
        ------
        InputError
            When there are fewer neighbours than asked for.
        """
        pyscal = library("pyscal3")
        atoms = configuration.to_atoms()
        try:
            if self.number is not None:
                pyscal.find_neighbors(
                    atoms, method="number", nmax=self.number, store_rows=False
                )
            else:
                pyscal.find_neighbors(
                    atoms, method="cutoff", cutoff=self.cutoff, store_rows=False
                )
        except RuntimeError as error:
            msg = f"an atom has fewer than {self.number} neighbours: ask for fewer"
            raise InputError(msg) from error
        return atoms


def bond_order(
    configuration: Configuration,
    degrees: Sequence[int],
    surroundings: Surroundings,
    *,
    averaged: bool = False,
) -> FloatArray:
    """Return the order parameters q_l of every atom (n, len(degrees)).

    Parameters
    ----------
    configuration
        Of one sublattice, where only that is looked at.
    degrees
        l; 4 and 6 tell close-packed structures apart.
    surroundings
        Which atoms are neighbours.
    averaged
        Over the atom and its neighbours [2]_, which tells solid from liquid better.

    Notes
    -----
    q_l = (4 pi / (2 l + 1) sum_m |mean_j Y_lm(r_ij)|^2)^(1/2) [1]_.
    """
    return _steinhardt(surroundings.find(configuration), degrees, averaged=averaged)


def _steinhardt(atoms: Atoms, degrees: Sequence[int], *, averaged: bool) -> FloatArray:
    pyscal = library("pyscal3")
    found = pyscal.steinhardt_parameter(atoms, list(degrees), averaged=averaged)
    return np.asarray(np.transpose(found), dtype=np.float64)


def solid(configuration: Configuration, surroundings: Surroundings) -> BoolArray:
    """Return whether every atom (n,) is in a solid.

    Notes
    -----
    A bond is solid where the normalised vectors q_6m of both atoms have a product above
    0.5; an atom, when half of its bonds are and their products are 0.5 in the mean
    [5]_.
    """
    return _solid(surroundings.find(configuration))


def _solid(atoms: Atoms) -> BoolArray:
    library("pyscal3").find_solids(
        atoms,
        bonds=SOLID_SHARE,
        threshold=SOLID_BOND,
        avgthreshold=SOLID_MEAN,
        cluster=False,
    )
    return np.asarray(atoms.arrays["pyscal_solid"], dtype=np.bool_)


def structures(configuration: Configuration) -> IntArray:
    """Return the structure around every atom (n,), as a number into STRUCTURES.

    Notes
    -----
    Common neighbour analysis with a cutoff that adapts to every atom [3]_; what that
    leaves open is compared with cubic and hexagonal diamond [4]_, whose first and
    second neighbours count as diamond too.
    """
    pyscal = library("pyscal3")
    atoms = configuration.to_atoms()
    with warnings.catch_warnings():
        # Of atoms with too few others around, as in clusters: they are "other".
        warnings.simplefilter("ignore", RuntimeWarning)
        pyscal.common_neighbor_analysis(atoms)
        close_packed = np.array(atoms.arrays["pyscal_structure"])
        pyscal.diamond_structure(atoms)
        diamond = np.array(atoms.arrays["pyscal_structure"])
    cubic, hexagonal = (diamond >= 1) & (diamond <= 3), diamond >= 4
    out = np.where(close_packed == 0, np.where(cubic, _CUBIC, 0), close_packed)
    out = np.where((close_packed == 0) & hexagonal, _HEXAGONAL, out)
    return np.asarray(out, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Order:
    """Order of T frames of n atoms.

    Attributes
    ----------
    plain, averaged : (T, n, L) order parameters of every degree
    solid : (T,) share of atoms in a solid
    neighbors : (T,) neighbours of an atom in the mean
    structures : (T, 7) share of atoms in each of STRUCTURES
    """

    plain: FloatArray
    averaged: FloatArray
    solid: FloatArray
    neighbors: FloatArray
    structures: FloatArray


def order_along(
    frames: Sequence[Configuration],
    degrees: Sequence[int],
    surroundings: Surroundings,
) -> Order:
    """Return the order of every frame.

    Raises
    ------
    InputError
        When there are fewer neighbours than asked for.
    """
    plain, averaged, solids, near, found = [], [], [], [], []
    for c in frames:
        atoms = surroundings.find(c)
        plain.append(_steinhardt(atoms, degrees, averaged=False))
        averaged.append(_steinhardt(atoms, degrees, averaged=True))
        solids.append(_solid(atoms).mean())
        near.append(np.diff(atoms.info["pyscal_bond_offsets"]).mean())
        kinds = structures(c)
        found.append(np.bincount(kinds, minlength=len(STRUCTURES)) / len(kinds))
    return Order(
        np.array(plain),
        np.array(averaged),
        np.array(solids),
        np.array(near),
        np.array(found),
    )
