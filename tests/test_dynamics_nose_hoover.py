"""Nose-Hoover chains: order, reversibility, extended energy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from otf.dynamics import nose_hoover
from otf.dynamics.conservation import conserved_energy
from otf.dynamics.nose_hoover import SUZUKI_YOSHIDA, NoseHooverChain, chain_step
from otf.dynamics.sampler import evaluate
from otf.dynamics.schedule import Target
from otf.dynamics.verlet import Motion
from otf.testing import HarmonicWells, at_rest
from otf.units import KB

UNIT = Target(temperature=1.0 / KB)


@pytest.mark.parametrize("order", [4, 6])
def test_suzuki_yoshida_weights_fulfil_the_conditions_of_their_order(order):
    weights = np.array(SUZUKI_YOSHIDA[order])
    assert weights.sum() == pytest.approx(1.0, abs=1e-14)
    for power in range(3, order, 2):
        assert (weights**power).sum() == pytest.approx(0.0, abs=1e-12)


def one_oscillator():
    """Return x = 1, p = 0.3 in one dimension."""
    state = replace(at_rest([[1.0, 0, 0]]), momenta=np.array([[0.3, 0.0, 0.0]]))
    return replace(state, free=np.array([[True, False, False]]))


def extended_energy_rms(length, h, time):
    motion = Motion(timestep=h, fix_centre_of_mass=False)
    sampler = NoseHooverChain(motion, relaxation_time=1.0, length=length)
    state, values = one_oscillator(), []
    prediction = evaluate(HarmonicWells(), state)
    for _ in range(round(time / h)):
        state, prediction = sampler.step(state, prediction, HarmonicWells(), UNIT)
        values.append(conserved_energy(state, prediction))
    return np.std(values), np.polyfit(np.arange(len(values)) * h, values, 1)[0]


def check_extended_energy(length, expected, ratio):
    (coarse, slope), (fine, _) = (
        extended_energy_rms(length, h, 400.0) for h in (0.1, 0.05)
    )
    assert coarse / fine == pytest.approx(ratio, abs=0.15)
    assert abs(slope) < 1e-6
    if expected is not None:
        assert [coarse, fine] == pytest.approx(expected, rel=0.05)


def test_extended_energy_of_one_thermostat_has_the_known_error():
    check_extended_energy(1, [7.64e-4, 1.90e-4], 4.0)


@pytest.mark.parametrize("mutant", ["positions not advanced", "kicks in one order"])
def test_check_of_the_extended_energy_rejects(mutant, monkeypatch):
    def wrong(kinetic, velocities, masses, links, time, order):
        scale, v, _ = chain_step(kinetic, velocities, masses, links, time, order)
        if mutant == "positions not advanced":
            return scale, v, 0.5 * float((masses * (v**2 - velocities**2)).sum())
        v = velocities + time * (2.0 * kinetic - links) / masses
        scale = np.exp(-time * v[0])
        work = time * float((links * v).sum())
        return scale, v, work + 0.5 * float((masses * (v**2 - velocities**2)).sum())

    monkeypatch.setattr(nose_hoover, "chain_step", wrong)
    with pytest.raises(AssertionError):
        check_extended_energy(1, [7.64e-4, 1.90e-4], 4.0)


def chained(length, order, time, total=0.8):
    """Return ln of the momentum scale, chain velocities and K + heat after a while."""
    links = np.full(length, 1.0)
    links[0] = 6.0
    kinetic, heat, v = 5.0, 0.0, np.linspace(0.3, -0.4, length)
    for _ in range(round(total / time)):
        scale, v, taken = chain_step(kinetic, v, links, links, time, order)
        kinetic, heat = kinetic * scale**2, heat + taken
    return np.array([0.5 * np.log(kinetic / 5.0), *v, kinetic + heat])


@pytest.mark.parametrize("order", [4, 6])
@pytest.mark.parametrize("length", [1, 2, 4])
def test_chain_converges_with_its_order_and_conserves_kinetic_energy_plus_heat(
    length, order
):
    exact = chained(length, 6, 0.0125)
    errors = [
        np.linalg.norm(chained(length, order, time) - exact) for time in (0.2, 0.1)
    ]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.7)
    assert exact[-1] == pytest.approx(5.0, abs=1e-8)


def test_chain_runs_backwards_to_its_start():
    links, masses = np.array([6.0, 1.0, 1.0]), np.array([6.0, 1.0, 1.0])
    v = np.array([0.3, -0.2, 0.5])
    scale, there, heat = chain_step(5.0, v, masses, links, 0.1, 4)
    back, again, returned = chain_step(5.0 * scale**2, -there, masses, links, 0.1, 4)
    assert scale * back == pytest.approx(1.0, rel=1e-14)
    np.testing.assert_allclose(again, -v, atol=1e-14)
    assert returned == pytest.approx(-heat, rel=1e-12)
