"""Nothing a run wrote is lost when it is killed, at any moment, or the disk is full."""

import subprocess
import sys

import pytest

# A run in small: its state is a pure function of the step before, its reference is
# deterministic. Written as a script, so that it is a process of its own; it forks the
# process to be killed, which saves the imports.
RUN = """
import os, random, resource, signal, sys, time
from dataclasses import replace
from pathlib import Path

import numpy as np

from otf.configuration import Configuration, Labels
from otf.errors import StoreError
from otf.potential import Prediction
from otf.state import State
from otf.store.checkpoint import Checkpoint
from otf.store.entries import Decision, Label, Start
from otf.store.frames import Frame, read_frames
from otf.store.labels import LabelBook, label_key
from otf.store.run_files import RunFiles
from otf.store.run_reader import RunView
from otf.store.schema import RunFolder
from otf.store.thermo import ThermoRow

N = 5


def first_state():
    configuration = Configuration(
        numbers=np.full(N, 14),
        positions=np.random.default_rng(0).normal(size=(N, 3)),
        cell=np.eye(3) * 9.0,
        pbc=np.ones(3, dtype=np.bool_),
    )
    ones = np.ones((N, 3))
    return State(configuration, ones, np.ones(N), ones > 0, step=0, time=0.0, seed=1)


def reference(configuration):
    x = configuration.positions
    return Labels(float((x**2).sum()), -2.0 * x, np.zeros(6))


def make_step(state, prediction):
    momenta = state.momenta + 0.01 * prediction.forces
    x = state.configuration.positions + 0.01 * momenta
    return replace(
        state,
        configuration=state.configuration.moved(x),
        momenta=momenta,
        step=state.step + 1,
        time=state.time + 0.01,
    )


def predict(state):
    labels = reference(state.configuration)
    return Prediction(labels.energy, labels.forces, labels.stress)


def run(folder, last):
    with RunFiles(folder) as files:
        checkpoint = None
        if files.is_new:
            files.journal.write(Start(input_text="x", versions={}))
        else:
            checkpoint = files.resume({})
        book = LabelBook(files.journal)
        state = first_state() if checkpoint is None else checkpoint.state
        files.frames.begin(state)
        model = {"w": np.zeros(1000)}
        while state.step < last:
            if state.step == 0 or checkpoint is None:
                prediction = predict(state)
            else:
                prediction, checkpoint = checkpoint.prediction, None
            state = make_step(state, prediction)
            step = state.step
            prediction = predict(state)
            labelled = step % 7 == 0
            if labelled:
                key = label_key(state.configuration, "f")
                if book.find(key) is None:
                    book.add(
                        Label(
                            configuration=state.configuration,
                            labels=reference(state.configuration),
                            fingerprint="f",
                            key=key,
                        )
                    )
            files.journal.write(
                Decision(
                    step=step,
                    reason="sample" if labelled else "predict",
                    labelled=labelled,
                    error=0.1,
                    threshold=0.2,
                    max_spilling=0.0,
                ),
                sync=labelled,
            )
            files.frames.write(Frame.of(state, prediction))
            files.thermo.append(
                ThermoRow(step, *[prediction.energy] * 11, labelled=labelled)
            )
            if step % 10 == 0:
                generation = step // 30
                model["w"][:] = generation
                files.save(
                    Checkpoint(state, prediction, {}, model, generation=generation)
                )


def fork(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        except StoreError as error:
            print(error)
            os._exit(3)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def outcome(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def check(folder):
    \"\"\"Whatever can be read says the same and agrees with the reference.\"\"\"
    if not folder.journal.exists():
        return 0
    try:
        view = RunView.load(folder.path)
    except StoreError as error:
        assert "before it wrote anything" in str(error), error
        return 0
    keys = [label.key for label in view.labels]
    assert len(set(keys)) == len(keys), "a label was paid twice"
    for label in view.labels:
        x = label.configuration.positions
        assert label.labels.forces.tobytes() == (-2.0 * x).tobytes()
        assert label.key == label_key(label.configuration, "f")
    steps = [d.step for d in view.decisions]
    assert steps == list(range(1, len(steps) + 1)), steps
    if view.checkpoint is not None:
        saved = view.checkpoint.state.step
        assert steps[-1:] >= [saved]
        assert [f.step for f in read_frames(folder.frames)[1]][:saved] == list(
            range(1, saved + 1)
        )
        # all labels before the checkpoint are in the journal
        assert len(keys) >= saved // 7
        return saved
    return 0


def everything(folder):
    view = RunView.load(folder.path)
    frames = read_frames(folder.frames)[1]
    state = view.checkpoint.state
    return (
        [d.step for d in view.decisions],
        sorted(label.key for label in view.labels),
        [f.positions.tobytes() + f.velocities.tobytes() for f in frames],
        folder.thermo.read_bytes(),
        state.configuration.positions.tobytes() + state.momenta.tobytes(),
    )
"""

KILL = """
folder = RunFolder(Path(sys.argv[1]) / "killed")
random.seed(1)


def size():
    return folder.journal.stat().st_size if folder.journal.exists() else 0


def a_moment(k):
    if k % 2:  # also before the run has got anywhere
        time.sleep(random.uniform(0.0, 0.12))
        return
    enough, begun = size() + random.randrange(20_000), time.monotonic()
    while size() < enough and time.monotonic() < begun + 10.0:
        time.sleep(0.001)


saved = [0]
for k in range(20):
    child = fork(lambda: run(folder, 10**6))
    a_moment(k)
    os.kill(child, signal.SIGKILL)
    assert outcome(child) == -signal.SIGKILL
    saved.append(check(folder))
assert saved == sorted(saved), "the run went back behind a checkpoint"
assert saved[-1] > 0, "the run was never alive long enough to be tested"
last = saved[-1] + 20
assert outcome(fork(lambda: run(folder, last))) == 0
fresh = RunFolder(Path(sys.argv[1]) / "fresh")
assert outcome(fork(lambda: run(fresh, last))) == 0
for killed, whole in zip(everything(folder), everything(fresh), strict=True):
    assert killed == whole
print(saved)
"""

FULL = """
folder = RunFolder(Path(sys.argv[1]) / "full")


def limited(bytes_):
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, resource.RLIM_INFINITY))
    run(folder, 100)


saved = [0]
for limit in (2_000, 9_000, 15_000, 20_000):
    assert outcome(fork(lambda: limited(limit))) == 3, limit
    saved.append(check(folder))
assert saved == sorted(saved), saved
assert outcome(fork(lambda: run(folder, 100))) == 0
fresh = RunFolder(Path(sys.argv[1]) / "fresh")
assert outcome(fork(lambda: run(fresh, 100))) == 0
for filled, whole in zip(everything(folder), everything(fresh), strict=True):
    assert filled == whole
print(saved)
"""


def run_script(tmp_path, body):
    script = tmp_path / "script.py"
    script.write_text(RUN + body)
    return subprocess.run(
        [sys.executable, "-W", "error", str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_run_killed_at_twenty_moments_ends_as_if_never_killed(tmp_path):
    result = run_script(tmp_path, KILL)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="needs limits on file sizes")
def test_a_run_that_met_a_full_disk_ends_as_if_there_was_room(tmp_path):
    result = run_script(tmp_path, FULL)
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 5, lines
    assert all("is full" in line for line in lines[:4]), lines
