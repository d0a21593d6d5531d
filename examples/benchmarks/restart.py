"""What a call saves that starts from the electrons of the call before.

    python examples/benchmarks/restart.py PSEUDO_DIR

Eight atoms of silicon in pw.x (36 Ry, 2x2x2 k points, Si.pz-vbc.UPF) along molecular
dynamics at 900 K in steps of 2 fs: self-consistent iterations of four calls, from atoms
and from the label before, which lies 1, 10 or 50 steps back.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from ase import units
from ase.build import bulk
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet

from otf.calculators.electrons import ElectronShelf
from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.calculators.stillinger_weber import StillingerWeber
from otf.calculators.worker import Order, Worker
from otf.configuration import Configuration
from otf.recording import JournalBook
from otf.store.journal import Journal

CALLS = 5  # the first has nothing to start from


def structures(gap: int) -> list[Configuration]:
    """Return structures that many steps apart."""
    atoms = bulk("Si", "diamond", a=5.43, cubic=True)
    thermalize_momenta(atoms, temperature_K=900, rng=np.random.default_rng(1))
    atoms.calc = StillingerWeber()
    dynamics = VelocityVerlet(atoms, 2 * units.fs)
    dynamics.run(50)
    out = []
    for _ in range(CALLS):
        dynamics.run(gap)
        out.append(Configuration.from_atoms(atoms))
    return out


def iterations(pseudo_dir: str, gap: int, *, restart: bool) -> list[int]:
    """Return the self-consistent iterations of all calls but the first."""
    arguments = {
        "pseudo_dir": pseudo_dir,
        "pseudopotentials": {"Si": "Si.pz-vbc.UPF"},
        "input_data": {"ecutwfc": 36, "conv_thr": 1e-9, "occupations": "fixed"},
        "kpts": [2, 2, 2],
        "koffset": [1, 1, 1],
    }
    out = []
    with TemporaryDirectory() as name:
        work = Path(name) / "reference"
        code = make_calculator("espresso", arguments, directory=work, restart=restart)
        reference = Reference(
            code,
            caller=Worker(Order("espresso", arguments, work, restart=restart)),
            shelf=ElectronShelf(work, code.electrons) if restart else None,
        )
        journal = Journal(Path(name) / "journal.bin")
        reference.keep_labels_in(JournalBook(journal, reference.fingerprint))
        for configuration in structures(gap):
            reference.label(configuration)
            out.append((work / "espresso.pwo").read_text().count("iteration #"))
        reference.close()
        journal.close()
    return out[1:]


def main() -> None:
    """Print a line for each distance."""
    for gap in (1, 10, 50):
        both = [iterations(sys.argv[1], gap, restart=r) for r in (False, True)]
        print(f"{gap:3d} steps apart: from atoms {both[0]}, from the label {both[1]}")


if __name__ == "__main__":
    main()
