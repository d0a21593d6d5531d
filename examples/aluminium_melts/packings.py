"""Write random packings of 80 atoms, from which the melts of this example start.

    python packings.py

Atoms are thrown into cubes at random and pushed apart until none is nearer than 2.4 A.
80 atoms fill no cube with fcc (4 k^3) or bcc (2 k^3), so that a crystal has no easy way
into the cell. Nothing of a crystal goes into it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write

ATOMS = 80
NEAREST = 2.4  # angstrom
VOLUMES = {"dense": 16.0, "middle": 18.0, "thin": 20.0}  # A^3 per atom


def packed(volume: float, rng: np.random.Generator) -> Atoms:
    """Return atoms without order, at this volume (A^3) for each of them."""
    edge = (ATOMS * volume) ** (1.0 / 3.0)
    x = rng.uniform(0.0, edge, (ATOMS, 3))
    while True:
        between = x[:, None] - x
        between -= edge * np.round(between / edge)
        distances = np.linalg.norm(between, axis=2)
        np.fill_diagonal(distances, np.inf)
        if distances.min() >= NEAREST:
            return Atoms(f"Al{ATOMS}", positions=x, cell=3 * [edge], pbc=True)
        # Both of a pair go half of what is missing; a little more, so that it ends.
        missing = np.maximum(1.02 * NEAREST - distances, 0.0)
        push = 0.5 * (missing / distances)[:, :, None] * between
        x = np.mod(x + push.sum(axis=1), edge)


def main() -> None:
    """Write a file for each volume beside this script."""
    rng = np.random.default_rng(1)
    for name, volume in VOLUMES.items():
        write(Path(__file__).with_name(f"{name}.extxyz"), packed(volume, rng))


if __name__ == "__main__":
    main()
