"""Energies of the elements: the part of the energy that counts atoms only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from otf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otf.configuration import Configuration, FloatArray

# Singular values of the matrix of compositions below this share count as zero.
RANK = 1e-6


@dataclass(frozen=True, eq=False)
class ElementEnergies:
    """e0 of every species and the compositions that determine it.

    Attributes
    ----------
    species : (S,) atomic numbers
    values : (S,) eV per atom
    span : (r, S) orthonormal rows that span the compositions of the labels
    """

    species: tuple[int, ...]
    values: FloatArray
    span: FloatArray

    @classmethod
    def fitted(
        cls,
        species: tuple[int, ...],
        fractions: FloatArray,
        energies: FloatArray,
        isolated: Mapping[int, float] | None = None,
    ) -> ElementEnergies:
        """Fit e0 by least squares, with the smallest shift where that is not unique.

        Parameters
        ----------
        species
            (S,) atomic numbers.
        fractions
            (F, S) share of every species in each structure.
        energies
            (F,) eV per atom.
        isolated
            Energies of isolated atoms, the point the shift starts from; without them
            it starts from the first structure that holds the element.
        """
        start = np.zeros(len(species))
        for column, number in enumerate(species):
            first = np.flatnonzero(fractions[:, column] > 0)[:1]
            if isolated is not None:
                start[column] = _isolated_energy(isolated, number)
            elif len(first):
                start[column] = energies[first[0]]
        if not len(energies):
            return cls(species, start, np.empty((0, len(species))))
        _, singular, right = np.linalg.svd(fractions, full_matrices=False)
        span = right[singular > RANK * singular[0]]
        reduced = fractions @ span.T
        shift = np.linalg.lstsq(reduced, energies - fractions @ start, rcond=None)[0]
        return cls(species, start + span.T @ shift, span)

    @property
    def is_determined(self) -> bool:
        """Return whether the compositions fix e0 of every element."""
        return len(self.span) == len(self.species)

    def counts(self, configuration: Configuration) -> FloatArray:
        """Return the number of atoms of every species, (S,)."""
        return np.array(
            [np.count_nonzero(configuration.numbers == z) for z in self.species],
            dtype=np.float64,
        )

    def per_atom(self, configuration: Configuration) -> FloatArray:
        """Return e0 of every atom, (n,) in eV."""
        where = np.searchsorted(np.array(self.species), configuration.numbers)
        return np.asarray(self.values[where])

    def total(self, configuration: Configuration) -> float:
        """Return e0 of all atoms, in eV."""
        return float(self.counts(configuration) @ self.values)

    def warning(self, configuration: Configuration) -> str | None:
        """Return one line when the composition lies outside the span of the labels."""
        share = self.counts(configuration) / configuration.n_atoms
        outside = share - self.span.T @ (self.span @ share)
        if np.abs(outside).max() < RANK:
            return None
        parts = ", ".join(
            f"Z={z}: {x:.3g}" for z, x in zip(self.species, share, strict=True)
        )
        return (
            f"the composition ({parts}) lies outside the span of the "
            f"training compositions: its energy is a guess, label a structure like it"
        )


def fractions_of(
    structures: Sequence[Configuration], species: tuple[int, ...]
) -> FloatArray:
    """Return the share of every species in each structure, (F, S)."""
    shares = [[np.mean(c.numbers == z) for z in species] for c in structures]
    return np.array(shares, dtype=np.float64).reshape(-1, len(species))


def _isolated_energy(isolated: Mapping[int, float], number: int) -> float:
    if number not in isolated:
        raise InputError(
            f"isolated-atom energies are given but none for atomic number {number}: "
            f"add it or leave all of them out"
        )
    return float(isolated[number])
