"""Calls that start from what the calculator object has left of the call before."""

import json
import os
import sys
from dataclasses import replace
from textwrap import dedent

import numpy as np
import pytest
from ase.build import bulk

from otf.calculators.caller import CallFailed, InProcess
from otf.calculators.registry import make_calculator
from otf.calculators.worker import Order, Worker
from otf.configuration import Configuration
from otf.settings.loading import parse_settings

# An SCF cycle towards the sum of all coordinates, from 0 or from where it stands.
CYCLING = dedent(
    """
    import json
    from pathlib import Path
    import numpy as np
    from ase.calculators.calculator import Calculator

    class Cycling(Calculator):
        implemented_properties = ["energy", "forces"]

        def __init__(self, folder=".", picky=False):
            super().__init__()
            self.record, self.picky = Path(folder) / "calls", picky
            self.density = None

        def calculate(self, atoms, properties, changes):
            super().calculate(atoms, properties, changes)
            follows = list(changes) == ["positions"]
            kept = follows and self.density is not None
            density = self.density if kept else 0.0
            self.density, count = None, 0
            goal = atoms.positions.sum()
            while abs(goal - density) > 1e-9:
                density += 0.5 * (goal - density)
                count += 1
            with self.record.open("a") as file:
                print(json.dumps([kept, count]), file=file)
            if kept and self.picky:
                raise RuntimeError("broken symmetry")
            if goal > 1000:
                raise RuntimeError("SCF not converged")
            self.density = density
            forces = np.zeros((len(atoms), 3))
            self.results = dict(energy=density, forces=forces)
    """
)
WAYS = ["this process", "another python"]


@pytest.fixture(params=WAYS)
def caller(request, tmp_path, monkeypatch):
    """Return a function that makes callers, and one that returns what they made."""
    (tmp_path / "cycling.py").write_text(CYCLING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    made = []

    def make(*, restart=True, **arguments):
        given = {"folder": str(tmp_path), **arguments}
        code = replace(make_calculator("cycling:Cycling", given), follows=restart)
        python = sys.executable if request.param == "another python" else None
        order = Order("cycling:Cycling", given, python=python, restart=restart)
        made.append(Worker(order) if python else InProcess(code))
        return made[-1]

    def calls():
        return list(map(json.loads, (tmp_path / "calls").read_text().splitlines()))

    yield make, calls
    for one in made:
        one.close()


@pytest.fixture
def structures():
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=1)
    first = Configuration.from_atoms(atoms)
    return [first.moved(first.positions + 0.001 * k) for k in range(3)]


def test_a_call_starts_from_the_one_before_and_ends_sooner(caller, structures):
    make, calls = caller
    followed = make()
    energies = [followed.call(c, 0)["energy"] for c in structures]
    for c, energy in zip(structures, energies, strict=True):
        assert energy == pytest.approx(c.positions.sum(), abs=1e-9)
    assert [kept for kept, _ in calls()] == [False, True, True]
    counts = [count for _, count in calls()]
    assert counts[1] < 0.7 * counts[0]
    assert counts[2] < 0.7 * counts[0]


def test_without_restart_every_call_starts_from_atoms(caller, structures):
    make, calls = caller
    fresh = make(restart=False)
    for c in structures:
        fresh.call(c, 0)
    assert not any(kept for kept, _ in calls())


@pytest.mark.parametrize("change", ["cell", "numbers", "charge", "moments", "atoms"])
def test_electrons_of_another_structure_are_left(caller, structures, change):
    make, calls = caller
    first = structures[0]
    other = {
        "cell": replace(first, cell=1.01 * first.cell),
        "numbers": replace(first, numbers=np.full(8, 32)),
        "charge": replace(first, charge=1.0),
        "moments": replace(first, magnetic_moments=np.ones(8)),
        "atoms": Configuration.from_atoms(bulk("Si")),
    }[change]
    followed = make()
    for c in (first, other, other):
        followed.call(c, 0)
    assert [kept for kept, _ in calls()] == [False, False, True]


def test_a_call_that_fails_from_old_electrons_is_made_from_atoms(caller, structures):
    make, calls = caller
    picky = make(picky=True)
    for c in structures[:2]:
        assert picky.call(c, 0)["energy"] == pytest.approx(c.positions.sum(), abs=1e-9)
    assert [kept for kept, _ in calls()] == [False, True, False]


def test_what_a_failed_call_leaves_is_not_taken_up(caller, structures):
    make, calls = caller
    followed, first = make(), structures[0]
    wild = first.moved(first.positions + 1000.0)
    followed.call(first, 0)
    with pytest.raises(CallFailed, match="SCF not converged"):
        followed.call(wild, 0)
    followed.call(first, 0)
    assert [kept for kept, _ in calls()] == [False, True, False, False]


def test_a_retry_starts_from_atoms(caller, structures):
    make, calls = caller
    followed = make()
    followed.call(structures[0], 0)
    followed.call(structures[1], 1)
    assert [kept for kept, _ in calls()] == [False, False]


def test_gpaw_of_another_python_may_keep_its_electrons(tmp_path):
    bulk("Si").write(tmp_path / "si.xyz")
    text = (
        '[structure]\nfile = "si.xyz"\n[reference]\ncalculator = "gpaw"\n'
        'python = "/usr/bin/python3"\nrestart = "previous"\n'
        "[[dynamics.stages]]\nsteps = 1\ntemperature_K = 300.0\n"
    )
    settings = parse_settings(text, name="input.toml", folder=tmp_path)
    assert settings.reference.restart == "previous"
