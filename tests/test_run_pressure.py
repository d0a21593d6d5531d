"""Whole runs at constant pressure from the input file, on eight atoms of silicon."""

from __future__ import annotations

import time
from itertools import count

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from run_folders import run_until_killed, same_trajectory, trajectory

from otf.cli import main
from otf.configuration import Configuration
from otf.rollback import Memory, Ring
from otf.state import State
from otf.stopping import StopRequest
from otf.store.checkpoint import load_newest
from otf.store.run_reader import RunView
from otf.store.schema import RunFolder
from otf.units import GPA

INPUT = """
title = "silicon under pressure"

[structure]
file = "si.xyz"

{potential}

[dynamics]
timestep_fs = 2.0
ensemble = "NPT"
{dynamics}

[[dynamics.stages]]
steps = {steps}
temperature_K = 900.0
pressure_GPa = 0.0
pressure_end_GPa = 4.0

[[dynamics.stages]]
steps = 20
temperature_K = 900.0
hold_cell = true

[[dynamics.stages]]
steps = 20
temperature_K = 900.0
pressure_GPa = 4.0

[output]
checkpoint_interval = 20
trajectory_interval = 5
"""
LEARNING = """
[reference]
calculator = "stillinger-weber"

[descriptor]
n_max = 5
l_max = 2
cutoff_three_body_A = 4.5
cutoff_two_body_A = 5.0
n_max_two_body = 6
"""
BAROSTATS = {
    "cell-rescaling": 'cell = "full"\nbarostat_time_fs = 100.0',
    "parrinello-rahman": 'cell = "orthorhombic"\nbarostat = "parrinello-rahman"\n'
    "barostat_time_fs = 100.0",
    "mtk": 'cell = "fixed-angles"\nbarostat = "mtk"\nbarostat_time_fs = 100.0',
}


def written(folder, name="cell-rescaling", *, potential=LEARNING):
    """Return the path of an input beside its structure."""
    folder.mkdir(exist_ok=True)
    write(folder / "si.xyz", bulk("Si", "diamond", a=5.431, cubic=True))
    path = folder / "input.toml"
    text = INPUT.format(steps=60, dynamics=BAROSTATS[name], potential=potential)
    path.write_text(text)
    return path


@pytest.fixture(scope="module", params=BAROSTATS)
def whole(request, tmp_path_factory):
    """Return the name of a barostat and the folder of a run with it."""
    folder = tmp_path_factory.mktemp(request.param)
    assert main(["run", str(written(folder, request.param))]) == 0
    return request.param, folder / "run"


def same_cells(first, second):
    ours, theirs = trajectory(first), trajectory(second)
    return same_trajectory(first, second) and all(
        np.array_equal(a.cell, b.cell) for a, b in zip(ours, theirs, strict=True)
    )


def test_a_run_at_pressure_learns_and_ends_with_a_verdict(whole):
    view, frames = RunView.load(whole[1]), trajectory(whole[1])
    assert view.finish.converged is not None
    assert view.finish.reason
    volumes = {f.step: abs(np.linalg.det(f.cell)) for f in frames}
    assert np.ptp(list(volumes.values())) > 0.001 * volumes[0]
    thermo = view.thermo
    assert set(thermo["step"]) <= set(volumes)
    expected = [volumes[step] for step in thermo["step"]]
    np.testing.assert_allclose(thermo["volume_A3"], expected, rtol=1e-10)
    assert np.ptp(thermo["conserved_eV"]) < 0.02 * 8


def test_a_cell_that_is_held_stays_to_the_bit(whole):
    held = [f.cell for f in trajectory(whole[1]) if 60 <= f.step <= 80]
    assert len(held) == 5
    assert all(np.array_equal(cell, held[0]) for cell in held)


def test_labels_of_the_start_have_cells_of_their_own(whole):
    labels = RunView.load(whole[1]).labels[:4]
    assert len({label.configuration.cell.tobytes() for label in labels}) == 4


def test_stages_are_named_by_temperature_and_pressure(whole):
    names = [stage.name for stage in RunView.load(whole[1]).stages]
    assert names == ["900 K, 0 GPa to 4 GPa", "900 K", "900 K, 4 GPa"]


def test_a_stopped_run_at_pressure_resumes_to_the_bit(whole, tmp_path, monkeypatch):
    name, run = whole[0], tmp_path / "run"
    asked = count()
    with monkeypatch.context() as patched:
        patched.setattr(
            StopRequest, "reason", lambda _: "a test" if next(asked) == 31 else None
        )
        assert main(["run", str(written(tmp_path, name))]) == 0
    state = load_newest(RunFolder(run)).state
    assert state.step == 31
    assert state.first_cell.shape == (3, 3)
    assert (state.configuration.cell != state.first_cell).any()
    assert main(["resume", str(run)]) == 0
    assert same_cells(whole[1], run)


@pytest.mark.slow
def test_kill_and_resume_make_the_same_cells(whole, tmp_path):
    run, killed = tmp_path / "run", 0
    path = written(tmp_path, whole[0])
    begin = time.monotonic()
    assert main(["run", str(path)]) == 0
    duration = time.monotonic() - begin
    run.rename(tmp_path / "again")
    for k, share in enumerate((0.1, 0.3, 0.5, 0.7, 0.9)):
        cut_short = run_until_killed(path, tmp_path / "run", share * duration)
        if cut_short and RunFolder(run).input.is_file():
            killed += 1
            assert main(["resume", str(run)]) == 0
            assert same_cells(whole[1], run)
        run.rename(tmp_path / f"run-{k}")
    assert killed >= 2


def test_a_finished_model_runs_at_pressure(whole, tmp_path):
    potential = f'[potential]\nmodel = "{whole[1] / "model.h5"}"'
    assert main(["run", str(written(tmp_path, whole[0], potential=potential))]) == 0
    frames = trajectory(tmp_path / "run")
    assert frames[-1].step == 100
    assert (frames[-1].cell != frames[0].cell).any()


def test_a_reference_that_gives_no_stress_after_all_is_one_clear_line(
    tmp_path, capsys, monkeypatch
):
    from otf.calculators.stillinger_weber import StillingerWeber

    calculate = StillingerWeber.calculate

    def without_stress(self, *arguments, **words):
        calculate(self, *arguments, **words)
        self.results.pop("stress", None)

    monkeypatch.setattr(StillingerWeber, "calculate", without_stress)
    monkeypatch.setattr(
        StillingerWeber, "get_property", lambda self, name, *_: self.results.get(name)
    )
    code = main(["run", str(written(tmp_path))])
    (line,) = [
        x
        for x in capsys.readouterr().err.splitlines()
        if "error" in x.partition(" ")[2]
    ]
    assert code == 2
    assert "gives no stress" in line


def test_the_way_back_leads_to_the_cell_of_then():
    c = Configuration.from_atoms(bulk("Si", "diamond", a=5.431, cubic=True))

    def state(step, scale):
        cell = scale * c.cell
        return State(
            Configuration(c.numbers, scale * c.positions, cell, c.pbc),
            np.zeros((8, 3)),
            np.ones(8),
            np.ones((8, 3), dtype=bool),
            step=step,
            time=0.0,
            seed=1,
            barostat=np.array([0.1 * step]),
            first_cell=c.cell,
        )

    ring = Ring()
    for step, scale in ((10, 1.01), (20, 1.02), (30, 1.5)):
        ring.remember(Memory(state(step, scale), 0.0, trusted=step < 30, thermo_size=0))
    restored = Ring()
    restored.restore(ring.state(), state(40, 2.0))
    for one in (ring, restored):
        memory, later = one.go_back("trouble", step=40)
        assert np.array_equal(memory.state.configuration.cell, 1.02 * c.cell)
        assert memory.state.barostat.tolist() == [2.0]
        assert np.array_equal(later[0].cell, 1.5 * c.cell)


def test_the_target_is_the_pressure_of_the_ramp(tmp_path):
    from otf.build import build_schedule
    from otf.settings import load_settings

    schedule = build_schedule(load_settings(written(tmp_path)))
    assert schedule.target(30).pressure == pytest.approx((2.0 * GPA,) * 3)
    assert schedule.target(70).pressure is None
    assert schedule.target(100).pressure == pytest.approx((4.0 * GPA,) * 3)
