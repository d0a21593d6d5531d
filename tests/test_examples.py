"""The examples: every input that is shown can be run as it stands."""

from pathlib import Path

import pytest

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
