"""otf-md bench: what it prints, what it measures, one line for each mistake."""

import json

import numpy as np
import pytest
from ase.build import bulk

from otf.calculators.reference import to_labels
from otf.calculators.serving import evaluate
from otf.calculators.stillinger_weber import StillingerWeber
from otf.cli import main
from otf.commands.bench import (
    DISPLACEMENT,
    WARM_UP,
    Timing,
    measured,
    moving,
    ns_per_day,
    steps_of,
)
from otf.configuration import Configuration
from otf.deploy.saved_model import load_model, save_model
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.models.batch import fit_dataset
from otf.models.bayesian_linear import BayesianLinear

KEYS = {
    "us_per_atom_step",
    "us_per_atom_step_with_uncertainty",
    "us_per_atom_step_with_local_uncertainty",
    "n_atoms",
    "n_local_references",
    "threads",
    "device",
    "form",
    "peak_memory_MB",
    "first_call_seconds",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a small model of silicon and a crystal."""
    path = tmp_path_factory.mktemp("bench")
    crystal = bulk("Si", cubic=True)
    crystal.write(path / "si.extxyz")
    frames = []
    for seed in range(4):
        rattled = crystal.copy()
        rattled.rattle(0.1, seed=seed)
        c = Configuration.from_atoms(rattled)
        frames.append((c, to_labels(evaluate(StillingerWeber(), rattled), c)))
    model = BayesianLinear(
        PowerSpectrum(
            species=(14,),
            cutoff_three_body=4.0,
            n_max=3,
            l_max=2,
            cutoff_two_body=4.0,
            n_max_two_body=4,
        )
    )
    fit_dataset(model, frames, n_references=12)
    save_model(
        path / "model.h5", model.fitted, proof=[c for c, _ in frames], metadata={}
    )
    return path


def bench(folder, *options):
    arguments = [str(folder / "model.h5"), str(folder / "si.extxyz"), "--steps", "2"]
    return main(["bench", *arguments, *options])


def test_json_has_the_keys_alone_on_stdout(folder, capsys):
    assert bench(folder, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result.keys() >= KEYS
    assert (result["n_atoms"], result["n_local_references"]) == (8, 12)
    assert (result["device"], result["form"]) == ("cpu", "direct")
    times = [value for key, value in result.items() if key.startswith("us_per_atom_")]
    assert len(times) == 3
    assert all(time > 0.0 for time in times)
    for parts in result["us_per_atom"].values():
        assert parts["wall_minimum"] <= parts["wall_median"]
        assert parts["cpu_minimum"] <= parts["cpu_median"]


def test_repeat_multiplies_the_atoms(folder, capsys):
    assert bench(folder, "--repeat", "2", "1", "3", "--json") == 0
    assert json.loads(capsys.readouterr().out)["n_atoms"] == 48


def test_the_table_names_all_three_kinds_and_the_length_of_a_day(folder, capsys):
    assert bench(folder) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("8 atoms, 12 local references, direct form")
    assert "ns/day" in lines[1]
    names = ("energy, forces, stress", "+ screen of", "+ deviation on")
    assert all(
        line.startswith(name) for line, name in zip(lines[3:6], names, strict=True)
    )
    assert "MB of memory" in lines[-1]


def test_a_day_of_one_second_steps_is_so_many_femtoseconds():
    assert ns_per_day(us_per_atom=1e6 / 50, n_atoms=50) == pytest.approx(86_400e-6)


def test_the_frames_move_like_steps_and_all_atoms_move():
    start = Configuration.from_atoms(bulk("Si", cubic=True).repeat(3))
    frames = moving(start, seed=1)
    first, second = next(frames), next(frames)
    for before, after in ((start, first), (first, second)):
        shift = after.positions - before.positions
        assert (shift != 0.0).all()
        # the standard error of a deviation from k values is 1/sqrt(2 k)
        error = DISPLACEMENT / np.sqrt(2 * shift.size)
        assert np.std(shift) == pytest.approx(DISPLACEMENT, abs=4 * error)


def test_every_timed_call_sees_new_positions():
    seen = []
    frames = moving(Configuration.from_atoms(bulk("Si", cubic=True)), seed=0)
    rows = measured(lambda c: seen.append(c.positions), frames, n_steps=3)
    assert rows.shape == (3, 2)
    assert len(seen) == WARM_UP + 3
    assert len({positions.tobytes() for positions in seen}) == len(seen)


def test_a_timing_is_median_and_minimum_of_both_clocks():
    rows = np.array([[5.0, 2.0], [3.0, 4.0], [4.0, 9.0]])
    assert Timing.of(rows) == Timing(
        wall_median=4.0, wall_minimum=3.0, cpu_median=4.0, cpu_minimum=2.0
    )


def test_the_three_kinds_are_one_prediction_with_more_or_less_beside_it(folder):
    model = load_model(folder / "model.h5")
    c = Configuration.from_atoms(bulk("Si", cubic=True))
    plain, screened, measured = (step(c) for step in steps_of(model).values())
    for other in (screened, measured):
        assert other.energy == pytest.approx(plain.energy, rel=1e-12)
    assert plain.uncertainty is None
    assert (screened.uncertainty.spilling >= 0.0).all()
    exact = model.local_uncertainty(model.describe(c))
    assert measured.uncertainty.local == pytest.approx(exact.local, rel=1e-6)


@pytest.mark.parametrize(
    ("model", "structure", "words"),
    [
        ("modle.h5", "si.extxyz", "did you mean model.h5?"),
        ("model.h5", "so.extxyz", "did you mean si.extxyz?"),
        ("model.h5", "ge.extxyz", "holds Ge, but"),
        ("model.h5", "empty.xyz", "is empty"),
        ("si.extxyz", "si.extxyz", "si.extxyz"),
    ],
)
def test_a_mistake_is_one_line(folder, model, structure, words, capsys):
    bulk("Ge", cubic=True).write(folder / "ge.extxyz")
    (folder / "empty.xyz").touch()
    assert main(["bench", str(folder / model), str(folder / structure)]) in (1, 2)
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("otf-md: error: ")
    assert words in line
    assert printed.out == ""


@pytest.mark.parametrize(
    "options", [("--repeat", "2", "0", "1"), ("--steps", "0"), ("--repeat", "2")]
)
def test_a_wrong_option_is_one_line(folder, options, capsys):
    assert bench(folder, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert options[0] in line
