"""What a call saves that starts from the electrons of the call before.

    python examples/benchmarks/restart.py espresso PSEUDO_DIR
    python examples/benchmarks/restart.py gpaw PYTHON

Eight atoms of silicon in pw.x (36 Ry, 2x2x2 k points, Si.pz-vbc.UPF) or in the GPAW of
another Python (PBE, 250 eV, 2x2x2 k points) along molecular dynamics at 900 K in steps
of 2 fs: self-consistent iterations and processor time of four calls, from atoms and
from the label before, which lies 1, 10 or 50 steps back, and how the labels differ.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
from ase import units
from ase.build import bulk
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet

from otf.calculators.electrons import ElectronShelf
from otf.calculators.foreign import foreign_code
from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.calculators.stillinger_weber import StillingerWeber
from otf.calculators.worker import Order, Worker
from otf.configuration import Configuration, Labels
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


@dataclass(frozen=True, eq=False)
class Calls:
    """What calls took and gave.

    Attributes
    ----------
    iterations : self-consistent, of each
    seconds : processor time of the code, of each
    labels : of each
    """

    iterations: list[int]
    seconds: list[float]
    labels: list[Labels]


def espresso(place: str, work: Path, *, restart: bool) -> Reference:
    """Return pw.x with the pseudopotentials of a folder."""
    arguments = {
        "pseudo_dir": place,
        "pseudopotentials": {"Si": "Si.pz-vbc.UPF"},
        "input_data": {"ecutwfc": 36, "conv_thr": 1e-9, "occupations": "fixed"},
        "kpts": [2, 2, 2],
        "koffset": [1, 1, 1],
    }
    code = make_calculator("espresso", arguments, directory=work, restart=restart)
    return Reference(
        code,
        caller=Worker(Order("espresso", arguments, work, restart=restart)),
        shelf=ElectronShelf(work, code.electrons) if restart else None,
    )


def gpaw(place: str, work: Path, *, restart: bool) -> Reference:
    """Return the GPAW of an interpreter."""
    arguments = {
        "mode": {"name": "pw", "ecut": 250},
        "xc": "PBE",
        "kpts": {"size": [2, 2, 2]},
    }
    code = foreign_code("gpaw", arguments, place, directory=work)
    order = Order(code.name, code.arguments, work, code.ladder, place, restart=restart)
    return Reference(code, caller=Worker(order))


def iterations_in(work: Path) -> list[int]:
    """Return the iterations the log in a folder tells: of the last call, or of all."""
    if (log := work / "espresso.pwo").exists():
        return [log.read_text().count("iteration #")]
    text = (work / "gpaw.txt").read_text()
    return list(map(int, re.findall(r"Converged after (\d+) iterations", text)))


def processor_time() -> float:
    """Return the seconds that all processes below this one have used."""
    used = 0.0
    for child in psutil.Process().children(recursive=True):
        t = child.cpu_times()
        used += t.user + t.system + t.children_user + t.children_system
    return used


def calls(name: str, place: str, gap: int, *, restart: bool) -> Calls:
    """Return what all calls but the first took."""
    out = Calls([], [], [])
    make = {"espresso": espresso, "gpaw": gpaw}[name]
    with TemporaryDirectory() as folder:
        work = Path(folder) / "reference"
        reference = make(place, work, restart=restart)
        journal = Journal(Path(folder) / "journal.bin")
        book = JournalBook(journal, reference.fingerprint, reference.description)
        reference.keep_labels_in(book)
        for configuration in structures(gap):
            before = processor_time()
            out.labels.append(reference.label(configuration))
            out.seconds.append(processor_time() - before)
            out.iterations.append(iterations_in(work)[-1])
        reference.close()
        journal.close()
    return Calls(out.iterations[1:], out.seconds[1:], out.labels[1:])


def main() -> None:
    """Print a line for each distance."""
    name, place = sys.argv[1:]
    for gap in (1, 10, 50):
        ways = [calls(name, place, gap, restart=r) for r in (False, True)]
        print(f"{gap:3d} steps apart")
        for word, one in zip(("from atoms", "from the label"), ways, strict=True):
            print(f"  {word:<15} {one.iterations}, {np.mean(one.seconds):.2f} s a call")
        pairs = list(zip(ways[0].labels, ways[1].labels, strict=True))
        energy = max(abs(a.energy - b.energy) for a, b in pairs)
        force = max(np.abs(a.forces - b.forces).max() for a, b in pairs)
        print(f"  labels differ by {energy:.1e} eV, {force:.1e} eV/A")


if __name__ == "__main__":
    main()
