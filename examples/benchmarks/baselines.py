"""What a baseline is worth: force errors of models fitted with it and without it.

    OMP_NUM_THREADS=1 python baselines.py [--json FILE]

Rock salt of Fumi and Tosi: Born-Mayer repulsion, dispersion and the charges +1 and -1,
64 ions at 300 and 900 K. Argon: Lennard-Jones to 17 angstrom, 108 atoms at 60 K.
Frames are from Langevin trajectories of the reference, those tested from other ones
than those learned. Twenty frames are learned, with the default descriptor and
regression. Then the time of the Ewald sum is measured.

References: F. G. Fumi, M. P. Tosi, J. Phys. Chem. Solids 25, 31 (1964), doi
10.1016/0022-3697(64)90159-3; M. P. Tosi, F. G. Fumi, ibid. 25, 45 (1964), doi
10.1016/0022-3697(64)90160-X.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.build import bulk

from otf.build import build_model
from otf.calculators.exact import ExactPotential
from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.commands.fitting import model_settings
from otf.configuration import Configuration, Labels, species_of
from otf.dynamics.registry import INTEGRATORS
from otf.dynamics.sampler import evaluate
from otf.dynamics.schedule import Schedule, Stage
from otf.dynamics.velocities import with_random_velocities
from otf.dynamics.verlet import Motion
from otf.models.baselines.fixed_charges import FixedCharges
from otf.models.baselines.interface import CompositeBaseline
from otf.models.baselines.jets import Jet, fade, power
from otf.models.baselines.pairwise import PairSum, pair_table
from otf.models.batch import fit_dataset
from otf.settings.baseline import Baseline
from otf.state import State
from otf.units import FS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import FloatArray
    from otf.potential import ReferenceCalculator

    Frames = list[tuple[Configuration, Labels]]

LEARNED, TESTED, SPACING, SETTLED = 20, 60, 50, 1000
TIMESTEP_FS, FRICTION_PER_PS = 2.0, 10.0

# Na Na, Na Cl, Cl Cl of the papers; 1e-19 J, angstrom, 1e-79 J m^6, 1e-99 J m^8.
JOULE = 1.0 / 1.602176634e-19  # eV
STRENGTH = 0.338e-19 * JOULE * np.array([1.25, 1.0, 0.75])
DIAMETER = np.array([2.340, 2.755, 3.170])
HARDNESS = 0.317
C6 = np.array([1.68, 11.2, 116.0]) * 1e-19 * JOULE
D8 = np.array([0.8, 13.9, 233.0]) * 1e-19 * JOULE
CUTOFF = 8.0


def short_range(a: int, b: int, r: FloatArray) -> Jet:
    """Return the pair energy of rock salt without charges, in eV."""
    k = a + b
    # Nearer than any two ions come, the dispersion wins: a table needs values there.
    apart = np.maximum(r, 1.0)
    repulsion = STRENGTH[k] * np.exp((DIAMETER[k] - apart) / HARDNESS)
    hard = Jet(repulsion, -repulsion / HARDNESS, repulsion / HARDNESS**2)
    soft = power(apart, -6).scaled(-C6[k]).plus(power(apart, -8).scaled(-D8[k]))
    return hard.plus(soft).times(fade(r, 0.8 * CUTOFF, CUTOFF))


class RockSalt:
    """The reference of rock salt."""

    def __init__(self) -> None:
        self.energy = CompositeBaseline(
            [
                PairSum((11, 17), pair_table(2, CUTOFF, short_range)),
                FixedCharges({11: 1.0, 17: -1.0}, accuracy=1e-10),
            ]
        )

    def label(self, configuration: Configuration) -> Labels:
        """Return energy, forces and stress."""
        v = self.energy.evaluate(configuration)
        return Labels(
            float(v.energies.sum()),
            v.forces,
            v.strain_derivative / configuration.volume,
        )


@dataclass(frozen=True)
class Result:
    """Root mean square errors on the frames not learned, without and with."""

    system: str
    baseline: str
    force_without: float  # eV/angstrom
    force_with: float
    energy_without: float  # eV/atom
    energy_with: float

    @property
    def ratio(self) -> float:
        """Return the force error with the baseline over that without it."""
        return self.force_with / self.force_without


def trajectory(
    start: Configuration,
    reference: ReferenceCalculator,
    *,
    temperature: float,
    n_frames: int,
    seed: int,
) -> Frames:
    """Return labelled frames of a Langevin trajectory."""
    n = start.n_atoms
    potential = ExactPotential(reference)
    sampler = INTEGRATORS["langevin"](
        Motion(timestep=TIMESTEP_FS * FS), FRICTION_PER_PS / (1000 * FS)
    )
    masses = start.to_atoms().get_masses()
    free = np.ones((n, 3), dtype=bool)
    state = State(start, np.zeros((n, 3)), masses, free, 0, 0.0, seed)
    # Half of it goes into the displacements of a crystal at rest.
    state = with_random_velocities(state, 2.0 * temperature)
    steps = SETTLED + SPACING * n_frames
    schedule = Schedule((Stage(steps, temperature, temperature),))
    prediction = evaluate(potential, state)
    frames: Frames = []
    while len(frames) < n_frames:
        state, prediction = sampler.step(
            state, prediction, potential, schedule.target(state.step)
        )
        if state.step > SETTLED and state.step % SPACING == 0:
            c = state.configuration
            frames.append((c, reference.label(c)))
    return frames


def errors(section: dict[str, object], learned: Frames, tested: Frames) -> np.ndarray:
    """Return the force and energy errors of a model with this [baseline] section."""
    settings = model_settings(None).model_copy(
        update={"baseline": Baseline.model_validate(section)}
    )
    model = build_model(settings, species_of([c for c, _ in learned]))
    fit_dataset(model, learned)
    forces, energies = [], []
    for c, labels in tested:
        found = model.predict(c)
        forces.append((found.forces - labels.forces).ravel())
        energies.append((found.energy - labels.energy) / c.n_atoms)
    return np.array(
        [np.sqrt((np.concatenate(x) ** 2).mean()) for x in (forces, [energies])]
    )


def compare(
    system: str,
    sections: dict[str, dict[str, object]],
    start: Configuration,
    reference: ReferenceCalculator,
    temperature: float,
) -> list[Result]:
    """Fit with and without each of the baselines."""
    learned, tested = (
        trajectory(start, reference, temperature=temperature, n_frames=n, seed=seed)
        for n, seed in ((LEARNED, 1), (TESTED, 2))
    )
    plain = errors({}, learned, tested)
    out = []
    for name, section in sections.items():
        known = errors(section, learned, tested)
        out.append(Result(system, name, plain[0], known[0], plain[1], known[1]))
        show(out[-1])
    return out


def show(result: Result) -> None:
    """Print one line of the table."""
    print(
        f"{result.system:<16} {result.baseline:<28} "
        f"{1e3 * result.force_without:8.2f} {1e3 * result.force_with:8.2f} "
        f"{result.ratio:6.2f}    {1e3 * result.energy_without:7.3f} "
        f"{1e3 * result.energy_with:7.3f}",
        flush=True,
    )


def electrostatics(charge: float, width: float = 0.0) -> dict[str, object]:
    """Return a [baseline] section with charges on sodium and chlorine."""
    table: dict[str, object] = {"charges_e": {"Na": charge, "Cl": -charge}}
    if width:
        table["widths_A"] = {"Na": width, "Cl": width}
    return {"electrostatics": table}


def dispersion(method: str) -> dict[str, object]:
    """Return a [baseline] section with a dispersion correction of PBE."""
    return {"dispersion": {"method": method, "functional": "PBE"}}


def time_of_ewald(
    repeats: Sequence[int] = (2, 3, 4, 6, 8, 16),
) -> list[tuple[int, float]]:
    """Return the number of ions and the microseconds an ion takes."""
    out = []
    for n in repeats:
        atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(n)
        rng = np.random.default_rng(0)
        atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
        c = Configuration.from_atoms(atoms)
        baseline = FixedCharges({11: 1.0, 17: -1.0})
        baseline.evaluate(c)
        times = []
        for _ in range(20):
            c = c.moved(c.positions + rng.normal(scale=0.005, size=c.positions.shape))
            begun = time.process_time()
            baseline.evaluate(c)
            times.append(time.process_time() - begun)
        out.append((c.n_atoms, 1e6 * float(np.median(times)) / c.n_atoms))
        print(f"{out[-1][0]:6d} ions: {out[-1][1]:6.1f} us per ion", flush=True)
    return out


def main() -> None:
    """Print and write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    arguments = parser.parse_args()
    print(
        f"{'':<16} {'':<28} {'force RMSE, meV/A':>17} {'':>6}    "
        f"{'energy, meV/atom':>15}\n"
        f"{'system':<16} {'baseline':<28} {'without':>8} {'with':>8} {'ratio':>6}    "
        f"{'without':>7} {'with':>7}"
    )
    salt = Configuration.from_atoms(
        bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(2)
    )
    charges = {
        "charges": electrostatics(1.0),
        "charges, Gaussian, 1 A": electrostatics(1.0, 1.0),
        "charges of 0.8 e": electrostatics(0.8),
    }
    results = []
    for temperature in (300.0, 900.0):
        results += compare(
            f"NaCl, {temperature:.0f} K", charges, salt, RockSalt(), temperature
        )
    methods = ["D2", *(["D3(BJ)"] if find_spec("dftd3") else [])]
    results += compare(
        "argon, 60 K",
        {f"{method} of PBE": dispersion(method) for method in methods},
        Configuration.from_atoms(bulk("Ar", "fcc", a=5.4, cubic=True).repeat(3)),
        Reference(make_calculator("lennard-jones", {"cutoff_sigma": 5.0})),
        60.0,
    )
    times = time_of_ewald()
    if arguments.json:
        table = [{**vars(r), "ratio": r.ratio} for r in results]
        arguments.json.write_text(
            json.dumps({"errors": table, "ewald_us_per_atom": times}, indent=1)
        )


if __name__ == "__main__":
    main()
