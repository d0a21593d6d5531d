"""A run folder: checkpoints, frames, trajectory, table, and the view of all of them."""

import errno
import fcntl
import logging
import os
from dataclasses import fields, replace

import h5py
import numpy as np
import pytest

from otf.configuration import Configuration
from otf.errors import StoreError
from otf.potential import ModelChange, Prediction, Uncertainty
from otf.state import State
from otf.store.checkpoint import Checkpoint, Checkpoints, load_newest
from otf.store.entries import Decision, Finish, Rollback, Start
from otf.store.frames import Frame, read_frames
from otf.store.run_files import RunFiles
from otf.store.run_reader import RunView
from otf.store.schema import RunFolder
from otf.store.thermo import COLUMNS, ThermoLog, ThermoRow, read_thermo
from otf.store.trajectory import update_trajectory
from otf.units import FS


def state(step=0, n=4):
    rng = np.random.default_rng(step)
    configuration = Configuration(
        numbers=np.full(n, 14),
        positions=rng.normal(size=(n, 3)),
        cell=np.diag([5.0, 6.0, 7.0]) + 0.1 * step,
        pbc=np.array([True, True, False]),
        spin=1,
    )
    return State(
        configuration=configuration,
        momenta=rng.normal(size=(n, 3)),
        masses=np.full(n, 28.085),
        free=np.ones((n, 3), dtype=np.bool_),
        step=step,
        time=step * 2.0 * FS,
        seed=7,
        stream=1,
        thermostat=rng.normal(size=(2, 2)),
        heat=0.1 + 0.2,
        learning_work=1e-17,
    )


def prediction(step=0, n=4):
    rng = np.random.default_rng(1000 + step)
    return Prediction(
        energy=rng.normal(),
        forces=np.asfortranarray(rng.normal(size=(n, 3))),
        stress=rng.normal(size=6),
        surface=3,
    )


def same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def equal(a, b):
    """Compare two dataclasses field by field, arrays by their bits."""
    if a is None or b is None:
        return a is b
    if isinstance(a, np.ndarray):
        return same_bits(a, b)
    if hasattr(a, "__dataclass_fields__"):
        return all(equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    return type(a) is type(b) and a == b


def row(step):
    numbers = np.random.default_rng(step).normal(size=11)
    return ThermoRow(step, *(float(x) for x in numbers), labelled=step % 2 == 0)


def decision(step, reason="predict"):
    return Decision(
        step=step,
        reason=reason,
        labelled=False,
        error=0.1,
        threshold=0.3,
        max_spilling=1e-5,
    )


def snapshot(step, **more):
    return Checkpoint(state=state(step), prediction=prediction(step), **more)


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


# ------------------------------------------------------------------------ checkpoints
def test_a_checkpoint_comes_back_bit_by_bit(folder):
    rng = np.random.default_rng(0)
    full = replace(
        prediction(),
        labelled=True,
        change=ModelChange(1.0, 2.0, rng.normal(size=(4, 3)), rng.normal(size=(4, 3))),
        uncertainty=Uncertainty(rng.normal(size=4), rng.random(4), energy=np.nan),
    )
    potential = {
        "policy/history": np.asfortranarray(rng.normal(size=(2, 3))),
        "counters": np.array(5),
        "file": np.array([1, 2], dtype=np.int32),
        "empty": np.empty((0, 3)),
    }
    model = {"weights": rng.normal(size=7), "species": np.array(["Si", "O"])}
    wanted = Checkpoint(
        state=state(12),
        prediction=full,
        potential=potential,
        model=model,
        generation=2,
        counters={"stage": "heat", "n": np.int64(3), "t": 0.1 + 0.2},
        sizes={"journal.bin": 1 << 40},
    )
    Checkpoints(folder).save(wanted)
    found = Checkpoints(folder).load()
    assert equal(found.state, wanted.state)
    assert found.prediction.model_energy == 2.0
    assert np.isnan(found.prediction.uncertainty.energy)
    change = found.prediction.change
    assert equal(change, full.change)
    assert same_bits(found.prediction.forces, full.forces)
    assert found.prediction.forces.flags.c_contiguous
    for name, array in potential.items():
        assert same_bits(found.potential[name], array)
        assert found.potential[name].flags.c_contiguous
    assert found.potential.keys() == potential.keys()
    assert all(same_bits(found.model[name], model[name]) for name in model)
    assert found.counters == {"stage": "heat", "n": 3, "t": 0.1 + 0.2}
    assert (found.generation, found.sizes) == (2, {"journal.bin": 1 << 40})


def test_a_checkpoint_holds_no_pickle(folder):
    path = Checkpoints(folder).save(snapshot(0, model={"w": np.ones(2)}))
    for file in (path, folder.model_states()[0][1]):
        with np.load(file, allow_pickle=False) as archive:
            assert all(archive[name].dtype.kind != "O" for name in archive.files)


def test_two_checkpoints_are_kept(folder):
    checkpoints = Checkpoints(folder)
    for step in (10, 20, 30):
        checkpoints.save(snapshot(step))
    assert [p.name for _, p in folder.checkpoints()] == [
        "checkpoint-000002-step-20.npz",
        "checkpoint-000003-step-30.npz",
    ]


def test_the_newest_checkpoint_is_the_last_written_also_after_a_roll_back(folder):
    checkpoints = Checkpoints(folder)
    for step in (500, 420):
        checkpoints.save(snapshot(step))
    assert load_newest(folder).state.step == 420


def test_a_model_is_written_once_and_removed_when_nobody_needs_it(folder):
    checkpoints = Checkpoints(folder)
    models = []
    for step, generation in enumerate([1, 1, 1, 2, 2]):
        arrays = {"w": np.full(3, float(generation))}
        checkpoints.save(snapshot(step, model=arrays, generation=generation))
        models.append([serial for serial, _ in folder.model_states()])
    assert models == [[1], [1], [1], [1, 4], [4]]
    assert Checkpoints(folder).load().model["w"][0] == 2.0


def test_a_resumed_run_shares_the_model_file_of_the_run_before(folder):
    model = {"w": np.ones(3)}
    Checkpoints(folder).save(snapshot(1, model=model, generation=5))
    resumed = Checkpoints(folder)
    resumed.load()
    resumed.save(snapshot(2, model=model, generation=5))
    assert [serial for serial, _ in folder.model_states()] == [1]
    # a generation counted again after a resume has other content and its own file
    again = Checkpoints(folder)
    again.load()
    again.save(snapshot(3, model={"w": np.zeros(3)}, generation=6))
    assert load_newest(folder).state.step == 3
    assert Checkpoints(folder).load().model["w"].sum() == 0.0


def damage_cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def damage_empty(path):
    path.write_bytes(b"")


def damage_flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def damage_remove(path):
    path.unlink()


@pytest.mark.parametrize("damage", [damage_cut, damage_empty, damage_flip])
def test_the_older_checkpoint_serves_when_the_newest_is_damaged(folder, damage, caplog):
    checkpoints = Checkpoints(folder)
    checkpoints.save(snapshot(10))
    damage(checkpoints.save(snapshot(20)))
    resumed = Checkpoints(folder)
    with caplog.at_level(logging.WARNING):
        assert resumed.load().state.step == 10
    assert "is damaged" in caplog.text
    resumed.save(snapshot(30))
    assert load_newest(folder).state.step == 30
    # the damaged one has gone, the good old one is the second that is kept
    assert [p.name[-11:-4] for _, p in folder.checkpoints()] == ["step-10", "step-30"]


@pytest.mark.parametrize("damage", [damage_cut, damage_flip, damage_remove])
def test_the_older_checkpoint_serves_when_the_newest_model_is_damaged(folder, damage):
    checkpoints = Checkpoints(folder)
    for step in (1, 2):
        arrays = {"w": np.full(500, float(step))}
        checkpoints.save(snapshot(step, model=arrays, generation=step))
    damage(folder.model_states()[-1][1])
    found = Checkpoints(folder).load()
    assert (found.state.step, found.model["w"][0]) == (1, 1.0)


def test_any_flipped_byte_of_a_checkpoint_is_noticed_or_harmless(folder):
    path = Checkpoints(folder).save(snapshot(1))
    wanted, whole = load_newest(folder), path.read_bytes()
    for k in range(0, len(whole), 17):
        path.write_bytes(whole[:k] + bytes([whole[k] ^ 0xFF]) + whole[k + 1 :])
        try:
            found = load_newest(folder)
        except StoreError:
            continue
        assert equal(found.state, wanted.state)
        assert equal(found.prediction, wanted.prediction)


def test_no_whole_checkpoint_is_one_clear_error(folder):
    damage_cut(Checkpoints(folder).save(snapshot(1)))
    with pytest.raises(StoreError, match="no checkpoint can be read") as caught:
        Checkpoints(folder).load()
    assert "\n" not in str(caught.value)


def test_no_checkpoint_at_all_is_none(folder):
    assert Checkpoints(folder).load() is None


def test_a_full_disk_leaves_the_older_checkpoint(folder, monkeypatch):
    checkpoints = Checkpoints(folder)
    checkpoints.save(snapshot(1, model={"w": np.ones(9)}, generation=1))

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="disk or the quota is full"):
            checkpoints.save(snapshot(2, model={"w": np.zeros(9)}, generation=2))
    assert Checkpoints(folder).load().state.step == 1
    assert not list(folder.path.glob("*.partial"))
    checkpoints.save(snapshot(3, model={"w": np.zeros(9)}, generation=2))
    assert Checkpoints(folder).load().state.step == 3


# -------------------------------------------------------------- frames and trajectory
def write_steps(files, steps):
    for step in steps:
        files.frames.begin(state(step))
        files.frames.write(Frame.of(state(step), prediction(step)))
        files.thermo.append(row(step))
        files.journal.write(decision(step), sync=False)


def content(path):
    """Return every dataset and attribute of a trajectory, links under all names."""
    out = {}

    def take(name, node):
        out.update({f"{name}@{k}": v for k, v in node.attrs.items()})
        if isinstance(node, h5py.Dataset):
            out[name] = node[()]
            return
        for key, child in node.items():
            take(f"{name}/{key}" if name else key, child)

    with h5py.File(path) as file:
        take("", file)
    return out


def assert_same_content(a, b):
    a, b = content(a), content(b)
    assert a.keys() == b.keys()
    for name in a:
        assert same_bits(a[name], b[name]), name


def test_frames_come_back_bit_by_bit(folder):
    with RunFiles(folder) as files:
        write_steps(files, range(3))
    system, frames = read_frames(folder.frames)
    assert same_bits(system.masses, state().masses)
    assert [f.step for f in frames] == [0, 1, 2]
    assert equal(frames[2], Frame.of(state(2), prediction(2)))


def test_a_frame_conserves_what_the_ledger_says():
    s, p = state(3), prediction(3)
    frame = Frame.of(s, p)
    kinetic = 0.5 * (s.masses[:, None] * frame.velocities**2).sum()
    assert frame.kinetic_energy == pytest.approx(kinetic, rel=1e-12)
    expected = frame.kinetic_energy + p.energy + s.heat - s.learning_work
    assert frame.conserved == pytest.approx(expected, rel=1e-12)


def test_the_trajectory_has_the_layout_and_units_of_h5md(folder):
    with RunFiles(folder) as files:
        write_steps(files, range(3))
        files.save(snapshot(2))
    with h5py.File(folder.trajectory) as file:
        assert list(file["h5md"].attrs["version"]) == [1, 1]
        assert "name" in file["h5md/author"].attrs
        assert file["h5md/creator"].attrs["name"] == "otf-md"
        particles = file["particles/all"]
        assert list(particles["box"].attrs["boundary"]) == [
            b"periodic",
            b"periodic",
            b"none",
        ]
        assert particles["box"].attrs["dimension"] == 3
        assert list(particles["species"]) == [14] * 4
        assert list(particles["position/step"]) == [0, 1, 2]
        np.testing.assert_allclose(particles["position/time"], [0, 2, 4], rtol=1e-14)
        assert particles["position/time"].attrs["unit"] == "fs"
        positions = np.array([state(k).configuration.positions for k in range(3)])
        assert same_bits(particles["position/value"][()], positions)
        # the momentum of an atom is its mass times its velocity, whatever the units
        velocities = particles["velocity/value"][2] / FS
        np.testing.assert_allclose(28.085 * velocities, state(2).momenta, rtol=1e-13)
        assert particles["velocity/value"].attrs["unit"] == "Angstrom fs-1"
        assert particles["force/value"].attrs["unit"] == "eV Angstrom-1"
        cells = np.array([state(k).configuration.cell for k in range(3)])
        assert same_bits(particles["box/edges/value"][()], cells)
        for group in file["observables"].values():
            assert len(group["value"]) == len(group["step"]) == len(group["time"]) == 3
        for name in ("potential_energy", "kinetic_energy", "conserved_energy"):
            assert file[f"observables/{name}/value"].attrs["unit"] == "eV"


def test_a_trajectory_made_in_pieces_equals_one_made_at_once(folder, tmp_path):
    with RunFiles(folder) as files:
        for first in range(0, 12, 4):
            write_steps(files, range(first, first + 4))
            files.save(snapshot(first + 3))
    update_trajectory(tmp_path / "once", folder.frames)
    assert_same_content(folder.trajectory, tmp_path / "once")


@pytest.mark.parametrize("damage", [damage_cut, damage_empty, damage_remove])
def test_a_destroyed_trajectory_is_made_anew(folder, tmp_path, damage):
    with RunFiles(folder) as files:
        write_steps(files, range(5))
        files.save(snapshot(4))
        wanted = content(folder.trajectory)
        damage(folder.trajectory)
        files.save(snapshot(5))
    found = content(folder.trajectory)
    assert all(same_bits(found[name], wanted[name]) for name in wanted)


def test_a_trajectory_left_open_by_a_kill_is_made_anew(folder):
    with RunFiles(folder) as files:
        write_steps(files, range(3))
        files.save(snapshot(2))
        with h5py.File(folder.trajectory, "r+") as file:
            file["parameters/otf"].attrs["closed"] = False
            file["particles/all/position/value"][:] = 0.0
        files.save(snapshot(3))
    positions = content(folder.trajectory)["particles/all/position/value"]
    assert same_bits(positions[1], state(1).configuration.positions)


def test_frames_of_a_roll_back_are_marked_and_stay(folder):
    with RunFiles(folder) as files:
        write_steps(files, range(5))
        files.save(snapshot(4))
        files.frames.invalidate(2)
        write_steps(files, [3, 4])
        files.save(snapshot(4))
    valid = [True, True, True, False, False, True, True]
    assert [f.valid for f in read_frames(folder.frames)[1]] == valid
    found = content(folder.trajectory)
    assert list(found["observables/valid/value"]) == valid
    assert list(found["particles/all/position/step"]) == [0, 1, 2, 3, 4, 3, 4]


def test_a_full_disk_is_met_before_hdf5_writes(folder, monkeypatch, caplog):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with RunFiles(folder) as files:
        write_steps(files, range(3))
        files.save(snapshot(2))
        size = folder.trajectory.stat().st_size
        write_steps(files, range(3, 6))
        with monkeypatch.context() as patch:
            patch.setattr(os, "posix_fallocate", full)
            with pytest.raises(StoreError, match="disk or the quota is full"):
                files.save(snapshot(5))
        assert folder.trajectory.stat().st_size == size
        assert load_newest(folder).state.step == 5
        files.save(snapshot(5))
    assert "anew" not in caplog.text  # it went on where it had stopped
    assert list(content(folder.trajectory)["particles/all/position/step"]) == [
        *range(6)
    ]


def test_a_viewer_that_locks_the_trajectory_does_not_stop_the_run(folder, caplog):
    with RunFiles(folder) as files:
        write_steps(files, range(3))
        files.save(snapshot(2))
        write_steps(files, range(3, 6))
        with folder.trajectory.open("rb") as viewer:
            fcntl.flock(viewer, fcntl.LOCK_SH)  # as HDF5 does in another process
            files.save(snapshot(5))
        assert "is open in another program" in caplog.text
        files.save(snapshot(5))
    assert len(content(folder.trajectory)["particles/all/position/step"]) == 6


def test_no_reserved_room_stays_in_the_trajectory(folder, tmp_path):
    with RunFiles(folder) as files:
        write_steps(files, range(3))
        files.save(snapshot(2))
        once = folder.trajectory.stat().st_size
        write_steps(files, range(3, 6))
        files.save(snapshot(5))
    assert folder.trajectory.stat().st_size == once  # the same chunks are filled


# ------------------------------------------------------------------------------ table
def test_the_table_comes_back_with_twelve_digits(tmp_path):
    path = tmp_path / "thermo.csv"
    with ThermoLog(path) as log:
        log.append(row(1))
        log.append(row(2))
    table = read_thermo(path)
    assert tuple(table) == COLUMNS
    assert list(table["step"]) == [1, 2]
    assert list(table["labelled"]) == [0, 1]
    for name in COLUMNS[1:-1]:
        assert table[name][1] == pytest.approx(getattr(row(2), name), rel=1e-11)


def test_a_table_without_the_volume_goes_on_without_it(tmp_path):
    path = tmp_path / "thermo.csv"
    names = [name for name in COLUMNS if name != "volume_A3"]
    path.write_text(",".join(names) + "\n" + ",".join(["1"] * len(names)) + "\n")
    with ThermoLog(path) as log:
        log.append(row(2))
    table = read_thermo(path)
    assert tuple(table) == COLUMNS
    assert list(table["step"]) == [1, 2]
    assert table["pressure_GPa"][1] == pytest.approx(row(2).pressure_GPa)
    assert table["e_eV_per_A"][1] == pytest.approx(row(2).e_eV_per_A)
    assert np.isnan(table["volume_A3"]).all()


def test_a_torn_line_is_cut_wherever_it_is_torn(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # nothing here waits for a disk
    path = tmp_path / "thermo.csv"
    with ThermoLog(path) as log:
        log.append(row(1))
        size = log.size
        log.append(row(2))
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert list(read_thermo(path)["step"]) == ([1] if end >= size else [])
        with ThermoLog(path) as log:
            log.append(row(3))
        assert list(read_thermo(path)["step"]) == ([1, 3] if end >= size else [3])


def test_a_foreign_table_is_refused(tmp_path):
    path = tmp_path / "thermo.csv"
    path.write_text("a,b,c\n1,2,3\n")
    with pytest.raises(StoreError, match="is no table of this program"):
        ThermoLog(path)
    assert path.read_text() == "a,b,c\n1,2,3\n"


# ----------------------------------------------------------------- resume and viewing
def start():
    return Start(input_text="[system]\n", versions={"otf-md": "0"})


def test_a_resume_takes_back_what_came_after_the_checkpoint(folder):
    with RunFiles(folder) as files:
        assert files.is_new
        files.journal.write(start())
        write_steps(files, range(3))
        files.save(snapshot(2))
        write_steps(files, range(3, 6))
    with RunFiles(folder) as files:
        assert not files.is_new
        assert files.resume({"otf-md": "0"}).state.step == 2
        write_steps(files, range(3, 5))
        files.save(snapshot(4))
    view = RunView.load(folder.path)
    assert [d.step for d in view.decisions] == [0, 1, 2, 3, 4]
    assert list(view.thermo["step"]) == [0, 1, 2, 3, 4]
    assert [f.step for f in read_frames(folder.frames)[1]] == [0, 1, 2, 3, 4]
    assert list(content(folder.trajectory)["particles/all/position/step"]) == [
        *range(5)
    ]
    assert [r.step for r in view.resumes] == [2]


def test_a_resume_keeps_a_roll_back_made_before_the_checkpoint(folder):
    # steps are made twice then; a step number could not tell which records stand
    with RunFiles(folder) as files:
        files.journal.write(start())
        write_steps(files, range(5))
        files.journal.write(Rollback(step=4, to_step=1, reason="hot", stream=1))
        files.frames.invalidate(1)
        write_steps(files, [2])
        files.save(snapshot(2))
        write_steps(files, [3])
    with RunFiles(folder) as files:
        files.resume({})
    view = RunView.load(folder.path)
    assert [d.step for d in view.decisions] == [0, 1, 2, 3, 4, 2]
    assert len(view.rollbacks) == 1
    frames = read_frames(folder.frames)[1]
    assert [(f.step, f.valid) for f in frames] == [
        (0, True),
        (1, True),
        (2, False),
        (3, False),
        (4, False),
        (2, True),
    ]


def test_the_trajectory_follows_a_fall_back_to_the_older_checkpoint(folder, tmp_path):
    with RunFiles(folder) as files:
        files.journal.write(start())
        write_steps(files, range(2))
        files.save(snapshot(1))
        write_steps(files, range(2, 4))
        files.save(snapshot(3))
    damage_cut(folder.checkpoints()[-1][1])
    with RunFiles(folder) as files:
        assert files.resume({}).state.step == 1
        write_steps(files, [2, 3, 4])
        files.save(snapshot(4))
    update_trajectory(tmp_path / "once", folder.frames)
    assert_same_content(folder.trajectory, tmp_path / "once")
    assert [d.step for d in RunView.load(folder.path).decisions] == [0, 1, 2, 3, 4]


def test_a_run_killed_before_its_first_checkpoint_begins_again(folder):
    with RunFiles(folder) as files:
        files.journal.write(start())
        write_steps(files, range(2))
    with RunFiles(folder) as files:
        assert files.resume({}) is None
        assert (
            list(RunView.load(folder.path).thermo["step"])
            == RunView.load(folder.path).decisions
            == []
        )


def test_one_folder_takes_one_run(folder):
    with RunFiles(folder) as files:
        files.journal.write(start())
        with pytest.raises(StoreError, match=f"process {os.getpid()}"):
            RunFiles(folder)
        assert RunView.load(folder.path).running
    assert not RunView.load(folder.path).running
    with RunFiles(folder):
        pass


def test_the_view_tells_a_finished_run(folder):
    with RunFiles(folder) as files:
        files.save_input("[system]\n")
        files.journal.write(start())
        assert RunView.load(folder.path).finish is None
        files.journal.write(Finish(step=9, converged=True, reason="few calls"))
    view = RunView.load(folder.path)
    assert view.finish.converged
    assert view.start.input_text == folder.input.read_text()
    assert view.step == 0


def test_a_folder_without_a_run_is_one_clear_error(tmp_path):
    with pytest.raises(StoreError, match="there is no run in this folder"):
        RunView.load(tmp_path)


def test_looking_at_a_run_writes_nothing(folder):
    with RunFiles(folder) as files:
        files.journal.write(start())
        write_steps(files, range(2))
        files.save(snapshot(1))

    def picture():
        return {
            p.name: (p.stat().st_mtime_ns, p.read_bytes())
            for p in folder.path.iterdir()
        }

    before = picture()
    RunView.load(folder.path)
    read_frames(folder.frames)
    assert picture() == before
