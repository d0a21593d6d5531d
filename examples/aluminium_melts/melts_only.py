"""Leave out of labelled structures those in which a crystal has begun.

    python melts_only.py LABELS MELTS

A structure stays while less than a tenth of its atoms are solid: while fewer have bonds
whose order is that of their neighbours' bonds, as `otf-md analyse order` counts them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ase.io import read, write

from otf.analysis.order import Surroundings, solid
from otf.analysis.rdf import pair_distributions
from otf.configuration import Configuration

MOST_SOLID = 0.1


def main() -> None:
    """Write the structures without a crystal, and say how many are left out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels", type=Path)
    parser.add_argument("melts", type=Path)
    arguments = parser.parse_args()
    frames = read(arguments.labels, ":")
    configurations = [Configuration.from_atoms(atoms) for atoms in frames]
    (found,) = pair_distributions(configurations)
    assert found.shell is not None  # dense matter shows its neighbours
    near = Surroundings(cutoff=found.shell.end)
    shares = [float(solid(c, near).mean()) for c in configurations]
    kept = [a for a, x in zip(frames, shares, strict=True) if x < MOST_SOLID]
    write(arguments.melts, kept)
    print(f"{len(kept)} of {len(frames)} structures, solid {max(shares):.2f} at most")


if __name__ == "__main__":
    main()
