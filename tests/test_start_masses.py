"""Masses of the user in place of those of nature."""

import numpy as np
import pytest
from ase.build import molecule
from ase.io import write

from otf.settings import load_settings
from otf.settings.start import starting_point

INPUT = """
[structure]
file = "water.extxyz"
{masses}

[reference]
calculator = "emt"

[dynamics]
ensemble = "NVE"

[[dynamics.stages]]
steps = 10
"""


@pytest.fixture
def start(tmp_path):
    """Return a function that reads water with some masses."""
    water = molecule("H2O")
    water.set_velocities(np.arange(9.0).reshape(3, 3))
    write(tmp_path / "water.extxyz", water)

    def read(masses=""):
        path = tmp_path / "input.toml"
        path.write_text(INPUT.format(masses=masses))
        return starting_point(load_settings(path))

    return read


def test_the_elements_that_are_named_have_the_masses_of_the_user(start):
    natural, heavy = start(), start("masses_amu = { H = 3.0 }")
    assert natural.masses.tolist() == [15.999, 1.008, 1.008]
    assert heavy.masses.tolist() == [15.999, 3.0, 3.0]


def test_velocities_of_the_file_are_kept(start):
    natural, heavy = start(), start("masses_amu = { H = 3.0 }")
    np.testing.assert_allclose(natural.velocities, np.arange(9.0).reshape(3, 3))
    assert np.array_equal(heavy.velocities, natural.velocities)
