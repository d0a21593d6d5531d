"""Labels of two references in one model: a shift of the zero of energy is no news."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from otf.cli import main
from otf.commands.dataset import read_dataset
from otf.configuration import Configuration, Labels
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.errors import InputError
from otf.models.archive import model_from_arrays, model_to_arrays
from otf.models.batch import comparable, fit_dataset
from otf.models.bayesian_linear import BayesianLinear
from otf.models.levels import level_shifts, unshifted
from otf.store.extxyz import write_frames
from otf.store.model_file import read_model

SPECIES = (29, 79)
SHIFT = np.array([[0.0, 0.0], [1.75, -24.5]])  # eV per atom of Cu and Au


def alloys(n_frames, seed=0):
    """Return rattled copper-gold of several compositions with labels of EMT."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n_frames):
        atoms = bulk("Cu", cubic=True, a=3.85).repeat((2, 1, 1))
        atoms.numbers = np.where(rng.uniform(size=8) < rng.uniform(0.2, 0.8), 29, 79)
        atoms.set_cell(atoms.cell * (1 + 0.02 * rng.normal()), scale_atoms=True)
        atoms.positions += rng.normal(0.0, 0.06, (8, 3))
        atoms.calc = EMT()
        c = Configuration.from_atoms(atoms)
        energy = atoms.get_potential_energy()
        labels = Labels(energy, atoms.get_forces(), atoms.get_stress())
        out.append((c, labels))
    return out


def shifted(frames, levels, shift=SHIFT):
    """Return the frames with energies of another zero for every level."""
    out = []
    for (c, labels), level in zip(frames, levels, strict=True):
        counts = np.array([np.count_nonzero(c.numbers == z) for z in SPECIES])
        energy = labels.energy + counts @ shift[level]
        out.append((c, replace(labels, energy=energy)))
    return out


def empty_model():
    descriptor = PowerSpectrum(
        species=SPECIES,
        cutoff_three_body=4.0,
        cutoff_two_body=4.5,
        n_max=3,
        l_max=2,
        n_max_two_body=5,
    )
    return BayesianLinear(descriptor)


def fitted(frames, levels=None):
    model = empty_model()
    fit_dataset(model, frames, n_references=60, levels=levels)
    return model


@pytest.fixture(scope="module")
def frames():
    return alloys(30)


@pytest.fixture(scope="module")
def levels():
    return np.arange(30) % 3 // 2  # every third structure by the second reference


def test_the_size_of_the_shift_makes_no_difference(frames, levels):
    far = fitted(shifted(frames, levels), levels)
    near = fitted(frames, levels)
    for c, _ in alloys(4, seed=7):
        one, other = far.predict(c), near.predict(c)
        # 1e-16 of energies of 200 eV, times what the regression amplifies.
        assert one.energy == pytest.approx(other.energy, abs=1e-7)
        np.testing.assert_allclose(one.forces, other.forces, rtol=0, atol=1e-7)
        np.testing.assert_allclose(one.stress, other.stress, rtol=0, atol=1e-8)
        np.testing.assert_allclose(
            far.force_uncertainty(c).forces,
            near.force_uncertainty(c).forces,
            rtol=1e-6,
        )
    assert far.report.n_rows == near.report.n_rows
    assert far.report.log_evidence == pytest.approx(near.report.log_evidence, rel=1e-9)


def test_the_shifts_are_found_and_predictions_are_on_the_first_level(frames, levels):
    mixed = fitted(shifted(frames, levels), levels)
    plain = fitted(frames)
    found = level_shifts(mixed.predict, shifted(frames, levels), levels, SPECIES)
    # The shift is known as well as the model knows energies.
    errors = plain.report.errors.energy
    np.testing.assert_allclose(found, SHIFT, rtol=0, atol=5.0 * errors)
    for c, _ in alloys(4, seed=7):
        one, other = mixed.predict(c), plain.predict(c)
        assert abs(one.energy - other.energy) / c.n_atoms < 5.0 * errors
    assert mixed.report.errors.energy < 2.0 * errors


def test_labels_mixed_without_levels_are_worse(frames, levels):
    wrong = fitted(shifted(frames, levels))
    right = fitted(shifted(frames, levels), levels)
    assert wrong.report.errors.force > 3.0 * right.report.errors.force


def test_comparable_labels_lie_on_one_level(frames, levels):
    far = shifted(frames, levels)
    model = fitted(far, levels)
    back = comparable(model, far, levels)
    for (_, one), (_, two), (_, was), level in zip(
        back, frames, far, levels, strict=True
    ):
        assert one.forces is was.forces
        if level == 0:
            assert one.energy == two.energy
        assert one.energy == pytest.approx(two.energy, abs=0.1)


def test_unshifted_rows_are_blind_to_the_shift_and_keep_the_rest():
    rng = np.random.default_rng(3)
    rows, labels = rng.normal(size=(12, 4)), rng.normal(size=12)
    levels = np.array([0, 1, 2] * 4)
    shares = rng.dirichlet([1.0, 1.0], size=12)
    shift = np.array([[0.0, 0.0], [3.0, -4.0], [50.0, 60.0]])
    moved = labels + np.einsum("fs,fs->f", shares, shift[levels])
    one = unshifted(rows, labels, levels, shares)
    two = unshifted(rows, moved, levels, shares)
    np.testing.assert_allclose(one.labels, two.labels, rtol=0, atol=1e-12)
    assert one.n_lost == 4
    # The least-squares weights are those of a fit that has the shifts as unknowns.
    columns = [np.where((levels == k)[:, None], shares, 0.0) for k in (1, 2)]
    full = np.linalg.lstsq(np.hstack([rows, *columns]), moved, rcond=None)[0][:4]
    part = np.linalg.lstsq(two.rows, two.labels, rcond=None)[0]
    np.testing.assert_allclose(part, full, rtol=1e-9)


def test_one_composition_takes_one_shift_for_all_its_elements(levels):
    same = [f for f in alloys(200, seed=2) if (f[0].numbers == 29).sum() == 4][:30]
    assert len(same) == 30
    far = shifted(same, levels)
    model = fitted(far, levels)
    found = level_shifts(model.predict, far, levels, SPECIES)[1]
    assert found[0] == pytest.approx(found[1])  # the smallest shifts
    assert found.mean() == pytest.approx(SHIFT[1].mean(), abs=0.01)


# ------------------------------------------------------------------------- learning
def learned(frames, references, *, parts=1):
    """Return a model that took the frames in one after another, as a run does."""
    model = empty_model()
    bounds = np.linspace(0, len(frames), parts + 1).astype(int)
    for low, high in itertools.pairwise(bounds):
        model.extend(frames[low:high], references=references[low:high])
        model.fit_weights()
    return model


def names_of(levels):
    return [("", "b", "c")[level] for level in levels]


def require_alike(one, other, *, tolerance):
    for c, _ in alloys(4, seed=7):
        a, b = one.predict(c), other.predict(c)
        assert abs(a.energy - b.energy) / c.n_atoms < tolerance
        np.testing.assert_allclose(a.forces, b.forces, rtol=0, atol=tolerance)
        np.testing.assert_allclose(a.stress, b.stress, rtol=0, atol=tolerance)
        np.testing.assert_allclose(
            one.force_uncertainty(c).forces,
            other.force_uncertainty(c).forces,
            rtol=1e-6,
        )


def test_a_model_that_learns_is_blind_to_the_shift_of_another_reference(frames, levels):
    far = learned(shifted(frames, levels), names_of(levels), parts=3)
    near = learned(frames, names_of(levels), parts=3)
    require_alike(far, near, tolerance=1e-8)
    assert far.report.n_rows == near.report.n_rows
    assert far.report.errors.energy == pytest.approx(
        near.report.errors.energy, rel=1e-6
    )


def test_as_many_energies_as_there_are_unknown_shifts_say_nothing(frames):
    """Two energies of another reference fix its two shifts: they could be missing."""
    levels = np.zeros(12, dtype=int)
    levels[[3, 8]] = 1
    far = shifted(frames[:12], levels)
    blind = [
        (c, replace(labels, energy=np.nan) if level else labels)
        for (c, labels), level in zip(far, levels, strict=True)
    ]
    one = learned(far, names_of(levels))
    other = learned(blind, names_of(levels))
    require_alike(one, other, tolerance=1e-8)
    assert one.report.n_rows == other.report.n_rows
    assert one.report.log_evidence == pytest.approx(other.report.log_evidence, rel=1e-9)


def test_the_weights_are_those_of_a_regression_with_the_shifts_as_unknowns(
    frames, levels
):
    far = shifted(frames, levels)
    model = learned(far, names_of(levels))
    s_w, s_v = model.report.prior_precision, model.report.noise_precision
    training = model.training
    blocks = [training.blocks[kind] for kind in ("energy", "force", "stress")]
    rows = np.concatenate([block.rows for block in blocks])
    e0 = model.fitted.elements
    per_atom = [(labels.energy - e0.total(c)) / c.n_atoms for c, labels in far]
    labels = np.concatenate(
        [np.array(per_atom) / training.noise.energy, *(b.labels for b in blocks[1:])]
    )
    shares = np.where((levels == 1)[:, None], training.fractions(SPECIES), 0.0)
    unknown = np.zeros((len(rows), 2))
    unknown[: len(frames)] = shares / training.noise.energy
    full = np.hstack([rows, unknown])
    m = rows.shape[1]
    prior = np.diag([s_w / s_v] * m + [0.0] * 2)
    found = np.linalg.solve(full.T @ full + prior, full.T @ labels)
    np.testing.assert_allclose(
        model.prior.weights(model.basis, found[:m]),
        model.fitted.weights,
        rtol=0,
        atol=1e-6 * np.abs(model.fitted.weights).max(),
    )
    np.testing.assert_allclose(found[m:], SHIFT[1], rtol=0, atol=0.05)


def test_learning_shifts_and_fitting_them_are_the_same(frames, levels):
    model = learned(shifted(frames, levels), names_of(levels))
    plain = learned(frames, [""] * len(frames))
    errors = plain.report.errors.energy
    assert model.report.errors.energy < 2.0 * errors
    found = level_shifts(model.predict, shifted(frames, levels), levels, SPECIES)
    np.testing.assert_allclose(found, SHIFT, rtol=0, atol=5.0 * errors)
    wrong = learned(shifted(frames, levels), [""] * len(frames))
    assert wrong.report.errors.force > 3.0 * model.report.errors.force


def test_the_reference_of_a_frame_survives_a_checkpoint(frames, levels):
    far, names = shifted(frames, levels), names_of(levels)
    whole = learned(far, names, parts=2)
    half = learned(far[:15], names[:15])
    back = model_from_arrays(model_to_arrays(half))
    back.extend(far[15:], references=names[15:])
    back.fit_weights()
    for c, _ in alloys(2, seed=7):
        assert back.predict(c).energy == whole.predict(c).energy
        np.testing.assert_array_equal(back.predict(c).forces, whole.predict(c).forces)


# -------------------------------------------------------------------------- command
@pytest.fixture
def folder(tmp_path, frames, levels):
    far = shifted(frames, levels)
    for level, words in enumerate(("arguments.ecut: 30", "arguments.ecut: 40")):
        part = [f for f, one in zip(far, levels, strict=True) if one == level]
        name = "ab"[level]
        write_frames(
            tmp_path / f"{name}.xyz",
            part,
            fingerprints=[name] * len(part),
            descriptions={name: words},
        )
    (tmp_path / "input.toml").write_text(
        "[descriptor]\ncutoff_three_body_A = 4.0\ncutoff_two_body_A = 4.5\n"
        "n_max = 3\nl_max = 2\nn_max_two_body = 5\n"
    )
    return tmp_path


def test_fit_mixes_references_when_told_to_and_says_how(folder, capsys):
    words = ["fit", folder / "b.xyz", folder / "a.xyz", "-o", folder / "m.h5"]
    words += ["--input", folder / "input.toml", "--references", "60"]
    words = [str(word) for word in words]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "(ecut 40 against 30)" in line
    assert "--mix-references" in line
    assert not (folder / "m.h5").exists()
    assert main([*words, "--mix-references"]) == 0
    out = capsys.readouterr().out
    assert "Energies are those of reference a." in out
    assert "10 labels of reference b (ecut 30 against 40) lie above by Cu +1.7" in out
    said = read_model(folder / "m.h5").metadata
    assert said["reference"] == "a"  # it has more labels
    (other,) = said["mixed_references"]
    assert other["reference"] == "b"
    assert other["shifts"]["Au"] == pytest.approx(-24.5, abs=0.05)
    assert said["training_energy_rmse_meV_per_atom"] < 50.0
    # Errors are those of energies on one level, so the model file proves itself.
    assert main(["show", str(folder / "m.h5"), "--verify"]) == 0
    assert "10 labels of b, shifted by Cu 1.7" in capsys.readouterr().out


def test_labels_that_do_not_say_their_reference_are_one_of_their_own(folder):
    bare = alloys(3, seed=9)
    write_frames(folder / "c.xyz", bare)
    paths = [folder / f"{name}.xyz" for name in "cab"]
    data = read_dataset(paths, mix=True)
    assert data.reference == "a"
    assert [mark for mark, _ in data.others] == ["b", ""]
    assert data.levels.tolist() == [2] * 3 + [0] * 20 + [1] * 10
    with pytest.raises(InputError, match="do not mix"):
        read_dataset(paths)
    one = read_dataset([folder / "a.xyz"], mix=True)
    assert one.levels is None
