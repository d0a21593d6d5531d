"""One process serves the reference of a whole run, from its check to its last label."""

import pytest
from ase.build import bulk
from ase.io import write

from otf.cli import main
from otf.store.run_reader import RunView

COUNTED = """
import os
from pathlib import Path
from {module} import {name}

class Counted({name}):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        with Path({record!r}).open("a") as record:
            record.write(f"{{os.getpid()}}\\n")
"""
INPUT = """
[structure]
file = "start.xyz"
[reference]
calculator = "counted:Counted"
time_limit_s = 600.0
[descriptor]
n_max = 4
l_max = 2
cutoff_three_body_A = 4.0
cutoff_two_body_A = 4.5
[learning]
initial_rattles_A = [0.05, 0.1]
[[dynamics.stages]]
steps = 4
temperature_K = 300.0
"""


@pytest.fixture
def labelled_in(tmp_path, monkeypatch):
    """Return a function that runs a calculator and says which processes built it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def run(atoms, module, name):
        record = tmp_path / "processes"
        text = COUNTED.format(module=module, name=name, record=str(record))
        (tmp_path / "counted.py").write_text(text)
        write("start.xyz", atoms)
        (tmp_path / "input.toml").write_text(INPUT)
        assert main(["run", "input.toml"]) == 0
        assert len(RunView.load(tmp_path / "run").labels) >= 3
        return record.read_text().split()

    return run


def test_one_process_labels_a_whole_run(labelled_in):
    silicon = bulk("Si", "diamond", a=5.431, cubic=True)
    module = "otf.calculators.stillinger_weber"
    assert len(labelled_in(silicon, module, "StillingerWeber")) == 1


@pytest.mark.slow
def test_one_process_labels_64_atoms_with_tight_binding(labelled_in):
    salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (2, 2, 2)
    assert len(salt) == 64
    assert len(labelled_in(salt, "tblite.ase", "TBLite")) == 1
