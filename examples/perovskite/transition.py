"""The tilting transition of the model perovskite, by itself and as it was learned.

    export PYTHONPATH=examples/perovskite
    python examples/perovskite/transition.py WORK reference [--repeat 2 2 1] [--seed 1]
    python examples/perovskite/transition.py WORK learned --model MODEL [--seed 1]
    python examples/perovskite/transition.py WORK ramp
    python examples/perovskite/transition.py WORK verdict [--run RUN]

`reference`  the simulations of production.toml, with the reference in place of a model.
`learned`    the same by `otf-md sweep` with a model, and how wrong its forces are.
             `--seed` and `--temperatures` make some of what the file has.
`ramp`       the heating and cooling of input.toml, by the reference.
`verdict`    tilts against temperature, T_c and beta of both, of all sizes that are
             there, and a picture, with the ramp beside the run that learned. Needs the
             extra `analysis`.

Every simulation is kept in WORK as it ends, and is not made twice.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tilting import EDGES, TiltingPerovskite

from otf.analysis.averages import Mean, mean_of
from otf.analysis.critical import FEWEST, fit_critical
from otf.analysis.tilts import octahedral_tilts
from otf.build import build_sampler, build_schedule, initial_state
from otf.configuration import Configuration
from otf.deploy.saved_model import load_model
from otf.dynamics.sampler import evaluate
from otf.errors import InputError
from otf.kernels import load
from otf.potential import Memoryless, Prediction
from otf.report.drawing import Curve, Lines, drawn
from otf.settings import load_settings
from otf.settings.members import members_of
from otf.settings.template import plain_input
from otf.store.motion import Motion, read_motion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.analysis.critical import CriticalFit
    from otf.analysis.tilts import Tilts
    from otf.configuration import FloatArray, IntArray
    from otf.settings.settings import Settings

HERE = Path(__file__).parent
LEAD, IODINE = 82, 53
REPEAT = (2, 2, 1)
FRAMES = 10  # steps between two
LABELLED = 40  # frames between two that both are asked for
PARTS = 26  # of a ramp, a mean of each
SETTLED = 0.2  # share of a simulation that means leave out
ORDERED = 0.3  # of the squared tilt when coldest: what the law is fitted to
KINDS = ("reference", "learned")
PRECISE = {"critical_temperature": 5.0, "beta": 0.03}  # K, errors a verdict needs
DIFFERENT = 3.0  # combined standard errors


class Exact(Memoryless):
    """The reference as a potential of the samplers."""

    def __init__(self) -> None:
        self.calculator = TiltingPerovskite()

    def of(self, configuration: Configuration) -> Prediction:
        """Return energy, forces and stress."""
        energy, forces, virial = self.calculator.evaluate(configuration)
        return Prediction(energy, forces, virial / configuration.volume)


@dataclass(frozen=True, eq=False)
class Simulated:
    """What a simulation leaves.

    Attributes
    ----------
    temperature : K, of the thermostat
    seed : of the thermostat
    order : (T, 3) degrees, mean tilts about the axes, alternating in all directions
    edges : (T, 3) angstrom, of the cell of one octahedron
    """

    temperature: float
    seed: int
    order: FloatArray
    edges: FloatArray

    def settled(self) -> Simulated:
        """Return the part that means are of."""
        kept = slice(int(SETTLED * len(self.order)), None)
        return replace(self, order=self.order[kept], edges=self.edges[kept])

    def save(self, path: Path) -> None:
        """Write the simulation; it is whole or absent."""
        aside = path.with_suffix(".part.npz")
        np.savez(aside, **vars(self))
        aside.rename(path)

    @classmethod
    def load(cls, path: Path) -> Simulated:
        """Read a simulation."""
        with np.load(path) as data:
            return cls(
                float(data["temperature"]),
                int(data["seed"]),
                data["order"],
                data["edges"],
            )


def parity(tilts: Tilts) -> IntArray:
    """Return +1 and -1 (m,), alternating between octahedra that share a corner."""
    signs = np.zeros(len(tilts.neighbor), dtype=np.int64)
    signs[0], reached = 1, [0]
    while reached:
        i = reached.pop()
        for j in tilts.neighbor[i]:
            if j >= 0 and signs[j] == 0:
                signs[j] = -signs[i]
                reached.append(int(j))
    return signs


def simulated(motion: Motion, temperature: float, seed: int) -> Simulated:
    """Return the order parameter and the edges along a trajectory."""
    tilts = octahedral_tilts(motion, LEAD, IODINE)
    signs = parity(tilts)
    order = np.einsum("m,tmk->tk", signs, tilts.angles) / len(signs)
    edges = np.linalg.norm(motion.cells, axis=2)
    return Simulated(temperature, seed, order, edges / np.round(edges[0] / EDGES))


@dataclass(frozen=True)
class Size:
    """Copies of the 40 atoms along the edges, and which simulations are made.

    Attributes
    ----------
    repeat : (3,)
    seed : None where all are
    temperatures : K, None where all are
    """

    repeat: tuple[int, int, int]
    seed: int | None = None
    temperatures: list[float] | None = None

    @property
    def n_atoms(self) -> int:
        """Return the number of atoms."""
        return 40 * math.prod(self.repeat)


def written(work: Path, name: str, size: Size, potential: dict[str, str]) -> Path:
    """Return the input of production.toml for a size and a potential."""
    data = tomllib.loads((HERE / "production.toml").read_text())
    data["structure"] |= {
        "file": str(HERE.resolve() / data["structure"]["file"]),
        "repeat": list(size.repeat),
    }
    del data["potential"]
    data |= potential
    if size.seed is not None:
        data["sweep"]["seeds"] = [size.seed]
    if size.temperatures is not None:
        data["sweep"]["temperatures_K"] = size.temperatures
    data["output"] = {"directory": name, "trajectory_interval": FRAMES}
    path = work / f"{name}.toml"
    path.write_text(plain_input(data))
    return path


def exact(settings: Settings, temperature: float = np.nan) -> Simulated:
    """Return a simulation by the reference."""
    state, potential = initial_state(settings), Exact()
    start = state
    sampler = build_sampler(settings, state, load("cpu"), cutoff=7.0)
    schedule = build_schedule(settings)
    last = evaluate(potential, state)
    positions, cells = [], []
    while state.step < schedule.steps:
        state, last = sampler.step(state, last, potential, schedule.target(state.step))
        if state.step % FRAMES == 0:
            positions.append(state.configuration.positions)
            cells.append(state.configuration.cell)
    c = start.configuration
    motion = Motion(
        c.numbers, start.masses, c.pbc, np.array(positions), np.array(cells)
    )
    return simulated(motion, temperature, settings.seed)


def run_reference(work: Path, size: Size) -> None:
    """Make what is missing of the simulations by the reference."""
    name = f"reference-{size.n_atoms}"
    calculator = {"reference": {"calculator": "tilting:TiltingPerovskite"}}
    settings = load_settings(written(work, name, size, calculator))
    for member in members_of(settings):
        path = work / f"{name}-{member.name}.npz"
        if path.exists():
            continue
        begin = time.process_time()
        exact(member.settings, member.temperature_K).save(path)
        print(f"{path.name}: {time.process_time() - begin:.0f} s", flush=True)


def run_learned(work: Path, size: Size, model: Path) -> None:
    """Make what is missing of the simulations by a model; print its errors."""
    name = f"learned-{size.n_atoms}"
    folder = name if size.seed is None else f"{name}-{size.seed}"
    path = written(work, folder, size, {"potential": {"model": str(model.resolve())}})
    command = [sys.executable, "-m", "otf.cli", "sweep", str(path), "--jobs", "1"]
    subprocess.run(command, check=True)
    for member in members_of(load_settings(path)):
        motion = read_motion(work / folder / member.name)
        known = simulated(motion, member.temperature_K, member.settings.seed)
        known.save(work / f"{name}-{member.name}.npz")
        print(f"{member.name}: {errors(motion, model)}", flush=True)


def errors(motion: Motion, path: Path) -> str:
    """Return force errors along a trajectory, and what the model thinks they are."""
    model, reference = load_model(path), TiltingPerovskite()
    squares, thought = [], []
    for k in range(len(motion.positions) // 5, len(motion.positions), LABELLED):
        c = Configuration(
            motion.numbers, motion.positions[k], motion.cells[k], motion.pbc
        )
        off = model.predict(c).forces - reference.evaluate(c)[1]
        squares.append((off**2).mean())
        thought.append((model.force_uncertainty(c).forces ** 2).mean())
    true, own = np.sqrt(np.mean(squares)), np.sqrt(np.mean(thought))
    return f"force RMSE {true:.4f} eV/A, deviation of the model {own:.4f} eV/A"


def run_ramp(work: Path) -> None:
    """Make the heating and cooling of input.toml by the reference."""
    path = work / "ramp.npz"
    if not path.exists():
        exact(load_settings(HERE / "input.toml")).save(path)


# ------------------------------------------------------------------------ the verdict
@dataclass(frozen=True, eq=False)
class Transition:
    """Means against temperature, and the law through them.

    Attributes
    ----------
    kind : one of KINDS
    n_atoms : of the cell
    temperatures : (k,) K
    squares, square_errors : (k,) degrees^2, of the staggered tilt about z
    edges, edge_errors : (k,) angstrom, of the free edges of an octahedron
    fit : of the squares where the crystal is ordered
    widened : factor by which the errors of the squares were widened for it
    """

    kind: str
    n_atoms: int
    temperatures: FloatArray
    squares: FloatArray
    square_errors: FloatArray
    edges: FloatArray
    edge_errors: FloatArray
    fit: CriticalFit
    widened: float

    @property
    def name(self) -> str:
        """Return how it is called in a picture."""
        return f"{self.kind}, {self.n_atoms} atoms"


def transition(work: Path, kind: str, n_atoms: int) -> Transition | None:
    """Return what the simulations that are there say; None where they are too few."""
    runs: dict[float, list[Simulated]] = {}
    for path in work.glob(f"{kind}-{n_atoms}-*.npz"):
        run = Simulated.load(path)
        runs.setdefault(run.temperature, []).append(run)
    if len(runs) < FEWEST:
        return None
    squares: list[Mean] = []
    edges: list[Mean] = []
    for temperature in sorted(runs):
        settled = [run.settled() for run in runs[temperature]]
        squares.append(together([mean_of(r.order[:, 2] ** 2) for r in settled]))
        edges.append(together([mean_of(r.edges[:, :2].mean(axis=1)) for r in settled]))
    t = np.array(sorted(runs))
    y, dy = (np.array([getattr(m, n) for m in squares]) for n in ("value", "error"))
    a, da = (np.array([getattr(m, n) for m in edges]) for n in ("value", "error"))
    ordered = y > ORDERED * y[0]
    try:
        fit, widened = fitted(t[ordered], y[ordered], dy[ordered])
    except InputError as error:
        print(f"{kind}, {n_atoms} atoms: {error}")
        return None
    return Transition(kind, n_atoms, t, y, dy, a, da, fit, widened)


def together(replicas: Sequence[Mean]) -> Mean:
    """Return the mean of independent means of equal length."""
    n = len(replicas)
    error = np.sqrt(sum(m.error**2 for m in replicas)) / n
    value = sum(m.value for m in replicas) / n
    return Mean(value, float(error), sum(m.n_independent for m in replicas))


def fitted(t: FloatArray, y: FloatArray, dy: FloatArray) -> tuple[CriticalFit, float]:
    """Return the fit, and by how much the errors were widened for it.

    Where the law scatters more than its errors allow, they are widened until the chi
    square is that of its degrees of freedom: the law is not exact in a finite cell.
    """
    fit = fit_critical(t, y, dy)
    widened = np.sqrt(fit.chi_square / max(len(t) - 3, 1))
    if widened <= 1.0:
        return fit, 1.0
    return fit_critical(t, y, widened * dy), float(widened)


def judge(work: Path, size: Size, run: Path | None) -> None:
    """Print the transitions of both and of all sizes, and draw them."""
    sizes = {(p.name.split("-")[0], int(p.name.split("-")[1])) for p in made(work)}
    known = [transition(work, *which) for which in sorted(sizes, key=str, reverse=True)]
    found = [k for k in known if k is not None]
    for k in found:
        told(k)
    pair = [
        k
        for kind in KINDS
        for k in found
        if (k.kind, k.n_atoms) == (kind, size.n_atoms)
    ]
    if len(pair) == len(KINDS):
        compare(*pair)
    else:
        print(f"too few simulations of {size.n_atoms} atoms in {work} for a verdict")
    if found:
        panels = [*means(found), *ramps(work, run)]
        picture = drawn(panels, columns=len(panels))
        (work / "transition.png").write_bytes(picture["png"])


def made(work: Path) -> list[Path]:
    """Return the simulations that are there."""
    return [path for kind in KINDS for path in work.glob(f"{kind}-*K-*.npz")]


def told(known: Transition) -> None:
    """Print a transition."""
    print(known.name)
    for row in zip(
        known.temperatures,
        known.squares,
        known.square_errors,
        known.edges,
        known.edge_errors,
        strict=True,
    ):
        print("  {:5.0f} K  {:6.2f} +- {:5.2f} deg^2  {:7.4f} +- {:.4f} A".format(*row))
    fit = known.fit
    print(
        f"  T_c {fit.critical_temperature.value:.1f} +- "
        f"{fit.critical_temperature.error:.1f} K, beta {fit.beta.value:.3f} +- "
        f"{fit.beta.error:.3f}, errors of the points times {known.widened:.2f}"
    )


def compare(reference: Transition, learned: Transition) -> None:
    """Print whether two transitions are equal."""
    for name, needed in PRECISE.items():
        a, b = (getattr(known.fit, name) for known in (learned, reference))
        away = (a.value - b.value) / float(np.hypot(a.error, b.error))
        precise = max(a.error, b.error) < needed
        verdict = "equal" if abs(away) < DIFFERENT else "not equal"
        print(
            f"{name}: {away:+.2f} combined standard errors apart, "
            + (verdict if precise else f"no verdict: an error exceeds {needed:g}")
        )
    off = (learned.squares - reference.squares) / np.hypot(
        learned.square_errors, reference.square_errors
    )
    print("squared tilts, in combined standard errors:", np.round(off, 1))


def ramps(work: Path, run: Path | None) -> list[Lines]:
    """Return the heating and cooling of both, where they are there."""
    known = {}
    if (work / "ramp.npz").exists():
        known["reference"] = Simulated.load(work / "ramp.npz").order
    if run is not None:
        known["learning"] = simulated(read_motion(run), np.nan, 1).order
    if not known:
        return []
    schedule = build_schedule(load_settings(HERE / "input.toml"))
    curves = []
    for kind, order in known.items():
        step = schedule.steps / len(order)
        t = np.array(
            [schedule.target(int(k * step)).temperature for k in range(len(order))]
        )
        square = order[:, 2] ** 2
        parts = [np.array_split(values, PARTS) for values in (t, square)]
        t, square = (np.array([part.mean() for part in group]) for group in parts)
        half = PARTS // 2
        for word, piece in (("heating", slice(half)), ("cooling", slice(half, None))):
            curves.append(Curve(f"{kind}, {word}", t[piece], square[piece]))
    return [
        Lines(
            "temperature (K)",
            "squared tilt (degrees²)",
            curves,
            title="40 atoms, ramps",
            from_zero=True,
        )
    ]


def means(found: Sequence[Transition]) -> list[Lines]:
    """Return tilts and edges against temperature."""
    tilts, edges = [], []
    for k, known in enumerate(found):
        t = known.temperatures
        error = known.square_errors
        tilts.append(Curve(known.name, t, known.squares, error, form="points", color=k))
        fine = np.linspace(t.min(), t.max(), 400)
        tilts.append(Curve("", fine, known.fit.value(fine), color=k))
        error = known.edge_errors
        edges.append(Curve(known.name, t, known.edges, error, form="points"))
    axis = "temperature (K)"
    return [
        Lines(axis, "squared tilt (degrees²)", tilts, from_zero=True),
        Lines(axis, "free edge of an octahedron (Å)", edges),
    ]


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("task", choices=("reference", "learned", "ramp", "verdict"))
    parser.add_argument("--repeat", type=int, nargs=3, default=REPEAT)
    parser.add_argument("--seed", type=int, help="that of the seeds which is made")
    parser.add_argument("--temperatures", type=float, nargs="+", help="those made, K")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--run", type=Path, help="folder of the run that learned")
    arguments = parser.parse_args()
    if arguments.task == "learned" and arguments.model is None:
        parser.error("learned needs --model, the file of a model")
    if min(arguments.repeat) < 1:
        parser.error("--repeat needs three whole numbers from 1 on")
    if min(arguments.temperatures or [1.0]) <= 0.0:
        parser.error("--temperatures must be positive")
    if arguments.seed is not None and arguments.seed < 0:
        parser.error(f"--seed must not be negative, got {arguments.seed}")
    for path in (arguments.model, arguments.run):
        if path is not None and not path.exists():
            parser.error(f"{path} does not exist")
    arguments.work.mkdir(parents=True, exist_ok=True)
    size = Size(tuple(arguments.repeat), arguments.seed, arguments.temperatures)
    if arguments.task == "reference":
        run_reference(arguments.work, size)
    elif arguments.task == "learned":
        run_learned(arguments.work, size, arguments.model)
    elif arguments.task == "ramp":
        run_ramp(arguments.work)
    else:
        judge(arguments.work, size, arguments.run)


if __name__ == "__main__":
    main()
