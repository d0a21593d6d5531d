"""What holds for every integrator: books, constraints, resumption, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from otf.dynamics.conservation import conserved_energy, ledger
from otf.dynamics.constraints import degrees_of_freedom
from otf.dynamics.nose_hoover import NoseHooverChain
from otf.dynamics.registry import INTEGRATORS
from otf.dynamics.sampler import evaluate
from otf.dynamics.schedule import Target
from otf.dynamics.thermostats import Langevin, StochasticVelocityRescaling
from otf.dynamics.velocities import with_random_velocities
from otf.dynamics.verlet import Motion, VelocityVerlet
from otf.errors import InputError
from otf.potential import ModelChange, Prediction
from otf.testing import HarmonicWells, LennardJones, at_rest
from otf.units import KB

WARM = Target(temperature=0.1 / KB)
UNIT = Target(temperature=1.0 / KB)
OPTIONS = {
    "verlet": {},
    "langevin": {"friction": 0.5},
    "nose_hoover": {"relaxation_time": 0.3},
    "rescaling": {"relaxation_time": 0.3},
}
EVERY_INTEGRATOR = pytest.mark.parametrize("name", sorted(INTEGRATORS))
THERMOSTATS = pytest.mark.parametrize("name", sorted(set(INTEGRATORS) - {"verlet"}))


def integrator(name, timestep=0.004, **motion):
    return INTEGRATORS[name](Motion(timestep=timestep, **motion), **OPTIONS[name])


def cluster(seed=3):
    """Return 8 Lennard-Jones atoms on a cube, of different masses."""
    corners = np.array([[i & 1, i >> 1 & 1, i >> 2] for i in range(8)], dtype=float)
    state = at_rest(1.12 * corners, masses=1.0 + np.arange(8) / 4.0, seed=seed)
    return with_random_velocities(state, WARM.temperature)


def run(sampler, state, potential, n_steps, target=WARM, last=None):
    """Return the last state, its prediction and the conserved energy along the way."""
    prediction = evaluate(potential, state) if last is None else last
    conserved = [conserved_energy(state, prediction)]
    for _ in range(n_steps):
        state, prediction = sampler.step(state, prediction, potential, target)
        conserved.append(conserved_energy(state, prediction))
    return state, prediction, np.array(conserved)


def everything(state):
    return [
        state.configuration.positions.tolist(),
        state.momenta.tolist(),
        state.thermostat.tolist(),
        (state.step, state.time, state.heat, state.learning_work),
    ]


@EVERY_INTEGRATOR
def test_a_resumed_run_is_the_same_to_the_bit(name):
    potential = LennardJones()
    whole, _, _ = run(integrator(name), cluster(), potential, 20)
    half, last, _ = run(integrator(name), cluster(), potential, 7)
    resumed, _, _ = run(integrator(name), half, potential, 13, last=last)
    assert everything(resumed) == everything(whole)


@THERMOSTATS
def test_another_noise_stream_gives_another_run_where_there_is_noise(name):
    here, _, _ = run(integrator(name), cluster(), LennardJones(), 3)
    other, _, _ = run(integrator(name), replace(cluster(), stream=1), LennardJones(), 3)
    is_noisy = name != "nose_hoover"
    assert (everything(here) != everything(other)) is is_noisy


@EVERY_INTEGRATOR
def test_total_momentum_stays_zero(name):
    state, _, _ = run(integrator(name), cluster(), LennardJones(), 200)
    assert np.abs(state.momenta.sum(axis=0)).max() < 1e-12 * 8


@EVERY_INTEGRATOR
def test_fixed_coordinates_do_not_move(name):
    free = np.ones((8, 3), dtype=bool)
    free[0], free[1, 2] = False, False
    start = replace(cluster(), free=free)
    end, _, _ = run(integrator(name), start, LennardJones(), 50)
    still = end.configuration.positions == start.configuration.positions
    assert (still == ~free).all()
    assert (end.momenta[~free] == 0.0).all()


@EVERY_INTEGRATOR
def test_conserved_energy_has_an_error_of_second_order_only(name):
    rms = []
    for h in (0.008, 0.004):
        steps = round(2.0 / h)
        _, _, values = run(integrator(name, h), cluster(), LennardJones(), steps)
        rms.append(np.abs(values - values[0]).mean())
    # The noise of two time steps differs, and with it the two paths.
    ratio = (3.0, 5.3) if name in {"verlet", "nose_hoover"} else (2.0, 8.0)
    assert ratio[0] < rms[0] / rms[1] < ratio[1]


@THERMOSTATS
def test_conserved_energy_without_the_heat_would_not_be_conserved(name):
    state, _, values = run(integrator(name), cluster(), LennardJones(), 500)
    assert abs(state.heat) > 0.05
    assert np.abs(values - values[0]).max() < 0.005


@THERMOSTATS
def test_conserved_energy_survives_a_ramp(name):
    potential, sampler = LennardJones(), integrator(name)
    state = cluster()
    prediction = evaluate(potential, state)
    first = conserved_energy(state, prediction)
    for i in range(500):
        target = Target((0.1 + 0.1 * i / 500.0) / KB)
        state, prediction = sampler.step(state, prediction, potential, target)
    assert abs(conserved_energy(state, prediction) - first) < 0.005


def test_ledger_of_equal_forces_is_the_jump_of_the_energy():
    forces = np.arange(6.0).reshape(2, 3)
    change = ModelChange(1.0, 3.5, forces, forces)
    assert ledger(change, forces, np.ones((2, 3)), 0.1) == 2.5


class Relearning(HarmonicWells):
    """Wells that become twice as stiff at one step, labelled with other forces."""

    def predict(self, configurations, *, step, use_labels=True):
        x = configurations[0].positions
        soft, hard = 0.5 * (x**2).sum(), (x**2).sum()
        if step < 50:
            return [Prediction(soft, -x, np.zeros(6))]
        if step > 50:
            return [Prediction(hard, -2.0 * x, np.zeros(6))]
        change = ModelChange(soft, hard, -x, -2.0 * x)
        return [Prediction(1.1 * hard, -2.5 * x, np.zeros(6), 1, True, change)]


def drift_over_a_model_change(timestep):
    sampler = integrator("verlet", timestep, fix_centre_of_mass=False)
    state = replace(at_rest([[1.0, 0.2, 0.0]]), momenta=np.array([[0.5, 0.0, 1.0]]))
    state, _, values = run(sampler, state, Relearning(), 100)
    assert abs(state.learning_work) > 0.1
    return abs(values[60:].mean() - values[:50].mean())


def test_conserved_energy_survives_a_change_of_the_model():
    coarse, fine = (drift_over_a_model_change(h) for h in (0.02, 0.01))
    assert fine < 1e-3
    assert coarse / fine > 2.0


MOTION = Motion(timestep=1.0)


@pytest.mark.parametrize(
    ("thermostat", "options", "name"),
    [
        (Langevin, {"friction": -1.0}, "friction"),
        (Langevin, {"friction": np.array([1.0, -1.0])}, "friction"),
        (StochasticVelocityRescaling, {"relaxation_time": 0.0}, "relaxation time"),
        (NoseHooverChain, {"relaxation_time": 0.0}, "relaxation time"),
        (NoseHooverChain, {"relaxation_time": 1.0, "length": 0}, "length"),
        (NoseHooverChain, {"relaxation_time": 1.0, "order": 5}, "order"),
    ],
)
def test_impossible_thermostats_are_refused(thermostat, options, name):
    with pytest.raises(InputError, match=name):
        thermostat(MOTION, **options)


@pytest.mark.parametrize("name", ["nose_hoover", "rescaling"])
def test_a_thermostat_of_nothing_is_refused(name):
    with pytest.raises(InputError, match="no atom can move"):
        run(integrator(name), at_rest(np.zeros((1, 3))), HarmonicWells(), 1)


def test_a_chain_cannot_hold_absolute_zero():
    with pytest.raises(InputError, match="above 0 K"):
        run(integrator("nose_hoover"), cluster(), LennardJones(), 1, Target(0.0))


def test_verlet_ignores_the_target():
    hot, _, _ = run(integrator("verlet"), cluster(), LennardJones(), 5, UNIT)
    cold, _, _ = run(integrator("verlet"), cluster(), LennardJones(), 5, Target(0.0))
    assert everything(hot) == everything(cold)
    assert isinstance(integrator("verlet"), VelocityVerlet)


def test_without_noise_and_friction_langevin_is_velocity_verlet():
    sampler = Langevin(Motion(timestep=0.004), 0.0)
    damped, _, _ = run(sampler, cluster(), LennardJones(), 50)
    free, _, _ = run(integrator("verlet"), cluster(), LennardJones(), 50)
    np.testing.assert_allclose(
        damped.configuration.positions, free.configuration.positions, atol=1e-12
    )
    assert damped.heat == pytest.approx(0.0, abs=1e-12)


def test_rescaling_cannot_start_from_rest():
    sampler = integrator("rescaling", fix_centre_of_mass=False)
    with pytest.raises(InputError, match="cannot start from atoms at rest"):
        run(sampler, at_rest(np.zeros((2, 3))), HarmonicWells(), 1)


def test_chain_masses_follow_the_target_and_the_degrees_of_freedom():
    state, _, _ = run(integrator("nose_hoover"), cluster(), LennardJones(), 1)
    n_free = degrees_of_freedom(cluster(), fix_centre_of_mass=True)
    expected = 0.1 * 0.3**2 * np.array([n_free, 1.0, 1.0])
    np.testing.assert_allclose(state.thermostat[1], expected, rtol=1e-12)
