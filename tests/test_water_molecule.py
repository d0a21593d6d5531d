"""The reference of the example of a water molecule."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule

FOLDER = Path(__file__).parents[1] / "examples" / "water_molecule"


@pytest.fixture
def water(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    from flexible_water import FlexibleWater

    atoms = molecule("H2O")
    atoms.calc = FlexibleWater()
    return atoms


def test_its_forces_are_the_gradient(water):
    water.rattle(0.1, seed=3)
    forces, step = water.get_forces(), 1e-4
    rest = water.positions.copy()
    for atom, axis in np.ndindex(3, 3):
        sides = []
        for sign in (1, -1):
            water.positions = rest
            water.positions[atom, axis] += sign * step
            sides.append(water.get_potential_energy())
        slope = (sides[0] - sides[1]) / (2 * step)
        assert forces[atom, axis] == pytest.approx(-slope, abs=1e-6)


def test_at_rest_it_has_the_published_bond_and_angle(water):
    # Habershon et al., table I: 0.9419 angstrom, 107.4 degrees.
    half = np.deg2rad(0.5 * 107.4)
    o = water.get_chemical_symbols().index("O")
    water.positions[:] = water.positions[o]
    arms = 0.9419 * np.array(
        [[np.sin(half), 0, np.cos(half)], [-np.sin(half), 0, np.cos(half)]]
    )
    water.positions[[k for k in range(3) if k != o]] += arms
    assert water.get_potential_energy() == pytest.approx(0.0, abs=1e-12)
    assert np.abs(water.get_forces()).max() < 1e-9
