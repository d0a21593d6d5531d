"""Parts of a data set left out in turn: what a fit says of them, and its worth."""

import json

import numpy as np
import pytest
from ase.build import bulk

from otf.calculators.stillinger_weber import StillingerWeber
from otf.configuration import Configuration, Labels
from otf.deploy.provenance import laws_of, record_of_laws
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.learning.calibration import Law
from otf.learning.laws import LEFT_OUT, RUN, Laws
from otf.models.basis import Basis
from otf.models.batch import fit_dataset
from otf.models.bayesian_linear import BayesianLinear, ModelOptions
from otf.models.blind import (
    ATOMS,
    ATOMS_OF_FRAME,
    FRAMES,
    PARTS,
    BlindFrame,
    BlindParts,
    _sampled_atoms,
    parts_of,
)
from otf.models.design import raw_rows
from otf.models.interface import RowWeights
from otf.models.leave_out import asked_rows, fitted_rows
from otf.units import GPA


def silicon(n, seed=0):
    """Return rattled silicon in cells of random shape with exact labels."""
    generator = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        atoms = bulk("Si", cubic=True)
        shape = np.eye(3) + 0.03 * generator.normal(size=(3, 3))
        atoms.set_cell(atoms.cell[:] @ shape, scale_atoms=True)
        atoms.positions += 0.1 * generator.normal(size=(8, 3))
        c = Configuration.from_atoms(atoms)
        energy, forces, virial = StillingerWeber().evaluate(c)
        out.append((c, Labels(energy, forces, virial / c.volume)))
    return out


def empty_model(*, stress=1.5, prior="whitened"):
    descriptor = PowerSpectrum(
        species=(14,),
        cutoff_three_body=4.0,
        cutoff_two_body=4.0,
        n_max=4,
        l_max=2,
        n_max_two_body=5,
    )
    return BayesianLinear(
        descriptor,
        weights=RowWeights(2.0, 1.0, stress),
        options=ModelOptions(prior=prior),
    )


def judged(frames, *, stress=1.5, levels=None, prior="whitened"):
    """Return a fitted model and what it says of parts left out."""
    model = empty_model(stress=stress, prior=prior)
    blind = BlindParts(model, frames)
    fit_dataset(model, frames, n_references=30, watcher=blind, levels=levels)
    return model, blind.judged(lambda *_: None)


def without(frames, model, part):
    """Return weights and covariance of the fit to all frames but a part.

    The references that come from it are gone, too; last are the places of the others.
    """
    references = model.fitted.references
    gone = {
        bytes(row)
        for k in part
        for row in references.like(model.describe(frames[k][0])).directions
    }
    kept = [k for k, x in enumerate(references.directions) if bytes(x) not in gone]
    basis = Basis.of(references.subset(np.array(kept)), model.basis.jitter)
    rows, values = [], []
    for k, (c, labels) in enumerate(frames):
        if k not in part:
            raw = raw_rows(
                model.fitted.descriptor, model.fitted.references, model.describe(c)
            )
            found = fitted_rows(model, c, labels, raw)
            rows.append(model.prior.rows(basis, found[0][:, kept]))
            values.append(found[1])
    phi, y = np.vstack(rows), np.concatenate(values)
    s_w, s_v = model.report.prior_precision, model.report.noise_precision
    m = phi.shape[1]
    solved = np.linalg.lstsq(
        np.vstack([np.sqrt(s_v) * phi, np.sqrt(s_w) * np.eye(m)]),
        np.append(np.sqrt(s_v) * y, np.zeros(m)),
        rcond=None,
    )[0]
    covariance = np.linalg.inv(s_v * phi.T @ phi + s_w * np.eye(m))
    turn = model.prior.weights(basis, np.eye(m))
    return turn @ solved, turn @ covariance @ turn.T, kept


@pytest.fixture(scope="module")
def fitted():
    frames = silicon(22)
    return frames, *judged(frames)


@pytest.mark.parametrize("n", [10, 19, 20, 21, 214])
def test_every_frame_is_left_out_once_in_stretches_of_neighbours(n):
    parts = parts_of(n)
    assert len(parts) == PARTS
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))
    jumps = sum(int((np.diff(part) > 1).sum()) for part in parts if len(part))
    assert jumps <= 3 * PARTS  # four stretches have three gaps
    if n >= 20:
        assert {len(part) * 5 // n for part in parts} <= {0, 1}


@pytest.mark.parametrize("prior", ["whitened", "identity"])
def test_a_part_is_predicted_as_by_a_fit_without_it(prior):
    frames = silicon(22)
    model, found = judged(frames, prior=prior)
    assert [one.frame for one in found] == list(range(22))
    for part in parts_of(22)[:2]:
        weights, covariance, kept = without(frames, model, set(part.tolist()))
        assert 0 < len(kept) < model.n_references
        for k in part:
            c, labels = frames[k]
            one = found[k]
            raw = raw_rows(
                model.fitted.descriptor, model.fitted.references, model.describe(c)
            )
            asked = asked_rows(c, raw)[:, kept]
            said = asked @ weights
            deviations = np.sqrt(np.einsum("ij,jk,ik->i", asked, covariance, asked))
            e0 = model.fitted.elements.per_atom(c).mean()
            energy = labels.energy / 8 - e0 - said[0]
            # Normal equations square the condition of the rows.
            tolerance = {"rtol": 1e-4, "atol": 1e-6}
            np.testing.assert_allclose(one.energy_error, [energy], **tolerance)
            np.testing.assert_allclose(
                one.force_errors, labels.forces - said[1:25].reshape(8, 3), **tolerance
            )
            stress = labels.stress - said[25:]
            np.testing.assert_allclose(
                one.stress_errors, stress, rtol=0, atol=1e-4 * np.abs(stress).max()
            )
            by_atom = np.sqrt((deviations[1:25].reshape(8, 3) ** 2).mean(axis=1))
            np.testing.assert_allclose(one.force_deviations, by_atom, rtol=1e-3)
            np.testing.assert_allclose(one.energy_deviation, deviations[:1], rtol=1e-3)
            np.testing.assert_allclose(
                one.stress_deviations, deviations[25:], rtol=1e-3
            )


def test_left_out_frames_are_predicted_worse_than_fitted_ones(fitted):
    frames, model, found = fitted
    blind = np.concatenate([one.force_errors for one in found])
    seen = np.concatenate([y.forces - model.predict(c).forces for c, y in frames])
    assert np.sqrt((blind**2).mean()) > 1.05 * np.sqrt((seen**2).mean())


def test_the_fit_is_that_of_one_nobody_watches(fitted):
    frames, model, _ = fitted
    alone = empty_model()
    fit_dataset(alone, frames, n_references=30)
    np.testing.assert_array_equal(alone.fitted.weights, model.fitted.weights)
    np.testing.assert_array_equal(alone.fitted.gauge.root, model.fitted.gauge.root)


def test_what_has_no_label_or_no_weight_is_not_judged():
    frames = silicon(12)
    c, y = frames[3]
    frames[3] = c, Labels(np.nan, y.forces, np.full(6, np.nan))
    c, y = frames[4]
    forces = y.forces.copy()
    forces[0] = np.nan
    frames[4] = c, Labels(y.energy, forces, y.stress)
    _, found = judged(frames)
    assert not len(found[3].energy_error)
    assert not len(found[3].stress_errors)
    assert not len(found[4].force_errors)
    assert len(found[4].energy_error) == 1
    _, found = judged(silicon(12), stress=0.0)
    assert not any(len(one.stress_errors) for one in found)


def test_energies_of_another_reference_are_judged_on_the_level_of_the_model(fitted):
    frames, _, same = fitted
    levels = np.arange(22) % 3 == 0
    shifted = [
        (c, Labels(y.energy + 3.0 * c.n_atoms * level, y.forces, y.stress))
        for (c, y), level in zip(frames, levels, strict=True)
    ]
    _, found = judged(shifted, levels=levels.astype(np.int64))
    sizes = [
        np.sqrt(np.mean([one.energy_error[0] ** 2 for one in of]))
        for of in (same, found)
    ]
    assert sizes[1] < 2.0 * sizes[0]  # and not 3 eV


def test_so_many_frames_and_atoms_are_compared_as_the_cost_allows():
    one = Configuration.from_atoms(bulk("NaCl", "rocksalt", a=5.64, cubic=True) * 3)
    atoms = _sampled_atoms([one] * 1000, np.arange(1000))
    assert len(atoms) == FRAMES
    sizes = [len(x) for x in atoms.values() if len(x)]
    assert set(sizes) == {2 * ATOMS_OF_FRAME}
    assert sum(sizes) == pytest.approx(ATOMS, abs=2 * ATOMS_OF_FRAME)
    numbers = one.numbers[next(x for x in atoms.values() if len(x))]
    assert sorted(set(numbers.tolist())) == [11, 17]
    few = _sampled_atoms([one] * 3, np.arange(3))
    assert [len(x) for x in few.values()] == [2 * ATOMS_OF_FRAME] * 3


def test_of_many_frames_only_so_many_parts_are_left_out_as_are_needed(monkeypatch):
    frames = silicon(22)
    _, all_of_them = judged(frames)
    monkeypatch.setattr("otf.models.blind.ENOUGH", 11)
    _, found = judged(frames)
    parts = parts_of(22)
    assert sum(map(len, parts[:2])) < 11 <= sum(map(len, parts[:3]))
    expected = sorted(np.concatenate(parts[:3]).tolist())
    assert [one.frame for one in found] == expected
    for one in found:
        same = all_of_them[one.frame]
        np.testing.assert_allclose(one.force_errors, same.force_errors, rtol=1e-6)


# ------------------------------------------------------------------------- the laws
def normal(rng, n, *, size):
    """Return frames whose errors are so many times the deviations."""
    out = []
    for k in range(n):
        sigma = rng.uniform(0.01, 0.02, 40)
        numbers = np.repeat([11, 17], 20)
        factor = np.where(numbers == 11, size, 2.0 * size)
        out.append(
            BlindFrame(
                frame=k,
                numbers=numbers,
                force_errors=(factor * sigma)[:, None] * rng.normal(size=(40, 3)),
                force_deviations=sigma,
                energy_error=np.array([3.0 * size * 1e-4 * rng.normal()]),
                energy_deviation=np.array([1e-4]),
                stress_errors=4.0 * size * GPA * rng.normal(size=6),
                stress_deviations=np.full(6, GPA),
            )
        )
    return out


def test_laws_of_left_out_frames_hold_95_percent_of_the_errors():
    rng = np.random.default_rng(5)
    laws = Laws.of_blind(normal(rng, 200, size=6.0), (11, 17, 55))
    assert laws.origin == LEFT_OUT
    assert laws.n_frames == 200
    assert laws.forces[55] == Law(10.0)  # an element without frames: as a run starts
    others = normal(rng, 200, size=6.0)
    beyond = {11: [], 17: []}
    for one in others:
        e = laws.force_errors(one.numbers, one.force_deviations)
        for z, found in beyond.items():
            at = one.numbers == z
            found.append(np.abs(one.force_errors[at]) > e[at, None])
    # 12,000 components of either element: 0.2 % of them is one standard error
    for found in beyond.values():
        assert np.mean(found) == pytest.approx(0.05, abs=0.012)
    for law, values, deviation in (
        (laws.energy, [one.energy_error for one in others], 1e-4),
        (laws.stress, [one.stress_errors for one in others], GPA),
    ):
        share = np.mean(np.abs(values) > law.factor * deviation)
        assert share == pytest.approx(0.05, abs=0.04)


def test_laws_come_back_from_a_file_with_their_origin():
    laws = Laws.of_blind(normal(np.random.default_rng(6), 30, size=2.0), (11, 17))
    said = json.loads(json.dumps(record_of_laws(laws)))
    assert laws_of(said) == laws
    assert laws_of(json.loads(json.dumps(record_of_laws(None)))) is None
    assert said["calibration_origin"] == "left-out frames"
    assert record_of_laws(None)["calibration_origin"] == "none"


def test_files_that_name_no_origin_had_their_laws_from_a_run():
    old = {"calibration": {"Si": {"factor": 5.0, "exponent": 0.5, "largest": None}}}
    laws = laws_of(old)
    assert laws.origin == RUN
    assert laws.forces == {14: Law(5.0, 0.5)}
    assert laws.energy is None
    assert laws_of({}) is None
