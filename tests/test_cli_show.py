"""otf-md show: a run as its files tell it, live, stopped or finished."""

import json
from pathlib import Path

import numpy as np
import pytest

from otf.cli import main
from otf.commands.show import WALL_CLOCK
from otf.configuration import Configuration, Labels
from otf.potential import Prediction
from otf.state import State
from otf.store.checkpoint import Checkpoint
from otf.store.entries import Decision, Finish, Label, Retrain, Start
from otf.store.model_file import write_model
from otf.store.run_files import RunFiles
from otf.store.schema import RunFolder
from otf.store.thermo import ThermoRow

INPUT = """
[structure]
file = "a.xyz"
[reference]
calculator = "emt"
[dynamics]
timestep_fs = 2.0
[[dynamics.stages]]
steps = 400
temperature_K = 300.0
[[dynamics.stages]]
steps = 600
temperature_K = 500.0
"""

DIMER = Configuration(
    numbers=np.array([29, 29]),
    positions=np.array([[0.0, 0.0, 0.0], [2.5, 0.0, 0.0]]),
    cell=np.eye(3) * 10.0,
    pbc=np.ones(3, dtype=bool),
)
LABELS = Labels(energy=1.0, forces=np.zeros((2, 3)), stress=np.zeros(6))


def audit(step: int, error: float) -> Decision:
    """Return an audit with this error (eV/angstrom) on every force component."""
    return Decision(
        step=step,
        reason="audit",
        labelled=True,
        error=0.1,
        threshold=0.3,
        max_spilling=1e-4,
        label_forces=np.zeros((2, 3)),
        forces=np.full((2, 3), error),
    )


def label(step: int) -> Label:
    return Label(
        configuration=DIMER,
        labels=LABELS,
        fingerprint="f",
        key=f"k{step}",
        seconds=1.5,
    )


def row(step: int) -> ThermoRow:
    return ThermoRow(
        step, 2.0 * step, 310.0, 0.1, -1.0, -0.9, 0.0, 0.0, 30.0, 0.12, 0.3, 4e-4, False
    )


def checkpoint(step: int, wall: float) -> Checkpoint:
    state = State(
        configuration=DIMER,
        momenta=np.zeros((2, 3)),
        masses=np.full(2, 63.5),
        free=np.ones((2, 3), dtype=bool),
        step=step,
        time=float(step),
        seed=1,
    )
    prediction = Prediction(energy=1.0, forces=np.zeros((2, 3)), stress=np.zeros(6))
    return Checkpoint(state=state, prediction=prediction, counters={WALL_CLOCK: wall})


@pytest.fixture
def files(tmp_path) -> RunFiles:
    with RunFiles(RunFolder(tmp_path / "run")) as files:
        files.journal.write(Start(input_text=INPUT, versions={}))
        yield files


def half_a_run(files: RunFiles) -> None:
    for step in (0, 0, 0, 0, 100):
        files.journal.write(label(step))
    files.journal.write(
        Retrain(step=100, n_frames=5, n_references=40, s_w=1.0, s_v=10.0)
    )
    files.journal.write(audit(300, 0.03))
    files.journal.write(audit(400, 0.04))
    files.thermo.append(row(500))
    files.save(checkpoint(500, wall=5.0))


def shown(folder: Path, capsys) -> dict[str, object]:
    assert main(["show", "--json", str(folder)]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_live_run_is_shown_beside_its_writer(files, capsys):
    half_a_run(files)
    data = shown(files.folder.path, capsys)
    assert data["status"] == "running"
    assert (data["steps"], data["planned_steps"]) == (500, 1000)
    assert data["time_fs"] == 1000.0
    assert data["stage"] == "2 of 2"
    assert data["n_local_references"] == 40
    assert (data["error_eV_per_A"], data["threshold_eV_per_A"]) == (0.12, 0.3)


def test_calls_are_all_labels_that_were_paid_for(files, capsys):
    half_a_run(files)
    data = shown(files.folder.path, capsys)
    assert data["reference_calls"] == 5
    assert data["bypassed_fraction"] == pytest.approx(0.99, rel=1e-12)
    assert data["reference_seconds"] == 7.5


def test_speed_and_time_left_follow_from_the_wall_clock(files, capsys):
    half_a_run(files)
    data = shown(files.folder.path, capsys)
    assert data["seconds_per_step"] == pytest.approx(0.01, rel=1e-12)
    assert data["remaining_s"] == pytest.approx(5.0, rel=1e-12)
    # 8.64 million steps of 2 fs a day
    assert data["ns_per_day"] == pytest.approx(17.28, rel=1e-12)


def test_audit_errors_are_joined_as_squares(files, capsys):
    half_a_run(files)
    data = shown(files.folder.path, capsys)
    # sqrt((0.03^2 + 0.04^2) / 2)
    expected = pytest.approx(0.05 / 2**0.5, rel=1e-12)
    assert data["audit_force_rmse_eV_per_A"] == expected


def test_a_stopped_run_says_how_to_go_on(files, capsys):
    half_a_run(files)
    files.close()
    folder = files.folder.path
    status = shown(folder, capsys)["status"]
    assert status == f"stopped: go on with otf-md resume {folder}"


def test_a_finished_run_gives_its_verdict(files, capsys):
    half_a_run(files)
    files.journal.write(Finish(step=1000, converged=True, reason="all steps made"))
    files.close()
    status = shown(files.folder.path, capsys)["status"]
    assert status == "finished, converged: all steps made"


def test_a_run_without_steps_can_be_shown(files, capsys):
    data = shown(files.folder.path, capsys)
    assert (data["steps"], data["reference_calls"]) == (0, 0)
    assert data["temperature_K"] is None
    assert data["seconds_per_step"] is None
    assert main(["show", str(files.folder.path)]) == 0


def test_people_get_lines_with_units(files, capsys):
    half_a_run(files)
    assert main(["show", str(files.folder.path)]) == 0
    printed = capsys.readouterr().out
    assert "500 of 1000 (50%), 1 ps, stage 2 of 2" in printed
    assert "5, 99.00% of the steps bypassed them, 7.5 s" in printed
    assert "10 ms a step, 17.3 ns a day" in printed
    assert "about 5 s" in printed


def test_a_model_file_shows_what_it_was_made_of(tmp_path, capsys):
    path = tmp_path / "model.h5"
    write_model(path, {"a": np.zeros(3)}, metadata={"title": "salt"}, proof=[])
    data = shown(path, capsys)
    assert (data["title"], data["n_proof_frames"]) == ("salt", 0)
    assert main(["show", str(path)]) == 0
    assert "title             salt" in capsys.readouterr().out


def test_a_run_is_not_verified_but_its_model(files, capsys):
    half_a_run(files)
    assert main(["show", str(files.folder.path), "--verify"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "model.h5" in line


@pytest.mark.parametrize(("name", "code"), [("nothing", 2), (".", 1)])
def test_what_is_no_run_is_one_line(name, code, tmp_path, capsys):
    assert main(["show", str(tmp_path / name)]) == code
    assert len(capsys.readouterr().err.splitlines()) == 1
