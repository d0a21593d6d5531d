"""The examples: every input that is shown can be run as it stands."""

import shutil
from pathlib import Path

import pytest

from otf.cli import main
from otf.commands.fitting import model_settings
from otf.settings.loading import load_settings
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
    assert main(["check", str(path)]) == 0
    assert "input.toml is sound" in capsys.readouterr().out


def test_the_cell_of_two_phases_is_planned(tmp_path, capsys):
    shutil.copytree(EXAMPLES / "silicon_melting", tmp_path / "melting")
    (tmp_path / "melting/silicon.h5").touch()  # what the learning leaves
    assert main(["coexistence", str(tmp_path / "melting/melting.toml"), "--plan"]) == 0
    out = capsys.readouterr().out
    assert "576 atoms" in out
    assert "enthalpy-1757.6K-2  150000 steps" in out


@pytest.mark.parametrize(
    "path",
    sorted(EXAMPLES.glob("silicon_*/production.toml")),
    ids=lambda p: p.parent.name,
)
def test_the_form_for_production_is_sound(path):
    settings = model_settings(path)
    assert settings.regression.was_given("exponent")
    assert settings.descriptor.was_given("cutoff_three_body_A")
