"""Energies of the elements, determined or not."""

from __future__ import annotations

import numpy as np
import pytest

from otf.configuration import Configuration
from otf.errors import InputError
from otf.models.composition import ElementEnergies

SPECIES = (8, 14)


def gas(*numbers):
    n = len(numbers)
    return Configuration(
        numbers=np.array(numbers),
        positions=np.zeros((n, 3)),
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, dtype=bool),
    )


def test_different_compositions_determine_the_elements():
    fractions = np.array([[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]])
    e0 = np.array([-3.0, 7.0])
    fitted = ElementEnergies.fitted(SPECIES, fractions, fractions @ e0)
    assert fitted.is_determined
    np.testing.assert_allclose(fitted.values, e0, rtol=1e-12)
    assert fitted.warning(gas(8, 8, 14)) is None


def test_one_composition_shifts_both_elements_from_the_first_frame_alike():
    fractions = np.array([[0.5, 0.5], [0.5, 0.5]])
    fitted = ElementEnergies.fitted(SPECIES, fractions, np.array([-4.0, -6.0]))
    assert not fitted.is_determined
    # The first frame gives -4 to both; the mean is -5, so both move by -1.
    np.testing.assert_allclose(fitted.values, [-5.0, -5.0], rtol=1e-12)


def test_smallest_shift_from_isolated_atoms_is_along_the_composition():
    fractions = np.array([[2 / 3, 1 / 3]])
    fitted = ElementEnergies.fitted(
        SPECIES, fractions, np.array([-5.0]), isolated={8: -1.0, 14: -2.0}
    )
    shift = fitted.values - [-1.0, -2.0]
    assert float(fractions[0] @ fitted.values) == pytest.approx(-5.0)
    assert shift[0] / shift[1] == pytest.approx(2.0)


def test_a_composition_outside_the_span_is_reported():
    fitted = ElementEnergies.fitted(SPECIES, np.array([[0.5, 0.5]]), np.array([-5.0]))
    assert fitted.warning(gas(8, 14, 8, 14)) is None
    assert "outside the span" in fitted.warning(gas(8, 8, 14))


def test_an_element_without_an_isolated_energy_is_an_error():
    with pytest.raises(InputError, match="atomic number 14"):
        ElementEnergies.fitted(
            SPECIES, np.array([[0.5, 0.5]]), np.array([-5.0]), isolated={8: -1.0}
        )


def test_without_energies_the_elements_are_zero():
    fitted = ElementEnergies.fitted(SPECIES, np.empty((0, 2)), np.empty(0))
    assert fitted.values.tolist() == [0.0, 0.0]
    assert fitted.per_atom(gas(14, 8)).tolist() == [0.0, 0.0]


def test_energies_go_to_the_right_atoms():
    fitted = ElementEnergies(SPECIES, np.array([1.0, 2.0]), np.eye(2))
    assert fitted.per_atom(gas(14, 8, 14)).tolist() == [2.0, 1.0, 2.0]
