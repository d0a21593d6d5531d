"""otf-md distill: a faster form of a model from the same labels."""

import json

import numpy as np
import pytest
from ase.build import bulk

from otf.calculators.reference import to_labels
from otf.calculators.serving import evaluate
from otf.calculators.stillinger_weber import StillingerWeber
from otf.cli import main
from otf.commands.distill import ATOMS, large
from otf.configuration import Configuration
from otf.deploy.saved_model import load_model
from otf.store.extxyz import write_frames
from otf.store.model_file import read_model

INPUT = """[descriptor]
cutoff_three_body_A = 4.0
cutoff_two_body_A = 4.0
n_max = 4
l_max = 3
n_max_two_body = 4
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with labels and a model of them."""
    path = tmp_path_factory.mktemp("distill")
    frames = []
    for seed in range(6):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.12, seed=seed)
        c = Configuration.from_atoms(atoms)
        frames.append((c, to_labels(evaluate(StillingerWeber(), atoms), c)))
    write_frames(path / "data.xyz", frames)
    (path / "model.toml").write_text(INPUT)
    command = ["fit", path / "data.xyz", "-o", path / "model.h5"]
    assert main([*map(str, command), "--input", str(path / "model.toml")]) == 0
    return path


def distill(folder, *options):
    command = ["distill", folder / "model.h5", folder / "data.xyz"]
    return main([*map(str, command), "-o", str(folder / "new.h5"), *options])


@pytest.mark.parametrize(("exponent", "form"), [("2", "quadratic"), ("1", "vector")])
def test_the_distilled_model_has_the_form_asked_for(folder, capsys, exponent, form):
    assert distill(folder, "--exponent", exponent, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"]["form"] == "direct"
    assert found["distilled"]["form"] == load_model(folder / "new.h5").form == form
    for one in found.values():
        assert one["us_per_atom_step"] > 0
        assert 0 < one["errors"]["force_mae_eV_per_A"] < 0.5


def test_its_errors_are_those_of_its_predictions(folder, capsys):
    assert distill(folder, "--json") == 0
    found = json.loads(capsys.readouterr().out)["distilled"]["errors"]
    assert main(["evaluate", *map(str, (folder / "new.h5", folder / "data.xyz"))]) == 0
    line = capsys.readouterr().out.splitlines()[2].split()
    assert float(line[5]) == pytest.approx(found["force_mae_eV_per_A"], abs=6e-5)


def test_what_the_command_line_does_not_change_is_that_of_the_model(folder):
    assert distill(folder, "--l-max", "2") == 0
    new, old = (load_model(folder / name) for name in ("new.h5", "model.h5"))
    assert new.descriptor.l_max == 2
    assert new.descriptor.n_max == old.descriptor.n_max == 4
    assert new.descriptor.cutoff == old.descriptor.cutoff == 4.0
    metadata = read_model(folder / "new.h5").metadata
    assert metadata["command"] == "distill"
    assert metadata["input"]["regression"]["exponent"] == 2


def test_the_table_has_a_line_for_each(folder, capsys):
    assert distill(folder) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split()[:2] == ["model", "direct"]
    assert lines[3].split()[:2] == ["distilled", "quadratic"]


def test_other_elements_and_missing_files_are_one_line(folder, capsys):
    germanium = Configuration.from_atoms(bulk("Ge", cubic=True))
    label = to_labels(evaluate(StillingerWeber(), bulk("Si", cubic=True)), germanium)
    write_frames(folder / "ge.xyz", [(germanium, label)])
    for data in ("ge.xyz", "none.xyz"):
        command = ["distill", folder / "model.h5", folder / data, "-o", folder / "x.h5"]
        assert main([*map(str, command)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
        assert not (folder / "x.h5").exists()


def test_the_speed_is_measured_on_many_atoms():
    slab = bulk("Si", cubic=True)
    slab.pbc = (True, True, False)
    c = large([Configuration.from_atoms(slab)])
    assert ATOMS <= c.n_atoms < 2 * ATOMS
    assert np.isclose(c.cell[2, 2], slab.cell[2, 2])
    molecule = slab.copy()
    molecule.pbc = False
    assert large([Configuration.from_atoms(molecule)]).n_atoms == len(slab)
