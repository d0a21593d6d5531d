"""A model file comes back bit by bit, proves itself, or is refused in one line."""

from dataclasses import dataclass, replace

import h5py
import numpy as np
import pytest

from otf.configuration import Configuration, Labels
from otf.errors import StoreError
from otf.store.model_file import Tolerances, read_model, verify, write_model

STIFFNESS = 3.0


def spring(configuration):
    """Return energy, forces and stress of atoms tied to the origin."""
    x = configuration.positions
    stress = np.array([1.0, 2.0, 3.0, 0.1, 0.2, 0.3]) * x[0, 0]
    return Labels(0.5 * STIFFNESS * float((x**2).sum()), -STIFFNESS * x, stress)


def proof(n_frames=3):
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(n_frames):
        c = Configuration(
            numbers=np.array([3, 17]),
            positions=rng.normal(size=(2, 3)),
            cell=np.diag([4.0, 4.0, 5.0]),
            pbc=np.array([True, False, True]),
            charge=1.0,
            initial_charges=rng.normal(size=2),
        )
        frames.append((c, spring(c)))
    return frames


def arrays():
    rng = np.random.default_rng(1)
    return {
        "weights": rng.normal(size=50),
        "descriptor/table": np.asfortranarray(rng.normal(size=(3, 4))),
        "descriptor/species": np.array(["Li", "Cl", "é"]),
        "count": np.array(3),
        "mask": np.array([True, False]),
        "small": np.arange(3, dtype=np.float32),
        "none": np.empty((0, 5)),
    }


@pytest.fixture
def path(tmp_path):
    write_model(
        tmp_path / "model.h5",
        arrays(),
        metadata={"settings": {"cutoff_A": 5.0}, "fingerprint": "abc", "list": [1, 2]},
        proof=proof(),
    )
    return tmp_path / "model.h5"


def test_a_model_comes_back_bit_by_bit(path):
    model = read_model(path)
    assert model.arrays.keys() == arrays().keys()
    for name, wanted in arrays().items():
        found = model.arrays[name]
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        assert found.tobytes() == wanted.tobytes()
    assert model.metadata["settings"] == {"cutoff_A": 5.0}
    for (c, labels), (wanted, expected) in zip(model.proof, proof(), strict=True):
        assert c.positions.tobytes() == wanted.positions.tobytes()
        assert c.initial_charges.tobytes() == wanted.initial_charges.tobytes()
        assert (c.charge, c.spin, c.magnetic_moments) == (1.0, None, None)
        assert list(c.pbc) == list(wanted.pbc)
        assert labels.energy == expected.energy
        assert labels.forces.tobytes() == expected.forces.tobytes()
        assert labels.stress.tobytes() == expected.stress.tobytes()


def test_equal_models_are_equal_files(path, tmp_path):
    write_model(
        tmp_path / "again.h5",
        arrays(),
        metadata=read_model(path).metadata,
        proof=proof(),
    )
    assert (tmp_path / "again.h5").read_bytes() == path.read_bytes()


def test_the_same_model_passes_its_own_proof(path):
    worst = verify(spring, read_model(path).proof, backend="cpu")
    assert [d.quantity for d in worst] == ["energy", "forces", "stress"]
    assert all(d.size == 0.0 for d in worst)


@dataclass
class Off:
    """A spring that is off in one quantity."""

    name: str
    by: float

    def __call__(self, configuration):
        right = spring(configuration)
        return replace(right, **{self.name: getattr(right, self.name) + self.by})


@pytest.mark.parametrize(
    ("name", "limit"),
    [("energy", 2 * 1e-7), ("forces", 1e-6), ("stress", 1e-7)],
)
def test_a_value_beyond_its_tolerance_is_named(path, name, limit):
    frames = read_model(path).proof
    # two atoms: the energy counts per atom
    verify(Off(name, 0.9 * limit), frames, backend="cpu")
    with pytest.raises(StoreError, match=f"own {name} again: proof frame") as caught:
        verify(Off(name, 1.1 * limit), frames, backend="gpu")
    assert "backend gpu" in str(caught.value)
    assert "\n" not in str(caught.value)
    wide = Tolerances(1.0, 1.0, 1.0)
    verify(Off(name, 1e-3), frames, backend="cpu", tolerances=wide)


def test_a_refusal_tells_frame_size_and_tolerance(path):
    frames = read_model(path).proof
    c, labels = frames[1]
    frames[1] = c, replace(labels, forces=labels.forces + 0.25)
    expected = "proof frame 1 is off by 0.25 eV/angstrom, allowed are 1e-06"
    with pytest.raises(StoreError, match=expected):
        verify(spring, frames, backend="cpu")


@pytest.mark.parametrize("name", ["energy", "forces", "stress"])
def test_a_value_that_is_not_finite_never_passes(path, name):
    with pytest.raises(StoreError, match=f"own {name} again"):
        verify(Off(name, np.nan), read_model(path).proof, backend="cpu")


def test_a_model_without_proof_is_not_trusted(tmp_path):
    write_model(tmp_path / "m.h5", arrays(), metadata={}, proof=[])
    with pytest.raises(StoreError, match="no proof frames"):
        verify(spring, read_model(tmp_path / "m.h5").proof, backend="cpu")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"nothing\.h5: there is no such model file"):
        read_model(tmp_path / "nothing.h5")


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x89HDF\r\n\x1a\n"])
def test_what_is_no_hdf5_file_is_one_clear_error(tmp_path, content):
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="is no model file") as caught:
        read_model(path)
    assert "\n" not in str(caught.value)


def test_an_hdf5_file_of_somebody_else_is_refused(tmp_path):
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(StoreError, match="no model of otf-md"):
        read_model(tmp_path / "model.h5")


def test_a_newer_format_is_refused_with_the_mend(path):
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 2
    with pytest.raises(StoreError, match=r"format version 2.*update otf-md") as caught:
        read_model(path)
    assert "\n" not in str(caught.value)


def test_what_a_newer_minor_version_adds_is_left_alone(path):
    with h5py.File(path, "r+") as file:
        file.attrs["minor"] = 7
        file.attrs["colour"] = "blue"
        file["mapped/grid"] = np.arange(5.0)
        file["note"] = "something new"
        file["proof/summary"] = np.zeros(3)
    model = read_model(path)
    assert model.form == "1.7"
    assert model.arrays.keys() == arrays().keys()
    verify(spring, model.proof, backend="cpu")
    assert len(model.proof) == 3


def test_datasets_name_their_units(path):
    with h5py.File(path) as file:
        assert file["arrays/weights"].attrs["unit"] == "eV"
        assert file["proof/0/positions"].attrs["unit"] == "angstrom"
        assert file["proof/0/predicted/forces"].attrs["unit"] == "eV/angstrom"
        assert file["proof/0/predicted/stress"].attrs["unit"] == "eV/angstrom^3"


def test_a_file_cut_short_anywhere_is_refused(path):
    whole = path.read_bytes()
    for size in range(0, len(whole), len(whole) // 40):
        path.write_bytes(whole[:size])
        with pytest.raises(StoreError):
            read_model(path)


def test_a_flipped_bit_is_noticed_or_harmless(path):
    whole = path.read_bytes()
    rng = np.random.default_rng(2)
    refused = 0
    for k in rng.choice(len(whole), 150, replace=False):
        path.write_bytes(whole[:k] + bytes([whole[k] ^ 0x10]) + whole[k + 1 :])
        try:
            model = read_model(path)
        except StoreError:
            refused += 1
            continue
        for name, wanted in arrays().items():
            assert model.arrays[name].tobytes() == wanted.tobytes()
    assert refused > 0


def test_every_number_is_under_the_checksum(path):
    with h5py.File(path, "r+") as file:
        file["arrays/weights"][7] = np.nextafter(file["arrays/weights"][7], 9.0)
    with pytest.raises(StoreError, match="checksum"):
        read_model(path)


def test_a_failed_write_leaves_the_old_model(path, monkeypatch):
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(StoreError, match="disk or the quota is full"):
            write_model(path, {"w": np.ones(3)}, metadata={}, proof=proof())
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["model.h5"]
