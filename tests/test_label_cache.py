"""Labels all runs share: found again, never half written, never in the way of a run."""

import logging
import os
import signal
import time

import numpy as np
import pytest
from ase.build import bulk

from otf.build import build_reference
from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.commands.fitting import model_settings
from otf.configuration import Configuration, Labels
from otf.errors import InputError, StoreError
from otf.store import disk
from otf.store.entries import Label
from otf.store.label_cache import LabelCache
from otf.store.labels import label_key


@pytest.fixture
def silicon():
    return Configuration.from_atoms(bulk("Si"))


def asked(folder, configuration, **arguments):
    """Return labels of another process, so to say, and the reference it asked."""
    code = make_calculator("stillinger-weber", arguments)
    reference = Reference(code, cache=LabelCache(folder))
    return reference.label(configuration), reference


def label(number):
    c = Configuration.from_atoms(bulk("Si")).moved(np.full((2, 3), float(number)))
    labels = Labels(float(number), np.full((2, 3), number / 7.0), np.zeros(6))
    return Label(configuration=c, labels=labels, fingerprint="f", key=label_key(c, "f"))


def test_a_label_of_another_run_comes_back_to_the_bit(tmp_path, silicon):
    c = silicon.moved(1.01 * silicon.positions)
    paid, first = asked(tmp_path, c)
    found, second = asked(tmp_path, c)
    assert (first.n_calls, first.n_cached) == (1, 0)
    assert (second.n_calls, second.n_cached) == (0, 1)
    assert found.energy == paid.energy
    assert found.forces.tobytes() == paid.forces.tobytes()
    assert found.stress.tobytes() == paid.stress.tobytes()


def test_other_settings_have_labels_of_their_own(tmp_path, silicon):
    asked(tmp_path, silicon)
    _, other = asked(tmp_path, silicon, epsilon_eV=2.3)
    assert other.n_cached == 0
    assert asked(tmp_path, silicon)[1].n_cached == 1


def test_a_translated_crystal_is_another_question(tmp_path, silicon):
    asked(tmp_path, silicon)
    assert asked(tmp_path, silicon.moved(silicon.positions + 0.1))[1].n_cached == 0


def test_a_run_without_a_cache_finds_and_leaves_nothing(tmp_path, silicon):
    Reference(make_calculator("stillinger-weber")).label(silicon)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("spoil", ["cut", "flip", "empty", "foreign", "exchanged"])
def test_a_damaged_label_is_warned_of_and_computed_again(
    tmp_path, silicon, caplog, spoil
):
    paid, _ = asked(tmp_path, silicon)
    (path,) = tmp_path.rglob("*.label")
    whole = path.read_bytes()
    if spoil == "exchanged":  # a whole label, of another structure
        asked(tmp_path, silicon.moved(silicon.positions + 0.1))
        (other,) = (p for p in tmp_path.rglob("*.label") if p != path)
        path.write_bytes(other.read_bytes())
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        kinds = {"cut": whole[:-9], "flip": flipped, "empty": b"", "foreign": b"hello"}
        path.write_bytes(kinds[spoil])
    with caplog.at_level(logging.WARNING):
        again, reference = asked(tmp_path, silicon)
    assert (reference.n_calls, reference.n_cached) == (1, 0)
    assert again.energy == paid.energy
    (record,) = caplog.records
    assert "computed again" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert asked(tmp_path, silicon)[1].n_cached == 1


def test_a_cache_that_fails_costs_no_label(tmp_path, silicon, caplog, monkeypatch):
    def full(descriptor, data):
        raise OSError(28, "No space left on device")

    code = make_calculator("stillinger-weber")
    reference = Reference(code, cache=LabelCache(tmp_path))
    monkeypatch.setattr(disk.os, "write", full)
    with caplog.at_level(logging.WARNING):
        assert reference.label(silicon).energy == Reference(code).label(silicon).energy
    monkeypatch.undo()
    assert "full" in caplog.text
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def writer_for_ever(folder):
    """Return a child process that writes the same labels again and again."""
    child = os.fork()
    if child == 0:
        cache, number = LabelCache(folder), 0
        try:
            while True:
                cache.add(label(number % 40), "code: f")
                number += 1
        finally:
            os._exit(1)
    return child


def test_writers_killed_at_any_moment_leave_whole_labels_only(tmp_path, caplog):
    for round_ in range(5):
        writers = [writer_for_ever(tmp_path) for _ in range(2)]
        time.sleep(0.3 + 0.017 * round_)
        for writer in writers:
            os.kill(writer, signal.SIGKILL)
            assert os.WIFSIGNALED(os.waitpid(writer, 0)[1])  # it wrote until then
    cache = LabelCache(tmp_path)
    n_found = 0
    with caplog.at_level(logging.WARNING):
        for number in range(40):
            found = cache.find(label(number).key)
            if found is not None:
                n_found += 1
                assert found.labels.energy == float(number)
                assert (found.labels.forces == number / 7.0).all()
    assert n_found > 0
    assert not caplog.records


def test_what_a_killed_writer_left_is_swept_a_day_later(tmp_path):
    cache = LabelCache(tmp_path)
    cache.add(label(1), "")
    (path,) = tmp_path.rglob("*.label")
    old, new = path.with_name("old.partial"), path.with_name("new.partial")
    for one in (old, new):
        one.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    LabelCache(tmp_path)
    assert not old.exists()
    assert new.exists()
    assert path.exists()


def test_a_folder_that_cannot_be_is_refused_by_the_key_of_the_input(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StoreError):
        LabelCache(tmp_path / "taken")
    (tmp_path / "input.toml").write_text(
        '[reference]\ncalculator = "stillinger-weber"\ncache = "taken"\n'
    )
    settings = model_settings(tmp_path / "input.toml")
    with pytest.raises(InputError, match=r"taken.*\[reference\] cache") as caught:
        build_reference(settings)
    assert "\n" not in str(caught.value)
