"""A whole model on the CUDA C kernels says what it says on the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from otf.calculators.stillinger_weber import StillingerWeber
from otf.configuration import Configuration, Labels
from otf.descriptors import power_spectrum
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.kernels import Backend, load
from otf.models import posterior
from otf.models.bayesian_linear import BayesianLinear
from otf.models.design import raw_rows

FACES = 0.25 * np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0]])


def crystals(n, seed):
    """Return silicon, half of it named germanium, with the labels of silicon."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        cell = 5.43 * (1.0 + 0.02 * rng.normal()) * np.eye(3)
        positions = np.vstack([FACES, FACES + 0.25]) @ cell
        c = Configuration(
            numbers=np.full(8, 14),
            positions=positions + 0.1 * rng.normal(size=(8, 3)),
            cell=cell,
            pbc=np.ones(3, dtype=bool),
        )
        energy, forces, virial = StillingerWeber().evaluate(c)
        labels = Labels(energy, forces, virial / c.volume)
        yield replace(c, numbers=np.repeat([14, 32], 4)), labels


@pytest.fixture(
    scope="module",
    params=[{}, {"self_terms": False}, {"elements": "reduced"}],
    ids=["full", "without self terms", "reduced"],
)
def model(request):
    descriptor = PowerSpectrum(
        species=(14, 32),
        cutoff_three_body=4.5,
        cutoff_two_body=5.0,
        n_max=4,
        l_max=3,
        n_max_two_body=5,
        **request.param,
    )
    learned = BayesianLinear(descriptor)
    learned.extend(list(crystals(8, seed=0)))
    learned.fit_weights()
    return learned.fitted


@pytest.fixture
def on_gpu_kernels(monkeypatch, emulated):
    """Return a function that gives a model the emulated kernels."""

    def make(model, **options):
        backend = Backend(np, emulated(**options))

        def load_here(device):
            return backend if device == "gpu" else load(device)

        for module in (power_spectrum, posterior):
            monkeypatch.setattr(module, "load", load_here)
        return model.on("gpu")

    return make


def test_a_model_predicts_the_same(model, on_gpu_kernels):
    there = on_gpu_kernels(model, order="random")
    for c, _ in crystals(2, seed=5):
        got, expected = there.predict_measured(c), model.predict_measured(c)
        scale = np.abs(expected.forces).max()
        assert got.energy == pytest.approx(expected.energy, rel=1e-10)
        np.testing.assert_allclose(got.forces, expected.forces, atol=1e-10 * scale)
        np.testing.assert_allclose(got.stress, expected.stress, atol=1e-12)
        for name in ("local", "spilling"):
            a, b = (getattr(p.uncertainty, name) for p in (got, expected))
            np.testing.assert_allclose(a, b, rtol=1e-8)


@pytest.mark.parametrize("device", ["cpu", "reference", "gpu"])
def test_a_batch_is_what_its_members_are(model, on_gpu_kernels, device):
    """Cells of several sizes and a cluster, small ones beside one of several chunks."""
    there = on_gpu_kernels(model) if device == "gpu" else model.on(device)
    cells = [c for c, _ in crystals(4, seed=5)]
    cells[1] = replace(cells[1], pbc=np.zeros(3, dtype=bool))
    large = cells[2].to_atoms().repeat((3, 2, 3))
    cells[2] = Configuration.from_atoms(large)
    rng = np.random.default_rng(1)
    for measured in (False, True):
        cells = [
            c.moved(c.positions + 0.1 * rng.normal(size=(len(c.numbers), 3)))
            for c in cells
        ]
        batch = there.predict_batch(cells, measured=measured)
        alone = there.predict_measured if measured else there.predict
        for got, c in zip(batch, cells, strict=True):
            expected = alone(c)
            assert got.energy == pytest.approx(expected.energy, rel=1e-13)
            np.testing.assert_allclose(got.forces, expected.forces, atol=1e-12)
            np.testing.assert_allclose(got.stress, expected.stress, atol=1e-13)
            assert (got.uncertainty is not None) == measured
            if measured:
                a, b = (p.uncertainty.spilling for p in (got, expected))
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_the_rows_of_a_design_are_the_same(model, on_gpu_kernels):
    there = on_gpu_kernels(model)
    for c, _ in crystals(1, seed=6):
        got, expected = (
            raw_rows(m.descriptor, m.references, m.descriptor.describe(c))
            for m in (there, model)
        )
        for a, b in zip(vars(got).values(), vars(expected).values(), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * np.abs(b).max())


def test_pairs_in_single_precision_cost_forces_no_digit_that_matters(
    model, on_gpu_kernels
):
    """A reference of this kind is converged to 1e-4 eV/A at best."""
    there = on_gpu_kernels(model, real="float")
    for c, _ in crystals(2, seed=5):
        error = np.abs(there.predict(c).forces - model.predict(c).forces).max()
        assert 0.0 < error < 2e-5
