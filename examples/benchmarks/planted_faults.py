"""How many wrong labels a run finds by itself, and how many right ones it doubts.

Silicon is learned through its melting, as in learning_silicon.py but with a third of
the steps. One label in ten is spoilt: its energy by 1, 5 or 22 eV, or its forces are
those of the structure with every atom 0.2 A elsewhere. A calculator one rung up the
ladder is right. Whether a label is spoilt depends on the bits of its positions only,
so the journal tells which were spoilt, which were caught, and which were learned.

    python examples/benchmarks/planted_faults.py FOLDER [--seeds 1 2]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import silicon
from silicon import SILICON

from otf.calculators.stillinger_weber import StillingerWeber
from otf.learning.expectation import MINIMUM_FRAMES
from otf.store.run_reader import RunView

STAGES = (
    (700, 300.0, 300.0),
    (2000, 300.0, 3500.0),
    (2000, 3500.0, 3500.0),
    (700, 3500.0, 2200.0),
    (2000, 2200.0, 2200.0),
)
SHARE = 10
FAULTS = ("none", "1 eV", "5 eV", "22 eV", "forces")


def is_spoilt(positions: np.ndarray) -> bool:
    """Return whether the first answer for these positions is wrong."""
    digest = hashlib.blake2b(positions.tobytes(), digest_size=4).digest()
    return int.from_bytes(digest, "little") % SHARE == 0


class Spoilt(StillingerWeber):
    """Stillinger-Weber silicon that is wrong for one structure in ten."""

    def __init__(self, fault: str = "none", *, careful: bool = False) -> None:
        super().__init__()
        self.fault, self.careful = fault, careful

    def calculate(self, atoms=None, properties=("energy",), system_changes=()) -> None:
        """Calculate, and spoil the result."""
        super().calculate(atoms, properties, system_changes)
        if self.careful or not is_spoilt(self.atoms.positions):
            return
        if self.fault == "forces":
            other = self.atoms.copy()
            other.rattle(0.2, seed=1)
            exact = StillingerWeber()
            exact.calculate(other, ["forces"], [])
            self.results["forces"] = exact.results["forces"]
        elif self.fault != "none":
            shift = float(self.fault.split()[0])
            for name in ("energy", "free_energy"):
                if name in self.results:
                    self.results[name] += shift


def learn(folder: Path, seed: int, fault: str) -> RunView:
    """Return the run with this fault, made unless it was."""
    if not (folder / "run" / "model.h5").exists():
        path = silicon.write_input(SILICON, folder, seed, STAGES)
        text = path.read_text().replace(
            f'calculator = "{SILICON.calculator}"',
            'calculator = "planted_faults:Spoilt"\n'
            f'arguments = {{ fault = "{fault}" }}\n'
            "retry_arguments = [{ careful = true }]",
        )
        path.write_text(text)
        here = str(Path(__file__).parent)
        with (folder / "log.txt").open("w") as log:
            subprocess.run(
                [sys.executable, "-m", "otf.cli", "run", str(path)],
                stdout=log,
                stderr=log,
                check=True,
                env={**os.environ, "PYTHONPATH": here},
            )
    return RunView.load(folder / "run")


def row(view: RunView, fault: str) -> dict[str, int]:
    """Return the counts of a run; labels before the model judges apart."""
    exact = SILICON.reference()
    out = dict.fromkeys(
        ("labels", "judged", "spoilt", "caught", "missed", "false", "unjudged"), 0
    )
    # A label is judged when its decision came with a prediction of enough frames.
    n_frames, fits = 0, list(view.retrains)
    judged = set()
    for decision in view.decisions:
        while fits and fits[0].step < decision.step:
            n_frames = fits.pop(0).n_frames
        if decision.forces is not None and n_frames >= MINIMUM_FRAMES:
            judged.add(decision.label_energy)
    for label in view.labels:
        out["labels"] += 1
        spoilt = fault != "none" and is_spoilt(label.configuration.positions)
        true = exact.label(label.configuration)
        wrong = (
            abs(true.energy - label.labels.energy) > 1e-6
            or np.abs(true.forces - label.labels.forces).max() > 1e-6
        )
        if label.labels.energy not in judged:
            out["unjudged"] += bool(spoilt)
            continue
        out["judged"] += 1
        out["spoilt"] += spoilt
        out["caught"] += bool(spoilt and label.doubt and not wrong)
        out["missed"] += bool(wrong)
        out["false"] += bool(label.doubt and not spoilt)
    return out


def main() -> None:
    """Run everything and print one line for each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=FAULTS)
    arguments = parser.parse_args()
    print("fault    seed labels judged spoilt caught missed false  spoilt, not judged")
    for fault in arguments.faults:
        for seed in arguments.seeds:
            folder = arguments.work.resolve() / f"{fault.replace(' ', '-')}-{seed}"
            view = learn(folder, seed, fault)
            r = row(view, fault)
            print(
                f"{fault:8s} {seed:4d} {r['labels']:6d} {r['judged']:6d} "
                f"{r['spoilt']:6d} {r['caught']:6d} {r['missed']:6d} {r['false']:5d} "
                f"{r['unjudged']:6d}   quarantined {len(view.failures)}, "
                f"rolled back {len(view.rollbacks)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
