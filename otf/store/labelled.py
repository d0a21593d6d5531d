"""Labelled structures as files hold them, and what makes one of them sound."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from otf.configuration import VOIGT, Configuration, FloatArray, Labels, masked_stress
from otf.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CLOSEST = 0.1  # angstrom; nearer atoms are one atom written twice
UNCONVERGED = "SCF not converged"
INCOMPLETE = "cut short at the end of the file"
NO_END = "the file has no end: the run goes on, or was killed"
FARTHEST = 1e6  # angstrom; beyond it a position or a cell is none
LARGEST = 1e12  # of a label, so that its products are finite

LabelledFrame = tuple[Configuration, Labels]


@dataclass(frozen=True, eq=False)
class Reading:
    """What a file of labelled structures holds.

    Attributes
    ----------
    frames : structures with labels; missing labels are NaN
    groups : the name of the kind of every frame, empty where the file gives none
    fingerprints : of the reference of every frame, empty where it is not known
    left_out : why frames of the file are not among these, and how many
    notes : what a reader of the labels should know, one sentence each
    descriptions : what fingerprints stand for, as far as the file says
    """

    frames: list[LabelledFrame]
    groups: list[str]
    fingerprints: list[str]
    left_out: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    descriptions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        frames: list[LabelledFrame],
        *,
        left_out: dict[str, int] | None = None,
        notes: tuple[str, ...] = (),
    ) -> Reading:
        """Return a reading of frames without names of kinds and references."""
        return cls(
            frames,
            [""] * len(frames),
            [""] * len(frames),
            {k: n for k, n in (left_out or {}).items() if n},
            notes,
        )


def labelled_frame(
    configuration: Configuration,
    where: str,
    *,
    energy: float = np.nan,
    forces: FloatArray | None = None,
    stress: FloatArray | None = None,
) -> LabelledFrame:
    """Return a structure with its labels, once both are sound.

    Parameters
    ----------
    configuration
        As the file describes it.
    where
        File and frame, for errors.
    energy
        eV; NaN when unknown.
    forces
        (n, 3) eV/angstrom.
    stress
        (6,) eV/angstrom^3, Voigt xx yy zz yz xz xy, tension positive, or the
        (3, 3) tensor; NaN is put where it touches a non-periodic axis.

    Raises
    ------
    StoreError
        When a number is not finite, an element or the cell is missing, or an atom
        stands twice.
    """
    require_sound(configuration, where)
    if np.isfinite(energy):
        require_finite(np.array(energy), "energy", where)
    require_finite(forces, "forces", where)
    require_finite(stress, "stress", where)
    if stress is not None and stress.shape == (3, 3):
        stress = voigt_of(stress)
    labels = Labels(
        energy=energy,
        forces=np.full((configuration.n_atoms, 3), np.nan)
        if forces is None
        else forces,
        stress=masked_stress(
            np.full(6, np.nan) if stress is None else stress, configuration.pbc
        ),
    )
    return configuration, labels


def voigt_of(tensor: FloatArray) -> FloatArray:
    """Return the symmetric part of a (3, 3) tensor as (6,): xx yy zz yz xz xy."""
    return np.array([0.5 * (tensor[a, b] + tensor[b, a]) for a, b in VOIGT])


def tensor_of(voigt: FloatArray) -> FloatArray:
    """Return the (3, 3) tensor of (6,): xx yy zz yz xz xy."""
    tensor = np.zeros((3, 3))
    for value, (a, b) in zip(voigt, VOIGT, strict=True):
        tensor[a, b] = tensor[b, a] = value
    return tensor


@dataclass(frozen=True, eq=False)
class WholeLabels:
    """Labels as files hold them: each is there for all atoms and axes, or not.

    Attributes
    ----------
    energy : eV, or None
    forces : (n, 3) eV/angstrom, or None
    stress : (6,) eV/angstrom^3, 0 along non-periodic axes, or None
    """

    energy: float | None
    forces: FloatArray | None
    stress: FloatArray | None


def whole_labels(c: Configuration, labels: Labels, where: str) -> WholeLabels:
    """Return labels for a file.

    Raises
    ------
    StoreError
        When forces or stress are known in part, which no format can say.
    """
    known = labels.force_mask
    if known.any() != known.all():
        raise StoreError(f"{where}: forces known in part cannot be written")
    expected = np.isfinite(masked_stress(np.zeros(6), c.pbc))
    there = labels.stress_mask & expected
    if there.any() and not there[expected].all():
        raise StoreError(f"{where}: stress known in part cannot be written")
    return WholeLabels(
        energy=float(labels.energy) if np.isfinite(labels.energy) else None,
        forces=labels.forces if known.all() else None,
        stress=np.where(expected, labels.stress, 0.0) if there.any() else None,
    )


# --------------------------------------------------------------------------- checks
def require_alike(frames: Sequence[LabelledFrame], path: Path) -> None:
    """Raise StoreError when some steps of one run have a stress and others none."""
    n_stress = sum(bool(labels.stress_mask.any()) for _, labels in frames)
    if 0 < n_stress < len(frames):
        raise StoreError(
            f"{path}: {n_stress} of {len(frames)} steps have a stress, expected all or "
            "none: a part of the file is lost"
        )


def require_volume(cell: FloatArray, said: float, where: str) -> None:
    """Raise StoreError when a file says another volume than its cell has.

    Parameters
    ----------
    cell
        (3, 3) angstrom, with the 5 digits or more that programs print.
    said
        angstrom^3, with 2 digits or more behind the point.
    where
        File and frame, for errors.
    """
    volume = abs(float(np.linalg.det(cell)))
    if abs(volume - said) > 0.01 + 1e-4 * volume:
        raise StoreError(
            f"{where}: says a volume of {said:.2f} A^3, but its cell has {volume:.2f}"
        )


def require_sound(c: Configuration, where: str) -> None:
    """Raise StoreError unless a structure is one: finite, with elements and a cell.

    Atoms nearer than CLOSEST, periodic images included, are one atom written twice.
    """
    if c.n_atoms == 0:
        raise StoreError(f"{where}: has no atoms")
    for name in ("positions", "cell", "initial_charges", "magnetic_moments"):
        require_finite(getattr(c, name), name, where, limit=FARTHEST)
    if (c.numbers < 1).any():
        raise StoreError(f"{where}: atom {np.argmax(c.numbers < 1)} has no element")
    lengths = np.linalg.norm(c.cell, axis=1)
    flat = np.linalg.matrix_rank(c.cell[c.pbc])
    if (lengths[c.pbc] == 0.0).any() or flat < np.count_nonzero(c.pbc):
        raise StoreError(f"{where}: is periodic where its cell has no extent")
    _require_distinct(c, where)


def require_finite(
    array: FloatArray | None, name: str, where: str, *, limit: float = LARGEST
) -> None:
    """Raise StoreError when a number is NaN, infinite or beyond a limit."""
    if array is None:
        return
    is_good = np.isfinite(array) & (np.abs(array) <= limit)
    if is_good.all():
        return
    bad = np.argwhere(~is_good)[0]
    place = f" of atom {bad[0]}" if array.ndim == 2 and name != "cell" else ""
    if np.isfinite(array[tuple(bad)]):
        raise StoreError(
            f"{where}: {name}{place} is {array[tuple(bad)]:.3g}, too large"
        )
    raise StoreError(
        f"{where}: {name}{place} is not finite; drop the frame, or the column when the "
        "value is unknown"
    )


def _require_distinct(c: Configuration, where: str) -> None:
    from ase.geometry import complete_cell

    cell = np.asarray(complete_cell(c.cell))
    inverse = np.linalg.inv(cell)
    scaled = c.positions @ inverse
    scaled[:, c.pbc] %= 1.0
    scaled[scaled == 1.0] = 0.0  # the remainder of a tiny negative number
    # |ds_k| <= |dr| times the norm of column k, so no near pair escapes this cube
    reach = CLOSEST * np.linalg.norm(inverse, axis=0)
    box = np.where(c.pbc, 1.0, 0.0) / reach
    tree = cKDTree(scaled / reach, boxsize=box)
    pairs = tree.query_pairs(1.0, p=np.inf, output_type="ndarray")
    if len(pairs) == 0:
        return
    delta = scaled[pairs[:, 1]] - scaled[pairs[:, 0]]
    delta[:, c.pbc] -= np.round(delta[:, c.pbc])
    distances = np.linalg.norm(delta @ cell, axis=1)
    k = int(np.argmin(distances))
    if distances[k] < CLOSEST:
        i, j = sorted(pairs[k])
        raise StoreError(
            f"{where}: atoms {i} and {j} are {distances[k]:.3f} angstrom apart; one of "
            "them stands twice"
        )
