"""What a baseline says of a configuration, and how several add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from otf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from otf.configuration import Configuration, FloatArray, IntArray

    Store = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class BaselineValues:
    """What a baseline says of one configuration.

    Attributes
    ----------
    energies : (n,) eV, of every atom
    forces : (n, 3) eV/angstrom
    strain_derivative : (6,) eV, Voigt, dU/dstrain
    """

    energies: FloatArray
    forces: FloatArray
    strain_derivative: FloatArray

    @classmethod
    def shared(
        cls, energy: float, forces: FloatArray, strain_derivative: FloatArray
    ) -> BaselineValues:
        """Give every atom the same part of an energy that knows no atoms."""
        n = len(forces)
        return cls(np.full(n, energy / max(n, 1)), forces, strain_derivative)


class Baseline(Protocol):
    """An additive energy that is not learned."""

    def evaluate(self, configuration: Configuration) -> BaselineValues:
        """Return energies, forces and strain derivative."""
        ...


@runtime_checkable
class StorableBaseline(Baseline, Protocol):
    """A baseline that a model file can hold."""

    @property
    def name(self) -> str:
        """Return the word it is found again by."""
        ...

    def to_arrays(self) -> Store:
        """Return what its ``from_arrays`` needs."""
        ...


@runtime_checkable
class PairBaseline(Baseline, Protocol):
    """A baseline that sums over near pairs, whoever found them."""

    @property
    def reach(self) -> float:
        """Return the distance in angstrom at and beyond which there is nothing."""
        ...

    def of_pairs(
        self,
        first: IntArray,
        second: IntArray,
        vector: FloatArray,
        distance: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        """Return what the first atoms of pairs have of them.

        Parameters
        ----------
        first, second
            (p,) atomic numbers; every pair is listed from both its ends.
        vector, distance
            (p, 3) and (p,) angstrom, from the first to the second atom.

        Returns
        -------
        energies : (p,) eV
        gradients : (p, 3) eV/angstrom, of these energies by the vectors
        """
        ...


class NoBaseline:
    """Nothing is known before learning."""

    name = "none"

    def evaluate(self, configuration: Configuration) -> BaselineValues:
        """Return zeros."""
        n = configuration.n_atoms
        return BaselineValues(np.zeros(n), np.zeros((n, 3)), np.zeros(6))

    def to_arrays(self) -> Store:
        """Return nothing: there is nothing to store."""
        return {}


class CompositeBaseline:
    """The sum of several baselines."""

    def __init__(self, parts: Sequence[Baseline]) -> None:
        self.parts = tuple(parts)

    def evaluate(self, configuration: Configuration) -> BaselineValues:
        """Return the summed energies, forces and strain derivative."""
        total = NoBaseline().evaluate(configuration)
        for part in self.parts:
            one = part.evaluate(configuration)
            total = BaselineValues(
                total.energies + one.energies,
                total.forces + one.forces,
                total.strain_derivative + one.strain_derivative,
            )
        return total


def sum_of(parts: Sequence[Baseline]) -> Baseline:
    """Return the sum of any number of baselines, the only one as it is."""
    if not parts:
        return NoBaseline()
    return parts[0] if len(parts) == 1 else CompositeBaseline(parts)


def pair_parts(baseline: Baseline) -> list[PairBaseline]:
    """Return the parts of a baseline that are sums over near pairs, as all must be.

    Raises
    ------
    InputError
        When a part reaches further, or asks more than the pairs.
    """
    if isinstance(baseline, NoBaseline):
        return []
    if isinstance(baseline, CompositeBaseline):
        return [one for part in baseline.parts for one in pair_parts(part)]
    if isinstance(baseline, PairBaseline):
        return [baseline]
    name = getattr(baseline, "name", type(baseline).__name__)
    raise InputError(
        f"the baseline of the model has a part {name}, which the pairs within the "
        "cutoff do not determine"
    )
