"""How many stresses written in a wrong convention are named, and how many right ones.

    python planted_stresses.py FILE [--seeds 1 2 3]

FILE holds labelled structures whose stresses are right (Zuo et al., J. Phys. Chem. A
124, 731 (2020), silicon, say). What `otf-md data` compares them with, a model of
energies and forces, does not see the stresses, so it is fitted once. Then stresses of a
part of the structures, or of all, are rewritten as a program with another sign, unit or
order would have, and are judged. Prints for each convention the structures told, the
share of those named right, and right ones called wrong.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from otf.analysis.stress_conventions import ORDERS, SCALES, as_written
from otf.analysis.stress_verdict import ALIKE, UNDECIDED, judge_stresses
from otf.commands.conversion import read_sources
from otf.commands.data import REFERENCES
from otf.commands.doctor import examine
from otf.commands.fitting import model_settings
from otf.commands.stages import Stages
from otf.units import GPA

KBAR_AS_GPA, VIRIAL = 1, 7
FLIPPED = len(SCALES) // 2
# Words, scale, order.
PLANTED = (
    ("sign flipped", FLIPPED, 0),
    ("kbar for GPa", KBAR_AS_GPA, 0),
    ("virial of the cell", VIRIAL, 0),
    ("shear order of VASP", 0, 1),
    ("shear order of LAMMPS", 0, 2),
    ("sign and order", FLIPPED, 1),
)
SHARES = (0.1, 0.5, 1.0)


def main() -> None:
    """Fit once, plant, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    data = examine(
        read_sources([arguments.file], (), kind=None),
        model_settings(None),
        n_references=REFERENCES,
        ask_model=True,
        stages=Stages(),
    )
    check = data.model.stress
    volume = np.array(
        [data.facts[k].volume * data.facts[k].n_atoms for k in check.frames]
    )
    read, implied, deviation = (
        a * GPA for a in (check.read, check.implied, check.deviation)
    )
    print(f"{len(read)} stresses, {volume.min():.0f} to {volume.max():.0f} A^3")
    print(f"{'planted':24}{'share':>7}{'told':>10}{'right':>9}{'alarms':>15}")
    for words, scale, order in PLANTED:
        for share in SHARES:
            told = right = alarms = untouched = chances = 0
            for seed in arguments.seeds:
                chosen = np.random.default_rng(seed).random(len(read)) < share
                wrong = as_written(read, volume, SCALES[scale], ORDERS[order])
                verdict = judge_stresses(
                    np.where(chosen[:, None], wrong, read), implied, deviation, volume
                )
                named = np.full(len(read), True)
                true = np.full(len(read), True)
                false_alarm = np.full(len(read), False)
                for found, planted in (
                    (verdict.scales, scale),
                    (verdict.orders, order),
                ):
                    open_ = np.isin(found, [UNDECIDED, ALIKE])
                    named &= ~open_ | (planted == 0)
                    true &= open_ | (found == planted)
                    false_alarm |= ~open_ & (found != 0)
                told += (chosen & named).sum()
                right += (chosen & named & true).sum()
                alarms += (~chosen & false_alarm).sum()
                untouched += (~chosen).sum()
                chances += chosen.sum()
            print(
                f"{words:24}{share:7.0%}{told / chances:10.1%}{right / told:9.1%}"
                f"{alarms:8d} of{untouched:5d}"
            )


if __name__ == "__main__":
    main()
