"""Barostats on arrays of another device: what is there never meets what is here."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from npt_systems import PAIRS, UNIT, Gas, barostat, gas

from otf.dynamics.cell import of_components
from otf.dynamics.thermostats import Langevin, normal
from otf.potential import Prediction


class There(np.ndarray):
    """Numbers that refuse to meet arrays of the host, as CuPy's do."""

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        for x in inputs:
            if type(x) is np.ndarray and x.ndim:
                raise TypeError(f"{ufunc.__name__} of an array here and one there")
        plain = [x.view(np.ndarray) if isinstance(x, There) else x for x in inputs]
        found = getattr(ufunc, method)(*plain, **options)
        return found.view(There) if isinstance(found, np.ndarray) else found


def there(array):
    return np.array(array).view(There)


ELSEWHERE = SimpleNamespace(
    asarray=there,
    zeros=lambda *shape: there(np.zeros(*shape)),
    eye=lambda n: there(np.eye(n)),
    exp=np.exp,
    expm1=np.expm1,
    sqrt=np.sqrt,
)


def noise_there(seed, stream, step, n):
    return there(normal(seed, stream, step, n))


class GasThere(Gas):
    def predict(self, configurations, *, step, use_labels=True):
        (c,) = configurations
        assert isinstance(c.positions, There)
        assert not isinstance(c.cell, There)
        return [Prediction(0.0, there(np.zeros(c.positions.shape)), np.zeros(6))]


def moved(state, **arrays):
    positions = arrays.pop("positions")
    c = replace(state.configuration, positions=positions)
    return replace(state, configuration=c, **arrays)


@pytest.mark.parametrize("name", PAIRS)
def test_atoms_on_a_device_move_as_on_the_host(name):
    here = gas()
    full = of_components(("xx", "yy", "zz", "yz", "xz", "xy"))
    sampler = barostat(name, full, here.configuration.cell, timestep=0.05)
    c = here.configuration
    away = moved(
        here,
        positions=there(c.positions),
        momenta=there(here.momenta),
        masses=there(here.masses),
        free=there(here.free),
    )
    cell = replace(sampler.cell, xp=ELSEWHERE)
    sampler_there = replace(sampler, cell=cell)
    if isinstance(getattr(sampler, "thermostat", None), Langevin):
        thermostat = replace(sampler.thermostat, noise=noise_there, xp=ELSEWHERE)
        sampler_there = replace(sampler_there, thermostat=thermostat)
    last = Gas().predict([c], step=0)[0]
    last_there = GasThere().predict([away.configuration], step=0)[0]
    for _ in range(5):
        here, last = sampler.step(here, last, Gas(), UNIT)
        away, last_there = sampler_there.step(away, last_there, GasThere(), UNIT)
    assert isinstance(away.momenta, There)
    assert np.array_equal(away.configuration.positions, here.configuration.positions)
    assert np.array_equal(away.momenta, here.momenta)
    assert np.array_equal(away.configuration.cell, here.configuration.cell)
    assert away.heat == here.heat


def test_arrays_here_and_there_do_not_meet():
    with pytest.raises(TypeError, match="here and one there"):
        there(np.ones(3)) + np.ones(3)
