"""Elastic constants: from stresses of strained crystals, and from cells that fluctuate.

References
----------
.. [1] M. Parrinello, A. Rahman, Strain fluctuations and elastic constants, J. Chem.
   Phys. 76, 2662 (1982), doi 10.1063/1.443248.
.. [2] R. Hill, The elastic behaviour of a crystalline aggregate, Proc. Phys. Soc. A 65,
   349 (1952), doi 10.1088/0370-1298/65/5/307.
.. [3] S. I. Ranganathan, M. Ostoja-Starzewski, Universal elastic anisotropy index,
   Phys. Rev. Lett. 101, 055504 (2008), doi 10.1103/PhysRevLett.101.055504.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from otf.analysis.averages import BLOCKS, Mean, jackknife
from otf.analysis.relaxing import relax_cell, relax_positions
from otf.configuration import VOIGT
from otf.errors import InputError
from otf.units import KB

if TYPE_CHECKING:
    from ase import Atoms

    from otf.configuration import FloatArray, IntArray

STRAIN: Final = 0.005
FMAX: Final = 1e-4  # eV/angstrom
MODULI: Final = ("bulk", "shear", "Young", "Poisson", "anisotropy")
SINGULAR: Final = 1e-8  # smallest ratio of variances of a cell that is free


@dataclass(frozen=True, eq=False)
class ElasticConstants:
    """The elastic matrix in Voigt's order xx yy zz yz xz xy.

    Attributes
    ----------
    matrix, error : (6, 6) eV/angstrom^3
    """

    matrix: FloatArray
    error: FloatArray

    @property
    def is_stable(self) -> bool:
        """Return whether no strain lowers the energy (Born)."""
        return bool(np.linalg.eigvalsh(self.matrix).min() > 0.0)

    def moduli(self) -> dict[str, Mean]:
        """Return moduli of a polycrystal by the names of MODULI, with errors.

        Bulk, shear and Young's modulus in eV/angstrom^3, Poisson's ratio, and the
        universal anisotropy, which is zero for an isotropic solid [3]_. They are the
        means of the bounds of Voigt and Reuss [2]_. Errors of the constants are taken
        as independent.
        """
        value = _moduli(self.matrix)
        square = np.zeros_like(value)
        for i in range(6):
            for j in range(i, 6):
                moved = self.matrix.copy()
                moved[i, j] = moved[j, i] = moved[i, j] + self.error[i, j]
                square += (_moduli(moved) - value) ** 2
        return {
            name: Mean(float(v), math.sqrt(s), 1.0)
            for name, v, s in zip(MODULI, value, square, strict=True)
        }


def _moduli(c: FloatArray) -> FloatArray:
    s = np.linalg.inv(c)
    axial, cross, shear = (
        np.trace(c[:3, :3]),
        c[0, 1] + c[0, 2] + c[1, 2],
        np.trace(c[3:, 3:]),
    )
    bulk_v = (axial + 2.0 * cross) / 9.0
    shear_v = (axial - cross + 3.0 * shear) / 15.0
    axial, cross, shear = (
        np.trace(s[:3, :3]),
        s[0, 1] + s[0, 2] + s[1, 2],
        np.trace(s[3:, 3:]),
    )
    bulk_r = 1.0 / (axial + 2.0 * cross)
    shear_r = 15.0 / (4.0 * axial - 4.0 * cross + 3.0 * shear)
    bulk, g = 0.5 * (bulk_v + bulk_r), 0.5 * (shear_v + shear_r)
    young = 9.0 * bulk * g / (3.0 * bulk + g)
    poisson = (3.0 * bulk - 2.0 * g) / (2.0 * (3.0 * bulk + g))
    anisotropy = 5.0 * shear_v / shear_r + bulk_v / bulk_r - 6.0
    return np.array([bulk, g, young, poisson, anisotropy])


# ----------------------------------------------------------------------------- static
@dataclass(frozen=True, eq=False)
class StaticElasticity:
    """Elastic constants of a crystal at rest.

    Attributes
    ----------
    constants : with errors from the size of the strains and from the asymmetry
    strains : (4,) of every component, engineering strain for shear
    stresses : (6, 4, 6) eV/angstrom^3, stress under each strain of each component
    atoms : the relaxed crystal
    residual : (6,) its stress, eV/angstrom^3
    """

    constants: ElasticConstants
    strains: FloatArray
    stresses: FloatArray
    atoms: Atoms
    residual: FloatArray


def static_elasticity(
    atoms: Atoms, *, strain: float = STRAIN, fmax: float = FMAX, clamped: bool = False
) -> StaticElasticity:
    """Return the elastic constants of a crystal at zero pressure and temperature.

    Parameters
    ----------
    atoms
        With a calculator that gives stresses; a copy is relaxed.
    strain
        Largest of every component.
    fmax
        Of all relaxations, eV/angstrom.
    clamped
        Whether atoms follow the strain instead of relaxing under it.

    Raises
    ------
    OTFError
        When a structure does not relax.

    Notes
    -----
    C_ij = d sigma_i / d epsilon_j by central differences for the strain and for half of
    it, combined so that their error of second order cancels. What the combination
    changes, and half the difference of C_ij and C_ji, make up the error.
    """
    crystal = atoms.copy()
    crystal.calc = atoms.calc
    relax_cell(crystal, fmax=fmax)
    residual = np.array(crystal.get_stress(), dtype=np.float64)
    strains = strain * np.array([-1.0, -0.5, 0.5, 1.0])
    stresses = np.empty((6, 4, 6))
    for j in range(6):
        for k, size in enumerate(strains):
            strained = _strained(crystal, j, float(size))
            if not clamped:
                relax_positions(strained, fmax=fmax)
            stresses[j, k] = strained.get_stress()
    wide = (stresses[:, 3] - stresses[:, 0]) / (2.0 * strain)
    narrow = (stresses[:, 2] - stresses[:, 1]) / strain
    best = (4.0 * narrow - wide) / 3.0
    error = np.hypot(best - narrow, 0.5 * (best - best.T))
    constants = ElasticConstants(
        0.5 * (best + best.T), np.sqrt(0.5 * (error**2 + error.T**2))
    )
    return StaticElasticity(constants, strains, stresses, crystal, residual)


def _strained(crystal: Atoms, component: int, size: float) -> Atoms:
    a, b = VOIGT[component]
    strain = np.zeros((3, 3))
    strain[a, b] += 0.5 * size
    strain[b, a] += 0.5 * size
    out = crystal.copy()
    out.calc = crystal.calc
    out.set_cell(crystal.cell[:] @ (np.eye(3) + strain), scale_atoms=True)
    return out


# ----------------------------------------------------------------------- fluctuations
@dataclass(frozen=True, eq=False)
class FluctuationElasticity:
    """Elastic constants at temperature.

    Attributes
    ----------
    constants : isothermal; None when the cell was not free to take every shape
    bulk_modulus : isothermal, eV/angstrom^3, from the volume alone
    freedom : in how many of six ways the cell varied
    """

    constants: ElasticConstants | None
    bulk_modulus: Mean
    freedom: int


def strains_of(cells: FloatArray) -> FloatArray:
    """Return Lagrangian strains (T, 6) of cells (T, 3, 3) from their mean.

    Shear is engineering strain. The mean is that of the metric, turned as the first
    cell is: later rotations of the cell do not enter.
    """
    metric = cells @ cells.transpose(0, 2, 1)
    lower = np.linalg.cholesky(metric.mean(axis=0))
    u, _, v = np.linalg.svd(np.linalg.solve(lower, cells[0]))
    inverse = np.linalg.inv(lower @ u @ v)
    strain = 0.5 * (inverse @ metric @ inverse.T - np.eye(3))
    components = [strain[:, a, b] * (1.0 if a == b else 2.0) for a, b in VOIGT]
    return np.asarray(np.transpose(components), dtype=np.float64)


def fluctuation_elasticity(
    cells: FloatArray, temperature: float, *, n_blocks: int = BLOCKS
) -> FluctuationElasticity:
    """Return isothermal elastic constants from a run at constant stress.

    Parameters
    ----------
    cells
        (T, 3, 3) angstrom.
    temperature
        K.
    n_blocks
        Whose leaving out one after the other gives the errors.

    Raises
    ------
    InputError
        When the volume does not vary.

    Notes
    -----
    S_ij = <V> / (k_B T) (<e_i e_j> - <e_i> <e_j>), C = S^-1 [1]_, and
    B = k_B T <V> / (<V^2> - <V>^2).
    """
    volumes = np.abs(np.linalg.det(cells))
    if float(np.ptp(volumes)) <= 1e-9 * float(volumes.mean()):
        msg = (
            "the volume does not vary: elastic constants need a run at constant "
            "pressure, or a potential (--model or --calculator)"
        )
        raise InputError(msg)
    strains = strains_of(cells)
    kt = KB * temperature

    def bulk(frames: IntArray) -> FloatArray:
        part = volumes[frames]
        return np.array([kt * part.mean() / part.var()])

    def stiffness(frames: IntArray) -> FloatArray:
        covariance = np.cov(strains[frames].T)
        compliance = volumes[frames].mean() / kt * covariance
        return np.asarray(np.linalg.inv(compliance), dtype=np.float64)

    n = len(cells)
    value, error = jackknife(n, bulk, n_blocks=n_blocks)
    modulus = Mean(float(value[0]), float(error[0]), float(n))
    variances = np.linalg.eigvalsh(np.cov(strains.T))
    freedom = int((variances > SINGULAR * variances.max()).sum())
    constants = None
    if freedom == 6:
        constants = ElasticConstants(*jackknife(n, stiffness, n_blocks=n_blocks))
    return FluctuationElasticity(constants, modulus, freedom)
