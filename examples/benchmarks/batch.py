"""Beads, walkers and replicas: small systems in one call, and one after the other.

    python batch.py MODEL STRUCTURE [--copies 2 8 32] [--steps K] [--device DEVICE]

Every copy moves at every step, as beads do. Prints milliseconds a structure, median,
both ways in turns, and their ratio.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import get_args

import numpy as np

from otf.configuration import Configuration
from otf.deploy.saved_model import load_model
from otf.kernels import Device
from otf.settings.structures import read_atoms

DISPLACEMENT = 0.01  # angstrom


def main() -> None:
    """Print a line for every number of copies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("structure", type=Path)
    parser.add_argument("--copies", type=int, nargs="+", default=[2, 8, 32])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", choices=get_args(Device), default="cpu")
    given = parser.parse_args()
    model = load_model(given.model, backend=given.device)
    backend, rng = model.backend, np.random.default_rng(0)
    start = Configuration.from_atoms(read_atoms(given.structure))
    start = start.moved(backend.here(start.positions))
    print(f"{start.n_atoms} atoms, {backend.name}")
    print(f"{'copies':>6} {'alone':>8} {'at once':>8} {'ratio':>6}")
    ways = {
        "alone": lambda beads: [model.predict(c) for c in beads],
        "at once": model.predict_batch,
    }
    for n_copies in given.copies:
        beads = [start] * n_copies
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(given.steps + 2):
            noise = rng.normal(scale=DISPLACEMENT, size=(n_copies, start.n_atoms, 3))
            beads = [
                c.moved(c.positions + backend.here(x))
                for c, x in zip(beads, noise, strict=True)
            ]
            for name, way in ways.items():
                backend.wait()
                begun = time.perf_counter()
                way(beads)
                backend.wait()
                taken[name].append(1e3 * (time.perf_counter() - begun) / n_copies)
        # The first two make lists and compile.
        alone, once = (float(np.median(taken[name][2:])) for name in ways)
        print(f"{n_copies:>6} {alone:>8.3f} {once:>8.3f} {alone / once:>6.2f}")


if __name__ == "__main__":
    main()
