"""Extended XYZ: labels under every common name, one clear error for every defect."""

import gzip
import time

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from otf.configuration import Configuration, Labels, masked_stress
from otf.errors import StoreError
from otf.store.extxyz import FINGERPRINT, comment_values, read_frames, write_frames

VOIGT = np.array([0.01, 0.02, 0.03, 0.004, 0.005, 0.006])
FULL = np.array([[0.01, 0.006, 0.005], [0.006, 0.02, 0.004], [0.005, 0.004, 0.03]])
FORCES = np.array([[0.5, 0.25, -1.0], [-0.5, -0.25, 1.0]])


def pair(**more):
    return Atoms(
        "SiGe", positions=[[0, 0, 0], [1.5, 1.5, 1.5]], cell=[4, 4, 5], pbc=True, **more
    )


def write(path, atoms):
    ase.io.write(path, atoms, format="extxyz")
    return path


def only(path):
    ((configuration, labels),) = read_frames(path)
    return configuration, labels


def labelled(n=5, seed=0, pbc=(True, True, True)):
    rng = np.random.default_rng(seed)
    pbc = np.array(pbc)
    c = Configuration(
        numbers=rng.integers(1, 90, size=n),
        positions=rng.random((n, 3)) * 9.0,
        cell=np.diag([9.0, 9.5, 10.0]) + 0.1 * rng.random((3, 3)),
        pbc=pbc,
    )
    stress = masked_stress(rng.normal(size=6), pbc)
    return c, Labels(rng.normal(), rng.normal(size=(n, 3)), stress)


# ----------------------------------------------------------------------- label names
def test_results_of_a_calculator_are_read(tmp_path):
    atoms = pair()
    atoms.calc = SinglePointCalculator(atoms, energy=-3.5, forces=FORCES, stress=VOIGT)
    c, labels = only(write(tmp_path / "a.xyz", atoms))
    assert labels.energy == -3.5
    np.testing.assert_allclose(labels.forces, FORCES)
    np.testing.assert_allclose(labels.stress, VOIGT)
    assert list(c.numbers) == [14, 32]
    np.testing.assert_allclose(c.cell, np.diag([4.0, 4.0, 5.0]))


@pytest.mark.parametrize("prefix", ["REF_", "ref_", "DFT_", "dft_"])
def test_labels_with_a_prefix_are_read_and_go_before_plain_ones(tmp_path, prefix):
    atoms = pair()
    atoms.calc = SinglePointCalculator(atoms, energy=99.0, forces=9 * FORCES)
    atoms.info |= {f"{prefix}energy": -3.5, f"{prefix}stress": FULL}
    atoms.arrays[f"{prefix}forces"] = FORCES
    _, labels = only(write(tmp_path / "a.xyz", atoms))
    assert labels.energy == -3.5
    np.testing.assert_allclose(labels.forces, FORCES)
    np.testing.assert_allclose(labels.stress, VOIGT)


def test_labels_of_two_methods_are_never_mixed(tmp_path):
    atoms = pair()
    atoms.calc = SinglePointCalculator(atoms, forces=FORCES, stress=VOIGT)
    atoms.info["REF_energy"] = -3.5
    _, labels = only(write(tmp_path / "a.xyz", atoms))
    assert labels.energy == -3.5
    assert np.isnan(labels.forces).all()
    assert np.isnan(labels.stress).all()


def test_the_energy_whose_gradient_the_forces_are_goes_first(tmp_path):
    atoms = pair()
    atoms.calc = SinglePointCalculator(atoms, energy=-3.5, free_energy=-3.6)
    assert only(write(tmp_path / "a.xyz", atoms))[1].energy == -3.6


def test_a_virial_is_minus_stress_times_volume(tmp_path):
    atoms = pair()
    atoms.info |= {"REF_energy": 0.0, "REF_virial": -FULL * atoms.get_volume()}
    _, labels = only(write(tmp_path / "a.xyz", atoms))
    np.testing.assert_allclose(labels.stress, VOIGT)


def test_six_stress_numbers_are_in_voigt_order(tmp_path):
    atoms = pair()
    atoms.info |= {"REF_energy": 0.0, "REF_stress": VOIGT}
    np.testing.assert_allclose(only(write(tmp_path / "a.xyz", atoms))[1].stress, VOIGT)


def test_missing_labels_are_nan(tmp_path):
    _, labels = only(write(tmp_path / "a.xyz", pair()))
    assert np.isnan(labels.energy)
    assert labels.forces.shape == (2, 3)
    assert not labels.force_mask.any()
    assert not labels.stress_mask.any()


def test_stress_along_a_non_periodic_axis_is_masked(tmp_path):
    atoms = pair()
    atoms.pbc = [True, True, False]
    atoms.info |= {"REF_energy": 0.0, "REF_stress": VOIGT}
    _, labels = only(write(tmp_path / "a.xyz", atoms))
    np.testing.assert_array_equal(
        labels.stress, [0.01, 0.02, np.nan, np.nan, np.nan, 0.006]
    )


def test_charge_and_spin_are_kept(tmp_path):
    atoms = pair(info={"charge": -1, "spin": 2})
    c, _ = only(write(tmp_path / "a.xyz", atoms))
    assert (c.charge, c.spin) == (-1.0, 2)


# ------------------------------------------------------------------------- round trip
@pytest.mark.parametrize("name", ["a.xyz", "a.extxyz", "a.xyz.gz"])
@pytest.mark.parametrize("pbc", [(True,) * 3, (True, False, True), (False,) * 3])
def test_written_frames_come_back_to_the_last_bit(tmp_path, name, pbc):
    frames = [labelled(n, seed=n, pbc=pbc) for n in (2, 7)]
    write_frames(tmp_path / name, frames)
    for (c, labels), (wanted, expected) in zip(
        read_frames(tmp_path / name), frames, strict=True
    ):
        assert c.numbers.tobytes() == wanted.numbers.tobytes()
        assert c.positions.tobytes() == wanted.positions.tobytes()
        assert c.cell.tobytes() == wanted.cell.tobytes()
        assert list(c.pbc) == list(wanted.pbc)
        assert labels.energy == expected.energy
        assert labels.forces.tobytes() == expected.forces.tobytes()
        np.testing.assert_array_equal(labels.stress, expected.stress)


def test_everything_a_configuration_can_hold_comes_back(tmp_path):
    c = Configuration(
        numbers=np.array([26, 8]),
        positions=np.array([[0.0, 0.0, 0.0], [0.1, 0.2, 1.7]]),
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, dtype=np.bool_),
        charge=1.0,
        spin=5,
        initial_charges=np.array([0.1 + 0.2, -1.0]),
        magnetic_moments=np.array([4.0, 0.0]),
    )
    nothing = Labels(np.nan, np.full((2, 3), np.nan), np.full(6, np.nan))
    write_frames(tmp_path / "a.xyz", [(c, nothing)])
    found, labels = only(tmp_path / "a.xyz")
    assert (found.charge, found.spin) == (1.0, 5)
    assert found.initial_charges.tobytes() == c.initial_charges.tobytes()
    assert found.magnetic_moments.tobytes() == c.magnetic_moments.tobytes()
    assert not found.cell.any()
    assert np.isnan(labels.energy)


@pytest.mark.parametrize("name", ["a.xyz", "a.xyz.gz"])
def test_frames_say_which_reference_labelled_them(tmp_path, name):
    frames = [labelled(seed=k) for k in range(3)]
    marks = ["code 1.0", "", "0123456789"]
    write_frames(tmp_path / name, frames, fingerprints=marks)
    assert comment_values(tmp_path / name, FINGERPRINT, n_frames=3) == marks
    # A key that another one ends with is another key, and lines that do not fit say
    # nothing.
    assert comment_values(tmp_path / name, "fingerprint", n_frames=3) == [""] * 3
    assert comment_values(tmp_path / name, FINGERPRINT, n_frames=4) == [""] * 4
    for (c, labels), (d, same) in zip(
        frames, read_frames(tmp_path / name), strict=True
    ):
        np.testing.assert_array_equal(c.positions, d.positions)
        assert labels.energy == same.energy


def test_ase_reads_what_is_written(tmp_path):
    c, labels = labelled()
    write_frames(tmp_path / "a.xyz", [(c, labels)])
    atoms = ase.io.read(tmp_path / "a.xyz")
    assert atoms.get_potential_energy() == labels.energy
    np.testing.assert_array_equal(atoms.get_forces(), labels.forces)
    np.testing.assert_array_equal(atoms.get_stress(), labels.stress)


def test_forces_known_in_part_cannot_be_written(tmp_path):
    c, labels = labelled()
    labels.forces[0, 0] = np.nan
    with pytest.raises(StoreError, match="frame 0: forces known in part"):
        write_frames(tmp_path / "a.xyz", [(c, labels)])
    assert not (tmp_path / "a.xyz").exists()


# ----------------------------------------------------------------------------- errors
HEAD = 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no frames|cannot be read"),
        ("some prose\nand more\n", "cannot be read as extended XYZ"),
        (f"2\n{HEAD}\nSi 0 0 0\n", "cannot be read as extended XYZ"),
        (f"1\n{HEAD}\nSi 0 0\n", "cannot be read as extended XYZ"),
        (f"1\n{HEAD}\nSi 0 0 nan\n", "frame 0: positions of atom 0 is not finite"),
        (f"1\n{HEAD} energy=nan\nSi 0 0 0\n", "frame 0: energy is not finite"),
        (f"1\n{HEAD} energy=abc\nSi 0 0 0\n", "frame 0: energy is not numeric"),
        (
            f"1\n{HEAD}:forces:R:3\nSi 0 0 0 1 inf 0\n",
            "frame 0: forces of atom 0 is not finite",
        ),
        (f"1\n{HEAD}:force:R:2\nSi 0 0 0 1 2\n", "frame 0: forces has shape"),
        (
            f'1\n{HEAD} REF_energy=0 REF_stress="1 2 3"\nSi 0 0 0\n',
            "frame 0: stress must have 6 or 9 numbers",
        ),
        (f"1\n{HEAD}\nX 0 0 0\n", "frame 0: atom 0 has no element"),
        (f"1\n{HEAD} charge=high\nSi 0 0 0\n", "frame 0: charge or spin"),
        (
            '1\nLattice="4 0 0 4 0 0 0 0 4" Properties=species:S:1:pos:R:3\nSi 0 0 0\n',
            "frame 0: is periodic where its cell has no extent",
        ),
        (
            f"1\n{HEAD}\nSi 0 0 0\n3\n{HEAD}\nSi 0 0 0\nSi 2 2 2\nSi 2 2 2.05\n",
            "frame 1: atoms 1 and 2 are 0.050 angstrom apart",
        ),
    ],
)
def test_a_defect_is_one_clear_line_with_file_and_frame(tmp_path, text, message):
    path = tmp_path / "bad.xyz"
    path.write_text(text)
    with pytest.raises(StoreError, match=message) as caught:
        read_frames(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StoreError, match="No such file"):
        read_frames(tmp_path / "missing.xyz")


def test_a_gzip_file_cut_short_is_refused(tmp_path):
    write_frames(tmp_path / "a.xyz.gz", [labelled(50)])
    content = (tmp_path / "a.xyz.gz").read_bytes()
    (tmp_path / "a.xyz.gz").write_bytes(content[:-20])
    with pytest.raises(StoreError, match="cannot be read as text"):
        read_frames(tmp_path / "a.xyz.gz")


def test_compression_is_told_by_content_not_by_name(tmp_path):
    frames = [labelled()]
    write_frames(tmp_path / "a.xyz.gz", frames)
    (tmp_path / "a.xyz.gz").rename(tmp_path / "b.xyz")
    assert len(read_frames(tmp_path / "b.xyz")) == 1
    write_frames(tmp_path / "c.xyz", frames)
    assert (
        gzip.decompress((tmp_path / "b.xyz").read_bytes())
        == (tmp_path / "c.xyz").read_bytes()
    )


@pytest.mark.parametrize("near", [0.05, 0.099, 0.101, 0.2])
@pytest.mark.parametrize("pbc", [(True,) * 3, (False,) * 3, (False, True, True)])
def test_an_atom_written_twice_is_found_in_any_cell(tmp_path, near, pbc):
    # the oracle: every pair over every image, in a skewed cell, across its faces
    rng = np.random.default_rng(3)
    cell = np.array([[4.0, 0.0, 0.0], [3.5, 2.0, 0.0], [1.0, 2.5, 3.0]])
    steps = np.array(np.meshgrid(*[[-2, -1, 0, 1, 2] if p else [0] for p in pbc]))
    shifts = steps.reshape(3, -1).T @ cell
    for _ in range(8):
        direction = rng.normal(size=3)
        first = rng.random(3) * 0.04 @ cell
        shift = shifts[rng.integers(len(shifts))]
        second = first + near * direction / np.linalg.norm(direction) + shift
        positions = np.array([first, second])
        distance = np.linalg.norm(second - first + shifts, axis=1).min()
        atoms = Atoms("Si2", positions=positions, cell=cell, pbc=pbc)
        write_frames(
            tmp_path / "a.xyz", [(Configuration.from_atoms(atoms), labelled(2)[1])]
        )
        if distance < 0.1:
            with pytest.raises(StoreError, match="atoms 0 and 1"):
                read_frames(tmp_path / "a.xyz")
        else:
            assert len(read_frames(tmp_path / "a.xyz")) == 1


def test_two_hundred_frames_are_read_well_below_a_second(tmp_path):
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3), axis=-1).reshape(-1, 3) * 2.5
    frames = []
    for _ in range(214):
        c = Configuration(
            numbers=np.full(64, 14),
            positions=grid + 0.1 * rng.normal(size=(64, 3)),
            cell=np.eye(3) * 10.0,
            pbc=np.ones(3, dtype=np.bool_),
        )
        frames.append((c, Labels(0.0, rng.normal(size=(64, 3)), rng.normal(size=6))))
    write_frames(tmp_path / "a.xyz.gz", frames)
    begin = time.process_time()
    assert len(read_frames(tmp_path / "a.xyz.gz")) == 214
    assert time.process_time() - begin < 0.8  # ASE alone, seeking in gzip, takes 1.0
