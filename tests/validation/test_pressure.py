"""Volumes and cells at constant pressure, against closed forms.

As in the other ensembles a mean agrees within 4 standard errors, the standard error
lies below a ceiling that separates the wrong answer, and planted mistakes are rejected.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from npt_systems import PAIRS, UNIT, Gas, Membrane, barostat, gas, visit, volume

from otf.dynamics import barostats, extended_cell
from otf.dynamics.cell import isotropic, of_components
from otf.testing import blocking

pytestmark = pytest.mark.slow

ORTHORHOMBIC = of_components(("xx", "yy", "zz"))
FREEDOMS = {"isotropic": isotropic(), "orthorhombic": ORTHORHOMBIC}
STEPS = 40_000
FEWER = 20_000  # see a mistake, or the slope of a ratio


def volumes(name, freedom=FREEDOMS["isotropic"], *, fix, pressure=1.0, steps=STEPS):
    start = gas(fix_centre_of_mass=fix)
    sampler = barostat(
        name,
        freedom,
        start.configuration.cell,
        # Without inertia the cell forgets slowly, and bears a longer step.
        timestep=0.1 if name.startswith("cell-rescaling") else 0.05,
        fix_centre_of_mass=fix,
    )
    target = replace(UNIT, pressure=(pressure,) * 3)
    _, seen = visit(sampler, start, Gas(), steps, look=volume, target=target)
    return seen[1000:]


def check_gas(seen, power):
    """Compare with V^(power - 1) exp(-V): mean and variance are the power."""
    mean, error = blocking(seen)
    assert error < 0.1, f"standard error {error:.2g}"
    assert abs(mean - power) < 4.0 * error, f"{mean:.3f} +- {error:.3f}, not {power}"
    spread, error = blocking((seen - power) ** 2)
    assert error < 0.4, f"standard error {error:.2g}"
    assert abs(spread - power) < 4.0 * error, f"{spread:.3f} +- {error:.3f}, variance"


@pytest.mark.parametrize("freedom", FREEDOMS)
@pytest.mark.parametrize("name", PAIRS)
def test_an_ideal_gas_at_rest_as_a_whole_has_n_kt_over_p(name, freedom):
    check_gas(volumes(name, FREEDOMS[freedom], fix=True), 5.0)


@pytest.mark.parametrize("name", PAIRS)
def test_an_ideal_gas_that_moves_as_a_whole_has_n_plus_one(name):
    check_gas(volumes(name, fix=False), 6.0)


def without_the_term_of_the_degrees(monkeypatch):
    """Drop the pressure 2K/(3 Nf V) of the rates, but not the friction of it."""
    right = extended_cell._rates_kicked

    def forgetful(moving, cell, stress, target, time):
        kicked = right(moving, cell, stress, target, time)
        term = 2.0 * moving.state.kinetic_energy / moving.n_free
        term = time / moving.inertia * term * moving.freedom.traces
        return kicked.with_rates(kicked.rates - term)

    monkeypatch.setattr(extended_cell, "_rates_kicked", forgetful)


@pytest.mark.parametrize("name", ["parrinello-rahman", "mtk"])
def test_check_of_the_gas_rejects_cells_without_the_term_of_the_degrees(
    name, monkeypatch
):
    without_the_term_of_the_degrees(monkeypatch)
    with pytest.raises(AssertionError, match="not 5"):
        check_gas(volumes(name, fix=True, steps=FEWER), 5.0)


@pytest.mark.parametrize("shift", [-0.5, 0.5], ids=["no kT/2V", "kT/V"])
def test_check_of_the_gas_rejects_a_wrong_drift_of_the_root(shift, monkeypatch):
    right = barostats.rescaled

    def wrong(volume, drift, diffusion, time, number):
        return right(volume, drift + shift, diffusion, time, number)

    monkeypatch.setattr(barostats, "rescaled", wrong)
    with pytest.raises(AssertionError, match="not 6"):
        check_gas(volumes("cell-rescaling", fix=False), 6.0)


def test_check_of_the_gas_rejects_the_law_of_another_number_of_atoms():
    seen = volumes("mtk", fix=True, steps=FEWER)
    for wrong in (4.0, 6.0):
        with pytest.raises(AssertionError, match="not"):
            check_gas(seen, wrong)


def slope_of_the_ratio(first, second):
    """Return d log(P1/P2)/dV by maximum likelihood, and its standard error.

    The two-state test of M. R. Shirts, J. Chem. Theory Comput. 9, 909 (2013),
    doi 10.1021/ct300688p; samples are thinned until they do not remember each other.
    """
    thin = [v[:: max(1, round(memory(v)))] for v in (first, second)]
    x = np.concatenate(thin)
    sign = np.concatenate([np.ones(len(thin[0])), -np.ones(len(thin[1]))])
    middle = x.mean()

    def parts(parameters):
        offset, slope = parameters
        return offset + slope * (x - middle)

    theta = np.zeros(2)
    for _ in range(50):  # Newton, on a concave likelihood
        f = parts(theta)
        p = 1.0 / (1.0 + np.exp(sign * f))
        design = np.stack([np.ones_like(x), x - middle])
        hessian = design * (p * (1.0 - p)) @ design.T
        theta = theta + np.linalg.solve(hessian, design @ (sign * p))
    return theta[1], np.linalg.inv(hessian)[1, 1] ** 0.5


def memory(samples):
    """Return the statistical inefficiency g, from the standard error of blocks."""
    _, error = blocking(samples)
    return error**2 * len(samples) / samples.var()


def check_ratio(first, second, expected):
    slope, error = slope_of_the_ratio(first, second)
    assert error < 0.2 * abs(expected)
    assert abs(slope - expected) < 4.0 * error, f"{slope:.3f} +- {error:.3f}, not"


@pytest.mark.parametrize("name", PAIRS)
def test_volumes_at_two_pressures_have_the_ratio_of_their_pressures(name):
    check_ratio(
        *(volumes(name, fix=True, pressure=p, steps=FEWER) for p in (1.0, 1.5)),
        -(1.0 - 1.5),
    )


def test_check_of_the_ratio_rejects_volumes_that_fluctuate_too_little():
    samples = [volumes("mtk", fix=True, pressure=p, steps=FEWER) for p in (1.0, 1.5)]
    narrow = [v.mean() + 0.7 * (v - v.mean()) for v in samples]
    with pytest.raises(AssertionError, match="not"):
        check_ratio(*narrow, 0.5)


@pytest.mark.parametrize("name", ["cell-rescaling", "parrinello-rahman"])
def test_strains_of_an_elastic_cell_fluctuate_by_its_compliance(name):
    # U = k/4 sum_ab (G - 1)_ab^2 is k eps:eps to second order, no shear apart. The
    # pressure of the atoms and that outside cancel at V = 1, with compliance of their
    # own along the volume only: the traceless strains have <e^2> = kT/2k each. They
    # are oscillators that do not meet, which one chain does not warm alike: no "mtk".
    stiffness, n = 2000.0, 8
    start = gas(n, edge=1.0)
    sampler = barostat(
        name,
        of_components(("xx", "yy", "zz", "yz", "xz", "xy")),
        np.eye(3),
        timestep=0.02,
        time=0.3,
        # A strain forgets a part of 2k D dt = 0.04 of itself in a step, by as much of
        # which, halved, the fluctuations of a first order scheme are too large.
        compressibility=4.5e-4,
    )
    target = replace(UNIT, pressure=(float(n),) * 3)

    def strain(state, prediction):
        cell = state.configuration.cell
        eps = 0.5 * (cell @ cell.T - np.eye(3))
        return (
            eps[0, 0] - eps[1, 1],
            eps[0, 0] - eps[2, 2],
            *eps[np.tril_indices(3, -1)],
        )

    _, seen = visit(
        sampler, start, Membrane(stiffness), FEWER, look=strain, target=target
    )
    squares = seen[1000:] ** 2
    # eps_xx - eps_yy has two parts, and eps_xy stands twice in the sum.
    expected = np.array([2.0, 2.0, 0.5, 0.5, 0.5]) / (2.0 * stiffness)
    for column, exact in zip(squares.T, expected, strict=True):
        mean, error = blocking(column / exact)
        assert error < 0.1
        # Forces of kT and the anharmonic rest are of relative order kT/k.
        assert abs(mean - 1.0) < 4.0 * error + 0.01


def test_the_likelihood_finds_the_slope_of_samples_drawn_from_it():
    rng = np.random.default_rng(2)
    first, second = rng.gamma(5.0, 1.0, 20_000), rng.gamma(5.0, 1.0 / 1.5, 20_000)
    check_ratio(first, second, 0.5)
