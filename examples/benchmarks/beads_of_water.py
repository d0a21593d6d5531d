"""Quantum water: a model learned on the fly gives its forces to 32 beads of i-PI.

    python beads_of_water.py WORK [--steps N]

Eight molecules of water in a periodic cube learn their force field from GFN1-xTB by
`otf-md run` (unless WORK has the model). i-PI then moves 32 beads of them at 300 K, and
`otf-md serve` answers. Prints

- the largest difference of i-PI's forces and potential from those the model gives for
  the same beads in this process;
- the error of the model against GFN1-xTB, for beads of the last frame;
- the kinetic energy of hydrogen (centroid virial estimator) with its standard error,
  beside that of classical mechanics.

Needs `i-pi` (pip install ipi). Set OMP_NUM_THREADS=1 on a shared machine.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.io import read, write

from otf.calculators.registry import make_calculator
from otf.calculators.serving import evaluate
from otf.configuration import Configuration
from otf.deploy.saved_model import load_model
from otf.testing import blocking
from otf.units import KB

N_BEADS = 32
TEMPERATURE = 300.0
STRIDE = 10
SETTLING = 0.25  # share of the steps that are not averaged over
LEARNING = """title = "Water, for path integrals"
seed = 1
[structure]
file = "water.extxyz"
[reference]
calculator = "tblite"
arguments = { method = "GFN1-xTB" }
[learning]
max_force_error_eV_per_A = 0.5
selection_bound = 3e-3
[descriptor]
n_max = 6
l_max = 3
cutoff_three_body_A = 4.0
cutoff_two_body_A = 5.5
[dynamics]
timestep_fs = 0.5
friction_per_ps = 20.0
[[dynamics.stages]]
steps = 3000
temperature_K = 300.0
temperature_end_K = 1000.0
[[dynamics.stages]]
steps = 1000
temperature_K = 1000.0
"""
DRIVER = """<simulation verbosity="low">
  <output prefix="pi">
    <properties stride="1">
      [step, potential{{electronvolt}}, kinetic_cv{{electronvolt}}(H)]
    </properties>
    <trajectory filename="x" stride="{stride}" format="xyz">
      positions{{angstrom}}
    </trajectory>
    <trajectory filename="f" stride="{stride}" format="xyz">
      forces{{ev/ang}}
    </trajectory>
  </output>
  <total_steps>{steps}</total_steps>
  <prng><seed>7</seed></prng>
  <ffsocket mode="unix" name="otf" pbc="false"><address>{address}</address></ffsocket>
  <system>
    <initialize nbeads="{beads}">
      <file mode="xyz">start.xyz</file>
      <velocities mode="thermal" units="kelvin">{temperature}</velocities>
    </initialize>
    <forces><force forcefield="otf"/></forces>
    <ensemble><temperature units="kelvin">{temperature}</temperature></ensemble>
    <motion mode="dynamics">
      <dynamics mode="nvt">
        <timestep units="femtosecond">0.25</timestep>
        <thermostat mode="pile_g"><tau units="femtosecond">25</tau></thermostat>
      </dynamics>
    </motion>
  </system>
</simulation>
"""


def water() -> Atoms:
    """Return eight turned molecules in a cube of 1 g/cm^3."""
    rng, edge = np.random.default_rng(0), 6.207
    box = Atoms(cell=[edge] * 3, pbc=True)
    for corner in np.ndindex(2, 2, 2):
        one = molecule("H2O")
        one.rotate(*rng.uniform(0.0, 180.0, 1), rng.normal(size=3))
        one.translate(0.5 * edge * (np.array(corner) + 0.5) - one.get_center_of_mass())
        box += one
    return box


def learn(work: Path) -> None:
    """Run the learning input, unless its model is there."""
    if (work / "run" / "model.h5").exists():
        return
    write(work / "water.extxyz", water())
    (work / "input.toml").write_text(LEARNING)
    command = [sys.executable, "-m", "otf.cli", "run", "input.toml"]
    subprocess.run(command, cwd=work, check=True)


def drive(work: Path, steps: int) -> float:
    """Let i-PI move the beads; return the seconds it took."""
    address = f"water-{time.monotonic_ns()}"
    start = read(work / "water.extxyz")
    cell = "  ".join(f"{x:.8f}" for x in start.cell.cellpar())
    comment = f"# CELL(abcABC): {cell} cell{{angstrom}} positions{{angstrom}}"
    write(work / "start.xyz", start, format="xyz", comment=comment)
    values = {"beads": N_BEADS, "temperature": TEMPERATURE, "stride": STRIDE}
    text = DRIVER.format(steps=steps, address=address, **values)
    (work / "input.xml").write_text(text)
    begun = time.perf_counter()
    with (work / "ipi.log").open("w") as log:
        driver = subprocess.Popen(["i-pi", "input.xml"], cwd=work, stdout=log)
        while not Path(f"/tmp/ipi_{address}").exists():
            time.sleep(0.1)
        client = [sys.executable, "-m", "otf.cli", "serve", "run/model.h5"]
        client += ["water.extxyz", "--unix", address, "--flag"]
        subprocess.run(client, cwd=work, check=True)
        driver.wait(60)
    return time.perf_counter() - begun


def compare(work: Path) -> None:
    """Print how far what i-PI wrote is from what the model and GFN1-xTB say."""
    model = load_model(work / "run" / "model.h5")
    start = Configuration.from_atoms(read(work / "water.extxyz"))
    energies, forces, errors = [], [], []
    exact = make_calculator("tblite", {"method": "GFN1-xTB"}).build()
    for bead in range(N_BEADS):
        x = read(work / f"pi.x_{bead:02d}.xyz", ":", format="xyz")
        f = read(work / f"pi.f_{bead:02d}.xyz", ":", format="xyz")
        said = [model.predict(start.moved(one.positions)) for one in x]
        energies.append([p.energy for p in said])
        forces += [
            np.abs(p.forces - one.positions) for p, one in zip(said, f, strict=True)
        ]
        if bead % 8 == 0:
            last = start.moved(x[-1].positions)
            label = evaluate(exact, last.to_atoms())
            errors.append(said[-1].forces - label["forces"])
    table = np.loadtxt(work / "pi.out")
    mean = np.mean(energies, axis=0)
    print(f"forces: i-PI and model differ by {np.max(forces):.1e} eV/A at most")
    written = table[::STRIDE, 1]
    print(f"potential: by {np.abs(written - mean).max():.1e} eV at most")
    rmse = float(np.sqrt(np.mean(np.square(errors))))
    print(f"forces of beads: the model is {rmse:.3f} eV/A (RMSE) from GFN1-xTB")


def kinetic_energy(work: Path) -> None:
    """Print that of hydrogen."""
    table = np.loadtxt(work / "pi.out")
    mean, error = blocking(1e3 * table[int(SETTLING * len(table)) :, 2] / 16)
    print(
        f"kinetic energy of hydrogen: {mean:.1f} +- {error:.1f} meV "
        f"(classical {1500 * KB * TEMPERATURE:.1f})"
    )


def main() -> None:
    """Learn, drive, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    learn(given.work)
    seconds = drive(given.work, given.steps)
    n_structures = N_BEADS * (given.steps + 1)
    print(
        f"{given.steps} steps of {N_BEADS} beads: {seconds:.0f} s, "
        f"{1e3 * seconds / n_structures:.2f} ms a structure of 24 atoms"
    )
    compare(given.work)
    kinetic_energy(given.work)


if __name__ == "__main__":
    main()
