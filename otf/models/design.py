"""Design rows of a configuration, and the growing blocks they are kept in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from otf.configuration import masked_stress
from otf.models.interface import KINDS
from otf.threads import one_blas_thread

if TYPE_CHECKING:
    from otf.configuration import BoolArray, Configuration, FloatArray, Labels
    from otf.descriptors.interface import Descriptor, Environments
    from otf.models.baseline import Baseline
    from otf.models.interface import PerKind
    from otf.models.references import References


@dataclass(frozen=True, eq=False)
class RawRows:
    """Derivatives of the learned energy by the weights, in plain units.

    Attributes
    ----------
    energy : (m,) of the total energy, eV
    forces : (3 n, m) atom-major, eV/angstrom
    strain : (6, m) of the strain derivative, eV
    """

    energy: FloatArray
    forces: FloatArray
    strain: FloatArray


def raw_rows(
    descriptor: Descriptor, references: References, environments: Environments
) -> RawRows:
    """Return the rows of one configuration for all references."""
    slopes = references.slopes(environments)
    with one_blas_thread():  # thousands of small products
        forces, strain = descriptor.gradient_rows(
            environments,
            references.directions,
            references.species,
            slopes.alpha,
            slopes.gamma,
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


class RowBlock:
    """Transformed rows of one kind with their labels and their Gram matrix.

    The object changes in place: rows are hundreds of megabytes, and appending to them
    must not copy them each time. Capacity grows by halves.
    """

    def __init__(self, n_columns: int = 0) -> None:
        self._store = np.empty((0, max(n_columns, 64)))
        self._labels = np.empty(0)
        self.n_rows = 0
        self.n_columns = n_columns
        self.gram = np.zeros((n_columns, n_columns))

    @property
    def rows(self) -> FloatArray:
        """Return the rows, (M, m), a view."""
        return self._store[: self.n_rows, : self.n_columns]

    @property
    def labels(self) -> FloatArray:
        """Return the scaled labels, (M,), a view."""
        return self._labels[: self.n_rows]

    def _reserve(self, n_rows: int, n_columns: int) -> None:
        rows, columns = self._store.shape
        if n_rows <= rows and n_columns <= columns:
            return
        # A GEMM on a view with a leading dimension that is a power of two is slow.
        shape = (
            rows if n_rows <= rows else n_rows + n_rows // 2,
            columns if n_columns <= columns else n_columns + n_columns // 4 + 8,
        )
        store = np.empty(shape)
        store[: self.n_rows, : self.n_columns] = self.rows
        labels = np.empty(shape[0])
        labels[: self.n_rows] = self.labels
        self._store, self._labels = store, labels

    def add_rows(self, rows: FloatArray, labels: FloatArray) -> None:
        """Append rows (r, m) and labels (r,)."""
        total = self.n_rows + len(rows)
        self._reserve(total, self.n_columns)
        self._store[self.n_rows : total, : self.n_columns] = rows
        self._labels[self.n_rows : total] = labels
        self.n_rows = total
        self.gram += rows.T @ rows

    def add_columns(self, columns: FloatArray) -> None:
        """Append columns, (M, r), of new references."""
        m, r = self.n_columns, columns.shape[1]
        self._reserve(self.n_rows, m + r)
        gram = np.zeros((m + r, m + r))
        gram[:m, :m] = self.gram
        gram[m:, :m] = columns.T @ self.rows
        gram[:m, m:] = gram[m:, :m].T
        gram[m:, m:] = columns.T @ columns
        self._store[: self.n_rows, m : m + r] = columns
        self.n_columns, self.gram = m + r, gram

    def rotate(self, rotation: FloatArray, first: int) -> None:
        """Replace Phi by Phi T, the first columns of T being those of the identity."""
        tail = rotation[first:, first:]
        kept = rotation.shape[1]
        # In slices of rows, so that the product never doubles the memory.
        for low in range(0, self.n_rows, 4096):
            part = self._store[low : min(low + 4096, self.n_rows)]
            part[:, first:kept] = part[:, first : self.n_columns] @ tail
        gram = self.gram.copy()
        gram[:, first:kept] = gram[:, first:] @ tail
        gram[first:kept] = tail.T @ gram[first:]
        self.gram = np.ascontiguousarray(gram[:kept, :kept])
        self.n_columns = kept

    def restore(self, rows: FloatArray, labels: FloatArray, gram: FloatArray) -> None:
        """Take up stored rows, labels and their accumulated Gram matrix."""
        self._store = np.array(rows, dtype=np.float64)
        self._labels = np.array(labels, dtype=np.float64)
        self.n_rows, self.n_columns = rows.shape
        self.gram = np.array(gram, dtype=np.float64)
