"""The reference is called with care: gates, retries, remembered labels."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator

from otf.calculators.code import Code, OutputFile
from otf.calculators.geometry import COVALENT_RADII, closest_contact
from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.configuration import Configuration
from otf.errors import ReferenceFailure
from otf.store.label_cache import LabelCache


class Moody(Calculator):
    """Fails as often as told, then returns what it is told."""

    implemented_properties = ("energy", "forces", "stress")
    left = 0
    error = RuntimeError("SCF not converged in 250 cycles")

    def __init__(self, results=None, careful=False):
        super().__init__()
        self.answer = results or {}
        self.careful = careful

    def calculate(self, atoms, properties, system_changes):
        super().calculate(atoms, properties, system_changes)
        if Moody.left > 0:
            Moody.left -= 1
            raise Moody.error
        n = len(atoms)
        self.results = {
            "energy": -1.0 - self.careful,
            "forces": np.zeros((n, 3)),
            "stress": np.arange(6.0),
            **self.answer,
        }


@pytest.fixture(autouse=True)
def good_mood():
    Moody.left, Moody.error = 0, RuntimeError("SCF not converged in 250 cycles")


def moody(results=None, **changes):
    code = Code("moody", "1", {"results": results}, Moody, **changes)
    return Reference(code)


@pytest.fixture
def silicon():
    return Configuration.from_atoms(bulk("Si"))


def test_a_call_that_fails_twice_is_repeated_with_a_new_calculator(silicon, caplog):
    Moody.left = 2
    reference = moody(ladder=({"careful": False}, {"careful": True}))
    with caplog.at_level(logging.WARNING):
        labels = reference.label(silicon)
    assert labels.energy == -2.0  # of the second rung
    assert (reference.n_calls, reference.n_retries, reference.last_attempts) == (
        1,
        2,
        3,
    )
    assert "SCF not converged" in caplog.text
    # The next label starts at the foot of the ladder again.
    assert reference.label(silicon).energy == -1.0


@pytest.mark.parametrize(
    "error",
    [ValueError("invalid literal"), KeyError("x"), AssertionError(), OSError(5)],
)
def test_whatever_a_code_raises_becomes_one_line(silicon, error):
    Moody.left, Moody.error = 3, error
    with pytest.raises(ReferenceFailure, match=type(error).__name__) as caught:
        moody().label(silicon)
    assert "3 attempts" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ({"forces": np.full((2, 3), np.nan)}, "force on atom 0 is not finite"),
        ({"energy": np.inf}, "energy is inf"),
        ({"forces": np.zeros((3, 3))}, "shape"),
        ({"forces": [[2e3, 0, 0], [-2e3, 0, 0]]}, "above 1000"),
        ({"forces": [[0.3, 0, 0], [0, 0, 0]]}, "net force"),
    ],
)
def test_labels_that_cannot_be_true_are_refused(silicon, results, words):
    with pytest.raises(ReferenceFailure, match=words):
        moody(results).label(silicon)


def test_the_energy_is_the_one_whose_gradient_the_forces_are(silicon):
    assert moody({"energy": 1.0, "free_energy": 2.0}).label(silicon).energy == 2.0


def test_a_three_by_three_stress_becomes_voigt(silicon):
    matrix = np.array([[1.0, 6, 5], [6, 2, 4], [5, 4, 3]])
    stress = moody({"stress": matrix}).label(silicon).stress
    np.testing.assert_array_equal(stress, [1, 2, 3, 4, 5, 6])


def test_without_a_cell_there_is_no_stress():
    water = Configuration.from_atoms(molecule("H2O"))
    assert np.isnan(moody().label(water).stress).all()


@pytest.mark.parametrize(("text", "trusted"), [("done", True), ("not enough", False)])
def test_a_silent_failure_is_read_from_the_output(tmp_path, silicon, text, trusted):
    path = tmp_path / "code.out"

    class Writer(Moody):
        def calculate(self, *args):
            super().calculate(*args)
            path.write_text(f"iteration 1\n{text}\n")

    path.write_text("not enough")  # of an earlier call: must not count
    output = OutputFile(lambda _: path, not_converged="not enough")
    reference = Reference(Code("writer", "1", {}, Writer, outputs=(output,)))
    if trusted:
        assert reference.label(silicon).energy == -1.0
    else:
        with pytest.raises(ReferenceFailure, match="did not converge"):
            reference.label(silicon)


def test_a_failed_code_is_quoted_from_its_output(tmp_path, silicon):
    class Dying(Moody):
        def calculate(self, *args):
            (tmp_path / "out").write_text(
                "ok\n %%%\n Error in routine ggen\n too few\n"
            )
            raise ValueError("exit status 2")

    output = OutputFile(lambda _: tmp_path / "out", telling=("Error in routine",))
    reference = Reference(Code("dying", "1", {}, Dying, outputs=(output,)))
    with pytest.raises(
        ReferenceFailure, match="exit status 2: Error in routine ggen too"
    ):
        reference.label(silicon)


def test_overlapping_atoms_are_named_and_never_computed(silicon):
    positions = silicon.positions.copy()
    positions[1] = positions[0] + [0.0, 0.0, 1.0]
    reference = moody()
    with pytest.raises(ReferenceFailure, match=r"0 \(Si\) and 1 \(Si\) are 1.000") as e:
        reference.label(replace(silicon, positions=positions))
    # Two covalent radii of 1.11 angstrom.
    assert "0.45 of the sum" in str(e.value)
    assert reference.n_calls == 0


def test_positions_that_are_not_finite_are_refused(silicon):
    positions = silicon.positions.copy()
    positions[1, 2] = np.nan
    with pytest.raises(ReferenceFailure, match="position of atom 1 is not finite"):
        moody().label(replace(silicon, positions=positions))


def test_the_closest_contact_is_found_through_the_cell_boundary():
    radii = COVALENT_RADII[[14, 1]]  # 1.11 and 0.31 angstrom
    positions = np.array([[0.1, 2.0, 2.0], [3.6, 2.0, 2.0]])
    contact = closest_contact(positions, 4.0 * np.eye(3), np.ones(3, bool), radii)
    assert {contact.first, contact.second} == {0, 1}
    assert contact.distance == pytest.approx(0.5)
    assert contact.ratio == pytest.approx(0.5 / 1.42)
    open_cell = np.zeros(3, bool)
    assert closest_contact(positions, 4.0 * np.eye(3), open_cell, radii) is None


class Book(dict):
    def find(self, key):
        return self.get(key)

    def add(self, key, configuration, labels, seconds, *, cached=False, doubt=""):
        assert (seconds > 0) is not cached
        self.doubt = doubt
        self[key] = labels


def test_a_label_already_paid_for_is_not_computed_again(silicon):
    code, book = make_calculator("stillinger-weber"), Book()
    first = Reference(code, book=book)
    paid = first.label(silicon)
    second = Reference(code, book=book)
    assert second.label(silicon) is paid
    assert (second.n_calls, second.n_reused) == (0, 1)
    assert second.total_seconds == 0.0


def test_labels_of_other_settings_are_not_taken(silicon):
    book = Book()
    Reference(make_calculator("stillinger-weber"), book=book).label(silicon)
    stiff = make_calculator("stillinger-weber", {"epsilon_eV": 2.3})
    other = Reference(stiff, book=book)
    other.label(silicon)
    assert other.n_reused == 0


def test_charge_that_does_not_reach_the_code_is_warned_of_once(silicon, caplog):
    reference = moody()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            reference.label(replace(silicon, charge=1.0))
    assert caplog.text.count("charge and spin") == 1


# ---------------------------------------------------------------------- second opinion
def states(*energies):
    """Return a code whose n-th calculation ends in the n-th of these states."""
    left = list(energies)

    class Switching(Moody):
        def calculate(self, atoms, properties, system_changes):
            super().calculate(atoms, properties, system_changes)
            self.results["energy"] = left.pop(0)

    return Code("switching", "1", {}, Switching, ladder=({"careful": True},))


def above(limit):
    return lambda labels: "too high" if labels.energy > limit else None


def test_labels_nobody_doubts_are_computed_once(silicon):
    reference = Reference(states(-1.0))
    assert reference.label(silicon, doubt=above(0.0)).energy == -1.0
    assert (reference.n_doubted, reference.last_attempts) == (0, 1)


def test_a_doubted_label_is_believed_when_a_second_one_agrees(silicon, caplog):
    reference = Reference(states(5.0, 5.0 + 1e-4))
    with caplog.at_level(logging.WARNING):
        assert reference.label(silicon, doubt=above(0.0)).energy == 5.0
    assert (reference.n_doubted, reference.last_attempts) == (1, 2)
    assert "too high; computed once more" in caplog.text


def test_the_second_label_is_taken_when_it_is_not_doubted(silicon):
    book = Book()
    reference = Reference(states(5.0, -1.0), book=book)
    assert reference.label(silicon, doubt=above(0.0)).energy == -1.0
    assert "taken instead" in book.doubt
    (stored,) = book.values()
    assert stored.energy == -1.0


def test_two_doubted_labels_that_disagree_are_no_label(silicon):
    book = Book()
    reference = Reference(states(5.0, 27.0), book=book)
    with pytest.raises(ReferenceFailure, match="too high; in a second") as caught:
        reference.label(silicon, doubt=above(0.0))
    assert "\n" not in str(caught.value)
    assert not book


def test_the_second_calculation_stands_one_rung_up_the_ladder(silicon):
    careful = []

    class Watched(Moody):
        def calculate(self, atoms, properties, system_changes):
            super().calculate(atoms, properties, system_changes)
            careful.append(self.careful)

    code = Code("watched", "1", {}, Watched, ladder=({"careful": True},))
    reference = Reference(code)
    reference.label(silicon, doubt=above(-1.5))
    assert careful == [False, True]
    reference.label(silicon)
    assert careful == [False, True, False]


def test_what_the_book_holds_is_not_judged_again(silicon):
    book = Book()
    Reference(states(5.0), book=book).label(silicon)
    reference = Reference(states(), book=book)
    assert reference.label(silicon, doubt=above(0.0)).energy == 5.0


def test_a_doubted_label_of_the_cache_is_computed_once_for_all(silicon, tmp_path):
    cache = LabelCache(tmp_path)
    Reference(states(5.0), cache=cache).label(silicon)
    second = Reference(states(5.0), cache=cache)
    assert second.label(silicon, doubt=above(0.0)).energy == 5.0
    assert (second.n_cached, second.n_calls, second.n_doubted) == (0, 1, 1)
    third = Reference(states(), cache=cache)
    assert third.label(silicon, doubt=above(0.0)).energy == 5.0
    assert third.n_cached == 1


def test_a_wrong_label_of_the_cache_is_replaced(silicon, tmp_path):
    cache = LabelCache(tmp_path)
    Reference(states(5.0), cache=cache).label(silicon)
    assert Reference(states(-1.0), cache=cache).label(
        silicon, doubt=above(0.0)
    ).energy == pytest.approx(-1.0)
    assert Reference(states(), cache=cache).label(silicon).energy == -1.0
