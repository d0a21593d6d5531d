"""The long-range part of the Coulomb energy of a periodic cell, in reciprocal space."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from otf.configuration import VOIGT
from otf.models.baselines.interface import BaselineValues
from otf.models.baselines.jets import fade
from otf.threads import one_blas_thread
from otf.units import COULOMB

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from otf.configuration import FloatArray

    ComplexArray = NDArray[np.complex128]

# Both sums end smoothly, over the last tenth before their cutoff, so that energies have
# two continuous derivatives whatever the accuracy.
FADE = 0.9
_COST_RATIO = 0.15  # of one wave vector and atom to one pair, measured


@dataclass(frozen=True)
class Splitting:
    """Where the Coulomb sum is divided between the two spaces.

    Attributes
    ----------
    alpha : 1/angstrom, of erfc(alpha r)/r in real and exp(-k^2/(4 alpha^2)) in
        reciprocal space
    cutoff : angstrom, in real space
    cutoff_reciprocal : 1/angstrom
    """

    alpha: float
    cutoff: float
    cutoff_reciprocal: float


def reach(accuracy: float) -> float:
    """Return s = alpha * cutoff at which exp(-s^2) falls to the accuracy.

    Terms fade out from 0.9 of it on, hence a margin of half of that.
    """
    return 1.05 * float(np.sqrt(-np.log(accuracy)))


def splitting(cutoff: float, accuracy: float) -> Splitting:
    """Return the splitting whose errors in both spaces are alike, for a real cutoff."""
    s = reach(accuracy)
    alpha = s / cutoff
    return Splitting(alpha, cutoff, 2.0 * s * alpha)


def balanced_cutoff(n_atoms: int, volume: float, accuracy: float) -> float:
    """Return the real cutoff (angstrom) at which both sums take the same time.

    Parameters
    ----------
    n_atoms, volume
        angstrom^3.
    accuracy
        As of :func:`reach`.

    Notes
    -----
    n (n/V) (4 pi/3) r^3 pairs against n V k^3/(12 pi^2) phases with k = 2 s^2/r.
    """
    s = reach(accuracy)
    pairs = n_atoms / volume * 4.0 * np.pi / 3.0
    phases = volume * (2.0 * s**2) ** 3 / (12.0 * np.pi**2)
    return float((_COST_RATIO * phases / pairs) ** (1.0 / 6.0))


def reciprocal_sum(
    positions: FloatArray, charges: FloatArray, cell: FloatArray, split: Splitting
) -> BaselineValues:
    """Return what smooth charges of width 1/alpha give, their self-energy removed.

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

    Notes
    -----
    U = sum_k W(k) |S(k)|^2 - alpha/sqrt(pi) sum_i q_i^2, S(k) = sum_i q_i exp(i k r_i),
    W = 2 pi/V exp(-k^2/4 alpha^2)/k^2, times e^2/(4 pi eps0). A phase is the product
    of three, one for each reciprocal vector, and S of all l at fixed (h, k) a matrix
    product.

    References
    ----------
    P. P. Ewald, Ann. Phys. 369, 253 (1921), doi 10.1002/andp.19213690304.
    """
    waves = _waves(np.asarray(cell, dtype=np.float64).tobytes(), split)
    with one_blas_thread():
        phases = waves.phases(positions @ np.linalg.inv(cell), charges)
        density = phases.plane @ phases.line.T
        energies, forces = waves.felt(phases, density)
    square = (density * density.conj()).real
    return BaselineValues(
        energies - self_energies(charges, split),
        forces,
        strain_of_waves(waves.vectors, waves.weight, waves.slope, square),
    )


def strain_of_waves(
    vectors: FloatArray, weight: FloatArray, slope: FloatArray, square: FloatArray
) -> FloatArray:
    """Return the strain derivative (6,) of sum_k W(k^2) |S(k)|^2, in eV.

    Parameters
    ----------
    vectors
        (..., 3) 1/angstrom.
    weight, slope
        (...) eV, W, which holds the volume, and its slope by k^2.
    square
        (...) e^2, |S(k)|^2.
    """
    k = vectors.reshape(-1, 3)
    tensor = -2.0 * k.T @ (k * (slope * square).reshape(-1, 1))
    tensor -= float((weight * square).sum()) * np.eye(3)
    return np.array([tensor[a, b] for a, b in VOIGT])


class _Phases(NamedTuple):
    """Phases of all atoms.

    Attributes
    ----------
    plane : (m, n) e, q exp(i (h b_1 + k b_2) r)
    line : (c, n), exp(i l b_3 r)
    """

    plane: ComplexArray
    line: ComplexArray


@dataclass(frozen=True, eq=False)
class _Waves:
    """Wave vectors h b_1 + k b_2 + l b_3 of half the space, rows (h, k), columns l.

    Attributes
    ----------
    basis : (3, 3) 1/angstrom, b_1, b_2, b_3, factor 2 pi included
    hk : (m, 2) float
    l : (c,) float, -c//2 .. c//2
    vectors : (m, c, 3) 1/angstrom
    weight, slope : (m, c) eV, W and dW/dk^2; both of k and -k in one
    """

    basis: FloatArray
    hk: FloatArray
    l: FloatArray  # noqa: E741 - the third index of a reflection
    vectors: FloatArray
    weight: FloatArray
    slope: FloatArray

    @classmethod
    def within(cls, cell: FloatArray, split: Splitting) -> _Waves:
        basis = np.asarray(2.0 * np.pi * np.linalg.inv(cell).T, dtype=np.float64)
        # k . a_1 = 2 pi h, and no k is longer than the cutoff.
        lengths = np.linalg.norm(cell, axis=1)
        most = (split.cutoff_reciprocal * lengths / (2.0 * np.pi)).astype(np.int64)
        index = np.array(
            [(h, k) for h in range(most[0] + 1) for k in range(-most[1], most[1] + 1)],
            dtype=np.float64,
        )
        column = np.arange(-most[2], most[2] + 1, dtype=np.float64)
        vectors = (index @ basis[:2])[:, None, :] + column[:, None] * basis[2]
        square = np.einsum("mcd,mcd->mc", vectors, vectors)
        weight, slope = wave_weights(square, cell, split)
        rows = (weight > 0.0).any(axis=1)
        # Where h = 0 both k and -k are listed.
        twice = np.where(index[rows, :1] > 0.0, 2.0, 1.0)
        return cls(
            basis,
            index[rows],
            column,
            vectors[rows],
            twice * weight[rows],
            twice * slope[rows],
        )

    def phases(self, fractional: FloatArray, charges: FloatArray) -> _Phases:
        """Return the phases of atoms at fractional positions (n, 3)."""
        h, k = self.hk.T.astype(np.int64)
        lines = len(self.l) // 2
        largest = int(max(np.abs(self.hk).max(initial=0.0), lines))
        powers = _powers(fractional, largest)
        x, y = powers[:, 0], charges * powers[:, 1]
        z = powers[largest - lines : largest + lines + 1, 2]
        return _Phases(x[h + largest] * y[k + largest], z)

    def felt(
        self, phases: _Phases, density: ComplexArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return energies (n,) and forces (n, 3) of atoms in a charge density."""
        plane, line = phases
        field = self.weight * density.conj()
        here = (field @ line) * plane
        slope = np.empty((3, plane.shape[1]))
        slope[:2] = self.hk.T @ here.imag
        slope[2] = (((field * self.l) @ line) * plane).imag.sum(axis=0)
        return here.real.sum(axis=0), 2.0 * slope.T @ self.basis


@lru_cache(maxsize=4)
def _waves(cell: bytes, split: Splitting) -> _Waves:
    """Return the wave vectors of a cell, which most steps share."""
    return _Waves.within(np.frombuffer(cell).reshape(3, 3), split)


def _powers(fractional: FloatArray, largest: int) -> ComplexArray:
    """Return exp(2 pi i m s), (2 largest + 1, 3, n), m = -largest .. largest."""
    half = np.empty((largest + 1, 3, len(fractional)), dtype=np.complex128)
    half[0] = 1.0
    half[1:] = np.exp(2j * np.pi * fractional.T)
    # Powers by multiplication: an exponential each would take most of the time.
    np.cumprod(half, axis=0, out=half)
    return np.concatenate([half[:0:-1].conj(), half])


def wave_weights(
    square: FloatArray, cell: FloatArray, split: Splitting
) -> tuple[FloatArray, FloatArray]:
    """Return W (eV) of waves by their k^2, and its slope by k^2.

    Both are 0 at k = 0 and from the largest wave vector on.
    """
    end = split.cutoff_reciprocal
    inside = (square > 0.0) & (square < end**2)
    x = np.where(inside, square, np.inf)
    volume = abs(float(np.linalg.det(cell)))
    gauss = 2.0 * np.pi * COULOMB / volume * np.exp(-x / (4.0 * split.alpha**2)) / x
    length = np.sqrt(x)
    tail = fade(length, FADE * end, end)
    value = gauss * tail.value
    slope = -value * (0.25 / split.alpha**2 + 1.0 / x)
    return value, slope + gauss * tail.slope / (2.0 * length)


def self_energies(charges: FloatArray, split: Splitting) -> FloatArray:
    """Return what every smooth charge has with itself, (n,) eV."""
    return charges**2 * float(COULOMB * split.alpha / np.sqrt(np.pi))
