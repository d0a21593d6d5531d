"""A code in a process of its own: the same numbers, and what happens when it dies."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from textwrap import dedent

import ase
import numpy as np
import psutil
import pytest
from ase.build import bulk

from otf.calculators.caller import CallFailed
from otf.calculators.foreign import foreign_code
from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.calculators.serving import merged, to_atoms
from otf.calculators.worker import Order, Worker, structure_of
from otf.configuration import Configuration
from otf.errors import InputError, ReferenceFailure

TROUBLE = dedent(
    """
    import os, signal, subprocess, time
    import numpy as np
    from ase.calculators.calculator import Calculator

    class Trouble(Calculator):
        implemented_properties = ["energy", "forces", "stress"]

        def __init__(self, how="", deep=None):
            super().__init__()
            if how == "refuse":
                raise TypeError("how must not be refuse")
            self.how, self.deep = how, deep or {}

        def calculate(self, atoms, properties, changes):
            super().calculate(atoms, properties, changes)
            print("step one", flush=True)
            if self.how == "hang":
                child = subprocess.Popen(["sleep", "300"], start_new_session=True)
                with open("child.pid", "w") as file:
                    file.write(str(child.pid))
                time.sleep(300)
            if self.how == "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            if self.how == "raise":
                raise RuntimeError("SCF not converged")
            energy = atoms.positions.sum() + self.deep.get("inner", 0)
            forces = np.zeros((len(atoms), 3))
            self.results = dict(energy=energy, forces=forces, stress=np.arange(6.0))
    """
)


@pytest.fixture
def trouble(tmp_path, monkeypatch):
    """Return a function that makes workers of a calculator in a file of the user."""
    (tmp_path / "trouble.py").write_text(TROUBLE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def worker(how="", *, ladder=(), time_limit=None, python=None):
        order = Order(
            "trouble:Trouble",
            {"how": how},
            directory=tmp_path / "reference",
            ladder=ladder,
            python=python,
        )
        made.append(Worker(order, time_limit=time_limit))
        return made[-1]

    yield worker
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def silicon():
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=1)
    return Configuration.from_atoms(atoms)


def is_running(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"


def test_labels_are_those_of_this_process_to_the_bit(silicon):
    code = make_calculator("stillinger-weber")
    worker = Worker(Order("stillinger-weber"))
    here, there = Reference(code), Reference(code, caller=worker)
    for seed in range(3):
        moved = silicon.positions + np.random.default_rng(seed).normal(size=(8, 3)) / 30
        a, b = (r.label(silicon.moved(moved)) for r in (here, there))
        assert a.energy == b.energy
        np.testing.assert_array_equal(a.forces, b.forces)
        np.testing.assert_array_equal(a.stress, b.stress)
    assert worker.n_started == 1
    there.close()


def test_charge_spin_and_moments_reach_the_other_process():
    atoms = bulk("Fe", cubic=True)
    moments = np.array([2.0, -2.0])
    full = replace(
        Configuration.from_atoms(atoms), charge=1.0, spin=2, magnetic_moments=moments
    )
    back = Configuration.from_atoms(to_atoms(structure_of(full)))
    for name, array in full.to_arrays().items():
        np.testing.assert_array_equal(back.to_arrays()[name], array)


def test_a_call_that_hangs_is_ended_with_all_it_started(trouble, silicon, tmp_path):
    worker = trouble("hang", time_limit=2.0)
    worker.start()
    begun = time.monotonic()
    with pytest.raises(CallFailed, match="no answer within 2 s"):
        worker.call(silicon, 0)
    assert time.monotonic() - begun < 8.0
    assert not is_running(int((tmp_path / "child.pid").read_text()))


def test_a_crash_is_told_with_the_last_words_and_the_run_goes_on(trouble, silicon):
    worker = trouble("crash", ladder=({"how": ""},))
    with pytest.raises(CallFailed, match=r"its process died \(SIGSEGV\): .*step one"):
        worker.call(silicon, 0)
    results = worker.call(silicon, 1)
    assert results["energy"] == silicon.positions.sum()
    assert worker.n_started == 2


def test_every_retry_is_one_rung_up_the_ladder(trouble, silicon, caplog):
    worker = trouble("raise", ladder=({"deep": {"inner": 1}}, {"how": ""}))
    code = make_calculator("trouble:Trouble", {"how": "raise"})
    labels = Reference(code, caller=worker).label(silicon)
    assert labels.energy == silicon.positions.sum()
    assert "SCF not converged" in caplog.text


def test_tables_of_arguments_are_merged_and_the_rest_replaced():
    given = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    assert merged(given, {"a": {"c": [5]}, "e": 1}) == {
        "a": {"b": 1, "c": [5]},
        "d": 3,
        "e": 1,
    }
    assert given == {"a": {"b": 1, "c": [1, 2]}, "d": 3}


@pytest.mark.parametrize("python", [None, sys.executable])
def test_refused_arguments_are_one_line(trouble, silicon, python):
    worker = trouble("refuse", python=python)
    with pytest.raises(InputError, match="how must not be refuse") as caught:
        worker.call(silicon, 0)
    assert "\n" not in str(caught.value)


def test_the_process_ends_with_its_parent(trouble, silicon):
    worker = trouble()
    worker.call(silicon, 0)
    pid = worker._process.pid
    assert is_running(pid)
    worker.close()
    assert not is_running(pid)


def test_a_process_whose_parent_was_killed_ends_itself(tmp_path):
    script = dedent(
        """
        import os, time
        from otf.calculators.worker import Order, Worker
        worker = Worker(Order("trouble:Trouble", {"how": "hang"}))
        worker.start()
        print(worker._process.pid, flush=True)
        from ase.build import bulk
        from otf.configuration import Configuration
        worker.call(Configuration.from_atoms(bulk("Si")), 0)
        """
    )
    (tmp_path / "trouble.py").write_text(TROUBLE)
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        pid = int(parent.stdout.readline())
        while not (tmp_path / "child.pid").exists():
            time.sleep(0.05)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 10.0
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_running(pid)
    child = int((tmp_path / "child.pid").read_text())
    if is_running(child):  # it had left the group: nobody is left to find it
        os.kill(child, signal.SIGKILL)


def test_another_python_gives_the_same_labels(trouble, silicon):
    worker = trouble("", python=sys.executable)
    results = worker.call(silicon, 0)
    assert results["energy"] == silicon.positions.sum()
    assert results["stress"] == list(range(6))


def test_the_fingerprint_of_another_python_names_its_versions():
    code = foreign_code("ase.calculators.emt:EMT", {}, sys.executable)
    assert code.version == f"ase {ase.__version__} ase {ase.__version__}"


@pytest.mark.parametrize(
    ("name", "python", "words"),
    [
        ("emt", sys.executable, "module:Class"),
        ("not_there:Class", sys.executable, "cannot import 'not_there'"),
        ("ase.calculators.emt:EMT", "no-python", "cannot be run"),
    ],
)
def test_what_another_python_lacks_is_one_line(name, python, words):
    with pytest.raises(InputError, match=words) as caught:
        foreign_code(name, {}, python)
    assert "\n" not in str(caught.value)


def test_a_code_that_dies_at_its_start_is_a_failure_of_the_reference(silicon):
    dying = Worker(Order("x:Y", python="/bin/false"))
    reference = Reference(make_calculator("stillinger-weber"), caller=dying)
    with pytest.raises(ReferenceFailure, match="does not start"):
        reference.require(silicon)
