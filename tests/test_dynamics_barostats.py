"""Barostats: books, cells that never turn, resumption, volumes of known laws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from npt_systems import (
    PAIRS,
    UNIT,
    Gas,
    Membrane,
    argon,
    argon_potential,
    at_rest_in,
    barostat,
    conserved,
    gas,
    visit,
    volume,
)
from scipy.optimize import minimize_scalar

from otf.dynamics.barostats import StochasticCellRescaling, rescaled
from otf.dynamics.cell import fixed_angles, isotropic, of_components
from otf.dynamics.conservation import conserved_energy
from otf.dynamics.extended_cell import LangevinParrinelloRahman, MartynaTobiasKlein
from otf.dynamics.nose_hoover import NoseHooverChain
from otf.dynamics.pressure import CellMotion, Load, full_stress
from otf.dynamics.sampler import evaluate
from otf.dynamics.schedule import Schedule, Stage, Target
from otf.dynamics.thermostats import Langevin
from otf.dynamics.verlet import Motion
from otf.errors import InputError
from otf.potential import ModelChange, Prediction, Untrusted
from otf.testing import blocking
from otf.units import FS, GPA

FULL = of_components(("xx", "yy", "zz", "yz", "xz", "xy"))
SKEW = 5.4 * np.array([[2.0, 0.0, 0.0], [0.05, 2.0, 0.0], [-0.03, 0.04, 2.02]])
AT_20_K = Target(20.0, (0.0, 0.0, 0.0))
SQUEEZED = Target(20.0, (0.02 * GPA, 0.0, -0.02 * GPA))
EVERY_PAIR = pytest.mark.parametrize("name", PAIRS)


@pytest.fixture(scope="module")
def potential():
    return argon_potential()


def crystal(cell=SKEW):
    return at_rest_in(argon(), cell)


def of_crystal(name, freedom=FULL, *, timestep=4.0, cell=SKEW, **options):
    return barostat(
        name,
        freedom,
        cell,
        timestep=timestep * FS,
        time=200.0 * FS,
        compressibility=1.0 / GPA,
        **options,
    )


def everything(state):
    return [
        state.configuration.positions.tolist(),
        state.configuration.cell.tolist(),
        state.momenta.tolist(),
        state.thermostat.tolist(),
        state.barostat.tolist(),
        (state.step, state.time, state.heat, state.learning_work),
    ]


@EVERY_PAIR
def test_a_resumed_run_is_the_same_to_the_bit(name, potential):
    def steps(state, last, n):
        # A sampler of its own each time: it may remember nothing.
        sampler = of_crystal(name)
        for _ in range(n):
            state, last = sampler.step(state, last, potential, SQUEEZED)
        return state, last

    start = crystal(), evaluate(potential, crystal())
    whole, _ = steps(*start, 12)
    resumed, _ = steps(*steps(*start, 5), 7)
    assert everything(resumed) == everything(whole)
    assert (resumed.configuration.cell != SKEW).any()


@EVERY_PAIR
def test_another_noise_stream_gives_another_cell_where_there_is_noise(name, potential):
    cells = [
        visit(
            of_crystal(name),
            replace(crystal(), stream=stream),
            potential,
            2,
            look=volume,
            target=AT_20_K,
        )[0].configuration.cell
        for stream in (0, 1)
    ]
    assert (cells[0] != cells[1]).any() is np.bool_(name != "mtk")


@EVERY_PAIR
def test_a_full_cell_stays_triangular_bit_by_bit(name, potential):
    end, _ = visit(
        of_crystal(name), crystal(), potential, 30, look=volume, target=SQUEEZED
    )
    assert not np.triu(end.configuration.cell, 1).any()
    assert (np.tril(end.configuration.cell) != np.tril(SKEW)).sum() == 6


@EVERY_PAIR
def test_what_is_not_free_does_not_change(name, potential):
    def after(freedom, cell=SKEW):
        sampler = of_crystal(name, freedom, cell=cell)
        target = AT_20_K if freedom is one else SQUEEZED
        end, _ = visit(
            sampler, crystal(cell), potential, 30, look=volume, target=target
        )
        return end.configuration.cell

    one = isotropic()
    shape = after(one) / SKEW.clip(1e-300)
    np.testing.assert_allclose(shape[SKEW > 0], shape[0, 0], rtol=1e-13)
    assert abs(shape[0, 0] - 1.0) > 1e-5
    along_z = after(of_components(("zz",)))
    np.testing.assert_array_equal(along_z[:, :2], SKEW[:, :2])
    assert along_z[2, 2] != SKEW[2, 2]
    lengths = after(fixed_angles(SKEW))
    unit = lengths / np.linalg.norm(lengths, axis=1)[:, None]
    before = SKEW / np.linalg.norm(SKEW, axis=1)[:, None]
    np.testing.assert_allclose(unit @ unit.T, before @ before.T, atol=1e-13)
    box = after(of_components(("xx", "yy", "zz")), 10.6 * np.eye(3))
    assert np.count_nonzero(box) == 3
    assert np.ptp(np.diag(box)) > 1e-5


@EVERY_PAIR
def test_total_momentum_stays_zero(name, potential):
    end, _ = visit(
        of_crystal(name), crystal(), potential, 30, look=volume, target=SQUEEZED
    )
    scale = np.abs(end.momenta).sum()
    assert np.abs(end.momenta.sum(axis=0)).max() < 1e-13 * scale


@EVERY_PAIR
def test_a_cell_that_is_held_leaves_the_thermostat_alone(name, potential):
    sampler = of_crystal(name)
    held = Target(20.0)
    moved, _ = visit(sampler, crystal(), potential, 3, look=volume, target=AT_20_K)
    end, volumes = visit(sampler, moved, potential, 5, look=volume, target=held)
    assert set(volumes) == {moved.configuration.volume}
    assert not end.barostat.any()
    assert end.barostat.shape == moved.barostat.shape
    start = replace(crystal(), momenta=moved.momenta)
    alone = {
        "cell-rescaling": Langevin(sampler.motion, 1.0 / (200.0 * FS)),
        "parrinello-rahman": Langevin(sampler.motion, 1.0 / (200.0 * FS)),
        "mtk": NoseHooverChain(sampler.motion, 200.0 * FS),
    }
    if name in alone:
        at_volume, _ = visit(alone[name], start, potential, 5, look=volume, target=held)
        here, _ = visit(sampler, start, potential, 5, look=volume, target=held)
        np.testing.assert_allclose(
            here.configuration.positions,
            at_volume.configuration.positions,
            atol=1e-11,
        )
        assert here.heat == pytest.approx(at_volume.heat, abs=1e-12)


@pytest.mark.parametrize("freedom", [isotropic(), FULL], ids=["isotropic", "full"])
def test_mtk_conserves_its_energy_with_an_error_of_second_order(freedom, potential):
    rms = []
    for timestep in (8.0, 4.0):
        sampler = of_crystal("mtk", freedom, timestep=timestep)
        n = round(640.0 / timestep)
        target = AT_20_K if len(freedom.generators) == 1 else SQUEEZED
        _, seen = visit(sampler, crystal(), potential, n, look=conserved, target=target)
        rms.append(np.std(seen))
    assert rms[0] / rms[1] == pytest.approx(4.0, abs=0.5)


def conserved_and_heat(state, prediction):
    return conserved_energy(state, prediction), state.heat


@EVERY_PAIR
def test_conserved_energy_holds_the_cell_and_its_load(name, potential):
    sampler = of_crystal(name, timestep=2.0)
    _, seen = visit(
        sampler, crystal(), potential, 200, look=conserved_and_heat, target=SQUEEZED
    )
    error, heat = np.ptp(seen, axis=0)
    assert heat > 0.02
    assert error < 0.05 * heat


def test_conserved_energy_survives_ramps_of_temperature_and_pressure(potential):
    p = 0.2 * GPA
    schedule = Schedule((Stage(100, 20.0, 30.0, (0.0, 0.0, 0.0), (p, p, 2.0 * p)),))
    state, sampler = crystal(), of_crystal("mtk", timestep=2.0)
    last = evaluate(potential, state)
    seen = [conserved_energy(state, last)]
    while state.step < schedule.steps:
        target = schedule.target(state.step)
        state, last = sampler.step(state, last, potential, target)
        seen.append(conserved_energy(state, last))
    assert np.ptp(seen) < 0.02
    assert state.configuration.volume < 0.99 * crystal().configuration.volume


class Relearning(Membrane):
    """Cells that become twice as stiff at one step, labelled with another stress."""

    def predict(self, configurations, *, step, use_labels=True):
        soft, hard = (
            Membrane(k)._predict(configurations[0])
            for k in (self.stiffness, 2.0 * self.stiffness)
        )
        if step != 50:
            return [soft if step < 50 else hard]
        change = ModelChange(
            soft.energy,
            hard.energy,
            soft.forces,
            hard.forces,
            soft.stress,
            hard.stress,
        )
        return [
            Prediction(soft.energy, soft.forces, 2.5 * soft.stress, 1, True, change)
        ]


class Silent(Relearning):
    """The same, whose books know nothing of the stress."""

    def predict(self, configurations, *, step, use_labels=True):
        (found,) = super().predict(configurations, step=step)
        if found.change is None:
            return [found]
        bare = replace(found.change, stress_before=None, stress_after=None)
        return [replace(found, change=bare)]


@pytest.mark.parametrize("name", ["cell-rescaling", "parrinello-rahman", "mtk"])
def test_conserved_energy_survives_a_change_of_the_model(name):
    start = gas(edge=1.2)
    errors = []
    for potential in (Relearning(5.0), Silent(5.0)):
        sampler = barostat(name, FULL, start.configuration.cell, timestep=0.002)
        _, seen = visit(sampler, start, potential, 60, look=conserved)
        errors.append(abs(seen[51] - seen[47]))
    assert errors[0] < 0.1 * errors[1]


# ------------------------------------------------------------------ laws of the volume
def check_volume(name, freedom, power, *, fix, n_steps):
    start = gas(fix_centre_of_mass=fix)
    sampler = barostat(
        name,
        freedom,
        start.configuration.cell,
        timestep=0.1,
        fix_centre_of_mass=fix,
    )
    _, seen = visit(sampler, start, Gas(), n_steps, look=volume)
    mean, error = blocking(seen[100:])
    assert error < 0.24  # four of them are less than the one unit
    assert abs(mean - power) < 4.0 * error


@EVERY_PAIR
def test_an_ideal_gas_has_the_volume_of_its_law(name):
    # V^(N-1) exp(-P V/kT): N kT/P. One unit is what a lost term moves it by.
    n_steps = 8000 if name.startswith("cell-rescaling") else 5000
    check_volume(name, isotropic(), 5.0, fix=True, n_steps=n_steps)


def test_an_ideal_gas_whose_whole_moves_has_one_atom_more():
    check_volume("parrinello-rahman", isotropic(), 6.0, fix=False, n_steps=5000)


def test_a_step_of_rescaling_is_that_of_the_root_of_the_volume():
    # d sqrt(V) of Bernetti and Bussi with P_int = N kT/V, kT = P0 = beta_T = 1
    V, tau, dt, N, R = 6.0, 10.0, 0.3, 5, 0.7
    root = V**0.5
    drift = -root / (2.0 * tau) * (1.0 - N / V - 1.0 / (2.0 * V))
    expected = (root + drift * dt + (dt / (2.0 * tau)) ** 0.5 * R) ** 2
    assert rescaled(V, N - V, 1.0 / tau, dt, R) == pytest.approx(expected, rel=1e-14)


def edges(state, prediction):
    return np.log(np.linalg.norm(state.configuration.cell, axis=1))


def check_equal_edges(measure=None):
    start = gas(16, edge=1.0)
    freedom = of_components(("xx", "yy", "zz", "yz", "xz", "xy"))
    if measure is not None:
        freedom.__dict__["measure"] = measure
    sampler = barostat(
        "cell-rescaling", freedom, np.eye(3), timestep=0.1, compressibility=0.1
    )
    # Only lengths and angles count in this energy: no edge differs from the others.
    target = replace(UNIT, pressure=(15.0, 15.0, 15.0))
    _, seen = visit(sampler, start, Membrane(25.0), 6000, look=edges, target=target)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        mean, error = blocking(seen[200:, a] - seen[200:, b])
        # A force of 2 kT against the stiffness of 50 kT on either edge makes 0.08.
        assert error < 0.02
        assert abs(mean) < 4.0 * error, "edges differ"


def test_edges_of_a_full_cell_are_alike():
    check_equal_edges()


def test_check_of_the_edges_rejects_the_measure_of_triangles():
    with pytest.raises(AssertionError, match="edges differ"):
        check_equal_edges(measure=np.zeros(6))


# -------------------------------------------------------------------------- refusals
MOTION = Motion(timestep=1.0)
CELL = CellMotion(freedom=isotropic(), load=Load(np.eye(3)))
WARM = Langevin(MOTION, 1.0)


@pytest.mark.parametrize(
    ("make", "options", "name"),
    [
        (
            StochasticCellRescaling,
            {"thermostat": WARM, "relaxation_time": 0.0, "compressibility": 1.0},
            "relaxation time of the barostat",
        ),
        (
            StochasticCellRescaling,
            {"thermostat": WARM, "relaxation_time": 1.0, "compressibility": 0.0},
            "compressibility",
        ),
        (
            LangevinParrinelloRahman,
            {"thermostat": WARM, "relaxation_time": 0.0, "friction": 1.0},
            "relaxation time of the barostat",
        ),
        (
            LangevinParrinelloRahman,
            {"thermostat": WARM, "relaxation_time": 1.0, "friction": -1.0},
            "friction of the cell",
        ),
        (
            LangevinParrinelloRahman,
            {
                "thermostat": WARM,
                "relaxation_time": 1.0,
                "friction": 1.0,
                "inertia": 0.0,
            },
            "mass of the cell",
        ),
        (
            MartynaTobiasKlein,
            {"motion": MOTION, "thermostat_time": 0.0, "relaxation_time": 1.0},
            "relaxation time of the thermostat",
        ),
        (
            MartynaTobiasKlein,
            {"motion": MOTION, "thermostat_time": 1.0, "relaxation_time": 0.0},
            "relaxation time of the barostat",
        ),
        (
            MartynaTobiasKlein,
            {
                "motion": MOTION,
                "thermostat_time": 1.0,
                "relaxation_time": 1.0,
                "length": 0,
            },
            "length",
        ),
        (
            MartynaTobiasKlein,
            {
                "motion": MOTION,
                "thermostat_time": 1.0,
                "relaxation_time": 1.0,
                "order": 5,
            },
            "order",
        ),
    ],
)
def test_impossible_barostats_are_refused(make, options, name):
    with pytest.raises(InputError, match=name):
        make(cell=CELL, **options)


@pytest.mark.parametrize("name", ["parrinello-rahman", "mtk"])
def test_a_cell_with_inertia_cannot_be_held_at_absolute_zero(name):
    sampler = barostat(name, isotropic(), np.eye(3), timestep=0.1)
    with pytest.raises(InputError, match="above 0 K"):
        visit(sampler, gas(), Gas(), 1, look=volume, target=Target(0.0, (1.0,) * 3))


def relaxed(potential, pressure):
    """Return the cell and the stress that a sheared crystal at rest comes to."""
    start = replace(crystal(), momenta=np.zeros((32, 3)))
    sampler = of_crystal("cell-rescaling", timestep=5.0)
    target = Target(0.0, pressure)
    end, seen = visit(
        sampler, start, potential, 600, look=lambda s, p: p.stress, target=target
    )
    return end.configuration.cell, seen[-1], sampler.cell.load


def test_a_sheared_crystal_relaxes_to_the_cube_of_least_energy(potential):
    cell, _, _ = relaxed(potential, (0.0, 0.0, 0.0))
    edge = minimize_scalar(
        lambda a: evaluate(potential, argon(a)).energy, bounds=(5.2, 5.4)
    ).x
    np.testing.assert_allclose(cell, 2.0 * edge * np.eye(3), atol=2e-3)


def test_the_stress_of_a_relaxed_crystal_is_the_load_of_each_axis(potential):
    pressure = (0.02 * GPA, 0.0, -0.02 * GPA)
    cell, stress, load = relaxed(potential, pressure)
    volume_now = np.linalg.det(cell)
    applied = load.work(cell, pressure) / volume_now
    np.testing.assert_allclose(full_stress(stress), -applied, atol=5e-4 * GPA)
    # About 4 % of strain make the tension of the first cell that of now.
    np.testing.assert_allclose(np.diag(applied), pressure, atol=2e-3 * GPA)
    assert cell[0, 0] < 0.98 * cell[1, 1] < 0.98 * cell[2, 2]


def test_a_pressure_that_crushes_the_cell_is_reported():
    sampler = barostat("cell-rescaling", isotropic(), np.eye(3), timestep=0.1)
    crushed = replace(UNIT, pressure=(1e4, 1e4, 1e4))
    with pytest.raises(Untrusted, match="crushes the cell"):
        visit(sampler, gas(), Gas(), 1, look=volume, target=crushed)
