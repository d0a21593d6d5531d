"""Electrons of the last label: a run killed at any moment goes on to the same bits."""

import json

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator

from otf.calculators.code import Code
from otf.calculators.electrons import FOLDER, ElectronShelf
from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.cli import main
from otf.configuration import Configuration
from otf.errors import InputError
from otf.recording import JournalBook
from otf.store.journal import Journal

FILES = {"out.dat": "in.dat"}


class Killed(BaseException):
    """Stands for kill -9: nobody catches it."""


class Remembering(Calculator):
    """Its energy depends on the electrons it starts from, as with a loose SCF."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, directory):
        super().__init__()
        self.place = directory

    def calculate(self, atoms, properties, system_changes):
        super().calculate(atoms, properties, system_changes)
        before = self.place / "in.dat"
        start = json.loads(before.read_text()) if before.exists() else 0.0
        energy = 0.5 * start + float(np.sin(self.atoms.positions).sum())
        (self.place / "out.dat").write_text(json.dumps(energy))
        zeros = np.zeros((len(atoms), 3))
        self.results = {"energy": energy, "forces": zeros, "stress": np.zeros(6)}


@pytest.fixture
def structures():
    out = []
    for seed in range(6):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.1, seed=seed)
        out.append(Configuration.from_atoms(atoms))
    return out


def reference_in(folder):
    """Return a reference whose labels lie in the journal of a folder."""
    work = folder / "reference"
    work.mkdir(parents=True, exist_ok=True)
    code = Code("remembering", "1", {"directory": work}, Remembering, electrons=FILES)
    reference = Reference(code, shelf=ElectronShelf(work, FILES))
    journal = Journal(folder / "journal.bin")
    book = JournalBook(journal, reference.fingerprint, reference.description)
    reference.keep_labels_in(book)
    return reference, journal


def energies(folder, structures):
    reference, journal = reference_in(folder)
    out = [reference.label(c).energy for c in structures]
    journal.close()
    return out


def test_a_call_starts_from_the_electrons_of_the_label_before(tmp_path, structures):
    alone = [energies(tmp_path / f"{k}", [c])[0] for k, c in enumerate(structures[:2])]
    together = energies(tmp_path / "both", structures[:2])
    assert together == [alone[0], 0.5 * alone[0] + alone[1]]


@pytest.mark.parametrize("moment", ["keep", "add", "forget_others"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_killed_around_a_label_goes_on_to_the_same_bits(
    tmp_path, structures, monkeypatch, moment, when
):
    whole = energies(tmp_path / "whole", structures)
    owner = JournalBook if moment == "add" else ElectronShelf
    real = getattr(owner, moment)
    calls = []

    def deadly(*arguments, **options):
        calls.append(moment)
        if len(calls) == 3 and when == "before":
            raise Killed
        real(*arguments, **options)
        if len(calls) == 3:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, moment, deadly)
        reference, journal = reference_in(tmp_path / "killed")
        with pytest.raises(Killed):
            list(map(reference.label, structures))
        journal.close()
    # What the code left of the killed call must not count.
    (tmp_path / "killed" / "reference" / "in.dat").write_text("1e9")
    assert energies(tmp_path / "killed", structures) == whole
    kept = list((tmp_path / "killed" / "reference" / FOLDER).iterdir())
    assert len(kept) == 1


def test_electrons_of_another_cell_are_not_taken(tmp_path, structures):
    first = structures[0]
    larger = Configuration(first.numbers, first.positions, 1.01 * first.cell, first.pbc)
    alone = energies(tmp_path / "alone", [larger])
    assert energies(tmp_path / "after", [first, larger])[1] == alone[0]


def test_codes_that_cannot_are_refused_with_those_that_can():
    with pytest.raises(InputError, match="abinit, cp2k, espresso, gpaw, vasp can"):
        make_calculator("tblite", restart=True)


def test_another_python_cannot_keep_electrons_of_any_code(tmp_path, capsys):
    bulk("Si").write(tmp_path / "si.xyz")
    (tmp_path / "input.toml").write_text(
        '[structure]\nfile = "si.xyz"\n[reference]\ncalculator = "my:Code"\n'
        'python = "/usr/bin/python3"\nrestart = "previous"\n'
        "[[dynamics.stages]]\nsteps = 1\ntemperature_K = 300.0\n"
    )
    assert main(["check", str(tmp_path / "input.toml")]) != 0
    assert "reference.restart" in capsys.readouterr().err
