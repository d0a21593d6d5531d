"""Real codes, where they are installed: the labels of a direct call, and gradients.

Debian: apt-get install --no-install-recommends quantum-espresso quantum-espresso-data
gpaw gpaw-data cp2k abinit abinit-data.
"""

import gzip
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule

from otf.calculators.electrons import ElectronShelf
from otf.calculators.foreign import foreign_code
from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.calculators.serving import evaluate
from otf.calculators.worker import Order, Worker
from otf.configuration import Configuration
from otf.errors import InputError, ReferenceFailure
from otf.recording import JournalBook
from otf.store.journal import Journal
from otf.testing import derivative, strained
from otf.units import BOHR, GPA, HARTREE

PSEUDO = Path("/usr/share/espresso/pseudo")
ABINIT_FILES = Path("/usr/share/abinit/psp/Pseudodojo_nc_sr_04_pbe_standard_psp8")
PYTHON = "/usr/bin/python3"
GPAW_PBE = {
    "mode": {"name": "pw", "ecut": 250},
    "xc": "PBE",
    "kpts": {"size": [2, 2, 2]},
}
ABINIT_PBE = {
    "pp_paths": str(ABINIT_FILES),
    "pps": "psp8",
    "ecut": 300,
    "xc": "PBE",
    "kpts": [2, 2, 2],
    "chksymbreak": 0,
    "toldff": 5e-5,
    "optstress": 1,
    "nstep": 40,
}
DIRECTION = np.array([1.0, -0.4, 0.2, 0.7, -0.5, 0.9])

pytestmark = pytest.mark.slow


def has_gpaw():
    if shutil.which(PYTHON) is None:
        return False
    ask = [PYTHON, "-c", "import ase, gpaw"]
    return subprocess.run(ask, capture_output=True, check=False).returncode == 0


espresso = pytest.mark.skipif(
    shutil.which("pw.x") is None or not (PSEUDO / "Si.pz-vbc.UPF").exists(),
    reason="pw.x or its pseudopotentials are not installed",
)
cp2k = pytest.mark.skipif(
    shutil.which("cp2k_shell") is None, reason="cp2k_shell is not installed"
)
abinit = pytest.mark.skipif(
    shutil.which("abinit") is None or not ABINIT_FILES.is_dir(),
    reason="abinit or its pseudopotentials are not installed",
)
gpaw = pytest.mark.skipif(
    not has_gpaw(), reason=f"{PYTHON} has no gpaw, or there is no such interpreter"
)


@pytest.fixture(scope="module")
def silicon():
    atoms = bulk("Si", "diamond", a=5.43, cubic=True)
    atoms.rattle(0.08, seed=1)
    shear = np.eye(3) + 0.02 * np.random.default_rng(3).normal(size=(3, 3))
    atoms.set_cell(atoms.cell.array @ shear, scale_atoms=True)
    return Configuration.from_atoms(atoms)


def arguments_of_espresso(**system):
    return {
        "pseudo_dir": str(PSEUDO),
        "pseudopotentials": {"Si": "Si.pz-vbc.UPF"},
        "input_data": {
            "ecutwfc": 36,
            "conv_thr": 1e-9,
            "disk_io": "none",
            "occupations": "fixed",
            **system,
        },
        "kpts": [2, 2, 2],
        "koffset": [1, 1, 1],
    }


def require_gradients(reference, c, labels, *, force, stress):
    """Compare with central differences; tolerances in eV/angstrom and GPa."""

    def energy_moved(x):
        positions = c.positions.copy()
        positions[3, 1] += x
        return reference.label(c.moved(positions)).energy

    def energy_strained(x):
        return reference.label(strained(c, x * DIRECTION)).energy

    slope = -derivative(energy_moved, 5e-3)
    assert labels.forces[3, 1] == pytest.approx(slope, abs=force)
    slope = derivative(energy_strained, 2e-3) / c.volume / GPA
    assert labels.stress @ DIRECTION / GPA == pytest.approx(slope, abs=stress)


@espresso
def test_espresso_labels_are_those_of_a_direct_call_and_gradients(silicon, tmp_path):
    given = arguments_of_espresso()
    code = make_calculator("espresso", given, directory=tmp_path / "direct")
    direct = evaluate(code.build(), silicon.to_atoms())
    worker = Worker(Order("espresso", given, directory=tmp_path / "run"))
    reference = Reference(code, caller=worker)
    labels = reference.label(silicon)
    np.testing.assert_allclose(labels.forces, direct["forces"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(labels.stress, direct["stress"], rtol=0, atol=1e-8)
    assert labels.energy == pytest.approx(direct["energy"], abs=1e-6)
    # The stress is the one of a fixed number of plane waves.
    require_gradients(reference, silicon, labels, force=1e-4, stress=0.3)
    assert worker.n_started == 1
    reference.close()


@espresso
def test_an_scf_that_did_not_converge_is_no_label(silicon, tmp_path):
    given = arguments_of_espresso(electron_maxstep=2)
    with pytest.raises(ReferenceFailure, match="convergence NOT achieved"):
        label_of("espresso", given, silicon, tmp_path)


@espresso
def test_a_retry_of_pw_x_mixes_gently_and_has_more_iterations(silicon, tmp_path):
    given = arguments_of_espresso(electron_maxstep=4)
    code = make_calculator("espresso", given, directory=tmp_path)
    reference = Reference(code, caller=Worker(Order("espresso", given, tmp_path)))
    label = reference.label(silicon)
    reference.close()
    assert reference.last_attempts == 3
    easy = label_of("espresso", arguments_of_espresso(), silicon, tmp_path / "easy")
    np.testing.assert_allclose(label.forces, easy.forces, rtol=0, atol=1e-4)


def points_and_spacing(name):
    """Return arguments with k points, and those that leave them to a spacing."""
    bare = dict(arguments_of_espresso() if name == "espresso" else ABINIT_PBE)
    for key in ("kpts", "koffset"):
        bare.pop(key, None)
    if name == "espresso":
        return {**bare, "kpts": [2, 2, 2]}, bare
    grid = {"ngkpt": [2, 2, 2], "shiftk": [0.0, 0.0, 0.0], "kptopt": 1}
    return {**bare, **grid}, bare


@pytest.mark.parametrize(
    "name",
    [pytest.param("espresso", marks=espresso), pytest.param("abinit", marks=abinit)],
)
def test_a_spacing_is_the_grid_it_stands_for(name, silicon, tmp_path):
    points, bare = points_and_spacing(name)
    grid = label_of(name, points, silicon, tmp_path / "grid")
    # 2 pi / 5.43 = 1.16 per angstrom
    spaced = label_of(name, bare, silicon, tmp_path / "spacing", kpoint_spacing=0.8)
    assert spaced.energy == grid.energy
    np.testing.assert_array_equal(spaced.forces, grid.forces)


@gpaw
def test_a_spacing_is_the_grid_it_stands_for_in_gpaw_of_another_python(
    silicon, tmp_path
):
    def label(arguments, spacing=None):
        code = foreign_code(
            "gpaw", arguments, PYTHON, directory=tmp_path, kpoint_spacing=spacing
        )
        order = Order(code.name, code.arguments, tmp_path, code.ladder, PYTHON)
        reference = Reference(code, caller=Worker(order))
        try:
            return reference.label(silicon)
        finally:
            reference.close()

    bare = {"mode": GPAW_PBE["mode"], "xc": "PBE"}
    grid = label({**bare, "kpts": {"size": [2, 2, 2], "gamma": True}})
    spaced = label(bare, 0.8)
    # GPAW gives other last bits from process to process: 1e-12 eV were seen.
    assert spaced.energy == pytest.approx(grid.energy, abs=1e-9)
    np.testing.assert_allclose(spaced.forces, grid.forces, rtol=0, atol=1e-8)


@abinit
def test_abinit_is_quoted_from_its_log(silicon, tmp_path):
    with pytest.raises(ReferenceFailure, match=r"--- !ERROR .*NONSENSE"):
        label_of("abinit", {**ABINIT_PBE, "nonsense": 3}, silicon, tmp_path)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        pytest.param("espresso", 1e-4, marks=espresso),
        # what toldff stops at
        pytest.param("abinit", ABINIT_PBE["toldff"] * HARTREE / BOHR, marks=abinit),
    ],
)
def test_a_resumed_run_starts_from_the_same_electrons(
    name, tolerance, silicon, tmp_path
):
    given, _ = points_and_spacing(name)
    structures = [
        silicon.moved(silicon.positions + k * 0.01 * np.sin(silicon.positions))
        for k in range(3)
    ]

    def labels(folder, these):
        """Label in one process; the journal and the electrons outlive it."""
        work = folder / "reference"
        code = make_calculator(name, given, directory=work, restart=True)
        worker = Worker(Order(name, given, work, restart=True))
        shelf = ElectronShelf(work, code.electrons)
        reference = Reference(code, caller=worker, shelf=shelf)
        journal = Journal(folder / "journal.bin")
        book = JournalBook(journal, reference.fingerprint, reference.description)
        reference.keep_labels_in(book)
        out = [reference.label(c) for c in these]
        reference.close()
        journal.close()
        return out

    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = labels(tmp_path / "whole", structures)
    labels(tmp_path / "parts", structures[:2])
    again = labels(tmp_path / "parts", structures)
    for a, b in zip(whole, again, strict=True):
        assert a.energy == b.energy
        np.testing.assert_array_equal(a.forces, b.forces)
    alone = label_of(name, given, structures[2], tmp_path / "alone")
    np.testing.assert_allclose(whole[2].forces, alone.forces, rtol=0, atol=tolerance)


@gpaw
def test_the_checksums_of_gpaw_are_those_its_log_prints(silicon, tmp_path):
    given = {**GPAW_PBE, "kpts": [1, 1, 1], "convergence": {"density": 0.1}}
    code = foreign_code("gpaw", given, PYTHON, directory=tmp_path)
    order = Order(code.name, code.arguments, tmp_path, code.ladder, PYTHON)
    reference = Reference(code, caller=Worker(order))
    reference.label(silicon)
    reference.close()
    (printed,) = re.findall(
        r"^\s*id: (\w+)$", (tmp_path / "gpaw.txt").read_text(), re.M
    )
    assert code.checksums["Si"] == printed


@gpaw
def test_another_set_up_file_is_another_reference(tmp_path, monkeypatch):
    def code(**changes):
        return foreign_code("gpaw", {**GPAW_PBE, **changes}, PYTHON)

    before = code()
    assert 57 not in before.elements  # no lanthanum in Debian's set-ups
    with pytest.raises(InputError, match="no parameters for La"):
        before.require_elements(frozenset({14, 57}))
    assert code(xc="LDA").checksums["Si"] != before.checksums["Si"]
    assert code(setups={"Ag": "11"}).checksums["Ag"] != before.checksums["Ag"]
    assert code(setups={"Ag": ":d,4.0"}).checksums == before.checksums
    file = next(Path("/usr/share/gpaw-setups").glob("Si.PBE.gz"))
    text = gzip.decompress(file.read_bytes())
    (tmp_path / "Si.PBE").write_bytes(text + b"<!-- another -->\n")
    monkeypatch.setenv("GPAW_SETUP_PATH", f"{tmp_path}:{file.parent}")
    after = code()
    assert after.fingerprint() != before.fingerprint()
    differing = {
        s for s, mark in after.checksums.items() if mark != before.checksums[s]
    }
    assert differing == {"Si"}


@gpaw
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"xc": "nonsense"}, 'NameError: Unknown functional: "nonsense"'),
        ({"setups": "nonsense"}, "finds no set-ups"),
    ],
)
def test_set_ups_gpaw_does_not_have_are_one_line(changes, words):
    with pytest.raises(InputError, match=words) as caught:
        foreign_code("gpaw", {**GPAW_PBE, **changes}, PYTHON)
    assert "\n" not in str(caught.value)


@gpaw
def test_gpaw_starts_from_the_electrons_of_the_call_before(silicon, tmp_path):
    rng = np.random.default_rng(5)
    near = [
        silicon.moved(silicon.positions + 0.01 * k * rng.normal(size=(8, 3)))
        for k in range(2)
    ]
    symmetric = Configuration.from_atoms(bulk("Si", "diamond", a=5.43, cubic=True))
    apart = symmetric.moved(symmetric.positions + 0.05 * rng.normal(size=(8, 3)))
    larger = replace(near[0], cell=1.01 * near[0].cell)
    # The last breaks the symmetry that k points were reduced by.
    asked = [*near, larger, symmetric, apart]

    def labels(folder, *, restart):
        folder.mkdir()
        tight = {**GPAW_PBE, "convergence": {"energy": 1e-7, "density": 1e-8}}
        code = foreign_code("gpaw", tight, PYTHON, directory=folder)
        order = Order(code.name, code.arguments, folder, code.ladder, PYTHON)
        worker = Worker(replace(order, restart=restart))
        reference = Reference(code, caller=worker, retries=0)
        out = [reference.label(c) for c in asked]
        reference.close()
        log = (folder / "gpaw.txt").read_text()
        n_from_atoms = log.count("Creating initial wave functions")
        counts = list(map(int, re.findall(r"Converged after (\d+) iter", log)))
        return out, n_from_atoms, counts

    fresh, n_fresh, from_atoms = labels(tmp_path / "fresh", restart=False)
    kept, n_kept, from_before = labels(tmp_path / "kept", restart=True)
    for a, b in zip(fresh, kept, strict=True):
        # The cycle stops at 1e-7 eV an electron, here 32. Forces err by the first order
        # of the density, of which 1e-8 an electron is left.
        assert a.energy == pytest.approx(b.energy, abs=32 * 1e-7)
        np.testing.assert_allclose(a.forces, b.forces, rtol=0, atol=1e-4)
    assert from_before[1] < from_atoms[1]
    assert (n_fresh, n_kept) == (5, 4)


@gpaw
def test_gpaw_of_another_python_gives_gradients(silicon, tmp_path):
    given = {**GPAW_PBE, "txt": str(tmp_path / "gpaw.txt")}
    worker = Worker(Order("gpaw:GPAW", given, tmp_path, python=PYTHON))
    reference = Reference(foreign_code("gpaw:GPAW", given, PYTHON), caller=worker)
    labels = reference.label(silicon)
    require_gradients(reference, silicon, labels, force=1e-3, stress=0.3)
    assert worker.n_started == 1
    few = {**given, "maxiter": 3}
    worker = Worker(Order("gpaw:GPAW", few, tmp_path, python=PYTHON))
    reference.close()
    hasty = Reference(reference.code, caller=worker, retries=0)
    with pytest.raises(ReferenceFailure, match="KohnShamConvergenceError"):
        hasty.label(replace(silicon))
    hasty.close()


def label_of(name, given, c, folder, **options):
    """Return the labels a worker gives, without retries."""
    code = make_calculator(name, given, directory=folder, **options)
    worker = Worker(Order(name, given, folder, **options), time_limit=600.0)
    reference = Reference(code, caller=worker, retries=0)
    try:
        return reference.label(c)
    finally:
        reference.close()


@cp2k
def test_cp2k_labels_are_those_of_a_direct_call_and_gradients(silicon, tmp_path):
    given = {
        "xc": "PBE",
        "basis_set": "DZVP-MOLOPT-SR-GTH",
        "pseudo_potential": "GTH-PBE",
        "cutoff": 280 * 13.605693,
        "max_scf": 60,
        "poisson_solver": None,
        "stress_tensor": True,
        "inp": "&FORCE_EVAL\n&DFT\n&SCF\nEPS_SCF 1e-7\n&END SCF\n&KPOINTS\n"
        "SCHEME MONKHORST-PACK 2 2 2\n&END KPOINTS\n&END DFT\n&END FORCE_EVAL",
    }
    code = make_calculator("cp2k", given, directory=tmp_path / "direct")
    calculator = code.build()
    direct = evaluate(calculator, silicon.to_atoms())
    calculator.close()
    worker = Worker(Order("cp2k", given, directory=tmp_path / "run"))
    reference = Reference(code, caller=worker)
    labels = reference.label(silicon)
    np.testing.assert_allclose(labels.forces, direct["forces"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(labels.stress, direct["stress"], rtol=0, atol=1e-8)
    assert labels.energy == pytest.approx(direct["energy"], abs=1e-6)
    require_gradients(reference, silicon, labels, force=1e-3, stress=0.01)
    assert worker.n_started == 1
    reference.close()


@cp2k
def test_cp2k_is_believed_only_when_its_log_says_converged(tmp_path):
    atoms = molecule("H2O")
    atoms.set_cell([6.0, 6.0, 6.0])
    atoms.center()
    atoms.pbc = True
    atoms.rattle(0.03, seed=1)
    water = Configuration.from_atoms(atoms)
    given = {
        "xc": "PBE",
        "basis_set": "DZVP-MOLOPT-SR-GTH",
        "pseudo_potential": "GTH-PBE",
        "cutoff": 200 * 13.605693,
        "poisson_solver": None,
        "stress_tensor": True,
        "inp": "&FORCE_EVAL\n&DFT\n&SCF\n&OT\n&END OT\n&END SCF\n&END DFT\n"
        "&END FORCE_EVAL",
    }
    deep = tmp_path / ("a folder of a long name " * 5)
    converged = label_of("cp2k", {**given, "max_scf": 100}, water, deep)
    assert np.isfinite(converged.stress).all()
    with pytest.raises(ReferenceFailure, match="the SCF did not converge"):
        label_of("cp2k", {**given, "max_scf": 2}, water, tmp_path / "b")


@abinit
def test_abinit_is_believed_only_when_its_output_says_converged(silicon, tmp_path):
    converged = label_of("abinit", ABINIT_PBE, silicon, tmp_path / "a")
    assert np.isfinite(converged.stress).all()
    with pytest.raises(ReferenceFailure, match="the SCF did not converge"):
        label_of("abinit", {**ABINIT_PBE, "nstep": 2}, silicon, tmp_path / "b")


@abinit
@gpaw
def test_two_codes_agree_on_the_forces_of_one_structure(silicon, tmp_path):
    """PBE and the same k points: pseudopotentials, and projector-augmented waves."""
    first = label_of("abinit", ABINIT_PBE, silicon, tmp_path / "abinit")
    given = {**GPAW_PBE, "txt": str(tmp_path / "gpaw.txt")}
    worker = Worker(Order("gpaw:GPAW", given, tmp_path, python=PYTHON))
    reference = Reference(foreign_code("gpaw:GPAW", given, PYTHON), caller=worker)
    second = reference.label(silicon)
    reference.close()
    difference = np.linalg.norm(first.forces - second.forces)
    assert difference < 0.02 * np.linalg.norm(second.forces)
