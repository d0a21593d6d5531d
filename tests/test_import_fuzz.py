"""A damaged file is refused with a clear error, or its whole frames are read rightly.

What counts: a number or an element that becomes another valid one is data that no
reader can doubt, so mutations do not do that, nor do they cut the last word of a file
short. They lose, double, join or spoil lines and words, change counts, put signs where
none belong, and cut files off. After that a reader must either raise an OTFError, or
return frames that are among those of the whole file, in order, with every label equal
or missing, and frames that are gone must be counted.
"""

import os
import random
import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.db import connect

from otf.errors import OTFError
from otf.store.extxyz import write_frames
from otf.store.formats import FORMATS, read_labelled
from otf.store.labelled import NO_END

DATA = Path(__file__).parent / "data" / "import"
N_MUTATIONS = int(os.environ.get("OTF_FUZZ_MUTATIONS", "1000"))
SEED = 20260101


def text_samples():
    """Return, by format, the files of a small sample, the first of which is read."""
    return {
        "ml-ab": ["emt.ML_AB"],
        "vasprun": ["emt.vasprun.xml"],
        "outcar": ["emt.OUTCAR"],
        "espresso": ["silicon_vc-relax.pwo"],
        "mlip-cfg": ["emt.cfg"],
        "cp2k-xyz": ["h2-pos-1.xyz", "h2-frc-1.xyz", "h2-1.cell"],
        "cp2k-output": ["h2.out", "h2-pos-1.xyz", "h2-frc-1.xyz", "h2-1.cell"],
    }


# Formats in which a file says where it ends or how many frames it has, or in which a
# lost key cannot be told from one that never was.
COUNTED = {"ml-ab", "vasprun", "outcar", "espresso"}
# What a run was writing when it was killed must not be read.
LOGS = {"vasprun", "outcar", "espresso", "cp2k-xyz", "cp2k-output"}


# --------------------------------------------------------------------------- mutations
def lose_line(rng, text):
    lines = text.splitlines(keepends=True)
    del lines[rng.randrange(len(lines))]
    return "".join(lines)


def double_line(rng, text):
    lines = text.splitlines(keepends=True)
    k = rng.randrange(len(lines))
    lines.insert(k, lines[k])
    return "".join(lines)


def lose_word(rng, text):
    word = rng.choice(list(re.finditer(r"\S+", text)))
    return text[: word.start()] + text[word.end() :]


def spoil_number(rng, text):
    word = rng.choice(list(re.finditer(r"[-+]?\d*\.\d+(?:[eE][-+]\d+)?", text)))
    junk = rng.choice(
        ["abc", "*" * 12, "nan", "inf", "1.2.3", "--1", "1,5", "0x1p3", ""]
    )
    return text[: word.start()] + junk + text[word.end() :]


def line_around(text, at):
    return text[text.rfind("\n", 0, at) + 1 : text.find("\n", at)]


def is_data(line):
    return "NELM" in line or len(re.findall(r"\S+", line)) == 8


def change_count(rng, text):
    found = list(re.finditer(r"(?<![\w.+-])\d{1,3}(?![\w.+-])", text))
    # the number of iterations that counts as unconverged and types of atoms are data
    lines = {m: line_around(text, m.start()) for m in found}
    word = rng.choice([m for m in found if not is_data(lines[m])])
    value = max(0, int(word[0]) + rng.choice([-1, 1, 7]))
    return f"{text[: word.start()]}{value}{text[word.end() :]}"


def spoil_letter(rng, text):
    k = rng.choice([m.start() for m in re.finditer(r"[A-Za-z]", text)])
    return text[:k] + "q" + text[k + 1 :]


def insert_noise(rng, text):
    k = rng.randrange(len(text))
    return text[:k] + rng.choice(["\x00", "\ufffd", "#", "§", "q q\n"]) + text[k:]


def cut_off(rng, text):
    last = max(text.rstrip().rfind(" "), text.rstrip().rfind("\n"))
    k = rng.randrange(1, last)
    # a word cut in its middle may be another valid number
    return text[: text.rfind("\n", 0, k) + 1]


def cut_anywhere(rng, text):
    return text[: rng.randrange(1, len(text))]


def join_lines(rng, text):
    k = rng.choice([m.start() for m in re.finditer("\n", text)])
    return text[:k] + " " + text[k + 1 :]


MUTATIONS = [
    lose_line,
    double_line,
    lose_word,
    spoil_number,
    change_count,
    spoil_letter,
    insert_noise,
    cut_off,
    join_lines,
]


# ------------------------------------------------------------------------- the verdict
def equal_or_missing(found, whole):
    found, whole = np.asarray(found), np.asarray(whole)
    return bool(np.all((found == whole) | np.isnan(found)))


def is_part_of(frame, whole):
    (c, labels), (d, wanted) = frame, whole
    return (
        np.array_equal(c.numbers, d.numbers)
        and np.array_equal(c.positions, d.positions)
        and np.array_equal(c.cell, d.cell)
        and np.array_equal(c.pbc, d.pbc)
        and equal_or_missing(labels.energy, wanted.energy)
        and equal_or_missing(labels.forces, wanted.forces)
        and equal_or_missing(labels.stress, wanted.stress)
    )


def verdict(reading, whole, *, counted):
    """Return why a reading is a silent misreading; empty when it is none."""
    at = 0
    for k, frame in enumerate(reading.frames):
        while at < len(whole.frames) and not is_part_of(frame, whole.frames[at]):
            at += 1
        if at == len(whole.frames):
            return f"frame {k} is none of the file"
        at += 1
    lost = len(whole.frames) - len(reading.frames)
    told = sum(reading.left_out.values()) > sum(whole.left_out.values())
    if counted and lost and not told and NO_END not in reading.notes:
        return f"{lost} frames are gone without a word"
    return ""


def outcome(path, name, elements=()):
    """Return what is read, or None with the complaint."""
    try:
        return read_labelled(path, name=name, elements=elements), ""
    except OTFError as error:
        complaint = str(error)
    assert "\n" not in complaint
    return None, complaint


@pytest.mark.parametrize("name", text_samples())
def test_a_damaged_text_is_refused_or_read_rightly(tmp_path, name):
    files = text_samples()[name]
    texts = {file: (DATA / file).read_text() for file in files}
    for file, text in texts.items():
        (tmp_path / file).write_text(text)
    first = tmp_path / files[0]
    elements = (79, 29) if name == "mlip-cfg" else ()
    whole = read_labelled(first, name=name, elements=elements)
    mutations = MUTATIONS + ([cut_anywhere] if name in LOGS else [])
    rng = random.Random(SEED)
    n_refused = 0
    for k in range(N_MUTATIONS):
        file, mutate = rng.choice(files), rng.choice(mutations)
        (tmp_path / file).write_text(mutate(rng, texts[file]))
        reading, complaint = outcome(first, name, elements)
        n_refused += reading is None
        if reading is None:
            assert str(tmp_path) in complaint
        else:
            wrong = verdict(reading, whole, counted=name in COUNTED)
            assert not wrong, f"mutation {k}, {mutate.__name__} of {file}: {wrong}"
        (tmp_path / file).write_text(texts[file])
    assert n_refused > N_MUTATIONS // 5


# Of extended XYZ most is free: keys, columns, words.
EXTXYZ = [m for m in MUTATIONS if m not in (lose_word, insert_noise, join_lines)]


def test_a_damaged_extended_xyz_is_refused_or_read_rightly(tmp_path):
    whole = read_labelled(DATA / "emt.ML_AB")
    write_frames(tmp_path / "a.xyz", whole.frames)
    whole = read_labelled(tmp_path / "a.xyz")
    text = (tmp_path / "a.xyz").read_text()
    rng = random.Random(SEED)
    for k in range(N_MUTATIONS):
        mutate = rng.choice(EXTXYZ)
        (tmp_path / "a.xyz").write_text(mutate(rng, text))
        reading, _ = outcome(tmp_path / "a.xyz", "extxyz")
        if reading is not None:
            wrong = verdict(reading, whole, counted=False)
            assert not wrong, f"mutation {k}, {mutate.__name__}: {wrong}"


# ------------------------------------------------------------------------------ binary
def damage(rng, content):
    """Return bytes cut off, or a few of them changed."""
    if rng.random() < 0.5:
        return content[: rng.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(rng.randrange(1, 8)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("name", ["ase-db", "ase-json", "ase-traj", "gzip"])
def test_damaged_bytes_end_in_an_error_of_ours_or_in_frames(tmp_path, name):
    # Changed numbers inside a database cannot be seen: the frames are not compared.
    frames = read_labelled(DATA / "emt.ML_AB").frames
    path = tmp_path / "data"
    if name == "ase-db":
        FORMATS["ase-db"].write(path, read_labelled(DATA / "emt.ML_AB"))
    elif name == "ase-json":
        with connect(path, type="json", use_lock_file=False) as database:
            for c, _ in frames:
                database.write(c.to_atoms())
    elif name == "ase-traj":
        ase.io.write(path, [c.to_atoms() for c, _ in frames], format="traj")
    else:
        write_frames(tmp_path / "a.xyz.gz", frames)
        path = tmp_path / "a.xyz.gz"
    content = path.read_bytes()
    rng = random.Random(SEED)
    n_refused = 0
    for _ in range(N_MUTATIONS):
        path.write_bytes(damage(rng, content))
        reading, _ = outcome(path, "extxyz" if name == "gzip" else name)
        n_refused += reading is None
    assert n_refused > N_MUTATIONS // 5


def test_a_damaged_folder_of_deepmd_is_refused_or_read_rightly(tmp_path):
    FORMATS["deepmd"].write(tmp_path / "d", read_labelled(DATA / "emt.ML_AB"))
    whole = read_labelled(tmp_path / "d")
    files = [f for f in (tmp_path / "d").rglob("*") if f.is_file()]
    rng = random.Random(SEED)
    n_refused = 0
    for k in range(N_MUTATIONS):
        file = rng.choice(files)
        content = file.read_bytes()
        if file.suffix == ".npy" and rng.random() < 0.5:
            header = bytearray(content)
            header[rng.randrange(128)] = ord("q")
            damaged = bytes(header)
        elif file.suffix == ".npy":
            damaged = content[: rng.randrange(len(content))]
        else:
            mutate = rng.choice([lose_line, double_line, spoil_letter, change_count])
            text = content.decode()
            if mutate is change_count and file.name == "type.raw":
                damaged = text.replace("1", "9", 1).encode()
            elif re.search("[A-Za-z]", text) or mutate in (lose_line, double_line):
                damaged = (
                    mutate(rng, text).encode() if mutate is not change_count else b""
                )
            else:
                damaged = b"q"
        file.write_bytes(damaged)
        reading, _ = outcome(tmp_path / "d", "deepmd")
        n_refused += reading is None
        if reading is not None:
            wrong = verdict(reading, whole, counted=True)
            assert not wrong, f"mutation {k} of {file}: {wrong}"
        file.write_bytes(content)
    assert n_refused > N_MUTATIONS // 2
