"""otf-md import and export: one line of summary a fact, one line a mistake."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from otf.cli import main
from otf.commands.dataset import read_dataset
from otf.errors import InputError
from otf.store.extxyz import (
    FINGERPRINT,
    comment_values,
    read_extxyz,
    read_frames,
    write_frames,
)
from otf.store.formats import FORMATS, read_labelled

DATA = Path(__file__).parent / "data" / "import"


def run(*words):
    return main([str(word) for word in words])


def test_import_prints_what_it_found_and_left_out(tmp_path, capsys):
    assert run("import", DATA / "emt.OUTCAR", "-o", tmp_path / "a.xyz") == 0
    out = capsys.readouterr().out
    assert "VASP OUTCAR" in out
    assert "2 frames of 4 atoms, 8 atoms in all: Cu 4 Au 4" in out
    assert "labels: energy all, forces all, stress all" in out
    assert "left out: 1 SCF not converged" in out
    assert len(read_frames(tmp_path / "a.xyz")) == 2


def test_the_summary_for_programs_counts_every_file(tmp_path, capsys):
    files = (DATA / "emt.OUTCAR", DATA / "emt.ML_AB", DATA / "h2-pos-1.xyz")
    assert run("import", *files, "-o", tmp_path / "a.xyz.gz", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["frames"] == 9
    assert data["atoms"] == 28
    assert data["elements"] == {"H": 8, "Cu": 10, "Au": 10}
    assert data["labels"] == {"energy": 9, "forces": 9, "stress": 5}
    assert data["left_out"] == {"SCF not converged": 1}
    assert [f["format"] for f in data["files"]] == ["outcar", "ml-ab", "cp2k-xyz"]
    assert len(read_frames(tmp_path / "a.xyz.gz")) == 9


@pytest.mark.parametrize("name", [n for n, k in FORMATS.items() if k.write is not None])
def test_export_and_import_are_inverse(tmp_path, capsys, name):
    write_frames(tmp_path / "in.xyz", read_labelled(DATA / "emt.ML_AB").frames)
    assert (
        run("export", tmp_path / "in.xyz", "-o", tmp_path / "b", "--format", name) == 0
    )
    assert run("import", tmp_path / "b", "-o", tmp_path / "out.xyz") == 0
    pairs = zip(
        read_frames(tmp_path / "in.xyz"), read_frames(tmp_path / "out.xyz"), strict=True
    )
    for (c, labels), (d, found) in pairs:
        np.testing.assert_allclose(d.positions, c.positions, rtol=1e-14)
        np.testing.assert_allclose(found.forces, labels.forces, rtol=1e-14)
        np.testing.assert_allclose(found.stress, labels.stress, rtol=1e-13)


def test_elements_of_types_are_given_on_the_command_line(tmp_path):
    arguments = ("-o", tmp_path / "a.xyz", "--elements", "Au", "Cu")
    assert run("import", DATA / "emt.cfg", *arguments) == 0
    c, _ = read_frames(tmp_path / "a.xyz")[0]
    assert c.numbers.tolist() == [79, 79, 29, 29]


def test_kinds_and_references_of_frames_are_kept(tmp_path):
    frames = read_labelled(DATA / "emt.ML_AB").frames
    marks, groups = ["one", "", "two words"], ["", "liquid", "hot solid"]
    write_frames(tmp_path / "a.xyz", frames, fingerprints=marks, groups=groups)
    assert run("import", tmp_path / "a.xyz", "-o", tmp_path / "b.xyz") == 0
    assert comment_values(tmp_path / "b.xyz", FINGERPRINT, n_frames=3) == marks
    assert comment_values(tmp_path / "b.xyz", "config_type", n_frames=3) == groups


@pytest.mark.parametrize(
    "name", ["emt.ML_AB", "emt.vasprun.xml", "silicon_vc-relax.pwo"]
)
def test_data_of_a_command_may_be_of_any_format(name):
    data = read_dataset([DATA / name])
    assert len(data.frames) == len(read_labelled(DATA / name).frames)


def test_a_folder_of_deepmd_is_data_too(tmp_path):
    reading = read_labelled(DATA / "emt.ML_AB")
    FORMATS["deepmd"].write(tmp_path / "d", reading)
    assert len(read_dataset([tmp_path / "d"]).frames) == 3


def test_frames_left_out_are_told_to_who_fits(caplog):
    read_dataset([DATA / "emt.OUTCAR"])
    assert "are left out: 1 SCF not converged" in caplog.text
    with pytest.raises(InputError, match="no frame that can be used: 1 SCF not conv"):
        read_dataset([DATA / "silicon_unconverged.pwo"])


MISTAKES = [
    (("import", "{no}.xyz", "-o", "{out}"), 2, "there is no file"),
    (("import", "{emt.ML_AB}", "-o", "{emt.ML_AB}"), 2, "is read by this command"),
    (("import", "{emt.ML_AB}", "-o", "{no}/a.xyz"), 2, "there is no folder"),
    (
        ("import", "{emt.ML_AB}", "-o", "{out}", "--format", "ml-aab"),
        2,
        "did you mean ml-ab?",
    ),
    (
        ("import", "{emt.ML_AB}", "-o", "{out}", "--format", "outcar"),
        1,
        "holds no ionic step",
    ),
    (
        ("import", "{emt.ML_AB}", "-o", "{out}", "--elements", "Au"),
        2,
        "leave --elements out",
    ),
    (("import", "{emt.cfg}", "-o", "{out}", "--elements", "Zz"), 2, "Zz is no element"),
    (("import", "{emt.cfg}", "-o", "{out}"), 1, "--elements"),
    (("import", "{h2-frc-1.xyz}", "-o", "{out}"), 1, "give PROJECT-pos-1.xyz"),
    (
        ("import", "{silicon_unconverged.pwo}", "-o", "{out}"),
        2,
        "no frame that can be used: 1 SCF not converged",
    ),
    (("import", "{make_samples.py}", "-o", "{out}"), 1, "of no format otf-md reads"),
    (("import", "{empty}", "-o", "{out}"), 1, "holds no frames"),
    (("import", "{folder}", "-o", "{out}"), 1, "nor another data set"),
    (
        ("export", "{emt.ML_AB}", "-o", "{out}", "--format", "outcar"),
        2,
        "there is no format outcar",
    ),
    (
        ("export", "{h2-pos-1.xyz}", "-o", "{taken}", "--format", "deepmd"),
        1,
        "is there already",
    ),
    (("export", "{molecule}", "-o", "{out}", "--format", "ml-ab"), 1, "periodic in 3"),
]


@pytest.mark.parametrize(("words", "code", "says"), MISTAKES)
def test_a_mistake_is_one_line_with_the_mend(tmp_path, capsys, words, code, says):
    for path in DATA.iterdir():
        shutil.copy(path, tmp_path / path.name)
    places = {f"{{{path.name}}}": str(path) for path in tmp_path.iterdir()}
    for name in ("empty", "taken"):
        (tmp_path / name).write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "molecule").write_text(
        "1\nProperties=species:S:1:pos:R:3 energy=0\nH 0 0 0\n"
    )
    for name in ("no", "out", "empty", "taken", "folder", "molecule"):
        places[f"{{{name}}}"] = str(tmp_path / name)
    for mark, place in places.items():
        words = tuple(word.replace(mark, place) for word in words)
    before = sorted(tmp_path.iterdir())
    assert main(list(words)) == code
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert says in line
    assert captured.out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_import_names_the_reference_of_frames_that_do_not(tmp_path, capsys):
    named, marked = tmp_path / "named.xyz", tmp_path / "marked.xyz"
    name = "PBE-500eV"
    assert run("import", DATA / "emt.OUTCAR", "-o", named, "--fingerprint", name) == 0
    assert set(read_extxyz(named).fingerprints) == {name}
    write_frames(marked, read_frames(named)[:1], fingerprints=["other"])
    with pytest.raises(InputError, match="do not mix"):
        read_dataset([named, marked])
    # What says its reference already keeps it.
    again = tmp_path / "again.xyz"
    assert run("import", marked, "-o", again, "--fingerprint", name) == 0
    assert read_extxyz(again).fingerprints == ["other"]
    assert run("import", marked, "-o", again, "--fingerprint", "two words") == 2
    assert "without spaces" in capsys.readouterr().err
