"""The regression on structures: rows, posterior, growth, and what it must not do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from otf.calculators.stillinger_weber import StillingerWeber
from otf.configuration import Configuration, Labels
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.errors import OTFError
from otf.models import training
from otf.models.basis import Basis
from otf.models.bayesian_linear import BayesianLinear, ModelOptions
from otf.models.covariance import Gaussian, Polynomial
from otf.models.design import raw_rows
from otf.models.interface import KINDS, RowNoise, RowWeights
from otf.models.kernel_ridge import KernelRidge
from otf.models.rows import RowBlock
from otf.models.solvers import LinearRidge
from otf.models.training import StoredFrame
from otf.models.weight_samples import sampled_uncertainty
from otf.neighbors import NeighborList
from otf.testing import check_forces, derivative, strained

SILICON, GERMANIUM = 14, 32
FACES = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0]])
DIAMOND = 5.43 * np.vstack([FACES, FACES + 1])


def crystal(rng, rattle=0.15, scale=1.0, numbers=None):
    """Eight rattled atoms of a strained diamond cell."""
    strain = np.eye(3) + 0.02 * rng.normal(size=(3, 3))
    cell = 5.43 * scale * strain
    positions = 0.25 * scale * DIAMOND @ strain
    return Configuration(
        numbers=np.full(8, SILICON) if numbers is None else numbers,
        positions=positions + rattle * rng.normal(size=(8, 3)),
        cell=cell,
        pbc=np.ones(3, dtype=bool),
    )


def labelled(configuration):
    energy, forces, virial = StillingerWeber().evaluate(configuration)
    return configuration, Labels(energy, forces, virial / configuration.volume)


def frames(n, seed=0, **options):
    rng = np.random.default_rng(seed)
    return [labelled(crystal(rng, **options)) for _ in range(n)]


def descriptor(species=(SILICON,)):
    return PowerSpectrum(
        species=species,
        cutoff_three_body=4.0,
        cutoff_two_body=4.0,
        n_max=3,
        l_max=2,
        n_max_two_body=4,
    )


def model(**options):
    return BayesianLinear(
        options.pop("descriptor", descriptor()),
        covariance=options.pop("covariance", None),
        noise=options.pop("noise", None),
        weights=options.pop("weights", None),
        solver=options.pop("solver", None),
        isolated_energies=options.pop("isolated_energies", None),
        options=ModelOptions(**options),
    )


@pytest.fixture(scope="module")
def learned():
    out = model()
    out.extend(frames(8))
    out.fit_weights()
    return out


class AsPotential:
    def __init__(self, inner):
        self.inner = inner

    def predict(self, configurations, *, step, use_labels=True):
        return [self.inner.predict(c) for c in configurations]


def from_scratch(other):
    """The same frames and references, folded in at once."""
    out = model(prior=other.options.prior)
    out.descriptor = other.descriptor
    out.basis = Basis.of(other.basis.references, other.options.jitter)
    out.training.blocks = {kind: RowBlock(out.n_references) for kind in KINDS}
    for frame in other.training.frames:
        again = StoredFrame.of(frame.configuration, frame.labels, out.baseline)
        out.training.add(again, out.basis, out.prior, out.descriptor)
    return out


def assert_equal_models(one, other, configuration, tolerance=1e-8):
    a, b = one.predict(configuration), other.predict(configuration)
    assert a.energy == pytest.approx(b.energy, rel=tolerance)
    for name in ("forces", "stress"):
        x, y = getattr(a, name), getattr(b, name)
        assert np.abs(x - y).max() < tolerance * np.abs(y).max(), name
    a, b = one.force_uncertainty(configuration), other.force_uncertainty(configuration)
    for name in ("forces", "stress", "energy", "local"):
        x, y = np.asarray(getattr(a, name)), np.asarray(getattr(b, name))
        assert np.abs(x - y).max() < tolerance * np.abs(y).max(), name


# ---------------------------------------------------------------------------- rows


def mixed_crystal():
    rng = np.random.default_rng(1)
    numbers = rng.permutation([SILICON] * 5 + [GERMANIUM] * 3)
    return crystal(rng, numbers=numbers)


def check_rows(rows_of, covariance):
    m = model(covariance=covariance, descriptor=descriptor((SILICON, GERMANIUM)))
    c = mixed_crystal()
    m.prepare([c])
    references = m.basis.references.like(m.describe(c)).subset(np.arange(6))

    def energies(configuration):
        return raw_rows(m.descriptor, references, m.describe(configuration)).energy

    rows = rows_of(m.descriptor, references, m.describe(c))
    for atom, axis in ((0, 0), (3, 2)):

        def moved(x, atom=atom, axis=axis):
            positions = c.positions.copy()
            positions[atom, axis] += x
            return energies(c.moved(positions))

        expected = -derivative(moved, 1e-3)
        error = np.abs(rows.forces[3 * atom + axis] - expected).max()
        assert error < 1e-7 * np.abs(rows.forces).max()
    for k, unit in enumerate(np.eye(6)):
        expected = derivative(lambda x, u=unit: energies(strained(c, x * u)), 1e-4)
        assert (
            np.abs(rows.strain[k] - expected).max() < 1e-7 * np.abs(rows.strain).max()
        )
    # Nothing pulls the whole.
    total = rows.forces.reshape(8, 3, -1).sum(axis=0)
    assert np.abs(total).max() < 1e-12 * np.abs(rows.forces).max() * 8


@pytest.mark.parametrize("covariance", [Polynomial(4), Gaussian(0.4)], ids=repr)
def test_force_and_strain_rows_are_derivatives_of_energy_rows(covariance):
    check_rows(raw_rows, covariance)


def scaled_strain(*factors):
    """Return rows whose strain derivatives are multiplied by six factors."""

    def rows_of(descriptor, references, environments):
        rows = raw_rows(descriptor, references, environments)
        return replace(rows, strain=rows.strain * np.array(factors)[:, None])

    return rows_of


def voigt_in_another_order(descriptor, references, environments):
    rows = raw_rows(descriptor, references, environments)
    return replace(rows, strain=rows.strain[[0, 1, 2, 5, 4, 3]])


def one_force_of_wrong_sign(descriptor, references, environments):
    rows = raw_rows(descriptor, references, environments)
    return replace(
        rows, forces=rows.forces * np.where(np.arange(24) == 11, -1, 1)[:, None]
    )


def without_the_own_force(descriptor, references, environments):
    """Centres push their neighbours and are not pushed back."""
    slopes = references.slopes(environments)
    rows = raw_rows(descriptor, references, environments)
    forces = np.zeros_like(rows.forces)
    for atom in range(8):
        alone = (np.arange(8) == atom)[:, None]
        part, _ = descriptor.gradient_rows(
            environments,
            references.directions,
            references.species,
            alone * slopes.alpha,
            alone * slopes.gamma,
        )
        part[3 * atom : 3 * atom + 3] = 0.0
        forces += part
    return replace(rows, forces=forces)


def without_the_norm(descriptor, references, environments):
    """The derivative of |X_i| is forgotten."""
    slopes = references.slopes(environments)
    forces, strain = descriptor.gradient_rows(
        environments,
        references.directions,
        references.species,
        slopes.alpha,
        0.0 * slopes.gamma,
    )
    return replace(
        raw_rows(descriptor, references, environments), forces=forces, strain=strain
    )


@pytest.mark.parametrize(
    "mutant",
    [
        scaled_strain(1, 1, 1, 0.5, 0.5, 0.5),
        scaled_strain(1, 1, 1, 1, -1, 1),
        scaled_strain(-1, -1, -1, -1, -1, -1),
        voigt_in_another_order,
        one_force_of_wrong_sign,
        without_the_own_force,
        without_the_norm,
    ],
    ids=[
        "half the shear",
        "sign of xz",
        "pressure for stress",
        "order of Voigt",
        "sign of a force",
        "no own force",
        "no norm",
    ],
)
def test_check_of_the_rows_rejects(mutant):
    with pytest.raises(AssertionError):
        check_rows(mutant, Polynomial(4))


def smooth_frame(margin=5e-3):
    """Return a structure whose pairs keep away from the cutoff of 4 angstrom.

    The second derivative jumps there, which is no fault of the forces but spoils a
    finite difference across it.
    """
    for seed in range(5, 50):
        c, _ = frames(1, seed=seed)[0]
        distance = NeighborList(4.5).pairs(c).distance
        if np.abs(distance - 4.0).min() > margin:
            return c
    raise AssertionError("no such structure")


def check_prediction(learned):
    c = smooth_frame()
    check_forces(AsPotential(learned), c, tolerance=1e-7)
    total = learned.predict(c).forces.sum(axis=0)
    assert np.abs(total).max() < 1e-10


def test_predicted_forces_and_stress_are_derivatives_of_the_energy(learned):
    check_prediction(learned)


class Altered:
    """A model whose predictions are not what they should be."""

    def __init__(self, inner, change):
        self.inner, self.change = inner, change

    def predict(self, configuration):
        return self.change(self.inner.predict(configuration), configuration)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda p, c: replace(p, stress=-p.stress),
        lambda p, c: replace(p, stress=p.stress * [1, 1, 1, 0.5, 0.5, 0.5]),
        lambda p, c: replace(p, stress=p.stress[[0, 1, 2, 5, 4, 3]]),
        lambda p, c: replace(p, stress=p.stress * c.volume),
        lambda p, c: replace(p, forces=p.forces + 1e-6),
        lambda p, c: replace(p, energy=p.energy / c.n_atoms),
    ],
    ids=[
        "pressure for stress",
        "half the shear",
        "order of Voigt",
        "no volume",
        "the whole is pulled",
        "energy of an atom",
    ],
)
def test_check_of_the_prediction_rejects(learned, mutant):
    with pytest.raises(AssertionError):
        check_prediction(Altered(learned, mutant))


def test_prediction_is_the_rows_times_the_weights(learned):
    c, _ = frames(1, seed=5)[0]
    references = learned.posterior.references
    rows = raw_rows(learned.descriptor, references, learned.describe(c))
    p, w = learned.predict(c), learned.posterior.weights
    np.testing.assert_allclose(p.forces.ravel(), rows.forces @ w, atol=1e-9)
    np.testing.assert_allclose(p.stress, rows.strain @ w / c.volume, atol=1e-9)


def test_atomic_energies_sum_to_the_energy(learned):
    c, _ = frames(1, seed=5)[0]
    assert learned.atomic_energies(c).sum() == pytest.approx(learned.predict(c).energy)


# ----------------------------------------------------------------------- posterior


@pytest.mark.parametrize("weights", [RowWeights(), RowWeights(3.0, 1.0, 0.5)])
def test_posterior_is_dense_gaussian_conditioning(weights):
    m = model(weights=weights)
    m.extend(frames(3), [np.arange(4)] * 3)
    report = m.fit_weights()
    data, noise, e0 = [], RowNoise(), m.posterior.elements.values[0]
    references = m.basis.references
    for c, labels in frames(3):
        rows = raw_rows(m.descriptor, references, m.describe(c))
        data += [
            (rows.energy[None] / 8, [labels.energy / 8 - e0], "energy"),
            (rows.forces, labels.forces.ravel(), "force"),
            (rows.strain / c.volume, labels.stress, "stress"),
        ]
    scales = [weights.of(kind) / noise.of(kind) for _, _, kind in data]
    phi = np.concatenate([s * r for s, (r, _, _) in zip(scales, data, strict=True)])
    y = np.concatenate(
        [s * np.asarray(v) for s, (_, v, _) in zip(scales, data, strict=True)]
    )
    prior = np.linalg.inv(
        report.prior_precision
        * (references.kernel(references) + 1e-8 * np.eye(len(references.rho)))
    )
    covariance = phi @ prior @ phi.T + np.eye(len(y)) / report.noise_precision
    c, _ = frames(1, seed=7)[0]
    rows = raw_rows(m.descriptor, references, m.describe(c))
    new = np.vstack([rows.energy, rows.forces, rows.strain / c.volume])
    cross = new @ prior @ phi.T
    mean = cross @ np.linalg.solve(covariance, y)
    variance = new @ prior @ new.T - cross @ np.linalg.solve(covariance, cross.T)
    p, u = m.predict(c), m.force_uncertainty(c)
    assert p.energy - 8 * e0 == pytest.approx(mean[0], rel=1e-8)
    np.testing.assert_allclose(
        p.forces.ravel(), mean[1:25], atol=1e-8 * np.abs(mean[1:25]).max()
    )
    blocks = np.diag(variance)[1:25].reshape(8, 3).sum(axis=1)
    assert u.energy == pytest.approx(np.sqrt(variance[0, 0]), rel=1e-7)
    np.testing.assert_allclose(u.forces, np.sqrt(blocks / 3), rtol=1e-7)
    np.testing.assert_allclose(u.stress, np.sqrt(np.diag(variance)[25:]), rtol=1e-7)


def test_local_variance_is_that_of_the_deterministic_training_conditional(learned):
    c, _ = frames(1, seed=8, rattle=0.5)[0]
    env = learned.describe(c)
    references = learned.posterior.references
    atoms = references.like(env)
    k, s_w = references.kernel(atoms), learned.report.prior_precision
    kernel = references.kernel(references) + 1e-8 * np.eye(references.n_references)
    root = learned.posterior.gauge.root
    left = atoms.diagonal - (k * np.linalg.solve(kernel, k.T).T).sum(axis=1)
    expected = ((k @ root) ** 2).sum(axis=1) + left / s_w
    found = learned.local_uncertainty(env)
    np.testing.assert_allclose(found.local**2, expected, rtol=1e-6)
    np.testing.assert_allclose(found.spilling, left / atoms.diagonal, rtol=1e-5)
    # Without the second term the deviation would fall away from the references.
    assert (left / s_w).max() > 2 * ((k @ root) ** 2).sum(axis=1).max()


def test_force_deviations_of_some_atoms_are_those_of_all(learned):
    c, _ = frames(1, seed=9)[0]
    some = np.array([5, 0, 6])
    few = learned.force_uncertainty(c, atoms=some)
    whole = learned.force_uncertainty(c, learned.describe(c))
    np.testing.assert_allclose(few.forces, whole.forces[some], rtol=1e-8)
    np.testing.assert_allclose(few.stress, whole.stress, rtol=1e-8)
    assert few.energy == pytest.approx(whole.energy)
    alone = learned.force_uncertainty(c, atoms=some, with_stress=False)
    np.testing.assert_allclose(alone.forces, whole.forces[some], rtol=1e-8)
    assert alone.stress is None
    np.testing.assert_allclose(few.local, whole.local[some], rtol=1e-8)
    np.testing.assert_allclose(few.spilling, whole.spilling[some], atol=1e-10)


def test_force_deviation_does_not_depend_on_the_axes(learned):
    c, _ = frames(1, seed=9)[0]
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turned = replace(c, positions=c.positions @ turn, cell=c.cell @ turn)
    one, other = learned.force_uncertainty(c), learned.force_uncertainty(turned)
    np.testing.assert_allclose(one.forces, other.forces, rtol=1e-8)


@pytest.mark.parametrize("ratio", [0.3, 5.0])
def test_kernel_ridge_is_linear_ridge_in_the_dual_form(ratio):
    primal, dual = model(solver=LinearRidge(ratio)), model(solver=KernelRidge(ratio))
    for m in (primal, dual):
        m.extend(frames(3))
    one, other = primal.fit_weights(), dual.fit_weights()
    assert one.log_evidence == pytest.approx(other.log_evidence, rel=1e-9)
    assert one.n_effective == pytest.approx(other.n_effective, rel=1e-8)
    assert_equal_models(dual, primal, frames(1, seed=6)[0][0])


# -------------------------------------------------------------------------- growth


def grown(prior, n_changes):
    """Return a model after many changes, frames and references in and out."""
    rng = np.random.default_rng(3)
    m = model(prior=prior)
    m.extend(frames(3), [np.arange(8)] * 3)
    for _ in range(n_changes):
        what = rng.integers(4)
        if what == 3:
            m.extend([labelled(crystal(rng))], [rng.choice(8, 2, replace=False)])
        elif what < 2:
            atoms = m.basis.references.like(m.describe(crystal(rng)))
            spilling = m.basis.spilling(atoms)
            m.append_references(atoms.subset(np.argsort(-spilling)[:1]))
        elif m.n_references > 12:
            m.drop_references(np.sort(rng.choice(m.n_references, 2, replace=False)))
    return m


def check_growth(m, tolerance):
    scratch = from_scratch(m)
    for one in (m, scratch):
        # Hyper-parameters held fixed: s_w and s_v would follow the last digits.
        one.solver = LinearRidge(1.0)
        one.fit_weights()
    for c, _ in frames(3, seed=4):
        assert_equal_models(m, scratch, c, tolerance)


@pytest.mark.parametrize(
    ("prior", "tolerance"),
    # On raw weights the Gram matrix is as ill-conditioned as K_BB itself.
    [("whitened", 1e-8), ("identity", 1e-6)],
)
def test_two_hundred_changes_equal_a_fit_from_scratch(prior, tolerance):
    m = grown(prior, 200)
    assert m.n_frames > 30
    check_growth(m, tolerance)


class StaleRows(RowBlock):
    """The Gram matrix does not follow new rows."""

    def add_rows(self, rows, labels):
        gram = self.gram.copy()
        super().add_rows(rows, labels)
        if gram.any():
            self.gram = gram


class StaleCross(RowBlock):
    """New columns know themselves and not the old ones."""

    def add_columns(self, raw, transform):
        m = self.n_columns
        super().add_columns(raw, transform)
        self.gram[:m, m:] = self.gram[m:, :m] = 0.0


class StaleRotation(RowBlock):
    """References leave the Gram matrix by rows and columns, without the rotation."""

    def rotate(self, rotation, first):
        gram = self.gram
        super().rotate(rotation, first)
        kept = self.n_columns
        self.gram = gram[:kept, :kept].copy()


class LastRowsOnly(RowBlock):
    """New columns are computed for the newest frames only."""

    def add_columns(self, raw, transform):
        raw = raw.copy()
        raw[: len(raw) // 2] = 0.0
        super().add_columns(raw, transform)


@pytest.mark.parametrize("mutant", [StaleRows, StaleCross, StaleRotation, LastRowsOnly])
def test_check_of_growth_rejects(mutant, monkeypatch):
    with monkeypatch.context() as planted:
        planted.setattr(training, "RowBlock", mutant)
        m = grown("whitened", 20)
    with pytest.raises(AssertionError):
        check_growth(m, 1e-8)


def check_order_of_frames():
    data = frames(6)
    one, shuffled = model(), model()
    one.extend(data, [None] * 6)
    shuffled.descriptor = one.descriptor
    shuffled.basis = Basis.of(one.basis.references, 1e-8)
    shuffled.training.blocks = {k: training.RowBlock(one.n_references) for k in KINDS}
    for k in (4, 0, 5, 2, 1, 3):
        frame = StoredFrame.of(*data[k], one.baseline)
        shuffled.training.add(
            frame, shuffled.basis, shuffled.prior, shuffled.descriptor
        )
    for m in (one, shuffled):
        m.solver = LinearRidge(1.0)
        m.fit_weights()
    # e0 starts from the first frame, and is determined here.
    assert_equal_models(one, shuffled, frames(1, seed=4)[0][0])


def test_order_of_frames_does_not_matter():
    check_order_of_frames()


class Fading(RowBlock):
    """Older rows count less and less."""

    def add_rows(self, rows, labels):
        for part in self.parts():
            part *= 0.99
        self._labels[: self.n_rows] *= 0.99
        self.gram *= 0.99**2
        self.projection *= 0.99**2
        super().add_rows(rows, labels)


@pytest.mark.parametrize("mutant", [StaleRows, Fading])
def test_check_of_the_order_of_frames_rejects(mutant, monkeypatch):
    monkeypatch.setattr(training, "RowBlock", mutant)
    with pytest.raises(AssertionError):
        check_order_of_frames()


def test_extend_takes_references_until_none_spills(learned):
    assert learned.n_references > 8
    for c, _ in frames(8):
        assert learned.spilling(learned.describe(c)).max() <= 1e-4 * (1 + 1e-3)


def test_only_candidates_become_references():
    m = model()
    m.extend(frames(1), [np.array([2, 5])])
    assert m.n_references == 2
    spilling = m.spilling(m.describe(frames(1)[0][0]))
    assert spilling[[2, 5]].max() < 1e-6
    assert np.delete(spilling, [2, 5]).min() > 1e-6


def test_a_cap_keeps_the_number_of_references_and_the_most_of_the_span():
    data = frames(6)
    capped, free = model(max_references=12), model()
    for m in (capped, free):
        m.extend(data)
        m.fit_weights()
    assert capped.n_references == 12 < free.n_references
    worst = max(capped.spilling(capped.describe(c)).max() for c, _ in data)
    first = free.basis.references.subset(np.arange(2))
    spread = Basis.of(first, 1e-8).spilling(free.basis.references).max()
    assert worst < 0.5 * spread


def test_redundant_references_are_dropped_and_nothing_is_lost():
    data = frames(4)
    m = model(selection_bound=1e-4)
    m.extend(data)
    m.fit_weights()
    before = m.predict(data[0][0])
    copies = m.basis.references.subset(np.array([0, 1, 2]))
    count = m.n_references
    m.append_references(copies)
    assert m.drop_redundant() == 3
    assert m.n_references == count
    m.fit_weights()
    np.testing.assert_allclose(m.predict(data[0][0]).forces, before.forces, atol=1e-5)


def test_screen_bounds_the_spilling_from_above():
    m = model(screen_references=10)
    m.extend(frames(8))
    m.fit_weights()
    assert m.n_references > 10
    env = m.describe(frames(1, seed=3, rattle=0.3)[0][0])
    cheap, full = m.screen(env), m.local_uncertainty(env)
    assert np.all(cheap.spilling >= full.spilling - 1e-7)
    assert np.all(cheap.local > 0.5 * full.local)


@pytest.mark.parametrize("rattle", [0.001, 0.05, 0.3])
def test_single_precision_hardly_changes_what_the_screen_says(rattle):
    m = model(screen_references=10)
    m.extend(frames(8))
    m.fit_weights()
    single = m.fitted.coarse
    double = replace(single, precision=np.float64)
    env = m.describe(frames(1, seed=3, rattle=rattle)[0][0])
    one, other = single.measure(env), double.measure(env)
    assert single.precision is np.float32
    assert not np.array_equal(one.local, other.local)
    np.testing.assert_allclose(one.local, other.local, rtol=5e-3)
    np.testing.assert_allclose(one.spilling, other.spilling, atol=1e-5)


def test_screen_on_all_references_is_the_full_measure(learned):
    env = learned.describe(frames(1, seed=3)[0][0])
    one, other = learned.screen(env), learned.local_uncertainty(env)
    np.testing.assert_array_equal(one.local, other.local)


@pytest.mark.parametrize("exponent", [1, 2, 4])
def test_a_prediction_carries_what_screen_and_gauge_say(exponent):
    m = model(covariance=Polynomial(exponent), screen_references=10)
    m.extend(frames(8))
    m.fit_weights()
    c, _ = frames(1, seed=3, rattle=0.3)[0]
    env, plain = m.describe(c), m.predict(c)
    for measured, expected in (
        (m.fitted.predict_screened(c), m.screen(env)),
        (m.fitted.predict_measured(c), m.local_uncertainty(env)),
    ):
        np.testing.assert_allclose(measured.forces, plain.forces, atol=1e-12)
        got = measured.uncertainty
        np.testing.assert_allclose(got.local, expected.local, rtol=1e-8)
        np.testing.assert_allclose(got.spilling, expected.spilling, atol=1e-10)


def test_models_drawn_from_the_posterior_scatter_as_it_says(learned):
    c, _ = frames(1, seed=3, rattle=0.3)[0]
    exact, n = learned.force_uncertainty(c), 400
    found = sampled_uncertainty(learned.fitted, c, n_samples=n, seed=1)
    # a deviation found from k independent numbers scatters by 1/sqrt(2 k) of itself
    for got, wanted, k in (
        (found.energy, exact.energy, n),
        (found.stress, exact.stress, n),
        (found.forces, exact.forces, n),  # components of an atom may be one number
    ):
        np.testing.assert_allclose(got, wanted, rtol=4.5 / np.sqrt(2 * k))
    np.testing.assert_allclose(found.local, exact.local, rtol=1e-8)
    again = sampled_uncertainty(learned.fitted, c, n_samples=n, seed=1)
    np.testing.assert_array_equal(found.forces, again.forces)


# ------------------------------------------------------------- labels that are missing


def test_missing_labels_have_no_rows():
    c, labels = frames(1)[0]
    forces, stress = labels.forces.copy(), labels.stress.copy()
    forces[2, 1] = np.nan
    stress[4] = np.nan
    m = model()
    m.extend([(c, Labels(np.nan, forces, stress))])
    counts = {kind: m.training.blocks[kind].n_rows for kind in KINDS}
    assert counts == {"energy": 0, "force": 23, "stress": 5}
    m.fit_weights()
    assert np.isfinite(m.predict(c).forces).all()


def test_stress_along_a_vacuum_is_neither_learned_nor_predicted():
    c, labels = frames(1)[0]
    c = replace(c, pbc=np.array([True, True, False]))
    m = model()
    m.extend([(c, labels)])
    assert m.training.blocks["stress"].n_rows == 3
    m.fit_weights()
    stress = m.predict(c).stress
    assert np.all(stress[[2, 3, 4]] == 0.0)
    assert np.all(stress[[0, 1, 5]] != 0.0)


def test_rows_of_weight_zero_change_nothing():
    data = frames(3)
    wrong = [(c, replace(x, stress=x.stress + 1.0)) for c, x in data]
    one = model(weights=RowWeights(1.0, 1.0, 0.0))
    other = model(weights=RowWeights(1.0, 1.0, 0.0))
    one.extend(data)
    other.extend(wrong)
    for m in (one, other):
        m.fit_weights()
    p, q = one.predict(data[0][0]), other.predict(data[0][0])
    np.testing.assert_array_equal(p.forces, q.forces)


# ------------------------------------------------------------------- what may go wrong


def test_an_isolated_atom_has_the_energy_of_its_element(learned):
    atom = Configuration(
        numbers=np.array([SILICON]),
        positions=np.zeros((1, 3)),
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, dtype=bool),
    )
    p, u = learned.predict(atom), learned.force_uncertainty(atom)
    assert p.energy == learned.posterior.elements.values[0]
    assert np.all(p.forces == 0.0)
    assert np.all(p.stress == 0.0)
    assert u.spilling[0] == 0.0
    assert u.local[0] == 0.0


def check_watched_far_from_the_data(measure):
    # Compression and rattling far beyond anything labelled.
    m = model()
    m.extend(frames(10, rattle=0.08))
    m.fit_weights()
    sigma, watched, error = [], [], []
    for rattle, scale in ((0.08, 1.0), (0.3, 0.9), (0.6, 0.8)):
        c, labels = frames(1, seed=2, rattle=rattle, scale=scale)[0]
        u = m.force_uncertainty(c)
        sigma.append(u.forces.max())
        watched.append(measure(u).max())
        error.append(np.abs(m.predict(c).forces - labels.forces).max())
    assert error[2] > 100 * error[0]
    assert watched[0] < watched[1] < watched[2]
    assert watched[2] > 100 * watched[0]
    # The deviation misses most of the growth of the error.
    assert error[2] / sigma[2] > 5 * error[0] / sigma[0]


def test_far_from_the_data_spilling_grows_where_the_force_deviation_saturates():
    check_watched_far_from_the_data(lambda u: u.spilling)


@pytest.mark.parametrize("measure", ["forces", "stress"])
def test_check_far_from_the_data_rejects_deviations_alone(measure):
    with pytest.raises(AssertionError):
        check_watched_far_from_the_data(lambda u: getattr(u, measure))


def test_prior_precision_is_held_until_five_structures_have_forces():
    data = frames(6)
    m = model()
    m.extend(data[:4])
    report = m.fit_weights()
    assert report.prior_precision == 1.0
    assert any("too few structures" in line for line in report.clamps)
    m.extend(data[4:])
    assert m.fit_weights().prior_precision != 1.0


def test_a_perfect_crystal_does_not_make_the_model_sure_of_itself():
    rng = np.random.default_rng(0)
    perfect = replace(crystal(rng), positions=0.25 * DIAMOND, cell=5.43 * np.eye(3))
    m = model()
    m.extend([labelled(perfect)] * 3)
    report = m.fit_weights()
    assert report.noise_precision <= 100.0
    c, _ = frames(1, seed=1)[0]
    assert m.screen(m.describe(c)).spilling.max() > 1e-3


def test_predicting_before_any_label_says_what_to_do():
    with pytest.raises(OTFError, match="label a structure first"):
        model().predict(frames(1)[0][0])


def test_training_errors_are_those_of_the_predictions(learned):
    force, energy = [], []
    for c, labels in frames(8):
        p = learned.predict(c)
        force.append(p.forces - labels.forces)
        energy.append((p.energy - labels.energy) / 8)
    errors = learned.report.errors
    assert errors.force == pytest.approx(np.sqrt(np.mean(np.square(force))), rel=1e-6)
    assert errors.energy == pytest.approx(np.sqrt(np.mean(np.square(energy))), rel=1e-6)
