"""Saved models: those of the first version, their proof, and what they were made of."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from otf.calculators.stillinger_weber import StillingerWeber
from otf.cli import main
from otf.configuration import Configuration, Labels
from otf.deploy import proof as proofs
from otf.deploy.proof import BACKENDS, WAYS, prove_everywhere
from otf.deploy.provenance import (
    laws_of,
    record_of_data,
    record_of_fit,
    record_of_laws,
)
from otf.deploy.saved_model import load_model, save_model
from otf.descriptors import radial
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.errors import StoreError
from otf.kernels import DeviceMissing, load
from otf.learning.calibration import Calibration, Law
from otf.learning.laws import Laws
from otf.models.bayesian_linear import BayesianLinear
from otf.store.model_file import read_model, write_model
from otf.units import GPA

FIRST = Path(__file__).parent / "data" / "model_v1.h5"
FACES = 0.25 * np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0]])


def silicon(n, seed=0):
    rng = np.random.default_rng(seed)
    out = []
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
        out.append((c, Labels(energy, forces, virial / c.volume)))
    return out


@pytest.fixture(scope="module")
def learned():
    descriptor = PowerSpectrum(
        species=(14,),
        cutoff_three_body=4.0,
        cutoff_two_body=4.0,
        n_max=3,
        l_max=2,
        n_max_two_body=4,
    )
    model = BayesianLinear(descriptor)
    model.extend(silicon(6))
    model.fit_weights()
    return model


@pytest.fixture
def path(tmp_path, learned):
    path = tmp_path / "model.h5"
    structures = [c for c, _ in silicon(6)]
    save_model(path, learned.fitted, proof=structures, metadata={"command": "fit"})
    return path


MARKED = [
    pytest.param(x, marks=pytest.mark.gpu) if x.startswith("gpu") else x
    for x in BACKENDS
]


def is_here(backend):
    try:
        load(backend)
    except DeviceMissing:
        return False
    return True


def require(backend):
    if not is_here(backend):
        pytest.skip(f"there is no {backend} here")


def rewritten(path, change):
    """Write a model file again with other arrays or proof."""
    file = read_model(path)
    arrays, proof = change(dict(file.arrays), list(file.proof))
    write_model(path, arrays, metadata=file.metadata, proof=proof)


def with_other_forces(path, by):
    def change(arrays, proof):
        c, labels = proof[2]
        proof[2] = c, replace(labels, forces=labels.forces + by)
        return arrays, proof

    rewritten(path, change)


# ------------------------------------------------------------------ the first version
@pytest.mark.parametrize("backend", MARKED)
def test_a_model_of_the_first_version_gives_its_values_again(backend):
    require(backend)
    model = load_model(FIRST, backend=backend)
    file = read_model(FIRST)
    assert file.form == "1.0"
    assert len(file.proof) == 5
    for c, labels in file.proof:
        found = model.predict(c)
        assert found.energy == pytest.approx(labels.energy, abs=4e-7)
        np.testing.assert_allclose(found.forces, labels.forces, rtol=0, atol=1e-6)
        np.testing.assert_allclose(found.stress, labels.stress, rtol=0, atol=1e-7)


def test_a_model_of_the_first_version_is_shown(capsys):
    assert main(["show", str(FIRST), "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["species"] == ["Cu", "Au"]
    assert card["local_references"] == {"Cu": 5, "Au": 5}
    assert card["covariance"] == {"name": "polynomial", "zeta": 4.0}
    assert card["descriptor"]["cutoff_three_body_A"] == 4.0
    assert card["n_frames"] == 5
    assert main(["show", str(FIRST)]) == 0


# -------------------------------------------------------------------------- the proof
def test_additions_of_a_newer_minor_version_do_no_harm(path):
    before = load_model(path).predict(silicon(1, seed=9)[0][0])

    def change(arrays, proof):
        arrays["descriptor/chirality"] = np.array(3)
        arrays["electrostatics/charges"] = np.ones(4)
        return arrays, proof

    rewritten(path, change)
    with h5py.File(path, "r+") as file:
        file.attrs["minor"] = 99
        file["mapped/grid"] = np.arange(5.0)
    after = load_model(path).predict(silicon(1, seed=9)[0][0])
    assert before.energy == after.energy


@pytest.mark.parametrize(("n", "expected"), [(1, 5), (3, 5), (6, 6), (20, 8)])
def test_a_proof_has_five_to_eight_different_frames(tmp_path, learned, n, expected):
    structures = [c for c, _ in silicon(n)]
    save_model(tmp_path / "m.h5", learned.fitted, proof=structures, metadata={})
    found = read_model(tmp_path / "m.h5").proof
    assert len(found) == expected
    assert len({c.positions.tobytes() for c, _ in found}) == expected
    load_model(tmp_path / "m.h5")


@pytest.mark.parametrize("backend", MARKED)
def test_a_refusal_names_backend_quantity_frame_size_and_tolerance(path, backend):
    require(backend)
    with_other_forces(path, 0.5)
    expected = (
        f"{path}: backend {backend} does not give the model's own forces again: proof "
        "frame 2 is off by 0.5 eV/angstrom, allowed are 1e-06"
    )
    with pytest.raises(StoreError) as caught:
        load_model(path, backend=backend)
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)


def flip(name):
    """Return a function that changes one bit of the last number of a dataset."""

    def change(file):
        node = file[name]
        value = np.array(node[()], ndmin=1)
        value.reshape(-1).view(np.uint8)[-8] ^= 1
        node[...] = value.reshape(node.shape)

    return change


def other_unit(file):
    file["arrays/weights"].attrs["unit"] = "Ha"


TAMPERED = {
    "weights": (flip("arrays/weights"), "/arrays/weights has another checksum"),
    "radial table": (
        flip("arrays/tables/three_body/values"),
        "/arrays/tables/three_body/values has another checksum",
    ),
    "species": (
        flip("arrays/descriptor/species"),
        "/arrays/descriptor/species has another checksum",
    ),
    "unit": (other_unit, "/arrays/weights is in Ha, not eV"),
}


@pytest.mark.parametrize("backend", MARKED)
@pytest.mark.parametrize("what", TAMPERED)
def test_a_tampered_file_is_refused_by_name(path, backend, what):
    require(backend)
    load_model(path, backend=backend)
    change, fault = TAMPERED[what]
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(StoreError) as caught:
        load_model(path, backend=backend)
    expected = f"{path}: is damaged ({fault}); take another copy"
    assert str(caught.value) == expected


@pytest.mark.parametrize("backend", MARKED)
def test_species_in_another_order_are_refused_by_what_they_do(tmp_path, backend):
    """Checksums that were made anew; what disagrees is what the model predicts."""
    require(backend)
    path = tmp_path / "copper_gold.h5"
    shutil.copy(FIRST, path)

    def change(arrays, proof):
        for name in ("basis/species", "coarse_basis/species"):
            arrays[name] = 1 - arrays[name]
        return arrays, proof

    load_model(path, backend=backend)
    rewritten(path, change)
    with pytest.raises(StoreError, match=f"backend {backend} does not give"):
        load_model(path, backend=backend)


def test_every_backend_of_the_kernels_is_verified(path, capsys):
    assert main(["show", str(path), "--verify", "--json"]) == 0
    backends = json.loads(capsys.readouterr().out)["backends"]
    assert backends.keys() == set(WAYS)
    assert all(one["proven"] for one in backends.values() if one["available"])
    assert backends["cpu"]["available"]
    assert backends["reference"]["available"]
    assert main(["show", str(path), "--verify"]) == 0
    assert "backend reference proven: energy within" in capsys.readouterr().out


def test_a_backend_that_is_not_here_is_passed_over(path, capsys, monkeypatch):
    def load(name):
        if name != "reference":
            raise ImportError("No module named 'numba'")

    monkeypatch.setattr(proofs, "load", load)
    assert main(["show", str(path), "--verify"]) == 0
    assert "not here: No module named 'numba'" in capsys.readouterr().out


def test_every_backend_that_fails_is_one_line(path, capsys):
    with_other_forces(path, 0.5)
    assert main(["show", str(path), "--verify"]) == 1
    printed = capsys.readouterr()
    errors = [line for line in printed.err.splitlines() if "error" in line]
    assert len(errors) == sum(map(is_here, BACKENDS)) + 1  # and LAMMPS
    assert printed.out.count("refused") == len(errors)


def test_a_backend_counts_its_progress(path, learned):
    seen = []
    proof = read_model(path).proof
    prove_everywhere(learned.fitted, proof, progress=lambda *seen_: seen.append(seen_))
    assert [done for _, done, _ in seen] == list(range(len(seen)))
    assert seen[-1][2] == len(seen)


# ------------------------------------------------------------------------- the tables
@pytest.mark.parametrize("part", ["two_body", "three_body"])
def test_another_radial_table_is_refused(path, part):
    def change(arrays, proof):
        name = f"tables/{part}/values"
        arrays[name] = arrays[name] * (1.0 + 1e-6)
        return arrays, proof

    rewritten(path, change)
    with pytest.raises(StoreError, match=rf"radial table of the {part} part.*allowed"):
        load_model(path)


def test_a_finer_table_of_the_same_functions_is_the_same_table(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(radial, "STEP", radial.STEP / 2.0)
        radial.radial_table.cache_clear()
        load_model(path)
    radial.radial_table.cache_clear()


# -------------------------------------------------------------------------- the origin
def test_ranges_are_those_of_the_training_data(learned):
    frames = silicon(6)
    said = record_of_data(frames, reference="abc", temperatures=[300.0, 900.0])
    volumes = [c.volume / 8 for c, _ in frames]
    expected = pytest.approx([min(volumes), max(volumes)], rel=1e-14)
    assert said["range"]["volume_A3_per_atom"] == expected
    energies = [y.energy / 8 for _, y in frames]
    assert said["range"]["energy_eV_per_atom"] == [min(energies), max(energies)]
    pressures = [-y.stress[:3].mean() / GPA for _, y in frames]
    expected = pytest.approx([min(pressures), max(pressures)], rel=1e-12)
    assert said["range"]["pressure_GPa"] == expected
    largest = max(np.abs(y.forces).max() for _, y in frames)
    assert said["range"]["force_component_eV_per_A"][1] == largest
    assert said["range"]["atomic_fraction"] == {"Si": [1.0, 1.0]}
    assert said["range"]["temperature_K"] == [300.0, 900.0]
    assert (said["n_frames"], said["reference"]) == (6, "abc")


def test_unknown_ranges_are_null_and_not_nan():
    ((c, _),) = silicon(1)
    alone = replace(c, pbc=np.zeros(3, dtype=bool))
    unknown = Labels(np.nan, np.zeros((8, 3)), np.full(6, np.nan))
    said = record_of_data([(alone, unknown)], reference="")["range"]
    assert said["volume_A3_per_atom"] is None
    assert said["pressure_GPa"] is None
    assert said["energy_eV_per_atom"] is None
    assert "NaN" not in json.dumps(said)


def test_a_fit_is_recorded_in_the_units_of_the_names(learned):
    said = record_of_fit(learned.report)
    errors = learned.report.errors
    assert said["training_energy_rmse_meV_per_atom"] == 1000.0 * errors.energy
    assert said["training_stress_rmse_GPa"] == errors.stress / GPA
    assert said["log_evidence"] == learned.report.log_evidence


def test_calibration_comes_back_with_its_laws():
    calibration = Calibration(minimum_frames=1)
    rng = np.random.default_rng(3)
    deviations = rng.uniform(0.01, 0.03, 8)
    errors = 5.0 * deviations[:, None] * rng.normal(size=(8, 3))
    calibration.add(np.full(8, 14), errors, deviations, audit=False)
    said = record_of_laws(Laws.of_calibration(calibration, (14, 32)))
    laws = laws_of(json.loads(json.dumps(said)))
    assert laws.origin == "run"
    assert laws.forces[14] == calibration.law(14)
    assert laws.forces[32] == Law(calibration.start)
    np.testing.assert_array_equal(
        laws.force_errors(np.full(8, 14), deviations),
        calibration.errors(np.full(8, 14), deviations),
    )
    assert laws_of(record_of_laws(None)) is None
