"""Labels in parallel: the order, what is lost with a process, and what ends a pool."""

import os
import sys
import time
from concurrent.futures import CancelledError, ProcessPoolExecutor
from multiprocessing import get_context
from textwrap import dedent

import numpy as np
import psutil
import pytest
from ase.build import bulk

from otf.calculators.clusters import CLUSTERS, make_cluster
from otf.calculators.executor import (
    LOSSES,
    Closed,
    Lane,
    ReferencePool,
    Remote,
    Repeating,
)
from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.calculators.worker import Order, Worker
from otf.configuration import Configuration
from otf.errors import InputError, ReferenceFailure
from otf.store.labels import label_key

# What it does with a structure is written in its number of atoms.
MOODY = dedent(
    """
    import os, signal, time
    from pathlib import Path
    from ase.calculators.calculator import Calculator
    from otf.calculators.stillinger_weber import StillingerWeber

    class Moody(Calculator):
        implemented_properties = ["energy", "forces", "stress"]

        def __init__(self, folder=".", directory="."):
            super().__init__()
            self.folder, self.place = Path(folder), Path(directory)

        def calculate(self, atoms, properties, changes):
            super().calculate(atoms, properties, changes)
            x = atoms.get_initial_charges()[0]
            calls = self.folder / f"calls-{x:g}"
            with calls.open("a") as file:
                file.write("x")
            if x < 1:
                time.sleep(x)
            if x == 10:
                raise RuntimeError("SCF not converged")
            if x == 20 and len(calls.read_text()) == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            if x == 21:
                os.kill(os.getpid(), signal.SIGKILL)
            if x == 30:
                time.sleep(600)
            exact = StillingerWeber()
            exact.calculate(atoms, properties, changes)
            self.results = dict(exact.results)
    """
)
FAILS, LOST_ONCE, LOST_ALWAYS, HANGS = 10.0, 20.0, 21.0, 30.0


def structure(mood: float, seed: int = 0) -> Configuration:
    """Return rattled silicon; ``mood`` says what the calculator does with it."""
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=seed)
    atoms.set_initial_charges([mood] + [0.0] * 7)
    return Configuration.from_atoms(atoms)


class Book(dict):
    """Labels in the order of their arrival."""

    def find(self, key):
        return self.get(key)

    def add(self, key, configuration, labels, seconds, *, cached=False, doubt=""):
        assert key not in self
        self[key] = labels

    @property
    def arrived(self):
        return list(self)


@pytest.fixture
def pool(tmp_path, monkeypatch):
    """Return a function that makes pools of the moody calculator."""
    (tmp_path / "moody.py").write_text(MOODY)
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def make(workers=2, *, executor=None, retries=0, **options):
        arguments = {"folder": str(tmp_path)}
        code = make_calculator("moody:Moody", arguments)
        book = Book()
        lanes = []
        for k in range(1, workers + 1):
            place = tmp_path / "reference" / str(k)
            order = Order("moody:Moody", arguments, directory=place)
            caller = Worker(order) if executor is None else Remote(executor, order)
            steady = Repeating(caller)
            reference = Reference(code, caller=steady, retries=retries, book=book)
            lanes.append(Lane(reference, steady, place))
        made.append(ReferencePool(code, lanes, **options))
        return made[-1], book

    yield make
    for one in made:
        one.close()


def exact(c: Configuration):
    return Reference(make_calculator("stillinger-weber")).label(c)


def same(labels, c: Configuration) -> bool:
    expected = exact(c)
    return labels.energy == expected.energy and np.array_equal(
        labels.forces, expected.forces
    )


def key(one: ReferencePool, c: Configuration) -> str:
    return label_key(c, one.fingerprint(c))


def test_answers_come_in_the_order_asked_whatever_arrives_first(pool):
    one, book = pool(3)
    asked = [structure(x, seed=k) for k, x in enumerate((0.9, 0.5, 0.0, 0.1, 0.0))]
    answers = [one.begin(c) for c in asked]
    labels = [answer() for answer in answers]
    assert all(same(y, c) for y, c in zip(labels, asked, strict=True))
    assert book.arrived != [key(one, c) for c in asked]
    assert set(book) == {key(one, c) for c in asked}
    assert one.n_calls == 5


def test_what_somebody_waits_for_goes_before_what_has_not_begun(pool):
    one, book = pool(1)
    asked = [structure(x, seed=k) for k, x in enumerate((0.9, 0.0, 0.1, 0.0))]
    answers = [one.begin(c) for c in asked]
    critical, copy = structure(0.2, seed=8), structure(0.0, seed=9)
    urgent = [one.begin(c, urgent=True) for c in (critical, copy)]
    assert same(urgent[0](), critical)
    # Of what was asked for before only the first, which had begun.
    assert book.arrived[:2] == [key(one, c) for c in (asked[0], critical)]
    one.label(structure(0.0, seed=10))
    labels = [answer() for answer in answers]
    assert all(same(y, c) for y, c in zip(labels, asked, strict=True))
    assert book.arrived[2] == key(one, copy)
    late = [key(one, c) for c in asked[1:]]
    assert [k for k in book.arrived if k in late] == late
    assert one.n_calls == 7


def test_closing_forgets_what_has_not_begun(pool, tmp_path):
    one, book = pool(1)
    answers = [one.begin(structure(HANGS)), one.begin(structure(0.0, seed=1))]
    while not (tmp_path / "calls-30").exists():
        time.sleep(0.05)
    one.close()
    for answer in answers:
        with pytest.raises((CancelledError, Closed)):
            answer()
    assert not book
    assert not (tmp_path / "calls-0").exists()


def test_a_label_is_in_the_book_although_nobody_waits_for_it(pool):
    one, book = pool(2)
    slow, fast = structure(0.99, seed=1), structure(0.0, seed=2)
    answers = [one.begin(c) for c in (slow, fast)]
    answers[1]()
    assert book.arrived == [key(one, fast)]
    # asked again it is found, not computed
    one.label(fast)
    assert one.n_reused == 1
    answers[0]()
    assert book.arrived == [key(one, fast), key(one, slow)]


def test_a_structure_that_fails_takes_no_other_with_it(pool, tmp_path):
    one, book = pool(2)
    asked = [structure(x, seed=k) for k, x in enumerate((0.1, FAILS, 0.0, 0.0))]
    answers = [one.begin(c) for c in asked]
    assert same(answers[0](), asked[0])
    with pytest.raises(ReferenceFailure, match="SCF not converged") as caught:
        answers[1]()
    assert same(answers[2](), asked[2])
    assert same(answers[3](), asked[3])
    # what its process wrote was moved before the next call could write there
    assert caught.value.files.parent == tmp_path / "reference"
    assert (caught.value.files / "worker.log").is_file()
    assert len(book) == 3


def test_a_process_that_is_killed_costs_a_repetition_and_no_label(pool, tmp_path):
    one, book = pool(2)
    asked = [structure(x, seed=k) for k, x in enumerate((0.0, LOST_ONCE, 0.0))]
    labels = [answer() for answer in [one.begin(c) for c in asked]]
    assert all(same(y, c) for y, c in zip(labels, asked, strict=True))
    assert (tmp_path / "calls-20").read_text() == "xx"
    assert len(book) == 3


def test_processes_killed_again_and_again_are_a_failure(pool, tmp_path):
    one, _ = pool(1)
    with pytest.raises(ReferenceFailure, match="SIGKILL"):
        one.label(structure(LOST_ALWAYS))
    assert len((tmp_path / "calls-21").read_text()) == LOSSES + 1


def test_a_structure_that_is_under_way_is_not_computed_twice(pool, tmp_path):
    one, _ = pool(2)
    c = structure(0.5)
    answers = [one.begin(c), one.begin(c)]
    assert answers[0]() is answers[1]()
    assert (tmp_path / "calls-0.5").read_text() == "x"


def workers_alive():
    """Return the workers among the processes of these tests."""
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE
        and "otf.calculators.worker" in child.cmdline()
    ]


def test_closing_ends_what_hangs_and_leaves_no_process(pool, tmp_path):
    one, _ = pool(2)
    for seed in range(4):
        one.begin(structure(HANGS, seed=seed))
    while not (tmp_path / "calls-30").exists():
        time.sleep(0.05)
    begun = time.monotonic()
    one.close()
    assert time.monotonic() - begun < 10.0
    assert not workers_alive()


def test_closing_ends_what_hangs_on_an_executor(pool, tmp_path):
    executor = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    one, _ = pool(1, executor=executor, release=executor.shutdown)
    one.begin(structure(HANGS))
    while not (tmp_path / "calls-30").exists():
        time.sleep(0.05)
    assert workers_alive()
    time.sleep(2.0)  # the process there has seen that it is asked
    begun = time.monotonic()
    one.close()
    assert time.monotonic() - begun < 10.0
    assert not workers_alive()


def test_who_waits_is_told_how_many_have_arrived(pool):
    told = []
    one, _ = pool(2, watch=lambda done, asked: told.append((done, asked)))
    answers = [one.begin(structure(x, seed=k)) for k, x in enumerate((0.99, 0.3, 0.0))]
    answers[0]()
    assert {asked for _, asked in told} == {3}
    done = [done for done, _ in told]
    assert done == sorted(done)
    assert max(done) == 2


def silicon_labels(pool, name, **arguments):
    """Return a pool on an executor, and an answer asked of it."""
    cluster = make_cluster(name, arguments, size=2)
    return pool(2, executor=cluster.executor, release=cluster.close)[0]


@pytest.mark.parametrize("name", ["processes", *CLUSTERS])
def test_labels_on_an_executor_are_those_of_this_machine(pool, name):
    if name == "processes":
        executor = ProcessPoolExecutor(2, mp_context=get_context("spawn"))
        one, _ = pool(2, executor=executor, release=executor.shutdown)
    else:
        module = {"executorlib": "executorlib", "dask": "distributed"}[name]
        pytest.importorskip(module, reason=f"pip install {module}")
        one = silicon_labels(pool, name)
    moods = (0.5, 0.0, FAILS, LOST_ONCE)
    asked = [structure(x, seed=k) for k, x in enumerate(moods)]
    answers = [one.begin(c) for c in asked]
    for k in (0, 1, 3):
        assert same(answers[k](), asked[k])
    with pytest.raises(ReferenceFailure, match="SCF not converged"):
        answers[2]()


def test_a_dask_worker_that_is_killed_costs_no_label(pool):
    distributed = pytest.importorskip("distributed", reason="pip install distributed")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    )
    one = silicon_labels(pool, "dask", address=cluster.scheduler_address)
    c = structure(0.9)
    answer = one.begin(c)
    time.sleep(0.5)
    for nanny in cluster.workers.values():
        os.kill(nanny.pid, 9)
    assert same(answer(), c)
    one.close()
    cluster.close()


@pytest.mark.parametrize(
    ("name", "module"), [("executorlib", "executorlib"), ("dask", "distributed")]
)
def test_a_package_that_is_not_installed_is_one_line(monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=f"pip install {module}") as caught:
        make_cluster(name, {}, size=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("executorlib", {"class": "SlumExecutor"}, "possible: .*SlurmClusterExecutor"),
        ("executorlib", {"max_wokers": 2}, "max_wokers"),
        ("dask", {"cluster": "nowhere:Cluster"}, "pip install nowhere"),
        ("dask", {"cluster": "ase:Atoms", "cluster_arguments": 3}, "must be a table"),
    ],
)
def test_wrong_arguments_of_an_executor_are_one_line(name, arguments, words):
    pytest.importorskip({"dask": "distributed"}.get(name, name))
    with pytest.raises(InputError, match=words) as caught:
        make_cluster(name, arguments, size=1)
    assert "\n" not in str(caught.value)
    assert "[reference] executor" in str(caught.value)
