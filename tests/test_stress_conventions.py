"""Sign, unit and shear order of stresses are told from what a model implies."""

import numpy as np
import pytest

from otf.analysis.stress_conventions import ORDERS, RIGHT, SCALES, as_written
from otf.analysis.stress_verdict import ALIKE, UNDECIDED, judge_stresses
from otf.units import GPA

N = 200
NOISE = 0.1 * GPA
VASP, LAMMPS = 1, 2
CONVENTIONS = [
    (scale, order)
    for scale in range(len(SCALES))
    for order in range(len(ORDERS))
    if 0 in (scale, order)
]


@pytest.fixture(scope="module")
def stresses():
    """Return stresses, what a model implies, its deviations, and volumes."""
    generator = np.random.default_rng(0)
    # Not near 160 or 1602, where the virial of a cell is GPa or kbar per eV/A^3.
    volume = generator.uniform(200.0, 1200.0, N)
    implied = generator.normal(0.0, 2.0 * GPA, (N, 6))
    true = implied + NOISE * generator.standard_t(4, (N, 6))
    # The model is surer of itself than it should be.
    return true, implied, np.full((N, 6), 0.5 * NOISE), volume


def planted(stresses, share, scale, order):
    true, implied, deviation, volume = stresses
    chosen = np.random.default_rng(1).random(N) < share
    wrong = as_written(true, volume, SCALES[scale], ORDERS[order])
    read = np.where(chosen[:, None], wrong, true)
    return chosen, judge_stresses(read, implied, deviation, volume)


@pytest.mark.parametrize("share", [0.2, 1.0])
@pytest.mark.parametrize(("scale", "order"), CONVENTIONS)
def test_planted_conventions_are_named_and_no_others(stresses, scale, order, share):
    chosen, verdict = planted(stresses, share, scale, order)
    for found, truth in ((verdict.scales, scale), (verdict.orders, order)):
        told = chosen & (found != UNDECIDED)
        assert (found[told] == truth).mean() >= 0.95
        alarms = ~chosen & ~np.isin(found, [0, UNDECIDED, ALIKE])
        assert alarms.sum() <= 0.01 * N
    assert (verdict.scales[chosen] != UNDECIDED).mean() > 0.95
    assert (verdict.orders[chosen] != UNDECIDED).mean() > 0.6


def test_two_orders_in_one_file_are_both_named(stresses):
    true, implied, deviation, volume = stresses
    half = np.arange(N) < N // 2
    vasp = as_written(true, volume, SCALES[0], ORDERS[VASP])
    lammps = as_written(true, volume, SCALES[0], ORDERS[LAMMPS])
    read = np.where(half[:, None], vasp, lammps)
    verdict = judge_stresses(read, implied, deviation, volume)
    truth = np.where(half, VASP, LAMMPS)
    told = verdict.orders >= 0
    assert told.mean() > 0.85
    assert (verdict.orders[told] == truth[told]).mean() > 0.98


def test_the_likeliest_convention_gives_the_true_stress_back(stresses):
    flipped_kbar = next(
        k for k, s in enumerate(SCALES) if s.sign < 0 and "kbar taken for eV" in s.name
    )
    _, verdict = planted(stresses, 1.0, flipped_kbar, VASP)
    assert verdict.set_scale == flipped_kbar
    assert verdict.set_order == VASP
    np.testing.assert_allclose(verdict.corrected, stresses[0], rtol=1e-12)


def test_a_constant_offset_is_no_mistake_of_the_convention(stresses):
    true, implied, deviation, volume = stresses
    shift = np.array([2.9 * GPA] * 3 + [0.0] * 3)
    verdict = judge_stresses(true + shift, implied, deviation, volume)
    assert verdict.offset == pytest.approx(2.9 * GPA, abs=0.1 * GPA)
    wrong = [verdict.name_of(k) for k in range(N)]
    assert set(wrong) <= {RIGHT, "undecided"}


def test_a_flipped_sign_beside_an_offset_is_named(stresses):
    true, implied, deviation, volume = stresses
    shift = np.array([2.9 * GPA] * 3 + [0.0] * 3)
    chosen = np.arange(N) % 5 == 0
    read = np.where(chosen[:, None], -1.0, 1.0) * (true + shift)
    verdict = judge_stresses(read, implied, deviation, volume)
    told = verdict.scales >= 0
    flipped = np.array([SCALES[k].sign < 0 for k in verdict.scales])
    assert told.mean() > 0.9
    assert (flipped[told] == chosen[told]).all()


def test_a_stress_smaller_than_the_deviation_is_undecided(stresses):
    true, implied, deviation, volume = (x.copy() for x in stresses)
    implied[:10], true[:10] = 0.1 * NOISE, -0.1 * NOISE
    verdict = judge_stresses(true, implied, deviation, volume)
    assert (verdict.scales[:10] == UNDECIDED).all()
    assert {verdict.name_of(k) for k in range(10)} == {"undecided"}


def test_a_relaxed_cell_is_undecided_and_not_the_victim_of_a_small_factor(stresses):
    true, implied, deviation, volume = (x.copy() for x in stresses)
    true[0] = [1e-5 * GPA] * 3 + [0.0] * 3
    implied[0] = [-NOISE] * 3 + [0.0] * 3
    assert judge_stresses(true, implied, deviation, volume).name_of(0) == "undecided"


def test_hydrostatic_stresses_tell_sign_and_unit_but_no_order(stresses):
    true, implied, deviation, volume = (x.copy() for x in stresses)
    implied[:10] = true[:10] = [3.0 * GPA] * 3 + [0.0] * 3
    verdict = judge_stresses(true, implied, deviation, volume)
    assert (verdict.scales[:10] == 0).all()
    assert (verdict.orders[:10] == UNDECIDED).all()


def test_a_stress_of_another_structure_is_explained_by_no_convention(stresses):
    true, implied, deviation, volume = (x.copy() for x in stresses)
    true[0] = [9.0 * GPA, -8.0 * GPA, 7.0 * GPA, 7.0 * GPA, -9.0 * GPA, 0.0]
    implied[0] = [-1.0 * GPA, 0.0, 2.0 * GPA, 0.0, 1.0 * GPA, 3.0 * GPA]
    verdict = judge_stresses(true, implied, deviation, volume)
    assert verdict.name_of(0) == "no convention explains it"


def test_a_virial_in_cells_of_160_cubic_angstrom_is_not_told_from_gpa(stresses):
    true, implied, deviation, _ = stresses
    volume = np.full(N, 1.0 / GPA)
    virial = next(s for s in SCALES if s.power == 1 and s.sign > 0)
    read = as_written(true, volume, virial, ORDERS[0])
    verdict = judge_stresses(read, implied, deviation, volume)
    name = verdict.name_of(0)
    assert " or " in name
    assert "virial" in name
    assert "GPa" in name
