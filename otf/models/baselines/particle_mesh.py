"""The reciprocal Coulomb sum of large cells on a mesh: smooth particle-mesh Ewald."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.fft import irfftn, next_fast_len, rfftn
from scipy.interpolate import BSpline

from otf.kernels import load
from otf.models.baselines.ewald import (
    reach,
    self_energies,
    strain_of_waves,
    wave_weights,
)
from otf.models.baselines.interface import BaselineValues

if TYPE_CHECKING:
    from otf.configuration import FloatArray
    from otf.models.baselines.ewald import Splitting

# Mesh points for each that the shortest wave needs.
_FINENESS = 1.3
# Wide splines and a coarse mesh, or the other way round, take longer. In units of
# s (V/n)^(1/3), measured.
_CUTOFF = 0.77


def mesh_cutoff(n_atoms: int, volume: float, accuracy: float) -> float:
    """Return the real cutoff (angstrom) at which pairs and mesh take the least time."""
    return _CUTOFF * reach(accuracy) * float(np.cbrt(volume / n_atoms))


def order_for(accuracy: float) -> int:
    """Return the order of splines that adds no larger error than the cutoffs do.

    Two more orders gain two digits, and order 8 serves 1e-6: measured on rock salt.
    """
    return max(6, 2 * int(np.ceil(1.0 - 0.5 * np.log10(accuracy))))


def mesh_sum(
    positions: FloatArray,
    charges: FloatArray,
    cell: FloatArray,
    split: Splitting,
    order: int,
) -> BaselineValues:
    """Return what ``reciprocal_sum`` returns, in a time that grows as n log n.

    Parameters
    ----------
    positions
        (n, 3) angstrom.
    charges
        (n,) e, neutral together.
    cell
        (3, 3) angstrom.
    split
        Sets alpha and the largest wave vector.
    order
        Of the splines, even: points of the mesh along each axis an atom touches.

    Notes
    -----
    Charges are spread on a mesh by B-splines, Q(m), and S(k) is the Fourier transform
    of Q times a factor b(k) that undoes the splines. U = sum_k W |b|^2 |FQ|^2 is a
    smooth function of the positions and, for a mesh of so many points, of the cell at
    fixed fractional coordinates. Forces and stress are its derivatives. A mesh does not
    move with the atoms, so the sum of all forces is small but not zero.

    References
    ----------
    U. Essmann et al., J. Chem. Phys. 103, 8577 (1995), doi 10.1063/1.470117.
    """
    kernels = load("cpu").kernels
    influence = _influence(np.asarray(cell, dtype=np.float64).tobytes(), split, order)
    inverse = np.linalg.inv(cell)
    fractional = positions @ inverse
    mesh = kernels.spread_to_mesh(fractional, charges, influence.shape, order)
    density = rfftn(mesh)
    square = influence.multiplicity * (density.real**2 + density.imag**2)
    # dU/dQ is twice the unnormalised transform back.
    potential = irfftn(influence.weight * density, s=influence.shape) * (
        2.0 * mesh.size
    )
    felt, slope = kernels.gather_from_mesh(fractional, potential, order)
    return BaselineValues(
        0.5 * charges * felt - self_energies(charges, split),
        -charges[:, None] * (slope @ inverse.T),
        strain_of_waves(influence.vectors, influence.weight, influence.slope, square),
    )


@dataclass(frozen=True, eq=False)
class _Influence:
    """Weights of the wave vectors of a mesh, of which the last axis is halved.

    Attributes
    ----------
    shape : of the mesh
    vectors : (a, b, c, 3) 1/angstrom
    weight, slope : (a, b, c) eV, W |b|^2 and its derivative by k^2
    multiplicity : (c,) 2 where -k is not listed
    """

    shape: tuple[int, int, int]
    vectors: FloatArray
    weight: FloatArray
    slope: FloatArray
    multiplicity: FloatArray


@lru_cache(maxsize=2)
def _influence(cell: bytes, split: Splitting, order: int) -> _Influence:
    """Return the weights of a cell, which most steps share."""
    vectors = np.frombuffer(cell).reshape(3, 3)
    lengths = np.linalg.norm(vectors, axis=1)
    needed = _FINENESS * split.cutoff_reciprocal * lengths / np.pi
    n1, n2, n3 = (next_fast_len(int(n) + 1, real=True) for n in needed)
    shape = (n1, n2, n3)
    basis = 2.0 * np.pi * np.linalg.inv(vectors).T
    indices = [
        np.fft.fftfreq(n1, 1.0 / n1),
        np.fft.fftfreq(n2, 1.0 / n2),
        np.fft.rfftfreq(n3, 1.0 / n3),
    ]
    k = np.stack(np.meshgrid(*indices, indexing="ij"), axis=-1) @ basis
    weight, slope = wave_weights(np.einsum("abcd,abcd->abc", k, k), vectors, split)
    undone = np.einsum(
        "a,b,c->abc",
        *(_unspline(m, n, order) for m, n in zip(indices, shape, strict=True)),
    )
    twice = np.full(len(indices[2]), 2.0)
    twice[0] = 1.0
    if n3 % 2 == 0:
        twice[-1] = 1.0
    return _Influence(shape, k, weight * undone, slope * undone, twice)


def _unspline(m: FloatArray, n: int, order: int) -> FloatArray:
    """Return |b(m)|^2 = 1/|sum_k M(k + 1) exp(2 pi i m k/n)|^2."""
    k = np.arange(order - 1)
    at_nodes = BSpline.basis_element(np.arange(order + 1))(k + 1.0)
    waves = np.exp(2j * np.pi / n * np.outer(m, k))
    return np.asarray(1.0 / np.abs(waves @ at_nodes) ** 2, dtype=np.float64)
