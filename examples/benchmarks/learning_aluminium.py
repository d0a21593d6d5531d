"""Learning EMT aluminium on the fly through its melting.

    python learning_aluminium.py WORK [--seeds 3] [--jobs 2]

32 atoms at the volume of 0 K, 10,000 steps of 2 fs: 300 K, a ramp to 3000 K, a hold,
and 1500 K; tolerated force error 0.1 eV/A. The models are compared with independent
exact frames at 300 K and in the melt at 1500 K. Writes WORK/aluminium.json.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import silicon
from ase.build import bulk
from learning_silicon import account, median_and_worst, run_once

from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.configuration import Configuration
from otf.deploy.saved_model import load_model

STAGES = (
    (1000, 300.0, 300.0),
    (4000, 300.0, 3000.0),
    (1500, 3000.0, 3000.0),
    (1000, 3000.0, 1500.0),
    (2500, 1500.0, 1500.0),
)
ALUMINIUM = silicon.Material(
    name="aluminium",
    calculator="emt",
    start=Configuration.from_atoms(bulk("Al", "fcc", a=3.995, cubic=True).repeat(2)),
    reference=lambda: Reference(make_calculator("emt", {})),
    sections="[learning]\nmax_force_error_eV_per_A = 0.1\n",
)


def test_frames() -> dict[str, silicon.Frames]:
    """Return 200 exact frames each of the solid at 300 K and the melt at 1500 K.

    Raises
    ------
    AssertionError
        When the solid has melted or the melt has not.
    """
    last = silicon.FRAMES * silicon.SPACING
    solid = silicon.exact_trajectory(
        ALUMINIUM, [(1000 + last, 300, 300)], 9300, last=last
    )
    assert max(silicon.displacement(ALUMINIUM, c) for c, _ in solid) < 0.1
    melting = [(2000, 300, 3000), (4000, 3000, 3000), (1000, 3000, 1500)]
    melt = silicon.exact_trajectory(
        ALUMINIUM, [*melting, (1000 + last, 1500, 1500)], 9301, last=last
    )
    assert silicon.displacement(ALUMINIUM, melt[-1][0]) > 20.0
    return {"300 K": solid, "melt": melt}


def main() -> None:
    """Run every seed and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    work: Path = arguments.work.resolve()
    seeds = range(1, arguments.seeds + 1)

    def learn(seed: int) -> Path:
        folder = work / f"seed-{seed}"
        return run_once(
            folder, lambda: silicon.write_input(ALUMINIUM, folder, seed, STAGES)
        )

    with ThreadPoolExecutor(arguments.jobs) as pool:
        runs = list(pool.map(learn, seeds))
    test = test_frames()
    results = [
        {
            "seed": seed,
            "account": account(run),
            "test": silicon.errors_on(load_model(run / "model.h5"), test),
        }
        for seed, run in zip(seeds, runs, strict=True)
    ]
    for result in results:
        print(result["seed"], result["account"])
    for name in test:
        for key in ("energy_rmse_meV_per_atom", "force_rmse_eV_per_A"):
            row = median_and_worst(results, lambda r, n=name, k=key: r["test"][n][k])
            print(f"{name:8s} {key:26s} {row}")
    calls = [1.0 - result["account"]["bypassed"] for result in results]
    print(f"calls: median {np.median(calls):.2%}, worst {max(calls):.2%} of the steps")
    silicon.save_json(work / "aluminium.json", results)


if __name__ == "__main__":
    main()
