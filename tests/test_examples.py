"""The examples: every input that is shown can be run as it stands."""

from pathlib import Path

import numpy as np
import pytest

from otf.analysis.order import STRUCTURES, structures
from otf.commands.coexistence_runs import first_crystal, require_a_verdict
from otf.settings.loading import load_settings, parse_settings
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


def test_the_melting_of_aluminium_has_room_and_steps_for_a_verdict():
    path = EXAMPLES / "aluminium_melts" / "melting.toml"  # its model is yet to be made
    settings = parse_settings(path.read_text(), name=path.name, folder=path.parent)
    require_a_verdict(settings, settings.coexistence)
    assert first_crystal(settings).n_atoms == 640
