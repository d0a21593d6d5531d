"""Files of other programs: units, signs and orders proven by physics, round trips.

The samples of VASP and MLIP are of ASE's EMT, which is asked again here: it must agree
with the labels at the structure that was read. Those of Quantum ESPRESSO and CP2K were
written by these programs: their energies must follow their forces and stresses.
"""

import gzip
import re
import shutil
from itertools import pairwise
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.db import connect
from ase.units import Bohr, GPa, Hartree

from otf.configuration import Configuration, Labels
from otf.errors import InputError, StoreError
from otf.store.formats import FORMATS, format_of, read_labelled
from otf.store.labelled import UNCONVERGED, Reading, tensor_of
from otf.store.outcar import BARE

DATA = Path(__file__).parent / "data" / "import"
AU_CU = (79, 29)
# What half a unit of the last digit printed changes: eV, eV/A, eV/A^3.
PRINTED = {
    "emt.ML_AB": (1e-12, 1e-12, 1e-14),
    "emt.OUTCAR": (2e-5, 2e-4, 5e-6),
    "emt.vasprun.xml": (5e-7, 1e-6, 5e-8),
    "emt.cfg": (2e-6, 2e-5, 1e-6),
}


def read(path, **more):
    types = format_of(path) == "mlip-cfg"
    return read_labelled(path, elements=AU_CU if types else (), **more)


def edited(tmp_path, name, *changes, count=1):
    """Return a sample in which texts are replaced."""
    text = (DATA / name).read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, count)
    path = tmp_path / name
    path.write_text(text)
    return path


# ---------------------------------------------------------- units, signs and orders
@pytest.mark.parametrize("name", PRINTED)
def test_labels_are_those_of_the_potential_at_the_structure_read(name):
    reading = read(DATA / name)
    assert len(reading.frames) + reading.left_out.get("SCF not converged", 0) == 3
    for c, labels in reading.frames:
        assert c.numbers.tolist() == [79, 79, 29, 29]
        assert c.pbc.all()
        atoms = c.to_atoms()
        atoms.calc = EMT()
        energy, force, stress = PRINTED[name]
        assert labels.energy == pytest.approx(atoms.get_potential_energy(), abs=energy)
        np.testing.assert_allclose(labels.forces, atoms.get_forces(), atol=force)
        np.testing.assert_allclose(labels.stress, atoms.get_stress(), atol=stress)
        # another sign, unit or order would be seen
        assert np.abs(labels.stress - labels.stress[[0, 1, 2, 4, 5, 3]]).max() > 1e-3


@pytest.mark.parametrize("name", PRINTED)
def test_stress_is_the_slope_of_the_energy_against_strain(name):
    c, labels = read(DATA / name).frames[0]
    step = 1e-4
    for k, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step / 2
            strain[b, a] += sign * step / 2
            atoms = c.to_atoms()
            atoms.set_cell(c.cell @ strain, scale_atoms=True)
            atoms.calc = EMT()
            energies.append(atoms.get_potential_energy())
        slope = (energies[0] - energies[1]) / (2 * step) / c.volume
        assert slope == pytest.approx(labels.stress[k], abs=2e-6)


def predicted(first, second):
    """Return the change of energy that forces and stresses of two frames say.

    The trapezoid rule: the error is of third order in the step.
    """
    (c, one), (d, two) = first, second
    deformation = np.linalg.inv(c.cell) @ d.cell
    shift = d.positions - c.positions @ deformation
    strain = deformation - np.eye(3)
    work = -0.5 * np.sum((one.forces + two.forces) * shift)
    stress = c.volume * tensor_of(one.stress) + d.volume * tensor_of(two.stress)
    return work + 0.5 * np.sum(stress * 0.5 * (strain + strain.T))


@pytest.mark.parametrize(
    ("name", "n_frames", "tolerance"),
    # Axes are printed with 6 digits by pw.x; a grid of CP2K breaks the invariance
    # under shifts by about 1e-4 eV.
    [("silicon_vc-relax.pwo", 4, 5e-6), ("h2.out", 4, 2e-4)],
)
def test_energies_of_a_real_run_follow_its_forces_and_stresses(
    name, n_frames, tolerance
):
    frames = read(DATA / name).frames
    assert len(frames) == n_frames
    change = 0.0
    for first, second in pairwise(frames):
        difference = second[1].energy - first[1].energy
        assert predicted(first, second) == pytest.approx(difference, abs=tolerance)
        change = max(change, abs(difference))
    assert change > 100 * tolerance  # a sign, unit or order could not hide


@pytest.mark.parametrize(
    ("name", "kind", "steps"),
    [("emt.OUTCAR", "vasp-out", (0, 2)), ("emt.vasprun.xml", "vasp-xml", (0, 2))],
)
def test_frames_are_those_of_the_reader_of_ase(name, kind, steps):
    images = ase.io.read(DATA / name, ":", format=kind)
    for k, (c, labels) in zip(steps, read(DATA / name).frames, strict=True):
        np.testing.assert_allclose(c.positions, images[k].positions, atol=1e-12)
        np.testing.assert_allclose(c.cell, images[k].cell[:], atol=1e-12)
        assert labels.energy == images[k].calc.results["free_energy"]
        np.testing.assert_allclose(labels.forces, images[k].get_forces(), atol=1e-14)
        np.testing.assert_allclose(labels.stress, images[k].get_stress(), atol=1e-14)


def test_the_first_frame_of_pw_x_is_that_of_the_reader_of_ase():
    (image, *_) = ase.io.read(DATA / "silicon_vc-relax.pwo", ":", format="espresso-out")
    c, labels = read(DATA / "silicon_vc-relax.pwo").frames[0]
    # ASE takes the constants of CODATA 2006 here, and alat with 4 digits.
    np.testing.assert_allclose(c.positions, image.positions, atol=2e-5)
    np.testing.assert_allclose(labels.forces, image.get_forces(), rtol=1e-6)
    np.testing.assert_allclose(labels.stress, image.get_stress(), rtol=1e-6)
    assert labels.energy == pytest.approx(image.get_potential_energy(), rel=1e-6)


# ------------------------------------------------------------------------ round trips
def random_frames(n=4, seed=0, pbc=True, sorted_=True):
    rng = np.random.default_rng(seed)
    frames = []
    for k in range(n):
        numbers = rng.choice([1, 8, 22], size=5 + k % 2)
        cell = np.diag([9.0, 9.5, 10.0]) + 0.3 * rng.normal(size=(3, 3))
        c = Configuration(
            numbers=np.sort(numbers) if sorted_ else numbers,
            positions=rng.random((len(numbers), 3)) @ cell,
            cell=cell if pbc else np.zeros((3, 3)),
            pbc=np.full(3, pbc),
        )
        stress = rng.normal(size=6) if pbc else np.full(6, np.nan)
        frames.append(
            (c, Labels(rng.normal(), rng.normal(size=(len(numbers), 3)), stress))
        )
    return frames


def reading_of(frames):
    return Reading.of(frames)


def assert_same(found, expected, rtol=1e-14):
    assert len(found) == len(expected)
    for (c, labels), (d, wanted) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(c.numbers, d.numbers)
        np.testing.assert_array_equal(c.pbc, d.pbc)
        np.testing.assert_allclose(c.cell, d.cell, rtol=rtol)
        np.testing.assert_allclose(c.positions, d.positions, rtol=rtol)
        np.testing.assert_allclose(labels.energy, wanted.energy, rtol=rtol)
        np.testing.assert_allclose(labels.forces, wanted.forces, rtol=rtol)
        np.testing.assert_allclose(labels.stress, wanted.stress, rtol=rtol)


def sorted_by_size(frames):
    return sorted(frames, key=lambda frame: (frame[0].n_atoms, frame[1].energy))


WRITABLE = [name for name, kind in FORMATS.items() if kind.write is not None]


@pytest.mark.parametrize("name", WRITABLE)
def test_what_is_written_comes_back_and_is_recognised(tmp_path, name):
    frames = random_frames()
    FORMATS[name].write(tmp_path / "out", reading_of(frames))
    assert format_of(tmp_path / "out") == name
    found = read_labelled(tmp_path / "out").frames
    # a folder of DeePMD-kit has the frames by composition
    assert_same(sorted_by_size(found), sorted_by_size(frames))
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("name", [n for n in WRITABLE if n != "ml-ab"])
def test_molecules_and_missing_labels_come_back(tmp_path, name):
    frames = random_frames(n=3, pbc=False, sorted_=False)
    frames[0] = (
        frames[0][0],
        Labels(1.5, np.full_like(frames[0][1].forces, np.nan), np.full(6, np.nan)),
    )
    frames[1] = (
        frames[1][0],
        Labels(np.nan, np.full_like(frames[1][1].forces, np.nan), np.full(6, np.nan)),
    )
    FORMATS[name].write(tmp_path / "out", reading_of(frames))
    found = read_labelled(tmp_path / "out").frames
    key = lambda frame: str(frame[0].positions[0])  # noqa: E731
    assert_same(sorted(found, key=key), sorted(frames, key=key))


def test_ml_ab_has_the_atoms_of_an_element_together(tmp_path):
    frames = random_frames(sorted_=False)
    FORMATS["ml-ab"].write(tmp_path / "out", reading_of(frames))
    for (c, labels), (d, wanted) in zip(
        read_labelled(tmp_path / "out").frames, frames, strict=True
    ):
        first = [d.numbers.tolist().index(z) for z in d.numbers]
        order = np.argsort(first, kind="stable")
        np.testing.assert_array_equal(c.numbers, d.numbers[order])
        np.testing.assert_allclose(c.positions, d.positions[order])
        np.testing.assert_allclose(labels.forces, wanted.forces[order])


@pytest.mark.parametrize(
    ("name", "frame", "message"),
    [
        ("ml-ab", random_frames(n=1, pbc=False)[0], "periodic in 3 directions"),
        (
            "ml-ab",
            (random_frames(n=1)[0][0], Labels(np.nan, np.zeros((5, 3)), np.zeros(6))),
            "needs the energy",
        ),
        ("mlip-cfg", None, "periodic in part"),
        ("deepmd", None, "periodic in part"),
    ],
)
def test_what_a_format_cannot_say_is_refused(tmp_path, name, frame, message):
    if frame is None:
        c, labels = random_frames(n=1)[0]
        slab = Configuration(
            c.numbers, c.positions, c.cell, np.array([True, True, False])
        )
        frame = (slab, labels)
    with pytest.raises(StoreError, match=message):
        FORMATS[name].write(tmp_path / "out", reading_of([frame]))
    assert not list(tmp_path.iterdir())


def test_a_slab_and_its_kind_go_through_a_database(tmp_path):
    c, labels = random_frames(n=1)[0]
    slab = Configuration(
        c.numbers,
        c.positions,
        c.cell,
        np.array([True, True, False]),
        charge=-1.0,
        spin=2,
    )
    reading = Reading([(slab, labels)], ["42"], [""])
    FORMATS["ase-db"].write(tmp_path / "a.db", reading)
    found = read_labelled(tmp_path / "a.db")
    assert found.groups == ["42"]
    d, known = found.frames[0]
    assert (d.charge, d.spin) == (-1.0, 2)
    assert list(np.isfinite(known.stress)) == [True, True, False, False, False, True]


def test_a_json_database_of_ase_is_read(tmp_path):
    frames = random_frames()
    with connect(tmp_path / "a.json") as database:
        for c, labels in frames:
            atoms = c.to_atoms()
            database.write(
                atoms,
                data={
                    "REF_energy": labels.energy,
                    "REF_forces": labels.forces,
                    "REF_stress": labels.stress,
                },
            )
    assert format_of(tmp_path / "a.json") == "ase-json"
    assert_same(read_labelled(tmp_path / "a.json").frames, frames)


def test_a_trajectory_of_ase_is_read(tmp_path):
    images = []
    for _ in range(2):
        (atoms,) = ase.io.read(DATA / "emt.vasprun.xml", "0:1", format="vasp-xml")
        atoms.rattle(0.05, rng=np.random.default_rng(len(images)))
        atoms.calc = EMT()
        atoms.get_stress()
        images.append(atoms)
    ase.io.write(tmp_path / "a", images, format="traj")
    assert format_of(tmp_path / "a") == "ase-traj"
    for (c, labels), atoms in zip(
        read_labelled(tmp_path / "a").frames, images, strict=True
    ):
        np.testing.assert_array_equal(c.positions, atoms.positions)
        np.testing.assert_array_equal(labels.forces, atoms.get_forces())
        np.testing.assert_array_equal(labels.stress, atoms.get_stress())


def test_a_foreign_database_is_refused_and_left_as_it_is(tmp_path):
    import sqlite3

    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE people (name TEXT)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="none of ASE's"):
        read_labelled(path)
    assert path.read_bytes() == before


# ------------------------------------------------------------- what a format may say
@pytest.mark.parametrize(
    "name",
    sorted(
        p.name
        for p in DATA.iterdir()
        if p.suffix != ".py" and p.name not in ("h2-frc-1.xyz", "h2-1.cell")
    ),
)
def test_a_file_is_told_by_its_content(tmp_path, name):
    for other in ("h2-pos-1.xyz", "h2-frc-1.xyz", "h2-1.cell"):
        shutil.copy(DATA / other, tmp_path / other)
    expected = format_of(DATA / name)
    assert expected != "extxyz"
    shutil.copy(DATA / name, tmp_path / "data.txt")
    assert format_of(tmp_path / "data.txt") == expected
    (tmp_path / "packed").write_bytes(gzip.compress((DATA / name).read_bytes()))
    assert format_of(tmp_path / "packed") == expected
    if expected != "cp2k-xyz":  # its name says where the rest is
        assert len(read(tmp_path / "packed").frames) == len(read(DATA / name).frames)


def test_types_need_elements(tmp_path):
    with pytest.raises(StoreError, match=r"line 1.*--elements"):
        read_labelled(DATA / "emt.cfg")
    with pytest.raises(StoreError, match="has type 1, but 1 elements"):
        read_labelled(DATA / "emt.cfg", elements=(79,))
    with pytest.raises(InputError, match="names its elements"):
        read_labelled(DATA / "emt.ML_AB", elements=AU_CU)


def test_zeros_are_no_stress_in_ml_ab(tmp_path):
    text = (DATA / "emt.ML_AB").read_text()
    number = r"-?\d\.\d+E[+-]\d+"
    zeros = re.sub(
        rf"((?:ZZ|ZX)\n-+\n) +{number} +{number} +{number}", r"\1 0 0 0", text
    )
    (tmp_path / "a").write_text(zeros)
    reading = read_labelled(tmp_path / "a")
    assert all(np.isnan(labels.stress).all() for _, labels in reading.frames)
    assert reading.notes == ("3 stresses of zeros count as missing",)


def test_several_blocks_of_one_element_and_marked_names(tmp_path):
    path = edited(
        tmp_path,
        "emt.ML_AB",
        (
            "The number of atom types\n" + "-" * 50 + "\n       2",
            "The number of atom types\n" + "-" * 50 + "\n       3",
        ),
        (
            "     Au       2\n     Cu       2\n",
            "     Au       1\n     Cu_pv       2\n     Au 1\n",
        ),
    )
    c, _ = read_labelled(path).frames[0]
    assert c.numbers.tolist() == [79, 29, 29, 79]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("emt.OUTCAR", [("FORCE on cell =-STRESS", "no"), ("in kB  ", "none")]),
        ("emt.vasprun.xml", []),
    ],
)
def test_a_run_without_stress_has_nan_labels(tmp_path, name, changes):
    path = edited(tmp_path, name, *changes, count=-1)
    text = re.sub(
        r'  <varray name="stress" >.*?</varray>\n',
        "",
        path.read_text(),
        flags=re.DOTALL,
    )
    path.write_text(text)
    reading = read(path)
    assert all(np.isnan(labels.stress).all() for _, labels in reading.frames)
    assert all(np.isfinite(labels.forces).all() for _, labels in reading.frames)


def test_the_enthalpy_under_pressure_is_taken_back(tmp_path):
    path = edited(
        tmp_path, "emt.vasprun.xml", ('"PSTRESS">      0.0', '"PSTRESS">    100.0')
    )
    for (c, labels), (_, plain) in zip(
        read(path).frames, read(DATA / "emt.vasprun.xml").frames, strict=True
    ):
        work = 100.0 * 6.241509074e-4 * c.volume  # 1 kbar in eV/A^3
        assert labels.energy == pytest.approx(plain.energy - work, abs=1e-6)


def test_predictions_of_vasp_itself_are_left_out(tmp_path):
    xml = (DATA / "emt.vasprun.xml").read_text()
    head, first, rest = re.split(r"(?= <calculation>)", xml, maxsplit=2)
    first = re.sub(r"  <scstep>.*</scstep>\n", "", first, flags=re.DOTALL)
    (tmp_path / "vasprun.xml").write_text(head + first + rest)
    out = edited(
        tmp_path, "emt.OUTCAR", ("free  energy   TOTEN", "free  energy ML TOTEN")
    )
    for path in (tmp_path / "vasprun.xml", out):
        left_out = read(path).left_out
        assert left_out["predicted by VASP's own force field"] == 1
        assert left_out["SCF not converged"] == 1


def test_the_last_iteration_allowed_does_not_count_as_converged(tmp_path):
    # VASP 5 says that EDIFF was reached even then.
    path = edited(tmp_path, "emt.OUTCAR", ("NELM   =      4", "NELM   =      3"))
    assert read(path).left_out == {"SCF not converged": 3}
    # Response functions have a NELM of their own.
    other = '<i type="int" name="NELM">     1</i>\n   <i name="PSTRESS">'
    path = edited(tmp_path, "emt.vasprun.xml", ('<i name="PSTRESS">', other))
    assert len(read(path).frames) == 2


def test_an_outcar_of_few_words_or_with_dispersion_is_read(tmp_path):
    text = (DATA / "emt.OUTCAR").read_text()
    text = re.sub(r"   VRHFIN.*\n", "", text)
    text = text.replace(
        "TOTAL-FORCE (eV/Angst)", "TOTAL-FORCE (eV/Angst),   FORCE-w/o vdW (eV/Angst)"
    )
    row = r"((?: +-?\d+\.\d{5}){3}(?: +-?\d+\.\d{6}){3})\n"
    text = re.sub(row, r"\1  0.1 0.2 0.3\n", text)
    (tmp_path / "OUTCAR").write_text(text)
    assert_same(read(tmp_path / "OUTCAR").frames, read(DATA / "emt.OUTCAR").frames)
    # NWRITE = 0 leaves out the forces of steps between.
    first, second = re.split(r"(?= POSITION)", text, maxsplit=1)
    _, rest = second.split("FREE ENERGIE", maxsplit=1)
    (tmp_path / "OUTCAR").write_text(f"{first}  FREE ENERGIE{rest}")
    assert read(tmp_path / "OUTCAR").left_out[BARE] == 1


def test_older_and_newer_tables_of_cp2k_are_read(tmp_path):
    for name in ("h2-pos-1.xyz", "h2-1.cell"):
        shutil.copy(DATA / name, tmp_path / name)
    whole = read(DATA / "h2.out").frames
    text = (DATA / "h2.out").read_text()
    older = re.sub(r"STRESS\| +([xyz]) ", r" \1 ", text)
    older = older.replace("STRESS| Analytical stress tensor", "STRESS TENSOR")
    newer = text.replace(
        "ATOMIC FORCES in [a.u.]", "FORCES| Atomic forces [hartree/bohr]"
    )
    newer = newer.replace(" # Atom   Kind   Element  ", " FORCES| Atom ")
    newer = re.sub(r" {6}(\d) {6}1 {6}H(.*)", r" FORCES| \1 \2 0.1", newer)
    newer = newer.replace(" SUM OF ATOMIC FORCES", " FORCES| Sum")
    for version in (older, newer):
        (tmp_path / "h2.out").write_text(version)
        for (_, labels), (_, wanted) in zip(
            read(tmp_path / "h2.out").frames, whole, strict=True
        ):
            np.testing.assert_array_equal(labels.stress, wanted.stress)
            # 8 digits behind the point in hartree/bohr
            np.testing.assert_allclose(labels.forces, wanted.forces, atol=6e-7)


def test_the_loops_of_exact_exchange_are_one_step(tmp_path):
    text = (DATA / "silicon_vc-relax.pwo").read_text()
    k = text.index("     Self-consistent Calculation")
    energy = "!    total energy              =     -15.7 Ry\n"
    reached = "     convergence has been achieved in   3 iterations\n"
    loop = f"     Self-consistent Calculation\n{energy}{reached}"
    (tmp_path / "a").write_text(text[:k] + loop + text[k:])
    assert_same(read(tmp_path / "a").frames, read(DATA / "silicon_vc-relax.pwo").frames)


def test_an_unconverged_run_of_pw_x_has_no_frame():
    reading = read(DATA / "silicon_unconverged.pwo")
    assert reading.frames == []
    assert reading.left_out == {"SCF not converged": 1}


def test_one_structure_of_cp2k_comes_from_its_output_alone():
    """The input of the run: cell and positions have more digits than the output."""
    ((c, labels),) = read(DATA / "water.out").frames
    cell = [[6.0123456, 0, 0], [0.1234567, 6.1, 0], [0, 0.2, 5.9876543]]
    np.testing.assert_allclose(c.cell, cell, rtol=0, atol=2e-6)
    positions = [[3.01234567, 3.0, 3.1], [3.0, 3.76, 2.51], [3.02, 2.24, 2.5]]
    np.testing.assert_allclose(c.positions, positions, rtol=0, atol=5.1e-7)
    assert c.numbers.tolist() == [8, 1, 1]
    assert c.pbc.all()
    assert labels.energy == pytest.approx(-17.219191796595211 * Hartree, abs=1e-9)
    force = np.array([0.00018549, -0.00992608, 0.00432162]) * Hartree / Bohr
    np.testing.assert_allclose(labels.forces[0], force, rtol=0, atol=1e-9)
    # printed as a pressure
    assert labels.stress[0] == pytest.approx(-0.178221950091 * GPa, rel=1e-9)
    assert labels.stress[3] == pytest.approx(0.105104989735 * GPa, rel=1e-9)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("MODULE QUICKSTEP: ATOMIC COORD", "MODULE", "has no atomic coordinates"),
        (" CELL| Angle (b,c)", " CELL| Corner", "has no cell"),
        ("6.012     0.000     0.000   |a|", "0.000     6.012     0.000   |a|", "turn"),
        ("2    2 H", "3    2 H", "line 20: expected atom 2"),
        ("2.240000      2.500000", "2.240000   ********", "a position"),
        ("6.100     0.000   |b|", "6.1x0     0.000   |b|", "a vector and its length"),
    ],
)
def test_an_output_of_cp2k_that_does_not_say_enough_is_one_line(
    tmp_path, old, new, words
):
    text = (DATA / "water.out").read_text()
    assert old in text
    (tmp_path / "water.out").write_text(text.replace(old, new, 1))
    with pytest.raises(StoreError, match=words) as caught:
        read(tmp_path / "water.out")
    assert "\n" not in str(caught.value)


def test_one_structure_of_cp2k_that_did_not_converge_is_left_out(tmp_path):
    text = (DATA / "water.out").read_text()
    text = text.replace("SCF run converged in    31", "SCF run NOT converged in 31")
    (tmp_path / "water.out").write_text(text)
    reading = read(tmp_path / "water.out")
    assert (len(reading.frames), reading.left_out[UNCONVERGED]) == (0, 1)


def test_an_unconverged_cycle_of_cp2k_is_left_out(tmp_path):
    for name in ("h2-pos-1.xyz", "h2-frc-1.xyz", "h2-1.cell"):
        shutil.copy(DATA / name, tmp_path / name)
    path = edited(
        tmp_path,
        "h2.out",
        (
            "*** SCF run converged in     5 steps ***",
            "*** WARNING in qs_scf.F:601 :: SCF run NOT converged ***",
        ),
    )
    reading = read(path)
    assert len(reading.frames) == 3
    assert reading.left_out == {"SCF not converged": 1}


def test_a_cell_that_stays_comes_from_the_restart_file_of_cp2k(tmp_path):
    shutil.copy(DATA / "h2-pos-1.xyz", tmp_path)
    path = tmp_path / "h2-pos-1.xyz"
    with pytest.raises(StoreError, match=r"h2-1.cell: is missing.*MOTION/PRINT/CELL"):
        read(path)
    vectors = " A 5.0 0.0 0.0\n B 0.0 5.0 0.0\n C 0.0 0.0 6.0\n"
    cell = f"&CELL\n{vectors} PERIODIC XY\n&END CELL\n"
    (tmp_path / "h2-1.restart").write_text(" ENSEMBLE  NVT\n" + cell)
    reading = read(path)
    c, labels = reading.frames[-1]
    np.testing.assert_array_equal(c.cell, np.diag([5.0, 5.0, 6.0]))
    assert list(c.pbc) == [True, True, False]
    assert np.isnan(labels.forces).all()
    (tmp_path / "h2-1.restart").write_text(" ENSEMBLE  NPT_F\n" + cell)
    with pytest.raises(StoreError, match="the cell moves"):
        read(path)


def test_systems_of_mixed_types_skip_what_is_no_atom(tmp_path):
    folder = tmp_path / "d" / "4" / "set.000"
    folder.mkdir(parents=True)
    (folder.parent / "type.raw").write_text("0\n0\n0\n0\n")
    (folder.parent / "type_map.raw").write_text("O\nH\n")
    np.save(folder / "coord.npy", np.arange(24, dtype=np.float32).reshape(2, 12))
    np.save(folder / "box.npy", np.tile(np.diag([30.0, 30, 30]).ravel(), (2, 1)))
    np.save(folder / "energy.npy", np.array([1.0, 2.0]))
    np.save(folder / "real_atom_types.npy", np.array([[0, 1, 1, -1], [1, 0, 0, 1]]))
    frames = read_labelled(tmp_path / "d").frames
    assert frames[0][0].numbers.tolist() == [8, 1, 1]
    assert frames[1][0].numbers.tolist() == [1, 8, 8, 1]
    assert [labels.energy for _, labels in frames] == [1.0, 2.0]
    np.testing.assert_array_equal(frames[0][0].positions[1], [3.0, 4.0, 5.0])
    assert np.isnan(frames[0][1].forces).all()


# ------------------------------------------------------------------- what is damaged
@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            "emt.ML_AB",
            "configurations\n" + "-" * 50 + "\n          3",
            "configurations\n" + "-" * 50 + "\n 4",
            "4 configurations, but holds 3",
        ),
        (
            "emt.ML_AB",
            "Configuration num.      2",
            "Configuration num.      5",
            r"line \d+: expected configuration 2",
        ),
        (
            "emt.ML_AB",
            "The number of atoms\n",
            "The number of\n",
            r"line \d+: Configuration num. 1 has no section 'The number of atoms'",
        ),
        (
            "emt.ML_AB",
            "     Cu       2",
            "     Cu       3",
            r"line \d+: 4 atoms, but the types have 5",
        ),
        ("emt.ML_AB", "Stress (kbar)", "Stress (GPa)", "goes on to another section"),
        ("emt.ML_AB", "XY YZ ZX", "XY XZ YZ", "below XX YY ZZ"),
        ("emt.OUTCAR", "NIONS =      4", "NIONS =      5", r"line \d+: NIONS is 5"),
        (
            "emt.OUTCAR",
            "  in kB  ",
            "  on kB  ",
            "the line 'in kB' of its stress is lost",
        ),
        (
            "emt.OUTCAR",
            "VRHFIN =Cu",
            "VRHFIN =Xx",
            r"line \d+: VRHFIN names no element",
        ),
        ("emt.vasprun.xml", "<c>Cu</c>", "<c>Cx</c>", "'Cx' is no element"),
        (
            "emt.vasprun.xml",
            "<atoms>       4",
            "<atoms>       5",
            "says '5' atoms, but names 4",
        ),
        (
            "emt.vasprun.xml",
            '<varray name="forces" >',
            '<varray name="farces" >',
            "ionic step 1: holds an array",
        ),
        (
            "silicon_vc-relax.pwo",
            "!    total energy",
            "     total energy",
            "has no energy",
        ),
        (
            "silicon_vc-relax.pwo",
            "a(2) = (   0.728440",
            "a(2) = (   0.928440",
            "but its cell has",
        ),
        ("emt.cfg", "fx          fy", "fx          gy", "names some of fx fy fz"),
        ("emt.cfg", " Energy\n", " Enorgy\n", r"line \d+: 'Enorgy' is none of"),
    ],
)
def test_a_defect_is_one_clear_line(tmp_path, name, old, new, message):
    path = edited(tmp_path, name, (old, new))
    with pytest.raises(StoreError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.45, 0.71, 0.9])
def test_a_run_of_cp2k_that_was_killed_keeps_its_whole_steps(tmp_path, share):
    for name in ("h2.out", "h2-pos-1.xyz", "h2-frc-1.xyz", "h2-1.cell"):
        shutil.copy(DATA / name, tmp_path / name)
    whole = read(tmp_path / "h2.out").frames
    for name in ("h2-frc-1.xyz", "h2-1.cell", "h2-pos-1.xyz"):
        text = (DATA / name).read_text()
        (tmp_path / name).write_text(text[: int(share * len(text))])
        reading = read(tmp_path / "h2.out")
        n_frames = len(reading.frames)
        assert_same(reading.frames, whole[:n_frames])
        assert 0 < n_frames < 4
        assert reading.left_out["cut short at the end of the file"] >= 1


@pytest.mark.parametrize(
    "name", ["emt.OUTCAR", "emt.vasprun.xml", "silicon_vc-relax.pwo"]
)
def test_a_run_cut_short_keeps_its_whole_steps_and_says_so(tmp_path, name):
    lines = (DATA / name).read_text().splitlines(keepends=True)
    whole = read(DATA / name).frames
    k = next(
        k
        for k in range(len(lines) - 1, 0, -1)
        if "TOTAL-FORCE" in lines[k]
        or 'name="forces"' in lines[k]
        or "Forces acting" in lines[k]
    )
    (tmp_path / name).write_text("".join(lines[:k]))
    reading = read(tmp_path / name)
    assert_same(reading.frames, whole[:-1])
    assert reading.left_out["cut short at the end of the file"] == 1
