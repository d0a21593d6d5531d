"""Whether labels can be believed, whatever code they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

if TYPE_CHECKING:
    from otf.configuration import Configuration, Labels


@dataclass(frozen=True)
class Bounds:
    """Values beyond which labels are refused.

    Attributes
    ----------
    largest_force : eV/angstrom. Overlapping atoms give some codes 1e6 without an error.
    largest_mean_force : eV/angstrom, length of the net force divided by the number of
        atoms. Forces of an isolated system sum to zero; a coarse real-space grid
        leaves a few 0.01, an SCF that did not converge far more; 0.1 is the noise a
        force label is given in a fit.
    """

    largest_force: float = 1e3
    largest_mean_force: float = 0.1


# What a fit takes for the noise of a label: two answers that close are the same.
SAME_ENERGY = 1e-3  # eV/atom
SAME_FORCE = 0.1  # eV/angstrom


def agree(one: Labels, other: Labels) -> bool:
    """Return whether two answers to one question are the same for a fit."""
    energy = abs(one.energy - other.energy) / len(one.forces)
    force = float(np.abs(one.forces - other.forces).max(initial=0.0))
    return energy <= SAME_ENERGY and force <= SAME_FORCE


def objection(
    labels: Labels, configuration: Configuration, bounds: Bounds
) -> str | None:
    """Return why these labels cannot be believed, None when they can."""
    n_atoms = configuration.n_atoms
    if labels.forces.shape != (n_atoms, 3):
        return f"forces of shape {labels.forces.shape} for {n_atoms} atoms"
    if not np.isfinite(labels.energy):
        return f"energy is {labels.energy}"
    finite = np.isfinite(labels.forces).all(axis=1)
    if not finite.all():
        return f"force on atom {int(np.flatnonzero(~finite)[0])} is not finite"
    sizes = np.linalg.norm(labels.forces, axis=1)
    worst = int(np.argmax(sizes))
    if sizes[worst] > bounds.largest_force:
        symbol = chemical_symbols[configuration.numbers[worst]]
        return (
            f"force on atom {worst} ({symbol}) is {sizes[worst]:.3g} eV/angstrom, "
            f"above {bounds.largest_force:g}"
        )
    mean = float(np.linalg.norm(labels.forces.sum(axis=0))) / n_atoms
    if mean > bounds.largest_mean_force:
        return (
            f"the net force is {mean:.3g} eV/angstrom an atom, above "
            f"{bounds.largest_mean_force:g}: raise the cutoff or the grid of the code"
        )
    return None
