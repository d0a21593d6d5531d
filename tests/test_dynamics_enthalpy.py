"""Constant enthalpy: what is conserved, how a gas breathes, what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from npt_systems import (
    UNIT,
    Gas,
    argon,
    argon_potential,
    at_rest_in,
    barostat,
    conserved,
    gas,
    visit,
    volume,
)

from otf.dynamics.cell import isotropic, of_components
from otf.dynamics.extended_cell import ConstantEnthalpy
from otf.dynamics.pressure import CellMotion, Load
from otf.dynamics.sampler import evaluate
from otf.dynamics.schedule import Target
from otf.dynamics.verlet import Motion
from otf.errors import InputError
from otf.units import FS, GPA, KB

NAME = "constant enthalpy"
FULL = of_components(("xx", "yy", "zz", "yz", "xz", "xy"))
ALONG_Z = of_components(("zz",))
CELL = 5.4 * np.array([[2.0, 0.0, 0.0], [0.05, 2.0, 0.0], [-0.03, 0.04, 2.02]])
SQUEEZED = Target(0.0, (0.02 * GPA, 0.0, -0.02 * GPA))


@pytest.fixture(scope="module")
def potential():
    return argon_potential()


def crystal():
    return at_rest_in(argon(), CELL)


def of_crystal(freedom, *, timestep=4.0):
    return barostat(
        NAME, freedom, CELL, timestep=timestep * FS, time=200.0 * FS, temperature=20.0
    )


def enthalpy(state, prediction):
    """Return K + U + P V at the pressure of the unit, eV."""
    return state.kinetic_energy + prediction.energy + state.configuration.volume


def test_conserved_energy_has_an_error_of_second_order(potential):
    rms = []
    for timestep in (8.0, 4.0):
        sampler = of_crystal(FULL, timestep=timestep)
        n = round(320.0 / timestep)
        _, seen = visit(
            sampler, crystal(), potential, n, look=conserved, target=SQUEEZED
        )
        rms.append(np.std(seen))
    assert rms[0] / rms[1] == pytest.approx(4.0, abs=0.5)


def test_only_the_kinetic_energy_of_the_cell_is_taken_from_the_enthalpy():
    start = gas(40)
    sampler = barostat(
        NAME, isotropic(), start.configuration.cell, timestep=0.002, time=0.5
    )
    inertia = (3 * 40 - 3 + 3) * 0.5**2 / 3.0

    def look(state, prediction):
        cell = 0.5 * inertia * float((state.barostat**2).sum())
        return enthalpy(state, prediction), cell

    _, seen = visit(sampler, start, Gas(), 400, look=look)
    total = seen.sum(axis=1)
    assert np.ptp(seen[:, 1]) > 1.0  # the cell has moved
    assert np.ptp(total) < 1e-3 * np.ptp(seen[:, 1])


def test_an_ideal_gas_breathes_at_the_frequency_of_its_adiabatic_law():
    # V P^(3/5) of an ideal gas is constant: (W/3) (log V)'' = 3V (p - P) / 3, so that
    # omega^2 = (5/3) P V (3/W) with W tr(nu nu^T)/2 = W (d log V/dt)^2/6.
    n = 400
    start = gas(n)
    freedom = isotropic()
    # p V = (2K/3) (1 + 3/Nf): the equations have an atom more than move on their own.
    edge = (2.0 * start.kinetic_energy / 3.0 * n / (n - 1)) ** (1.0 / 3.0)  # p = P = 1
    resting = at_rest_in(start, 1.01 * edge * np.eye(3))
    time = 0.5
    sampler = barostat(NAME, freedom, resting.configuration.cell, timestep=0.005)
    sampler = replace(sampler, relaxation_time=time)
    inertia = 3 * n * time**2 / 3.0
    omega = np.sqrt(5.0 / 3.0 * edge**3 * 3.0 / inertia)
    steps = round(4.0 * np.pi / omega / 0.005)  # two periods
    _, volumes = visit(sampler, resting, Gas(), steps, look=volume)
    signal = volumes - volumes.mean()
    crossings = np.flatnonzero((signal[:-1] > 0) & (signal[1:] <= 0))
    at = crossings + signal[crossings] / (signal[crossings] - signal[crossings + 1])
    period = np.diff(at).mean() * 0.005
    assert period == pytest.approx(2.0 * np.pi / omega, rel=0.01)
    middle = edge**3 * 1.01**3 * (1.01**-3) ** 0.6
    assert volumes.mean() == pytest.approx(middle, rel=3e-4)


def test_along_z_the_other_edges_stay_bit_by_bit(potential):
    end, _ = visit(
        of_crystal(ALONG_Z), crystal(), potential, 30, look=volume, target=SQUEEZED
    )
    assert (end.configuration.cell[:, :2] == CELL[:, :2]).all()
    assert end.configuration.cell[2, 2] != CELL[2, 2]


def test_a_resumed_run_is_the_same_to_the_bit(potential):
    def steps(state, last, n):
        sampler = of_crystal(FULL)  # of its own each time: it may remember nothing
        for _ in range(n):
            state, last = sampler.step(state, last, potential, SQUEEZED)
        return state, last

    start = crystal(), evaluate(potential, crystal())
    whole, _ = steps(*start, 12)
    resumed, _ = steps(*steps(*start, 5), 7)
    for name in ("momenta", "barostat", "heat"):
        assert np.array_equal(getattr(resumed, name), getattr(whole, name))
    assert (resumed.configuration.cell == whole.configuration.cell).all()


@pytest.mark.parametrize(
    ("key", "word"), [("relaxation_time", "relaxation"), ("temperature", "above 0 K")]
)
def test_an_inertia_of_nothing_is_refused(key, word):
    values = {"relaxation_time": 1.0, "temperature": 1.0, key: 0.0}
    with pytest.raises(InputError, match=word):
        ConstantEnthalpy(
            motion=Motion(timestep=0.1),
            cell=CellMotion(freedom=isotropic(), load=Load(np.eye(3))),
            **values,
        )


def test_the_temperature_that_is_set_is_not_looked_at():
    ends = [
        visit(
            barostat(NAME, FULL, np.eye(3), timestep=0.01),
            gas(),
            Gas(),
            5,
            look=volume,
            target=replace(UNIT, temperature=temperature),
        )[1]
        for temperature in (0.0, 2.0 / KB)
    ]
    assert (ends[0] == ends[1]).all()
