"""The examples: every input that is shown can be run as it stands."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from otf.analysis.order import STRUCTURES, structures
from otf.cli import main
from otf.commands.fitting import model_settings
from otf.settings.loading import load_settings
from otf.settings.members import members_of
from otf.settings.start import starting_point

EXAMPLES = Path(__file__).parents[1] / "examples"
INPUTS = sorted(EXAMPLES.glob("*/input.toml"))


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.parent.name)
def test_the_input_of_an_example_is_sound(path):
    settings = load_settings(path)
    assert settings.is_learning
    assert starting_point(settings).configuration.n_atoms > 1
    assert settings.dynamics.stages


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("silicon_*/input.toml")), ids=lambda p: p.parent.name
)
def test_a_look_at_the_input_finds_it_sound(path, capsys):
    calculator = load_settings(path).reference.calculator
    if calculator == "espresso" and shutil.which("pw.x") is None:
        pytest.skip("there is no pw.x on the PATH")
    assert main(["check", str(path)]) == 0
    assert "input.toml is sound" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("example", "model", "n_atoms", "last"),
    [
        ("silicon_melting", "silicon.h5", 576, "enthalpy-1723.8K-2  200000 steps"),
        ("aluminium_melts", "production.h5", 1024, "enthalpy-948.6K-2  60000 steps"),
    ],
)
def test_the_cell_of_two_phases_is_planned(
    example, model, n_atoms, last, tmp_path, capsys
):
    shutil.copytree(EXAMPLES / example, tmp_path / "melting")
    (tmp_path / "melting" / model).touch()  # what the learning leaves
    assert main(["coexistence", str(tmp_path / "melting/melting.toml"), "--plan"]) == 0
    out = capsys.readouterr().out
    assert f"{n_atoms} atoms" in out
    assert last in out


@pytest.mark.parametrize(
    "example", ["silicon_melting", "silicon_pressure", "aluminium_melts"]
)
def test_the_form_for_production_is_sound(example):
    settings = model_settings(EXAMPLES / example / "production.toml")
    assert settings.regression.was_given("exponent")
    assert settings.descriptor.was_given("cutoff_three_body_A")


def test_melts_of_aluminium_start_without_a_crystal():
    sweep = load_settings(EXAMPLES / "aluminium_melts" / "input.toml")
    for member in members_of(sweep):
        packing = starting_point(member.settings).configuration
        atoms = packing.to_atoms()
        distances = atoms.get_all_distances(mic=True)
        np.fill_diagonal(distances, np.inf)
        assert distances.min() >= 2.4
        around = np.bincount(structures(packing), minlength=len(STRUCTURES))
        assert around[0] == packing.n_atoms  # of no structure, as STRUCTURES has it
