"""What every descriptor offers to the models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otf.configuration import Configuration, FloatArray, IntArray
    from otf.kernels import Device
    from otf.neighbors import Pairs
    from otf.potential import Arrays


@dataclass(frozen=True, eq=False)
class Environments:
    """Descriptors of all atoms of one configuration, and what derivatives need.

    Attributes
    ----------
    species : (n,) index of each atom's species in the descriptor's list
    features : (n, q) scaled, not normalised; a zero row for an isolated atom
    geometry : private to the descriptor (pairs, coefficients)
    """

    species: IntArray
    features: FloatArray
    geometry: object

    @property
    def n_atoms(self) -> int:
        """Return the number of atoms."""
        return len(self.species)


# Given the places of some atoms and their environments: dU/dX of these, (n', q). It may
# be called for several ranges of atoms at the same time.
LocalFunction: TypeAlias = "Callable[[slice, Environments], FloatArray]"


class Descriptor(Protocol):
    """A smooth map from the neighbourhood of an atom to a vector of q features."""

    @property
    def species(self) -> tuple[int, ...]:
        """Return the atomic numbers it knows, sorted."""
        ...

    @property
    def device(self) -> Device:
        """Return whose kernels it uses, and models of it."""
        ...

    def on(self, device: Device) -> Descriptor:
        """Return the same with its arrays and kernels on another device."""
        ...

    @property
    def cutoff(self) -> float:
        """Return the largest cutoff in angstrom."""
        ...

    @property
    def n_features(self) -> int:
        """Return q."""
        ...

    def describe(self, configuration: Configuration) -> Environments:
        """Return the environments of all atoms.

        Raises
        ------
        InputError
            When a species is not in the list.
        """
        ...

    def evaluate(
        self, configuration: Configuration, local: LocalFunction
    ) -> tuple[FloatArray, FloatArray]:
        """Chain functions U_i(X_i) of single environments to their derivatives.

        A few atoms are described, given to ``local`` and derived at a time, on several
        threads, so that the cache holds them.

        Returns
        -------
        forces : (n, 3), minus the derivative of U = sum_i U_i(X_i) by the positions
        strain_derivative : (6,), Voigt, dU/dstrain (by the volume it is the stress)

        Raises
        ------
        InputError
            When a species is not in the list.
        """
        ...

    def gradient_rows(
        self,
        environments: Environments,
        references: FloatArray,
        reference_species: IntArray,
        alpha: FloatArray,
        gamma: FloatArray,
        atoms: IntArray | None = None,
        *,
        by_strain: bool = True,
    ) -> tuple[FloatArray, FloatArray]:
        """Return derivatives of many functions U_B at once: rows of a design matrix.

        U_B = sum_i f_B(X_i) with
        dU_B = sum_i [ alpha_iB (X_B . dX_i) + gamma_iB (X_i . dX_i) ].

        Parameters
        ----------
        references
            (m, q), the X_B.
        reference_species
            (m,); only atoms of the same species take part.
        alpha, gamma
            (n, m); entries of unequal species are ignored.
        atoms
            (k,) whose positions are derived by, different ones; by default all n.
        by_strain
            Whether rows of the strain are wanted; those of few atoms alone cost less.

        Returns
        -------
        force_rows : (3 k, m), minus the derivative by the positions, atom-major
        strain_rows : (6, m), derivative by strain, Voigt; (0, m) where not wanted
        """
        ...

    def scaled_to(self, configurations: Sequence[Configuration]) -> Descriptor:
        """Return a copy whose parts have the intended mean norms on structures."""
        ...

    def to_arrays(self) -> Arrays:
        """Return all parameters and tables."""
        ...


@runtime_checkable
class PairDescriptor(Descriptor, Protocol):
    """A descriptor that needs the pairs of an atom alone, whoever found them."""

    def evaluate_batch(
        self, configurations: Sequence[Configuration], local: LocalFunction
    ) -> list[tuple[FloatArray, FloatArray]]:
        """Chain functions of the environments of several configurations at once.

        Small ones cost less than one after the other: what a call costs however few its
        atoms are is paid once. Numbers may differ from those in the last bits.

        Parameters
        ----------
        configurations
            One or more. What is remembered of neighbours is remembered by place.
        local
            As of ``evaluate``; atoms are counted through.

        Returns
        -------
        list
            For each configuration what ``evaluate`` returns.
        """
        ...

    def pair_gradient(
        self, own: IntArray, species: IntArray, pairs: Pairs, local: LocalFunction
    ) -> FloatArray:
        """Chain functions U_i(X_i) of some centres to the vectors of given pairs.

        Parameters
        ----------
        own
            (c,) species indices of the centres, on the host.
        species
            (n,) species indices of all atoms that are neighbours in the pairs.
        pairs
            Of the c centres, in any order within a centre, none of them beyond the
            cutoff left out. Arrays are of the device.
        local
            As of ``evaluate``.

        Returns
        -------
        FloatArray
            (p, 3), the derivative of sum_i U_i(X_i) by the vectors.
        """
        ...
