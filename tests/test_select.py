"""otf-md select: offline active learning on a pool of structures."""

import numpy as np
import pytest
from ase.build import bulk

from otf.build import build_model
from otf.calculators.reference import to_labels
from otf.calculators.serving import evaluate as exact
from otf.calculators.stillinger_weber import StillingerWeber
from otf.calculators.worker import Worker
from otf.cli import main
from otf.commands.fitting import model_settings
from otf.commands.labeller import Labeller
from otf.commands.pool import Rules, Selection, first_batch
from otf.configuration import Configuration, Labels
from otf.deploy.provenance import laws_of
from otf.errors import InputError, ReferenceFailure
from otf.store.extxyz import FINGERPRINT, comment_values, read_frames, write_frames
from otf.store.model_file import read_model
from otf.testing import strained

INPUT = """
[reference]
calculator = "stillinger-weber"
[descriptor]
cutoff_three_body_A = 4.0
n_max = 4
l_max = 2
cutoff_two_body_A = 4.0
n_max_two_body = 5
[learning]
max_force_error_eV_per_A = 0.05
selection_bound = 1e-5
"""


def labels_of(c):
    return to_labels(exact(StillingerWeber(), c.to_atoms()), c)


def silicon(n_frames, seed, *, amplitude=0.12):
    """Return rattled and strained silicon, every structure by another measure."""
    generator = np.random.default_rng(seed)
    perfect = Configuration.from_atoms(bulk("Si", cubic=True))
    frames = []
    for _ in range(n_frames):
        c = strained(perfect, generator.uniform(-0.05, 0.05, 6))
        noise = generator.normal(0.0, generator.uniform(0.0, amplitude), (8, 3))
        frames.append(c.moved(c.positions + noise))
    return frames


def without_labels(c):
    n = c.n_atoms
    return Labels(np.nan, np.full((n, 3), np.nan), np.full(6, np.nan))


class Counting:
    """A reference that counts, and fails where it is told to."""

    def __init__(self, fails=(), name="sw"):
        self.n_calls = 0
        self.fails = fails
        self.name = name

    def label(self, configuration, *, doubt=None):
        self.n_calls += 1
        if self.n_calls in self.fails:
            raise ReferenceFailure("no convergence")
        return labels_of(configuration)

    def fingerprint(self, configuration):
        return self.name

    def description(self, configuration):
        return f"code: {self.name}"


def silent(stage, done, total):
    pass


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "input.toml").write_text(INPUT)
    return model_settings(tmp_path / "input.toml")


def selection(settings, tmp_path, pool, *, reference=None, **rules):
    unlabelled = [(c, without_labels(c)) for c in pool]
    labeller = Labeller(unlabelled, tmp_path / "labelled.xyz", reference or Counting())
    model = build_model(settings, (14,))
    chosen = Rules(threshold=0.05, max_spilling=0.02, **rules)
    return Selection(model, pool, labeller, chosen, silent), labeller


def test_the_error_on_structures_held_out_falls_from_cycle_to_cycle(settings, tmp_path):
    held_out = silicon(8, seed=9, amplitude=0.08)
    exact_forces = [labels_of(c).forces for c in held_out]
    chooser, _ = selection(settings, tmp_path, silicon(30, seed=1), batch=4, budget=20)
    errors = []
    for _ in chooser.cycles():
        predicted = [chooser.model.predict(c).forces for c in held_out]
        difference = np.concatenate(predicted) - np.concatenate(exact_forces)
        errors.append(float(np.sqrt((difference**2).mean())))
    assert len(errors) == 5
    # The small descriptor sets a floor, so that the last steps are small.
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert errors[4] < 0.25 * errors[0]


def test_what_is_labelled_is_worse_known_than_the_rest_of_the_pool(settings, tmp_path):
    pool = silicon(30, seed=1)
    chooser, labeller = selection(settings, tmp_path, pool, batch=4, budget=8)
    cycles = chooser.cycles()
    next(cycles)
    model = chooser.model.fitted
    before = len(labeller.frames)
    cycle = next(cycles)
    chosen = [c for c, _ in labeller.frames[before:]]
    rest = [c for k, c in enumerate(pool) if not labeller.has(k)]

    def rmse(structures):
        difference = [model.predict(c).forces - labels_of(c).forces for c in structures]
        return float(np.sqrt((np.concatenate(difference) ** 2).mean()))

    assert rmse(chosen) > rmse(rest)
    assert cycle.force_rmse == pytest.approx(rmse(chosen), rel=1e-9)


def test_the_budget_is_never_exceeded(settings, tmp_path):
    reference = Counting()
    chooser, labeller = selection(
        settings, tmp_path, silicon(12, seed=1), reference=reference, batch=3, budget=8
    )
    counts = [cycle.n_labels for cycle in chooser.cycles()]
    assert counts[-1] == len(labeller.frames) == reference.n_calls == 8
    assert "all 8 labels" in chooser.reason


def test_a_pool_of_equal_structures_needs_few_labels(settings, tmp_path):
    perfect = Configuration.from_atoms(bulk("Si", cubic=True))
    pool = [perfect.moved(perfect.positions + 0.01 * k) for k in range(10)]
    chooser, labeller = selection(settings, tmp_path, pool, batch=4)
    list(chooser.cycles())
    assert chooser.reason == "nothing in the pool exceeds the thresholds"
    assert len(labeller.frames) <= 4


def test_the_first_structures_are_far_from_each_other(settings):
    twins = silicon(3, seed=1)
    pool = [twins[0]] * 5 + [twins[1]] * 5 + [twins[2]] * 5
    chosen = first_batch(build_model(settings, (14,)), pool, limit=4)
    assert len(chosen) == 3
    assert {k // 5 for k in chosen} == {0, 1, 2}


def test_every_label_is_on_the_disk_before_the_next_is_asked_for(settings, tmp_path):
    path = tmp_path / "labelled.xyz"
    pool = silicon(5, seed=1)

    class Watching(Counting):
        def label(self, configuration, *, doubt=None):
            stored = read_frames(path) if path.exists() else []
            assert len(stored) == self.n_calls
            return super().label(configuration)

    chooser, _ = selection(settings, tmp_path, pool, reference=Watching(), batch=2)
    list(chooser.cycles())
    assert len(read_frames(path)) >= 4


def test_a_later_call_takes_the_labels_from_the_file(settings, tmp_path):
    pool = silicon(10, seed=1)
    first, _ = selection(settings, tmp_path, pool, batch=3, budget=6)
    list(first.cycles())
    again = Counting()
    second, labeller = selection(
        settings, tmp_path, pool, reference=again, batch=3, budget=8
    )
    list(second.cycles())
    assert again.n_calls == 2
    assert len(labeller.frames) == 8


def marks(path):
    n_frames = len(read_frames(path))
    return comment_values(path, FINGERPRINT, n_frames=n_frames)


def test_labels_say_which_reference_gave_them(settings, tmp_path):
    chooser, _ = selection(settings, tmp_path, silicon(6, seed=1), batch=3, budget=6)
    list(chooser.cycles())
    assert marks(tmp_path / "labelled.xyz") == ["sw"] * 6


def test_labels_of_another_reference_are_not_taken(settings, tmp_path):
    pool = silicon(6, seed=1)
    first, _ = selection(settings, tmp_path, pool, batch=3, budget=4)
    list(first.cycles())
    paid = (tmp_path / "labelled.xyz").read_bytes()
    other = Counting(name="sw of other arguments")
    with pytest.raises(InputError, match=r"labelled\.xyz was labelled by another"):
        selection(settings, tmp_path, pool, reference=other, batch=3)
    assert other.n_calls == 0
    assert (tmp_path / "labelled.xyz").read_bytes() == paid


def test_labels_that_do_not_say_who_gave_them_are_taken(settings, tmp_path):
    pool = silicon(4, seed=1)
    write_frames(tmp_path / "labelled.xyz", [(c, labels_of(c)) for c in pool[:3]])
    chooser, labeller = selection(settings, tmp_path, pool, budget=4)
    assert len(labeller.frames) == 3
    list(chooser.cycles())
    assert marks(tmp_path / "labelled.xyz") in (["", "", "", "sw"], [""] * 3)


@pytest.mark.parametrize("asked", [True, False])
def test_a_pool_of_another_reference_is_refused(tmp_path, asked):
    frames = [(c, labels_of(c)) for c in silicon(2, seed=1)]
    path = tmp_path / "labelled.xyz"
    write_frames(path, frames[:1], fingerprints=["sw"])
    reference = Counting() if asked else None
    with pytest.raises(InputError, match="the pool"):
        Labeller(frames, path, reference, fingerprints=["", "other"])
    labeller = Labeller(frames, path, reference, fingerprints=["", "sw"])
    labeller.label(1)
    assert marks(path) == ["sw", "sw"]


def test_what_a_structure_without_labels_says_of_a_reference_is_void(tmp_path):
    bare = [(c, without_labels(c)) for c in silicon(2, seed=1)]
    path = tmp_path / "labelled.xyz"
    Labeller(bare, path, Counting(), fingerprints=["other", ""]).label(0)
    assert marks(path) == ["sw"]


def test_a_structure_the_reference_fails_on_is_left_out(settings, tmp_path, caplog):
    reference = Counting(fails=(2,))
    chooser, labeller = selection(
        settings, tmp_path, silicon(8, seed=1), reference=reference, batch=3, budget=6
    )
    list(chooser.cycles())
    assert len(labeller.frames) == 6
    assert "left out: no convergence" in caplog.text


def test_failures_in_a_row_end_the_selection(settings, tmp_path):
    reference = Counting(fails=(2, 3, 4))
    chooser, labeller = selection(
        settings, tmp_path, silicon(8, seed=1), reference=reference, batch=5
    )
    with pytest.raises(ReferenceFailure):
        list(chooser.cycles())
    assert len(labeller.frames) == 1


def test_labels_of_the_pool_are_used_without_a_reference(tmp_path):
    frames = [(c, labels_of(c)) for c in silicon(3, seed=1)]
    labeller = Labeller(frames, tmp_path / "labelled.xyz", None)
    assert labeller.label(1) is frames[1][1]
    bare = [(c, without_labels(c)) for c, _ in frames]
    with pytest.raises(InputError, match="no calculator"):
        Labeller(bare, tmp_path / "other.xyz", None).label(0)


def command(tmp_path, *options):
    names = ["pool.xyz", "--input", "input.toml", "-o", "model.h5"]
    arguments = [str(tmp_path / n) if "." in n else n for n in names]
    return main(["select", *arguments, *options])


def test_the_command_prints_one_line_for_each_cycle(tmp_path, capsys):
    pool = silicon(12, seed=1)
    write_frames(tmp_path / "pool.xyz", [(c, without_labels(c)) for c in pool])
    (tmp_path / "input.toml").write_text(INPUT)
    assert command(tmp_path, "--labels", "8", "--batch", "2") == 0
    printed = capsys.readouterr().out
    rows = [text.split() for text in printed.partition("Stopped")[0].splitlines()[2:]]
    assert [row[:2] for row in rows] == [["0", "4"], ["1", "6"], ["2", "8"]]
    assert "Stopped: all 8 labels are used." in printed
    assert "8 reference calls" in printed
    data = str(tmp_path / "labelled.xyz")
    assert main(["evaluate", str(tmp_path / "model.h5"), data]) == 0
    laws = laws_of(read_model(tmp_path / "model.h5").metadata)
    assert laws.origin == "selection"
    assert laws.energy is not None  # four labels were compared
    assert laws.stress is not None


def test_a_second_selection_finds_its_labels_in_the_cache(tmp_path, capsys):
    pool = [(c, without_labels(c)) for c in silicon(8, seed=1)]
    write_frames(tmp_path / "pool.xyz", pool)
    text = INPUT.replace("[descriptor]", 'cache = "labels"\n[descriptor]')
    (tmp_path / "input.toml").write_text(text)
    said = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        words = ["select", tmp_path / "pool.xyz", "--input", tmp_path / "input.toml"]
        words += ["-o", tmp_path / name / "model.h5", "--labels", "6"]
        assert main([str(word) for word in words]) == 0
        said.append(capsys.readouterr().out)
    assert "6 reference calls; the" in said[0]
    assert "0 reference calls, 6 labels from the cache" in said[1]


def test_the_command_refuses_labels_of_other_arguments(tmp_path, capsys):
    pool = [(c, without_labels(c)) for c in silicon(6, seed=1)]
    write_frames(tmp_path / "pool.xyz", pool)
    text = INPUT.replace('"stillinger-weber"', '"lennard-jones"')
    arguments = "\n[reference.arguments]\nsigma_A.Si = 2.0\nepsilon_eV.Si = {}\n"
    (tmp_path / "input.toml").write_text(text + arguments.format(0.5))
    assert command(tmp_path, "--labels", "4") == 0
    assert command(tmp_path, "--labels", "4") == 0
    (tmp_path / "input.toml").write_text(text + arguments.format(0.6))
    capsys.readouterr()
    assert command(tmp_path, "--labels", "4") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "labelled by another reference or other arguments" in line
    assert "--labelled" in line


def test_a_pool_without_labels_and_calculator_is_refused_at_once(tmp_path, capsys):
    pool = silicon(4, seed=1)
    write_frames(tmp_path / "pool.xyz", [(c, without_labels(c)) for c in pool])
    (tmp_path / "input.toml").write_text(
        INPUT.replace("[reference]", "").replace('calculator = "stillinger-weber"', "")
    )
    assert command(tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "[reference]" in line


PARALLEL = """
[reference]
calculator = "slow:Slow"
workers = 3
"""
SLOW = """
import time
from otf.calculators.stillinger_weber import StillingerWeber

class Slow(StillingerWeber):
    def calculate(self, atoms, properties, changes):
        time.sleep(0.5 * (atoms.positions.sum() * 1e4 % 1.0))
        super().calculate(atoms, properties, changes)
"""


@pytest.fixture
def slow(tmp_path, monkeypatch):
    """Return a function that writes a pool, and an input with so many workers."""
    (tmp_path / "slow.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    pool = [(c, without_labels(c)) for c in silicon(12, seed=1)]
    write_frames(tmp_path / "pool.xyz", pool)
    reference = INPUT.partition("[descriptor]")[0]

    def write(workers):
        parallel = PARALLEL.replace("workers = 3", f"workers = {workers}")
        (tmp_path / "input.toml").write_text(INPUT.replace(reference, parallel))

    return write


def test_three_workers_label_a_pool_as_one_does(slow, tmp_path):
    written = []
    for workers in (1, 3):
        slow(workers)
        assert command(tmp_path, "--labels", "8", "--batch", "4") == 0
        written.append((tmp_path / "labelled.xyz").read_bytes())
        (tmp_path / "labelled.xyz").unlink()
    assert written[0] == written[1]
    assert not (tmp_path / "labelled.xyz.journal").exists()


def test_labels_that_arrived_before_their_turn_are_found_by_a_later_call(
    slow, tmp_path, monkeypatch
):
    slow(3)
    label = Labeller.label

    def breaks(self, index):
        for answer in list(self._answers.values()):
            answer()  # all have arrived
        raise KeyboardInterrupt

    monkeypatch.setattr(Labeller, "label", breaks)
    assert command(tmp_path, "--labels", "4") == 130
    assert not (tmp_path / "labelled.xyz").exists()
    monkeypatch.setattr(Labeller, "label", label)
    calls = []
    monkeypatch.setattr(Worker, "call", lambda *given: calls.append(given))
    assert command(tmp_path, "--labels", "4") == 0
    assert not calls
    assert len(read_frames(tmp_path / "labelled.xyz")) == 4
