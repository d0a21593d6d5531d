"""The memory that check forecasts is what a learning process takes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LEARN = """
import sys
from pathlib import Path

import numpy as np
from ase.build import bulk

from otf.calculators.stillinger_weber import StillingerWeber
from otf.commands.forecast import learning_memory
from otf.configuration import Configuration, Labels
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.models.archive import model_to_arrays
from otf.models.bayesian_linear import BayesianLinear
from otf.state import State
from otf.store.checkpoint import Checkpoint, Checkpoints
from otf.store.schema import RunFolder

rng = np.random.default_rng(0)


def frame(rattle):
    c = Configuration.from_atoms(bulk("Si", a=5.43, cubic=True).repeat(2))
    c = c.moved(c.positions + rattle * rng.normal(size=(64, 3)))
    energy, forces, virial = StillingerWeber().evaluate(c)
    return c, Labels(energy, forces, virial / c.volume)


def learn(n_frames, n_candidates):
    model = BayesianLinear(PowerSpectrum(species=(14,)))
    for low in range(0, n_frames, 5):
        frames = [frame(r) for r in np.linspace(0.05, 0.4, n_frames)[low : low + 5]]
        model.extend(frames, [np.arange(n_candidates)] * len(frames))
        model.drop_redundant()
        model.fit_weights()
        prediction = model.predict(frames[0][0])
        model.force_uncertainty(frames[0][0])
    c, ones = frames[0][0], np.ones((64, 3))
    state = State(c, ones, np.ones(64), ones > 0, step=0, time=0.0, seed=1)
    arrays = model_to_arrays(model)
    Checkpoints(RunFolder(Path(sys.argv[1]))).save(
        Checkpoint(state, prediction, {}, arrays, 1)
    )
    return model


def bytes_of(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(x for x in lines if x.startswith(name)).split()[1])


learn(1, 4)  # compiles, loads, and fills what is there only once
before = bytes_of("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
model = learn(40, 16)
measured = bytes_of("VmHWM") - before
expected = learning_memory(
    model.descriptor, frame(0.1)[0], n_labels=40, n_references=model.n_references
)
print(model.n_references, measured, expected)
"""


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak is read from /proc"
)
def test_the_forecast_of_memory_is_what_learning_takes(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", LEARN, str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    n_references, measured, expected = map(int, ended.stdout.split())
    assert n_references > 400
    assert abs(expected / measured - 1.0) < 0.2
