"""Dynamics of silicon on a GPU: atom-steps a second, beside what the machine could do.

    python production_gpu.py [--device gpu] [--copies 8 16 24 50] [--steps K]

Models learn Stillinger-Weber silicon here: the three-body part alone with 5 A, and the
default descriptor (n_max 8, l_max 4); exponent 4 with 1000 references, and exponent 2
in its quadratic form. For each model and size the table has

- million atom-steps a second of NVE and of Langevin dynamics at 1000 K, all included:
  integrator, neighbour lists, gate of distances, guards; steps are made ahead;
- nanoseconds an atom and step of a prediction alone, with the screen of every atom,
  which a run that learns computes at every step, and against all references;
- the share that the screen adds;
- a bound: the two products (for a quadratic form its one) at the rate of a product of
  4096 x 192 x 1000, and reading and writing features, positions, forces and pairs once
  at the rate of a copy; both rates are measured first.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import TYPE_CHECKING, get_args

import numpy as np
from floor import rattled_silicon

from otf.calculators.stillinger_weber import StillingerWeber
from otf.configuration import Labels
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.dynamics.ahead import pace, steps_ahead
from otf.dynamics.schedule import Target
from otf.dynamics.thermostats import Langevin
from otf.dynamics.velocities import with_random_velocities
from otf.dynamics.verlet import Motion, VelocityVerlet
from otf.kernels import Device, DeviceMissing, load
from otf.learning.production import ProductionPotential
from otf.models.batch import fit_dataset
from otf.models.bayesian_linear import BayesianLinear
from otf.models.covariance import Polynomial
from otf.state import State
from otf.units import FS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otf.dynamics.sampler import Sampler
    from otf.kernels import Backend
    from otf.models.posterior import KernelPosterior

TEMPERATURE = 1000.0
WARM_UP = 40  # steps that compile, and let the atoms find their places
DESCRIPTORS = {
    "three-body 5 A": {"cutoff_three_body": 5.0, "two_body_weight": 0.0},
    "default": {},
}
FORMS = {"zeta 4, 1000 references": 4, "zeta 2, quadratic": 2}


def models(device: Device) -> Iterator[tuple[str, KernelPosterior]]:
    """Yield names and models."""
    frames = []
    for seed in range(24):
        c = rattled_silicon(2, seed=seed)
        rng = np.random.default_rng(seed)
        c = c.moved(c.positions + rng.normal(scale=0.01 * seed, size=(64, 3)))
        energy, forces, virial = StillingerWeber().evaluate(c)
        frames.append((c, Labels(energy, forces, virial / c.volume)))
    for kind, words in DESCRIPTORS.items():
        for form, exponent in FORMS.items():
            model = BayesianLinear(
                PowerSpectrum(species=(14,), **words), covariance=Polynomial(exponent)
            )
            fit_dataset(model, frames, n_references=1000)
            yield f"{kind}, {form}", model.fitted.on(device)


def seconds(backend: Backend, call: Callable[[], object], times: int = 20) -> float:
    """Return the shortest time of a call, waited for."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        backend.wait()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def roofline(backend: Backend) -> tuple[float, float]:
    """Print and return flops a second and bytes a second."""
    xp = backend.xp
    rng = np.random.default_rng(0)
    a, b = (backend.here(rng.normal(size=(n, 192))) for n in (4096, 1000))
    flops = 2.0 * 4096 * 192 * 1000 / seconds(backend, lambda: a @ b.T)
    x = xp.zeros(10_000_000)
    rate = 2.0 * x.nbytes / seconds(backend, x.copy)
    print(
        f"{backend.name}: products {flops / 1e12:.3g} TFlop/s, "
        f"copy {rate / 1e12:.3g} TB/s"
    )
    return flops, rate


def bound(model: KernelPosterior, flops: float, rate: float) -> float:
    """Return nanoseconds an atom and step cannot do without."""
    q, m = model.descriptor.n_features, model.references.n_references
    work = 2.0 * q * q if model.form == "quadratic" else 4.0 * q * m
    pairs = 0.05 * 4.19 * model.descriptor.cutoff**3
    traffic = 8.0 * (2 * q + 12) + 40.0 * pairs
    return 1e9 * (work / flops + traffic / rate)


def run(
    sampler: Sampler, potential: ProductionPotential, state: State, n_steps: int
) -> float:
    """Return seconds of so many steps, after some that are not counted."""
    backend = potential.model.backend
    prediction = potential.predict([state.configuration], step=0)[0]
    target = Target(TEMPERATURE)

    def step(state: State, prediction: object) -> tuple[State, object]:
        return sampler.step(state, prediction, potential, target)

    begun, n_sound = time.perf_counter(), 0
    while state.step < WARM_UP + n_steps:
        if state.step <= WARM_UP:
            backend.wait()
            begun, done = time.perf_counter(), state.step
        n_ahead = pace(n_sound, backend.poll)
        trail = steps_ahead(step, state, prediction, n_ahead, backend.watch)
        n_sound += len(trail)
        if trail:
            state, prediction = trail[-1]
        if len(trail) < n_ahead:
            n_sound = 0
            state, prediction = step(state, prediction)
    backend.wait()
    return (time.perf_counter() - begun) / (state.step - done)


def main() -> None:
    """Print a line for every model and size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=get_args(Device), default="gpu")
    parser.add_argument("--copies", type=int, nargs="+", default=[8, 16, 24, 50])
    parser.add_argument("--steps", type=int, default=100)
    given = parser.parse_args()
    try:
        backend = load(given.device)
    except DeviceMissing as error:
        raise SystemExit(str(error)) from None
    flops, rate = roofline(backend)
    print(
        f"{'atoms':>9} {'NVE':>7} {'NVT':>7} {'predict':>8} {'screen':>8} {'all':>8} "
        f"{'added':>6} {'bound':>7}"
    )
    for name, model in models(given.device):
        print(f"{name}: {model.references.n_references} references, {model.form}")
        for copies in given.copies:
            c = rattled_silicon(copies, seed=1)
            n = c.n_atoms
            state = State(
                configuration=c,
                momenta=np.zeros((n, 3)),
                masses=np.full(n, 28.085),
                free=np.ones((n, 3), dtype=bool),
                step=0,
                time=0.0,
                seed=1,
            )
            state = with_random_velocities(state, TEMPERATURE).of(backend.here)
            motion = Motion(timestep=FS, largest_displacement=1.0, watch=backend.watch)
            samplers = (
                VelocityVerlet(motion),
                Langevin(motion, 0.01 / FS, backend.kernels.normal, backend.xp),
            )
            potential = ProductionPotential(model, stop=False)
            rates = [
                n / 1e6 / run(sampler, potential, state, given.steps)
                for sampler in samplers
            ]
            ways = model.predict, model.predict_screened, model.predict_measured
            alone, screened, whole = (
                1e9 / n * seconds(backend, partial(way, state.configuration), 5)
                for way in ways
            )
            print(
                f"{n:>9} {rates[0]:>7.3f} {rates[1]:>7.3f} {alone:>8.1f} "
                f"{screened:>8.1f} {whole:>8.1f} {screened / alone - 1.0:>6.0%} "
                f"{bound(model, flops, rate):>7.1f}"
            )


if __name__ == "__main__":
    main()
