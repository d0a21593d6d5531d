"""Functions that people call from Python take a path as text, as those of ASE do."""

from os import PathLike
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write

from otf.configuration import Configuration
from otf.deploy.saved_model import load_model, save_model
from otf.errors import OTFError
from otf.settings import load_run_settings, load_settings
from otf.store.extxyz import read_frames, write_frames
from otf.store.formats import read_labelled
from otf.store.model_file import read_model, write_model
from otf.store.motion import read_motion
from otf.store.run_reader import RunView

FIRST = str(Path(__file__).parent / "data" / "model_v1.h5")
INPUT = """
[structure]
file = "si.xyz"
[reference]
calculator = "stillinger-weber"
[[dynamics.stages]]
steps = 1
temperature_K = 300.0
"""


class Handed(PathLike):
    """A path that is neither text nor of pathlib."""

    def __init__(self, text):
        self.text = text

    def __fspath__(self):
        return self.text


@pytest.mark.parametrize("kind", [str, Handed])
def test_models_are_loaded_and_saved_by_name(tmp_path, kind):
    model, file = load_model(kind(FIRST)), read_model(kind(FIRST))
    proof = [c for c, _ in file.proof]
    save_model(kind(f"{tmp_path}/again.h5"), model, proof=proof, metadata={})
    write_model(kind(f"{tmp_path}/same.h5"), file.arrays, metadata={}, proof=file.proof)
    energies = [
        load_model(kind(f"{tmp_path}/{name}")).predict(proof[0]).energy
        for name in ("again.h5", "same.h5")
    ]
    assert energies == [model.predict(proof[0]).energy] * 2


@pytest.mark.parametrize("kind", [str, Handed])
def test_frames_inputs_and_motion_are_read_by_name(tmp_path, kind):
    atoms = bulk("Si", cubic=True)
    write(tmp_path / "si.xyz", atoms)
    (tmp_path / "run").mkdir()
    for name in ("input.toml", "run/input.toml"):
        (tmp_path / name).write_text(INPUT)
    for load in (load_settings, load_run_settings):
        assert load(kind(f"{tmp_path}/input.toml")).dynamics.n_steps == 1
    frames = read_frames(kind(f"{tmp_path}/si.xyz"))
    write_frames(kind(f"{tmp_path}/copy.xyz.gz"), frames)
    found = read_labelled(kind(f"{tmp_path}/copy.xyz.gz")).frames
    np.testing.assert_array_equal(
        found[0][0].positions, Configuration.from_atoms(atoms).positions
    )
    assert read_motion(kind(f"{tmp_path}/si.xyz")).n_frames == 1


@pytest.mark.parametrize("read", [load_model, read_model, read_labelled, RunView.load])
def test_a_name_of_nothing_is_one_line(tmp_path, read):
    with pytest.raises(OTFError, match="nothing") as caught:
        read(f"{tmp_path}/nothing")
    assert "\n" not in str(caught.value)
