"""Checks for potentials and samplers, of our own and of plug-ins.

Forces and stress against finite differences of the energy, error bars of correlated
samples, and two small potentials to run a sampler on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from otf.configuration import VOIGT, Configuration
from otf.potential import Memoryless, Prediction
from otf.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otf.configuration import FloatArray
    from otf.potential import Potential

# f'(0) = sum_k w_k f(k h)/h + h^4 f^(5)/30.
STENCIL = ((-2, 1.0 / 12.0), (-1, -2.0 / 3.0), (1, 2.0 / 3.0), (2, -1.0 / 12.0))


def derivative(function: Callable[[float], float], spacing: float) -> float:
    """Return f'(0) by fourth-order central differences."""
    return sum(w * function(k * spacing) for k, w in STENCIL) / spacing


def strained(configuration: Configuration, strain: FloatArray) -> Configuration:
    """Return cell and positions multiplied by 1 + strain, (6,) Voigt, symmetric.

    A component yz, xz or xy is the sum of both off-diagonal entries.
    """
    deformation = np.eye(3)
    for value, (a, b) in zip(strain, VOIGT, strict=True):
        deformation[a, b] += 0.5 * value
        deformation[b, a] += 0.5 * value
    return replace(
        configuration,
        positions=configuration.positions @ deformation,
        cell=configuration.cell @ deformation,
    )


def numerical_forces(
    potential: Potential,
    configuration: Configuration,
    *,
    atoms: Iterable[int] | None = None,
    spacing: float = 1e-3,
) -> FloatArray:
    """Return minus the derivative of the energy by positions, in eV/angstrom.

    Parameters
    ----------
    potential
        Asked for energies, not for labels.
    configuration
        Where.
    atoms
        Which atoms to move; None for all. The rows come in this order.
    spacing
        angstrom.
    """
    chosen = list(range(configuration.n_atoms) if atoms is None else atoms)
    forces = np.empty((len(chosen), 3))
    for row, atom in enumerate(chosen):
        for axis in range(3):

            def energy(x: float, atom: int = atom, axis: int = axis) -> float:
                positions = configuration.positions.copy()
                positions[atom, axis] += x
                return _energy(potential, configuration.moved(positions))

            forces[row, axis] = -derivative(energy, spacing)
    return forces


def numerical_stress(
    potential: Potential, configuration: Configuration, *, spacing: float = 1e-4
) -> FloatArray:
    """Return (6,), the derivative of the energy by strain over the volume, Voigt."""
    stress = np.empty(6)
    for k, unit in enumerate(np.eye(6)):

        def energy(x: float, unit: FloatArray = unit) -> float:
            return _energy(potential, strained(configuration, x * unit))

        stress[k] = derivative(energy, spacing) / configuration.volume
    return stress


def check_forces(
    potential: Potential,
    configuration: Configuration,
    *,
    tolerance: float = 1e-7,
    atoms: Iterable[int] | None = None,
    with_stress: bool = True,
) -> None:
    """Compare forces and stress with finite differences of the energy.

    Parameters
    ----------
    potential, configuration
        What and where; away from symmetry, or there is no force to compare with.
    tolerance
        Largest difference, relative to the largest force, or stress component.
    atoms
        Which atoms to move; None for all, an empty list for the stress alone.
    with_stress
        Whether the stress is checked too; needs a cell with a volume.

    Raises
    ------
    AssertionError
        When they differ; it says by how much and where.
    """
    prediction = potential.predict([configuration], step=0, use_labels=False)[0]
    chosen = list(range(configuration.n_atoms) if atoms is None else atoms)
    if chosen:
        expected = numerical_forces(potential, configuration, atoms=chosen)
        _compare("force", prediction.forces[chosen], expected, tolerance)
    if with_stress:
        expected = numerical_stress(potential, configuration)
        _compare("stress", prediction.stress, expected, tolerance)


def blocking(samples: FloatArray) -> tuple[float, float]:
    """Return mean and standard error of a correlated series.

    Notes
    -----
    Neighbours are averaged in pairs until fewer than 64 blocks are left; the standard
    error is the largest over all block sizes, so that it errs on the wide side [1]_.

    References
    ----------
    .. [1] H. Flyvbjerg, H. G. Petersen, J. Chem. Phys. 91, 461 (1989),
       doi 10.1063/1.457480.
    """
    blocks = np.asarray(samples, dtype=np.float64)
    mean, error = float(blocks.mean()), 0.0
    while len(blocks) >= 64:
        error = max(error, float(blocks.std(ddof=1)) / len(blocks) ** 0.5)
        even = blocks[: len(blocks) // 2 * 2]
        blocks = 0.5 * (even[::2] + even[1::2])
    return mean, error


@dataclass(frozen=True, eq=False)
class HarmonicWells(Memoryless):
    """Every atom in a well of its own, U = sum_i k_i |x_i - c_i|^2/2.

    Attributes
    ----------
    centres : (n, 3) angstrom, or 0
    stiffness : (n, 1) eV/angstrom^2, or one number
    """

    centres: FloatArray | float = 0.0
    stiffness: FloatArray | float = 1.0

    def of(self, configuration: Configuration) -> Prediction:
        """Return energy and forces; the wells do not strain, and the stress is 0."""
        away = configuration.positions - self.centres
        forces = -self.stiffness * away
        return Prediction(-0.5 * float((forces * away).sum()), forces, np.zeros(6))


@dataclass(frozen=True, eq=False)
class LennardJones(Memoryless):
    """All pairs of an isolated cluster, U = sum 4 eps ((s/r)^12 - (s/r)^6).

    Attributes
    ----------
    epsilon : eV
    sigma : angstrom
    """

    epsilon: float = 1.0
    sigma: float = 1.0

    def of(self, configuration: Configuration) -> Prediction:
        """Return energy and forces; a cluster has no volume, and the stress is 0."""
        x = configuration.positions
        i, j = np.triu_indices(len(x), 1)
        away = x[i] - x[j]
        squares = (away**2).sum(axis=1)
        six = (self.sigma**2 / squares) ** 3
        pulls = (24.0 * self.epsilon * six * (2.0 * six - 1.0) / squares)[
            :, None
        ] * away
        forces = np.zeros_like(x)
        np.add.at(forces, i, pulls)
        np.add.at(forces, j, -pulls)
        energy = 4.0 * self.epsilon * float((six * (six - 1.0)).sum())
        return Prediction(energy, forces, np.zeros(6))


def at_rest(
    positions: FloatArray, *, masses: FloatArray | float = 1.0, seed: int = 0
) -> State:
    """Return unmoving hydrogen atoms of given masses (amu) in an open box."""
    n = len(positions)
    configuration = Configuration(
        numbers=np.ones(n, dtype=np.int64),
        positions=np.array(positions, dtype=np.float64),
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, dtype=np.bool_),
    )
    return State(
        configuration=configuration,
        momenta=np.zeros((n, 3)),
        masses=np.zeros(n) + masses,
        free=np.ones((n, 3), dtype=np.bool_),
        step=0,
        time=0.0,
        seed=seed,
    )


def _energy(potential: Potential, configuration: Configuration) -> float:
    return potential.predict([configuration], step=0, use_labels=False)[0].energy


def _compare(
    name: str, found: FloatArray, expected: FloatArray, tolerance: float
) -> None:
    error = np.abs(found - expected)
    worst = np.unravel_index(int(error.argmax()), error.shape)
    limit = tolerance * float(np.abs(expected).max())
    # "not <=": an error that is not a number must not pass.
    if not float(error.max()) <= limit:
        raise AssertionError(
            f"{name}{[int(i) for i in worst]} is {found[worst]:.10g}, the finite "
            f"difference {expected[worst]:.10g}; tolerated is {limit:.1e}"
        )
