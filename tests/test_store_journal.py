"""The journal keeps what it was given and loses at most a torn last record."""

import errno
import os
import struct
from dataclasses import replace

import numpy as np
import pytest

from otf.configuration import Configuration, Labels
from otf.errors import StoreError
from otf.store import journal as journals
from otf.store.codec import decode, encode
from otf.store.entries import (
    KINDS,
    Decision,
    Label,
    Method,
    Start,
    from_record,
    to_data,
)
from otf.store.journal import Journal
from otf.store.labels import LabelBook, label_key
from otf.store.record_file import HEADER_SIZE

SPECIAL = [0.1 + 0.2, -0.0, 5e-324, 1.7976931348623157e308, np.inf, -np.inf]


def configuration(seed=0, n=3):
    rng = np.random.default_rng(seed)
    return Configuration(
        numbers=np.array([8, 1, 1])[:n],
        positions=rng.normal(size=(n, 3)),
        cell=np.diag([5.0, 6.0, 7.0]),
        pbc=np.array([True, True, False]),
        charge=-1.0,
        spin=2,
        magnetic_moments=rng.normal(size=n),
    )


def label(c, *, fingerprint="code 1.0", seed=0):
    rng = np.random.default_rng(seed)
    labels = Labels(
        energy=rng.normal(),
        forces=rng.normal(size=(c.n_atoms, 3)),
        stress=np.array([1.0, 2.0, np.nan, np.nan, np.nan, 3.0]),
    )
    return Label(
        configuration=c,
        labels=labels,
        fingerprint=fingerprint,
        key=label_key(c, fingerprint),
    )


def decision(step):
    return Decision(
        step=step,
        reason="predict",
        labelled=False,
        error=0.1,
        threshold=0.3,
        max_spilling=1e-5,
    )


def same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# ------------------------------------------------------------------------------ codec
@pytest.mark.parametrize(
    "array",
    [
        np.array(SPECIAL),
        np.array(3.5),
        np.empty((0, 3)),
        np.arange(24, dtype=np.int32).reshape(2, 3, 4)[:, ::2],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([True, False]),
        np.array(["Si", "O2"]),
        np.arange(3, dtype=">f4"),
    ],
)
def test_an_array_comes_back_with_its_bits_type_and_shape(array):
    back = decode(encode({"x": array}))["x"]
    assert same_bits(back, np.ascontiguousarray(array).reshape(array.shape))
    assert back.flags.c_contiguous
    assert back.flags.writeable


def test_scalars_keep_all_their_bits():
    back = decode(encode({"x": SPECIAL, "nan": np.float64("nan"), "n": np.int64(7)}))
    assert [struct.pack("d", x) for x in back["x"]] == [
        struct.pack("d", x) for x in SPECIAL
    ]
    assert np.isnan(back["nan"])
    assert back["n"] == 7


def test_arrays_may_lie_deep_inside_lists_and_mappings():
    back = decode(encode({"a": [{"b": np.arange(3)}, None, "text"], "c": np.ones(2)}))
    assert same_bits(back["a"][0]["b"], np.arange(3))
    assert back["a"][1:] == [None, "text"]
    assert same_bits(back["c"], np.ones(2))


def test_what_cannot_be_stored_is_refused():
    with pytest.raises(TypeError, match="set cannot be stored"):
        encode({"x": {1, 2}})
    with pytest.raises(TypeError, match="Python objects"):
        encode({"x": np.array([None])})


# ---------------------------------------------------------------------------- journal
def test_a_label_comes_back_bit_by_bit(tmp_path):
    wanted = label(configuration())
    with Journal(tmp_path / "j") as journal:
        journal.write(wanted)
    (record,) = journals.read(tmp_path / "j")
    found = from_record(record)
    assert isinstance(found, Label)
    for name in ("numbers", "positions", "cell", "pbc", "magnetic_moments"):
        a, b = getattr(found.configuration, name), getattr(wanted.configuration, name)
        assert same_bits(a, b)
    assert (found.configuration.charge, found.configuration.spin) == (-1.0, 2)
    assert found.configuration.initial_charges is None
    assert same_bits(found.labels.forces, wanted.labels.forces)
    assert same_bits(found.labels.stress, wanted.labels.stress)
    assert found.labels.energy == wanted.labels.energy


def test_a_torn_last_record_is_cut_wherever_it_is_torn(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # nothing here waits for a disk
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.write(decision(1))
        start = journal.write(decision(2))
    whole = path.read_bytes()
    for size in range(start, len(whole)):
        path.write_bytes(whole[:size])
        assert [r.data["step"] for r in journals.read(path)] == [1]
        with Journal(path) as journal:
            assert journal.size == start
            journal.write(decision(3), sync=False)
        assert [r.data["step"] for r in journals.read(path)] == [1, 3]


def test_a_torn_head_is_an_empty_journal(tmp_path):
    path = tmp_path / "j"
    Journal(path).close()
    whole = path.read_bytes()
    assert len(whole) == HEADER_SIZE
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert list(journals.read(path)) == []
        Journal(path).close()
        assert path.read_bytes() == whole


def test_zeros_behind_the_last_record_are_a_torn_tail(tmp_path):
    # what a file system leaves when the power goes before the data are written
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.write(decision(1))
    path.write_bytes(path.read_bytes() + bytes(5000))
    assert [r.data["step"] for r in journals.read(path)] == [1]


def test_every_spoilt_byte_before_the_last_record_is_an_error(tmp_path):
    path = tmp_path / "j"
    with Journal(path) as journal:
        start = journal.write(decision(1))
        end = journal.write(decision(2))
    whole = path.read_bytes()
    for k in range(start, end):
        path.write_bytes(whole[:k] + bytes([whole[k] ^ 0x20]) + whole[k + 1 :])
        with pytest.raises(StoreError, match=f"record at byte {start} is damaged"):
            list(journals.read(path))
        with pytest.raises(StoreError, match="is damaged"):
            Journal(path)


def test_a_second_process_reads_beside_the_writer(tmp_path):
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.write(decision(1), sync=False)
        reader = journals.read(path)
        assert next(reader).data["step"] == 1
        journal.write(decision(2), sync=False)
        # a reader sees what there was when it began, and a new one sees all
        assert list(reader) == []
        assert [r.data["step"] for r in journals.read(path)] == [1, 2]


def test_foreign_and_newer_files_are_refused_in_one_line(tmp_path):
    path = tmp_path / "j"
    path.write_bytes(b"not ours at all, but long enough")
    with pytest.raises(StoreError, match="is no journal file"):
        list(journals.read(path))
    path.unlink()
    Journal(path).close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-4] + struct.pack("<I", 99))
    with pytest.raises(StoreError, match=r"version 99.*update otf-md"):
        Journal(path)
    with pytest.raises(StoreError, match="No such file"):
        list(journals.read(tmp_path / "missing"))


def test_a_record_kind_of_a_later_version_is_passed_over(tmp_path):
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.append("future", {"x": 1}, sync=False)
    (record,) = journals.read(path)
    assert from_record(record) is None


def test_an_unknown_field_is_left_out_and_a_missing_one_named(tmp_path):
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.append("stage", {"step": 1, "name": "heat", "new": 2}, sync=False)
        journal.append("stage", {"step": 1}, sync=False)
    good, bad = journals.read(path)
    assert to_data(from_record(good)) == {"step": 1, "name": "heat"}
    with pytest.raises(StoreError, match="name"):
        from_record(bad)


def test_every_kind_fits_into_its_field():
    assert all(0 < len(kind.encode("ascii")) <= 8 for kind in KINDS)


# --------------------------------------------------------------------------- full disk
def full_after(n_bytes):
    """Return a stand-in for os.write on a disk with some bytes left."""
    write, left = os.write, [n_bytes]

    def limited(descriptor, data):
        if left[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        n = write(descriptor, bytes(data)[: left[0]])
        left[0] -= n
        return n

    return limited


@pytest.mark.parametrize("left", [0, 1, 19, 20, 100])
def test_a_full_disk_leaves_the_journal_at_its_last_whole_record(
    tmp_path, monkeypatch, left
):
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.write(decision(1))
        size = journal.size
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full_after(left))
            with pytest.raises(StoreError, match=r"full \(.* MB free") as caught:
                journal.write(decision(2))
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert path.stat().st_size == size
        journal.write(decision(3))  # room was made
    assert [r.data["step"] for r in journals.read(path)] == [1, 3]


def test_a_failing_disk_takes_the_unsynced_record_back(tmp_path, monkeypatch):
    path = tmp_path / "j"

    def fail(_):
        raise OSError(errno.EIO, "Input/output error")

    with Journal(path) as journal:
        journal.write(decision(1))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            with pytest.raises(StoreError, match="Input/output error"):
                journal.write(decision(2))
    assert [r.data["step"] for r in journals.read(path)] == [1]


# ------------------------------------------------------------------------- label book
def test_a_label_is_found_again_by_another_process(tmp_path):
    path = tmp_path / "j"
    first, second = (label(configuration(k), seed=k) for k in range(2))
    with Journal(path) as journal:
        book = LabelBook(journal)
        assert book.find(first.key) is None
        book.add(first)
        book.add(second)
        assert same_bits(book.find(second.key).forces, second.labels.forces)
    with Journal(path) as journal:
        again = LabelBook(journal)
        assert len(again) == 2
        assert same_bits(again.find(first.key).forces, first.labels.forces)


def test_what_a_fingerprint_stands_for_is_written_once(tmp_path):
    for seed in (1, 2):
        with Journal(tmp_path / "j") as journal:
            book = LabelBook(journal)
            book.add(label(configuration(seed)), "code: emt")
            book.add(label(configuration(seed + 10)), "code: emt")
    entries = [from_record(record) for record in journals.read(tmp_path / "j")]
    methods = [entry for entry in entries if isinstance(entry, Method)]
    assert entries[0] is methods[0]  # before the first label that needs it
    assert [(m.fingerprint, m.description) for m in methods] == [
        ("code 1.0", "code: emt")
    ]
    assert len(entries) == 5


def test_labels_of_earlier_runs_are_taken_over(tmp_path):
    wanted = label(configuration())
    with Journal(tmp_path / "old") as old:
        LabelBook(old).add(wanted)
    with Journal(tmp_path / "new") as new:
        book = LabelBook(new, others=[tmp_path / "old"])
        assert book.find(wanted.key).energy == wanted.labels.energy


def test_a_label_is_synced_before_add_returns(tmp_path, monkeypatch):
    with Journal(tmp_path / "j") as journal:
        book, synced, fsync = LabelBook(journal), [], os.fsync

        def watch(descriptor):
            synced.append(os.fstat(descriptor).st_size)
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", watch)
        book.add(label(configuration()))
        assert synced[-1:] == [journal.size]


@pytest.mark.parametrize(
    "change",
    [
        {"numbers": np.array([8, 1, 2])},
        {"positions": np.nextafter(configuration().positions, 9.0)},
        {"cell": np.diag([5.0, 6.0, 7.5])},
        {"pbc": np.array([True, True, True])},
        {"charge": None},
        {"charge": 0.0},
        {"spin": None},
        {"spin": 1},
        {"initial_charges": np.zeros(3)},
        {"magnetic_moments": None},
    ],
    ids=str,
)
def test_the_key_sees_every_part_of_the_question(change):
    c = configuration()
    assert label_key(replace(c, **change), "f") != label_key(c, "f")


def test_the_key_sees_the_reference_but_not_the_sign_of_zero():
    c = replace(configuration(), positions=np.zeros((3, 3)))
    assert label_key(c, "f") != label_key(c, "g")
    assert label_key(c.moved(-c.positions), "f") == label_key(c, "f")


def test_start_keeps_the_input_text_verbatim(tmp_path):
    text = 'title = "größe"\r\n\t# end'
    with Journal(tmp_path / "j") as journal:
        journal.write(Start(input_text=text, versions={"numpy": "2"}))
    (record,) = journals.read(tmp_path / "j")
    assert from_record(record).input_text == text
