"""otf-md data: labels that are wrong are named, right ones are not."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk

from otf.analysis.examination import Place, named
from otf.analysis.stress_conventions import ORDERS, SCALES, as_written
from otf.calculators.stillinger_weber import StillingerWeber
from otf.cli import main
from otf.configuration import Configuration, Labels
from otf.store.extxyz import write_frames
from otf.testing import strained
from otf.units import GPA

INPUT = """
[descriptor]
cutoff_three_body_A = 4.0
n_max = 4
l_max = 2
cutoff_two_body_A = 4.0
n_max_two_body = 5
"""
N = 50
NAMES = {
    "flipped": ("sign flipped", "right"),
    "kbar": ("ten times too large (kbar taken for GPa)", "right"),
    "kbar-raw": ("kbar taken for eV/A^3", "right"),
    "virial": ("virial of the cell taken for stress", "right"),
    "ase-virial": ("sign flipped, virial of the cell taken for stress", "right"),
    "vasp": ("right", "shear order xy yz xz (VASP)"),
    "lammps": ("right", "shear order xy xz yz (LAMMPS)"),
    "vasp-raw": (
        "sign flipped, kbar taken for eV/A^3",
        "shear order xy yz xz (VASP)",
    ),
}


def convention(name):
    scale, order = NAMES[name]
    return (
        next(s for s in SCALES if s.name == scale),
        next(o for o in ORDERS if o.name == order),
    )


def silicon(n, *, strain=0.03):
    """Return strained, rattled silicon of 8 and 16 atoms with exact labels."""
    generator = np.random.default_rng(0)
    cells = [bulk("Si", cubic=True), bulk("Si", cubic=True).repeat((1, 1, 2))]
    out = []
    for k in range(n):
        c = Configuration.from_atoms(cells[k % 2])
        c = strained(c, strain * generator.uniform(-1.0, 1.0, 6))
        c = c.moved(c.positions + generator.normal(0.0, 0.07, c.positions.shape))
        energy, forces, virial = StillingerWeber().evaluate(c)
        out.append((c, Labels(energy, forces, virial / c.volume)))
    return out


@pytest.fixture(scope="module")
def frames():
    return silicon(N)


@pytest.fixture
def examined(tmp_path, capsys):
    """Return a function from frames to the JSON of the command."""
    (tmp_path / "small.toml").write_text(INPUT)

    def examine(frames, *arguments):
        path = tmp_path / "data.xyz"
        write_frames(path, frames)
        words = ["data", str(path), "--json", "--references", "120", *arguments]
        assert main([*words, "--input", str(tmp_path / "small.toml")]) == 0
        return json.loads(capsys.readouterr().out)

    return examine


def with_convention(frames, name, chosen):
    scale, order = convention(name)
    out = list(frames)
    for k in np.flatnonzero(chosen):
        c, labels = frames[k]
        volume = np.array([c.volume])
        wrong = as_written(labels.stress[None], volume, scale, order)[0]
        out[k] = (c, replace(labels, stress=wrong))
    return out


def texts(data, level):
    return [one["text"] for one in data["findings"] if one["level"] == level]


def test_sound_data_pass(frames, examined):
    data = examined(frames)
    assert texts(data, "wrong") == []
    verdicts = [frame["stress_verdict"] for frame in data["frames"]]
    assert set(verdicts) <= {"right", "undecided"}
    assert verdicts.count("right") > 0.6 * N
    assert any("sign and unit are right" in text for text in texts(data, "good"))


@pytest.mark.parametrize("share", [0.2, 1.0])
@pytest.mark.parametrize("name", NAMES)
def test_a_planted_convention_is_named(frames, examined, name, share):
    chosen = np.random.default_rng(3).random(N) < share
    data = examined(with_convention(frames, name, chosen))
    verdicts = np.array([frame["stress_verdict"] for frame in data["frames"]])
    wanted = ", ".join(word for word in NAMES[name] if word != "right")
    told = chosen & (verdicts != "undecided")
    # A part of it, where the shears alone are too alike to tell their order.
    named_right = [v == wanted or wanted.startswith(v) for v in verdicts[told]]
    assert np.mean(named_right) >= 0.95, verdicts[told]
    assert told.sum() > 0.7 * chosen.sum()
    assert set(verdicts[~chosen]) <= {"right", "undecided"}
    assert any(wanted in text for text in texts(data, "wrong"))


def test_the_kind_of_structures_that_are_wrong_is_named(frames, tmp_path, capsys):
    chosen = np.arange(N) % 5 == 2
    groups = ["slab" if k < 10 else "bulk" for k in range(N)]
    path = tmp_path / "data.xyz"
    (tmp_path / "small.toml").write_text(INPUT)
    write_frames(path, with_convention(frames, "flipped", chosen), groups=groups)
    assert main(["data", str(path), "--input", str(tmp_path / "small.toml")]) == 0
    wanted = "sign flipped in 10 of 50 structures (bulk 8 of 40, slab 2 of 10)"
    assert wanted in capsys.readouterr().out


def test_a_constant_offset_is_found(frames, examined):
    shift = np.array([3.0 * GPA] * 3 + [0.0] * 3)
    data = examined([(c, replace(y, stress=y.stress + shift)) for c, y in frames])
    stress = data["model"]["stress"]
    assert stress["offset_is_significant"]
    assert stress["offset_GPa"] == pytest.approx(3.0, abs=0.3)
    (text,) = texts(data, "wrong")
    assert "constant isotropic offset" in text


def test_equal_volumes_tell_sign_but_no_offset(examined):
    frames = silicon(24, strain=0.0)
    chosen = np.arange(24) % 4 == 1
    data = examined(with_convention(frames, "flipped", chosen))
    verdicts = np.array([frame["stress_verdict"] for frame in data["frames"]])
    assert set(verdicts[chosen]) <= {"sign flipped", "undecided"}
    assert set(verdicts[~chosen]) <= {"right", "undecided"}
    assert (verdicts == "undecided").sum() <= 3
    assert any("volumes vary too little" in text for text in texts(data, "note"))


def test_labels_that_the_others_do_not_expect_are_named(frames, examined):
    bad = list(frames)
    c, labels = bad[7]
    bad[7] = (c, replace(labels, energy=labels.energy + 0.1 * c.n_atoms))
    c, labels = bad[11]
    forces = labels.forces.copy()
    forces[4] += [3.0, 0.0, 0.0]
    bad[11] = (c, replace(labels, forces=forces))
    data = examined(bad)
    look = {
        one["text"].partition(":")[0]: [place["frame"] for place in one["frames"]]
        for one in data["findings"]
        if "do not expect" in one["text"]
    }
    assert look["energy"] == [7]
    assert look["forces"] == [11]
    assert data["frames"][11]["force_error_atom"] == 4


def test_missing_labels_and_zero_stresses_are_counted(frames, examined):
    nothing = np.full(6, np.nan)
    some = list(frames)
    some[0] = (some[0][0], replace(some[0][1], stress=nothing))
    some[1] = (some[1][0], replace(some[1][1], stress=np.zeros(6)))
    some[2] = (some[2][0], replace(some[2][1], energy=np.nan))
    data = examined(some, "--no-model")
    assert data["missing"] == {"energy": 1, "forces": 0, "stress": 1}
    assert any("exactly zero" in text for text in texts(data, "look"))
    assert data["model"] is None


def test_duplicates_with_other_labels_are_worse_than_those_with_the_same(
    frames, examined
):
    c, labels = frames[0]
    other = replace(labels, energy=labels.energy + 1.0)
    data = examined([*frames, (c, other), frames[1]], "--no-model")
    assert any("different labels (energy)" in text for text in texts(data, "wrong"))
    assert any("with the same labels" in text for text in texts(data, "note"))


def test_few_structures_are_not_compared_with_a_model(frames, examined):
    data = examined(frames[:5])
    assert any("fewer than 10 structures" in text for text in texts(data, "note"))


def test_the_page_stands_alone_and_names_the_structures(frames, tmp_path, capsys):
    path, page = tmp_path / "data.xyz", tmp_path / "page.html"
    (tmp_path / "small.toml").write_text(INPUT)
    chosen = np.arange(N) % 5 == 2
    write_frames(path, with_convention(frames, "flipped", chosen))
    words = ["data", str(path), "-o", str(page), "--references", "120"]
    assert main([*words, "--input", str(tmp_path / "small.toml")]) == 0
    printed = capsys.readouterr().out
    assert "wrong: stress: sign flipped in 10 of 50 structures" in printed
    assert f"{path} 2, 7, 12" in printed
    text = page.read_text()
    assert "Not to be trusted" in text
    assert "sign flipped in 10 of 50 structures" in text
    assert text.count("<svg") == 3
    assert "http" not in text.replace("http://www.w3.org", "")


def test_mistakes_are_one_line(tmp_path, capsys):
    assert main(["data", str(tmp_path / "none.xyz")]) == 2
    write_frames(tmp_path / "data.xyz", silicon(2))
    words = ["data", str(tmp_path / "data.xyz"), "-o"]
    assert main([*words, str(tmp_path / "data.xyz")]) == 2
    assert main([*words, str(tmp_path / "nowhere" / "page.html")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3


def test_places_are_shortened():
    places = [Place("a.xyz", k, "") for k in range(9)] + [Place("b.xyz", 0, "")]
    assert named(places, [0, 1, 4, 5, 6, 9], limit=9) == "a.xyz 0, 1, 4-6; b.xyz 0"
    assert named(places, [0, 2, 4, 5, 6], limit=2) == "a.xyz 0, 2 and 3 more"
