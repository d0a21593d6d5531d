"""Verdicts and fits of coexistence on series whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from otf.analysis.averages import Mean
from otf.analysis.coexistence import (
    Rate,
    agreement,
    averaged_order,
    boundary_between,
    closed_shells,
    crossing,
    drifting,
    pooled,
    profile,
    rate_of,
    settling,
    shares,
    slope_of,
)
from otf.configuration import Configuration
from otf.errors import InputError

TIMES = np.arange(0.0, 100.0, 0.1)
FRAMES = np.arange(0.0, 100.0, 1.0)
HALF = np.full(len(FRAMES), 0.5)
T_M = 1691.0


def noise(seed, n, *, memory=0.9, spread=20.0):
    """Return noise (n,) with a memory and a standard deviation."""
    normal = np.random.default_rng(seed).normal(size=n)
    out = np.empty(n)
    out[0] = normal[0]
    for k in range(1, n):
        out[k] = memory * out[k - 1] + np.sqrt(1.0 - memory**2) * normal[k]
    return spread * out


def relaxing(seed, amplitude):
    """Return temperatures (T,) that come to T_M with 8 ps, from an amplitude away."""
    return T_M + amplitude * np.exp(-TIMES / 8.0) + noise(seed, len(TIMES))


# --------------------------------------------------------------------------- verdicts
def test_a_run_that_came_to_rest_has_settled_at_its_temperature():
    apart, passed = [], []
    for seed in range(60):
        start = 60.0 if seed % 2 else -60.0
        found = settling(TIMES, relaxing(seed, start), FRAMES, HALF)
        apart.append((found.temperature.value - T_M) / found.temperature.error)
        passed.append(found.is_settled)
    assert np.mean(passed) > 0.92 - 4.0 * np.sqrt(0.92 * 0.08 / 60)
    assert abs(np.mean(apart)) < 4.0 * np.std(apart) / np.sqrt(60)
    assert 0.8 < np.std(apart) < 1.7  # errors of 26 independent values


def test_settled_runs_pass_as_often_as_the_law_of_student_says():
    passed = [
        settling(TIMES, relaxing(seed, 0.0), FRAMES, HALF).is_settled
        for seed in range(200)
    ]
    # 92 % of 200, four standard errors: a slope is beyond two errors in 8 %
    assert np.mean(passed) == pytest.approx(0.92, abs=4.0 * np.sqrt(0.92 * 0.08 / 200))


def test_a_drift_is_found():
    drifting = T_M + 2.0 * (TIMES - 75.0) + noise(3, len(TIMES))
    found = settling(TIMES, drifting, FRAMES, HALF)
    assert not found.is_settled
    assert "drifts by " in found.reason
    assert abs(found.drift - 2.0) < 3.0 * found.drift_error


def test_replicas_drift_together():
    def replicas(seed, drift):
        return [
            settling(
                TIMES,
                T_M
                + drift * (TIMES - 75.0)
                + noise(4 * seed + k, len(TIMES), memory=0.0),
                FRAMES,
                HALF,
            )
            for k in range(4)
        ]

    at_rest = [replicas(seed, 0.0) for seed in range(100)]
    together = np.mean([drifting(four) == "" for four in at_rest])
    # Student's t of 32 degrees: 5.4 % are beyond two errors; each alone 8 %.
    assert together == pytest.approx(0.946, abs=4.0 * np.sqrt(0.946 * 0.054 / 100))
    assert np.mean([all(r.is_settled for r in four) for four in at_rest]) < together
    slow = [replicas(seed, 0.06) for seed in range(40)]
    alone = np.mean([not one.is_settled for four in slow for one in four])
    assert np.mean([drifting(four) != "" for four in slow]) > 1.5 * alone
    assert "in the mean of 4 runs" in drifting(replicas(1, 2.0))


@pytest.mark.parametrize(("end", "word"), [(0.97, "melt is gone"), (0.02, "crystal")])
def test_a_phase_that_is_gone_is_found(end, word):
    crystal = np.linspace(0.5, end, len(FRAMES))
    found = settling(TIMES, relaxing(1, 0.0), FRAMES, crystal)
    assert word in found.reason
    assert found.crystal[0 if end < 0.5 else 1] == end


def test_too_short_a_run_is_refused():
    with pytest.raises(InputError, match="10 temperatures and"):
        settling(TIMES[::50], relaxing(1, 0.0)[::50], FRAMES, HALF)


def test_starts_that_agree_and_starts_that_do_not():
    near = agreement([Mean(1690.0, 4.0, 9.0), Mean(1696.0, 3.0, 9.0)])
    assert near.agree
    assert near.value == pytest.approx((1690.0 / 16 + 1696.0 / 9) / (1 / 16 + 1 / 9))
    assert near.error == pytest.approx(3.0)  # half of 6, more than 2.4
    far = agreement([Mean(1650.0, 4.0, 9.0), Mean(1696.0, 3.0, 9.0)])
    assert not far.agree
    assert far.error == pytest.approx(23.0)


def test_the_error_of_replicas_is_that_of_their_scatter_or_their_own():
    alone = Mean(1690.0, 4.0, 9.0)
    assert pooled([alone]) == alone
    own = pooled([Mean(1690.0, 6.0, 9.0), Mean(1692.0, 8.0, 7.0)])
    assert (own.value, own.error, own.n_independent) == (1691.0, 5.0, 16.0)
    scatter = pooled([Mean(T, 1.0, 9.0) for T in (1680.0, 1690.0, 1700.0)])
    assert scatter.error == pytest.approx(10.0 / np.sqrt(3.0))


def test_what_comes_before_the_judged_part_is_not_seen():
    T = np.where(TIMES < 20.0, 2000.0, 1691.0) + noise(3, len(TIMES), memory=0.0)
    share = np.where(FRAMES < 20.0, 0.0, 0.5)
    found = settling(TIMES, T, FRAMES, share, begin=20.0)
    assert found.is_settled
    assert found.temperature.value == pytest.approx(1691.0, abs=4.0 * 20.0 / 800**0.5)
    assert settling(TIMES, T, FRAMES, share, begin=10.0).crystal[0] == 0.0


# ------------------------------------------------------------------------------ rates
def test_slopes_have_the_errors_of_least_squares():
    rng = np.random.default_rng(0)
    x = np.linspace(0.0, 3.0, 12)
    found = np.array(
        [slope_of(x, 2.0 - 0.7 * x + rng.normal(size=12)) for _ in range(2000)]
    )
    assert found[:, 0].mean() == pytest.approx(-0.7, abs=0.03)
    expected = ((x - x.mean()) ** 2).sum() ** -0.5
    assert found[:, 0].std() == pytest.approx(expected, rel=0.06)
    assert np.sqrt((found[:, 1] ** 2).mean()) == pytest.approx(expected, rel=0.05)


def walk(rng, rate, *, n=240, wander=0.004):
    """Return shares (n,) that grow by a rate per frame and wander at random."""
    return 0.5 + np.cumsum(rate + wander * rng.normal(size=n))


def test_rates_of_a_wandering_share_have_honest_errors():
    rng = np.random.default_rng(1)
    times = np.arange(240.0)
    rates = [rate_of(times, walk(rng, 0.0004)) for _ in range(500)]
    values = np.array([r.value for r in rates])
    assert values.mean() == pytest.approx(0.0004, abs=4 * values.std() / np.sqrt(500))
    stated = np.sqrt(np.mean([r.error**2 for r in rates]))
    assert stated == pytest.approx(values.std(), rel=0.12)


def test_a_rate_ends_where_a_phase_is_gone():
    times = np.arange(0.0, 100.0)
    crystal = np.clip(0.5 + 0.01 * times, 0.0, 1.0)
    found = rate_of(times, crystal)
    assert found.value == pytest.approx(0.01)
    assert found.time == pytest.approx(40.0, abs=5.0)
    assert rate_of(times, np.clip(0.5 + 0.1 * times, 0.0, 1.0)) is None


def test_the_crossing_is_the_melting_temperature_within_its_error():
    rng = np.random.default_rng(2)
    temperatures = np.linspace(1600.0, 1780.0, 6)
    times = np.arange(240.0)
    apart = []
    for _ in range(200):
        rates = [rate_of(times, walk(rng, -1.5e-5 * (T - T_M))) for T in temperatures]
        found = crossing(temperatures, rates)
        assert found.is_found
        apart.append((found.temperature - T_M) / found.error)
    assert abs(np.mean(apart)) < 4.0 * np.std(apart) / np.sqrt(200)
    # Errors of single rates have five degrees of freedom; Student's spread is 1.3.
    assert 0.8 < np.std(apart) < 1.4


def test_the_error_of_a_crossing_is_that_of_exact_weights():
    temperatures = np.array([1600.0, 1700.0, 1800.0])
    rates = [Rate(-1e-5 * (T - 1690.0), 1e-4, 50.0) for T in temperatures]
    found = crossing(temperatures, rates)
    assert found.temperature == pytest.approx(1690.0)
    expected = np.sqrt(1e-8 / 3 + 100.0 * 1e-8 / 20000.0) / 1e-5
    assert found.error == pytest.approx(expected)
    assert found.misfit == pytest.approx(0.0, abs=1e-12)


def test_a_crossing_that_is_none_is_refused():
    temperatures = np.array([1600.0, 1700.0, 1800.0])
    flat = [Rate(v, 1e-4, 50.0) for v in (1e-5, -2e-5, 1e-5)]
    assert "does not fall" in crossing(temperatures, flat).reason
    outside = [Rate(-1e-5 * (T - 1900.0), 1e-5, 50.0) for T in temperatures]
    found = crossing(temperatures, outside)
    assert "outside of the 1600 to 1800 K" in found.reason
    with pytest.raises(InputError, match="2 rates of growth are too few"):
        crossing(temperatures[:2], outside[:2])


# ------------------------------------------------------------------------------ order
@pytest.mark.parametrize(
    ("name", "structure", "edge", "number"),
    [
        ("Al", "fcc", 4.05, 12),
        ("Fe", "bcc", 2.87, 14),
        ("Si", "diamond", 5.43, 16),
        ("NaCl", "rocksalt", 5.64, 18),
    ],
)
def test_shells_of_crystals_close(name, structure, edge, number):
    atoms = bulk(name, structure, a=edge, cubic=True).repeat(3)
    atoms.rattle(0.01, seed=1)
    assert closed_shells(Configuration.from_atoms(atoms)) == number


@pytest.fixture(scope="module")
def half_and_half():
    """Return a crystal of silicon, its upper half with atoms at random places."""
    atoms = bulk("Si", "diamond", a=5.46, cubic=True).repeat((3, 3, 8))
    atoms.rattle(0.15, seed=1)
    crystal = Configuration.from_atoms(atoms)
    upper = atoms.get_scaled_positions(wrap=False)[:, 2] > 0.499
    rng = np.random.default_rng(0)
    moved = atoms.positions.copy()
    moved[upper] += rng.normal(scale=0.9, size=(upper.sum(), 3))
    return crystal, crystal.moved(moved), upper


def test_half_a_crystal_is_half_crystalline(half_and_half):
    crystal, mixed, upper = half_and_half
    inside = upper & (np.abs(mixed.positions[:, 2] / mixed.cell[2, 2] - 0.75) < 0.15)
    boundary = boundary_between(
        averaged_order(crystal, 16), averaged_order(mixed, 16)[inside], neighbors=16
    )
    assert boundary.wrong < 0.01
    (share,) = shares([mixed], boundary)
    # Atoms of the crystal that see the melt, up to 3.9 angstrom away, may count as it.
    assert 0.5 - 2.0 * 3.9 / mixed.cell[2, 2] < share < 0.5
    along = profile([mixed], boundary, slices=8)
    assert (along[1:3] > 0.95).all()
    assert (along[5:7] < 0.05).all()


def test_a_crystal_that_did_not_melt_is_refused(half_and_half):
    crystal, _, upper = half_and_half
    q = averaged_order(crystal, 16)
    with pytest.raises(InputError, match="it did not melt"):
        boundary_between(q[~upper], q[upper], neighbors=16)
