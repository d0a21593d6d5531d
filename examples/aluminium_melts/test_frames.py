"""Label structures of the simulations of LAMMPS, to test models on.

    python test_frames.py WORK

WORK is that of `examples/benchmarks/coexistence.py WORK phases --material aluminium`.
Writes solid.extxyz and liquid.extxyz there, for otf-md evaluate.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from aluminium_eam import Aluminium
from ase import Atoms
from ase.io import write

FRAMES = 20


def labelled(path: Path) -> list[Atoms]:
    """Return the last frames of a simulation with energy, forces and stress."""
    out = []
    with np.load(path) as run:
        frames, boxes = run["frames"][-FRAMES:], run["boxes"][-FRAMES:]
    for positions, box in zip(frames, boxes, strict=True):
        atoms = Atoms(f"Al{len(positions)}", positions=positions, cell=box, pbc=True)
        atoms.calc = Aluminium()
        atoms.get_forces()
        atoms.get_stress()
        out.append(atoms)
    return out


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    work: Path = parser.parse_args().work
    for name in ("solid", "liquid"):
        write(work / f"{name}.extxyz", labelled(work / f"{name}.npz"))


if __name__ == "__main__":
    main()
