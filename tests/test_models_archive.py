"""Models survive being taken apart into arrays."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from otf.calculators.stillinger_weber import StillingerWeber
from otf.configuration import Configuration, Labels
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.errors import StoreError
from otf.models.archive import (
    model_from_arrays,
    model_to_arrays,
    posterior_from_arrays,
    posterior_to_arrays,
)
from otf.models.baselines.core_repulsion import CoreRepulsion
from otf.models.bayesian_linear import BayesianLinear, ModelOptions
from otf.models.covariance import Gaussian
from otf.models.interface import RowNoise, RowWeights
from otf.models.kernel_ridge import KernelRidge
from otf.models.solvers import LinearRidge
from otf.store.scratch import ScratchRows

FACES = 0.25 * np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0]])
RADII = np.full(20, 1.11)


def silicon(n, seed=0):
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        cell = 5.43 * (np.eye(3) + 0.02 * rng.normal(size=(3, 3)))
        positions = np.vstack([FACES, FACES + 0.25]) @ cell
        c = Configuration(
            numbers=np.full(8, 14),
            positions=positions + 0.1 * rng.normal(size=(8, 3)),
            cell=cell,
            pbc=np.ones(3, dtype=bool),
        )
        energy, forces, virial = StillingerWeber().evaluate(c)
        out.append((c, Labels(energy, forces, virial / c.volume)))
    return out


def model(**parts):
    descriptor = PowerSpectrum(
        species=(14,),
        cutoff_three_body=4.0,
        cutoff_two_body=4.0,
        n_max=3,
        l_max=2,
        n_max_two_body=4,
    )
    return BayesianLinear(descriptor, **parts)


def learned(**parts):
    out = model(**parts)
    out.extend(silicon(6))
    out.fit_weights()
    return out


def assert_same_bits(one, other, configuration):
    a, b = one.predict(configuration), other.predict(configuration)
    assert a.energy == b.energy
    np.testing.assert_array_equal(a.forces, b.forces)
    np.testing.assert_array_equal(a.stress, b.stress)
    a, b = one.force_uncertainty(configuration), other.force_uncertainty(configuration)
    np.testing.assert_array_equal(a.forces, b.forces)
    env = one.describe(configuration)
    np.testing.assert_array_equal(one.screen(env).local, other.screen(env).local)


def test_learning_goes_on_to_the_bit():
    one = learned(baseline=CoreRepulsion(RADII, [14]))
    one.append_references(one.basis.references.subset(np.array([0])))
    one.drop_redundant()
    other = model_from_arrays(model_to_arrays(one))
    c = silicon(1, seed=9)[0][0]
    assert_same_bits(one, other, c)
    for m in (one, other):
        m.extend(silicon(2, seed=1), [np.array([1, 2]), None])
        m.drop_redundant()
        m.fit_weights()
    assert one.n_references == other.n_references
    assert one.report == other.report
    assert_same_bits(one, other, c)


def test_rows_on_disk_give_the_same_bits(tmp_path):
    rooms = [None, ScratchRows(tmp_path, 0), ScratchRows(tmp_path, 3_000_000)]
    models = []
    for room in rooms:
        one = model()
        if room is not None:
            one.training.keep_rows_in(room)
        one.extend(silicon(6))
        one.drop_references(np.array([3, 7]))
        one.extend(silicon(3, seed=1), [np.array([1, 2]), None, None])
        one.fit_weights()
        models.append(one)
    assert [room.n_files > 0 for room in rooms[1:]] == [True, True]
    assert not list(tmp_path.iterdir())
    again = model_from_arrays(model_to_arrays(models[1]), allocate=rooms[1])
    models.append(again)
    for m in models:
        m.extend(silicon(1, seed=2))
        m.fit_weights()
    c = silicon(1, seed=9)[0][0]
    for other in models[1:]:
        assert_same_bits(models[0], other, c)
        for kind, block in models[0].training.blocks.items():
            np.testing.assert_array_equal(other.training.blocks[kind].rows, block.rows)


def test_a_state_of_an_earlier_form_is_refused():
    arrays = model_to_arrays(learned())
    del arrays["training/force/projection"]
    with pytest.raises(StoreError, match="earlier form"):
        model_from_arrays(arrays)


def test_memory_for_rows_is_given_back(tmp_path):
    room = ScratchRows(tmp_path, 3 * 8 * 100)
    held = [room((10, 10)) for _ in range(3)]
    assert room.n_files == 0
    del held[0]
    held.append(room((10, 10)))
    assert room.n_files == 0
    held.append(room((10, 10)))
    assert room.n_files == 1


def test_a_full_disk_is_said_in_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StoreError, match="disk or the quota is full"):
        ScratchRows(tmp_path, 0)((10, 10))


def test_production_form_predicts_the_same_bits():
    one = learned(options=ModelOptions(screen_references=5))
    arrays = posterior_to_arrays(one.posterior)
    assert not any("rows" in name or "gram" in name for name in arrays)
    other = posterior_from_arrays(arrays)
    assert_same_bits(one, other, silicon(1, seed=9)[0][0])
    assert other.composition_warning(silicon(1)[0][0]) is None


def test_every_setting_survives():
    options = ModelOptions(
        prior="identity",
        selection_bound=1e-3,
        jitter=1e-7,
        max_references=20,
        cur_epsilon=1e-8,
        screen_references=7,
        noise_floor_force=0.02,
        noise_floor_energy=2e-4,
    )
    one = learned(
        covariance=Gaussian(0.6),
        noise=RowNoise(0.002, 0.2, 0.01),
        weights=RowWeights(5.0, 1.0, 0.0),
        options=options,
        isolated_energies={14: -0.8},
    )
    other = model_from_arrays(model_to_arrays(one))
    assert other.options == options
    assert other.covariance == one.covariance
    assert other.weights == one.weights
    assert other.training.noise == one.training.noise
    assert other.isolated_energies == one.isolated_energies
    assert other.solver == one.solver
    assert other.report == one.report


@pytest.mark.parametrize("solver", [LinearRidge(0.3), KernelRidge(0.3)])
def test_solvers_survive(solver):
    one = learned(solver=solver)
    assert model_from_arrays(model_to_arrays(one)).solver == solver


def test_an_empty_model_survives():
    other = model_from_arrays(model_to_arrays(model()))
    assert not other.is_fitted
    other.extend(silicon(2))
    other.fit_weights()
    assert other.n_frames == 2


def test_arrays_hold_nothing_but_plain_arrays():
    for value in model_to_arrays(learned()).values():
        assert isinstance(value, np.ndarray)
        assert value.dtype.kind in "fiubU"


class OwnBaseline:
    """One of the user, which the package knows nothing of."""

    def evaluate(self, configuration):
        return CoreRepulsion(RADII, [14]).evaluate(configuration)


def test_a_baseline_of_the_user_has_to_be_given_again():
    baseline = OwnBaseline()
    one = learned(baseline=baseline)
    with pytest.raises(StoreError, match="baseline of its own"):
        model_from_arrays(model_to_arrays(one))
    other = model_from_arrays(model_to_arrays(one), baseline=baseline)
    assert_same_bits(one, other, silicon(1, seed=9)[0][0])
