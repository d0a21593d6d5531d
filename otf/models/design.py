"""Design rows of a configuration, and the labels they predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from otf.configuration import masked_stress
from otf.models.interface import KINDS
from otf.threads import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otf.configuration import (
        BoolArray,
        Configuration,
        FloatArray,
        IntArray,
        Labels,
    )
    from otf.descriptors.interface import Descriptor, Environments
    from otf.models.baselines.interface import Baseline
    from otf.models.interface import PerKind
    from otf.models.references import References


@dataclass(frozen=True, eq=False)
class RawRows:
    """Derivatives of the learned energy by the weights, in plain units.

    Attributes
    ----------
    energy : (m,) of the total energy, eV
    forces : (3 n, m) atom-major, eV/angstrom; of some atoms where these were asked for
    strain : (6, m) of the strain derivative, eV; (0, m) where not asked for
    """

    energy: FloatArray
    forces: FloatArray
    strain: FloatArray


def raw_rows(
    descriptor: Descriptor,
    references: References,
    environments: Environments,
    atoms: IntArray | None = None,
    *,
    by_strain: bool = True,
) -> RawRows:
    """Return the rows of one configuration for all references.

    ``atoms`` (k,) are those whose forces have rows, by default all.
    """
    slopes = references.slopes(environments)
    with one_blas_thread():  # thousands of small products
        forces, strain = descriptor.gradient_rows(
            environments,
            references.directions,
            references.species,
            slopes.alpha,
            slopes.gamma,
            atoms,
            by_strain=by_strain,
        )
    return RawRows(slopes.value.sum(axis=0), forces, strain)


@dataclass(frozen=True, eq=False)
class Targets:
    """Labels of one frame without the baseline; what is missing has no row.

    Attributes
    ----------
    energy : (1,) or (0,) eV/atom, element energies still inside
    forces : (f,) eV/angstrom
    stress : (s,) eV/angstrom^3
    force_mask : (3 n,)
    stress_mask : (6,)
    n_atoms : n
    volume : angstrom^3
    """

    energy: FloatArray
    forces: FloatArray
    stress: FloatArray
    force_mask: BoolArray
    stress_mask: BoolArray
    n_atoms: int
    volume: float

    @classmethod
    def of(
        cls, configuration: Configuration, labels: Labels, baseline: Baseline
    ) -> Targets:
        """Subtract the baseline from the labels and mask what is missing."""
        known = baseline.evaluate(configuration)
        n, volume = configuration.n_atoms, configuration.volume
        energy = np.array([(labels.energy - known.energies.sum()) / n])
        forces = (labels.forces - known.forces).ravel()
        stress = np.full(6, np.nan)
        if volume > 0.0:
            stress = masked_stress(labels.stress, configuration.pbc)
            stress -= known.strain_derivative / volume
        force_mask, stress_mask = np.isfinite(forces), np.isfinite(stress)
        return cls(
            energy=energy[np.isfinite(energy)],
            forces=forces[force_mask],
            stress=stress[stress_mask],
            force_mask=force_mask,
            stress_mask=stress_mask,
            n_atoms=n,
            volume=volume,
        )

    def of_kind(self, kind: str) -> FloatArray:
        """Return the labels of one kind."""
        return {"energy": self.energy, "force": self.forces, "stress": self.stress}[
            kind
        ]

    def rows_of_kind(self, kind: str, raw: RawRows) -> FloatArray:
        """Return the rows, (r, m), that predict the labels of one kind."""
        if kind == "energy":
            return raw.energy[None, :][: len(self.energy)] / self.n_atoms
        if kind == "force":
            if self.force_mask.all():
                return raw.forces
            return raw.forces[self.force_mask]
        if not self.stress_mask.any():
            return raw.strain[:0]
        return raw.strain[self.stress_mask] / self.volume


def scaled_rows(
    targets: Targets, raw: RawRows, noise: PerKind
) -> dict[str, FloatArray]:
    """Return the rows of every kind, divided by their noise scale."""
    return {kind: targets.rows_of_kind(kind, raw) / noise.of(kind) for kind in KINDS}


def weighted_rows(
    targets: Targets, raw: RawRows, *, noise: PerKind, weights: PerKind, e0: float
) -> Iterator[tuple[str, FloatArray, FloatArray]]:
    """Yield kind, rows and labels of one configuration as a fit takes them.

    Parameters
    ----------
    noise, weights
        Rows and labels are divided by the first and multiplied by the second; a kind of
        weight 0 is left out.
    e0
        Mean energy of the elements, eV/atom, which the labels still hold.
    """
    for kind, rows in scaled_rows(targets, raw, noise).items():
        weight = weights.of(kind)
        if weight == 0.0 or not len(rows):
            continue
        labels = targets.of_kind(kind) - (e0 if kind == "energy" else 0.0)
        yield kind, weight * rows, weight * labels / noise.of(kind)
