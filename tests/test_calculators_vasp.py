"""VASP, by a stand-in that writes its files: a licensed program is not at hand.

The stand-in reads POSCAR and INCAR and writes OUTCAR, vasprun.xml and its log in the
public layout, with the labels of ASE's EMT.
"""

import stat
import sys
from dataclasses import replace
from textwrap import dedent

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from otf.build import build_reference
from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.calculators.vasp import version_in
from otf.calculators.worker import Order, Worker
from otf.cli import main
from otf.configuration import Configuration
from otf.errors import InputError, ReferenceFailure
from otf.settings.loading import load_settings
from otf.store.run_reader import RunView

VASP = dedent(
    """
    #!{python}
    import sys
    from pathlib import Path
    import numpy as np
    from ase.calculators.emt import EMT
    from ase.io import read
    from ase.units import GPa

    how, version = {how!r}, {version!r}
    incar = dict(
        (part.strip() for part in line.split("=", 1))
        for line in Path("INCAR").read_text().splitlines()
        if "=" in line
    )
    with open("calls", "a") as calls:
        points = Path("KPOINTS").read_text().split() if Path("KPOINTS").exists() else []
        start = incar.get("ISTART"), incar.get("ICHARG"), incar.get("NELM")
        print(*start, *points[-7:], Path("WAVECAR").exists(), file=calls)
    if incar.get("LWAVE") == ".TRUE.":
        Path("WAVECAR").write_text("waves")
    if how == "dies":
        print("  VERY BAD NEWS! internal error in subroutine SGRCON:")
        print("  Found some non-integer element in rotation matrix")
        sys.exit(1)
    nelm = int(incar.get("NELM", 60))
    steps = nelm if how == "unconverged" and nelm < 200 else 9
    atoms = read("POSCAR")
    atoms.calc = EMT()
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    xx, yy, zz, yz, xz, xy = -atoms.get_stress() / (0.1 * GPa)
    matrix = [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]
    n = len(atoms)

    def rows(table):
        line = "<v>" + " {{:.8f}}" * 3 + "</v>\\n"
        return "".join(line.format(*row) for row in table)

    def array(name, table):
        return "<varray name='%s'>%s</varray>" % (name, rows(table))

    structure = "<structure><crystal>%s</crystal>%s</structure>" % (
        array("basis", atoms.cell[:]),
        array("positions", atoms.get_scaled_positions()),
    )
    energies = "<energy>%s</energy>" % "".join(
        "<i name='%s'> %.8f</i>" % (name, energy)
        for name in ("e_fr_energy", "e_wo_entrp", "e_0_energy")
    )
    xml = "<?xml version='1.0'?><modeling>"
    xml += "<generator><i name='program' type='string'>vasp </i>"
    xml += "<i name='version' type='string'>%s  </i></generator>" % version
    xml += "<kpoints>" + array("kpointlist", [[0.0, 0.0, 0.0]])
    xml += "<varray name='weights'><v> 1.0 </v></varray></kpoints>"
    xml += "<parameters><separator name='electronic'>"
    xml += "<i type='int' name='NELM'> %d</i></separator></parameters>" % nelm
    xml += "<atominfo><atoms>%d</atoms><types>1</types><array name='atoms'><set>" % n
    xml += "<rc><c>Cu</c><c>1</c></rc>" * n + "</set></array></atominfo>"
    xml += "<structure name='initialpos'>" + structure.partition(">")[2]
    xml += "<calculation>" + "<scstep>%s</scstep>" % energies * steps + structure
    xml += array("forces", forces) + array("stress", matrix) + energies
    xml += "</calculation>"
    xml += "<structure name='finalpos'>" + structure.partition(">")[2] + "</modeling>"

    outcar = " vasp.%s 27Jun22 (build Jul  1 2022) complex\\n\\n" % version
    outcar += " POTCAR:    PAW_PBE Cu 22Jun2005\\n" * 2
    outcar += "   TITEL  = PAW_PBE Cu 22Jun2005\\n   VRHFIN =Cu: s1d10\\n"
    outcar += "   ions per type =               %d\\n" % n
    outcar += "   number of dos NEDOS = 301 number of ions NIONS = %d\\n" % n
    outcar += "   NELM   = %6d;   NELMIN=  2; NELMDL= -5     # of ELM steps\\n" % nelm
    outcar += "   EDIFF  = 0.1E-03   stopping-criterion for ELM\\n"
    for k in range(1, steps + 1):
        outcar += "\\n----- Iteration      1(%4d)  %s\\n" % (k, "-" * 30)
        outcar += "  Free energy of the ion-electron system (eV)\\n"
        outcar += "  free energy    TOTEN  = %18.8f eV\\n" % energy
    if steps < nelm:
        outcar += "------ aborting loop because EDIFF is reached ------\\n"
    outcar += "  FORCE on cell =-STRESS in cart. coord.  units (eV):\\n"
    outcar += "  Direction    XX       YY       ZZ       XY       YZ       ZX\\n"
    outcar += "  in kB  " + "%12.5f" * 6 % (xx, yy, zz, xy, yz, xz) + "\\n"
    outcar += "  volume of cell : %14.5f\\n" % atoms.get_volume()
    outcar += "      direct lattice vectors                 reciprocal\\n"
    for a, b in zip(atoms.cell[:], atoms.cell.reciprocal()):
        outcar += "%16.9f" * 6 % (*a, *b) + "\\n"
    outcar += " POSITION     TOTAL-FORCE (eV/Angst)\\n %s\\n" % ("-" * 80)
    for r, f in zip(atoms.positions, forces):
        outcar += "%13.8f" * 6 % (*r, *f) + "\\n"
    outcar += " %s\\n" % ("-" * 80)
    outcar += "\\n  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\\n  %s\\n" % ("-" * 51)
    outcar += "  free  energy   TOTEN  = %18.8f eV\\n" % energy
    outcar += " General timing and accounting informations for this job:\\n"
    if how == "truncated":
        outcar = outcar[: outcar.index(" POSITION") + 300]
    if how == "cut":
        xml = xml[: xml.index("<calculation>") + 500]
    Path("vasprun.xml").write_text(xml)
    Path("OUTCAR").write_text(outcar)
    """
)
PHYSICS = {"xc": "PBE", "encut": 300.0}


@pytest.fixture
def copper():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    return Configuration.from_atoms(atoms)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Return a function that installs a VASP which behaves as told."""
    place = tmp_path / "potentials" / "potpaw_PBE" / "Cu"
    place.mkdir(parents=True)
    (place / "POTCAR").write_text("  PAW_PBE Cu 22Jun2005\n   11.0\n")
    monkeypatch.setenv("VASP_PP_PATH", str(tmp_path / "potentials"))
    for name in ("ASE_VASP_COMMAND", "VASP_COMMAND", "VASP_SCRIPT"):
        monkeypatch.delenv(name, raising=False)

    def install(how="well", version="6.3.2"):
        program = tmp_path / f"vasp_{how}"
        text = VASP.lstrip().format(python=sys.executable, how=how, version=version)
        program.write_text(text)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return {**PHYSICS, "command": str(program)}

    return install


@pytest.fixture
def reference(tmp_path):
    """Return a function that makes references of these arguments."""
    made = []

    def make(given, *, retries=0, **options):
        code = make_calculator("vasp", given, directory=tmp_path / "work", **options)
        worker = Worker(Order("vasp", given, tmp_path / "work", **options))
        made.append(Reference(code, caller=worker, retries=retries))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_labels_are_those_in_the_files_of_vasp(installed, reference, copper):
    labels = reference(installed()).label(copper)
    atoms = copper.to_atoms()
    atoms.calc = EMT()
    assert labels.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-7)
    np.testing.assert_allclose(labels.forces, atoms.get_forces(), atol=1e-7)
    np.testing.assert_allclose(labels.stress, atoms.get_stress(), atol=1e-7)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("unconverged", "SCF not converged"),
        ("truncated", "OUTCAR"),
        ("cut", "vasprun.xml"),
        ("dies", "VERY BAD NEWS! internal error in subroutine SGRCON: Found some"),
    ],
)
def test_what_vasp_does_not_prove_is_no_label(installed, reference, copper, how, words):
    with pytest.raises(ReferenceFailure, match=words) as caught:
        reference(installed(how)).label(copper)
    assert "\n" not in str(caught.value)


def test_files_of_an_earlier_call_prove_nothing(installed, reference, copper, tmp_path):
    reference(installed()).label(copper)
    assert (tmp_path / "work" / "vasprun.xml").exists()
    with pytest.raises(ReferenceFailure, match="VERY BAD NEWS"):
        reference(installed("dies")).label(copper)
    assert not (tmp_path / "work" / "vasprun.xml").exists()


def test_a_retry_mixes_gently_and_has_more_iterations(
    installed, reference, copper, tmp_path
):
    labels = reference(installed("unconverged"), retries=1).label(copper)
    assert np.isfinite(labels.energy)
    first, second = (tmp_path / "work" / "calls").read_text().splitlines()
    assert first.split()[2] == "None"
    assert second.split()[2] == "200"


def test_a_call_never_starts_from_what_vasp_has_left(
    installed, reference, copper, tmp_path
):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "WAVECAR").write_text("waves of another structure")
    reference(installed()).label(copper)
    assert (tmp_path / "work" / "calls").read_text().split()[:2] == ["0", "2"]


def test_with_restart_it_starts_from_the_waves_that_lie_there_and_leaves_its_own(
    installed, reference, copper, tmp_path
):
    one = reference(installed(), restart=True)
    for _ in range(2):
        one.label(copper)
    calls = (tmp_path / "work" / "calls").read_text().splitlines()
    assert [line.split()[:2] for line in calls] == [["0", "2"], ["1", "0"]]


def test_k_points_by_spacing_hold_the_gamma_point(
    installed, reference, copper, tmp_path
):
    reference(installed(), kpoint_spacing=0.5).label(copper)
    # 2 pi / 3.61 = 1.74 per angstrom
    words = (tmp_path / "work" / "calls").read_text().split()
    assert words[3:10] == ["Gamma", "4", "4", "4", "0", "0", "0"]


def test_another_potential_is_another_reference(installed, tmp_path):
    given = installed()
    before = make_calculator("vasp", given).fingerprint()
    assert make_calculator("vasp", {**given, "ncore": 4}).fingerprint() == before
    potcar = tmp_path / "potentials" / "potpaw_PBE" / "Cu" / "POTCAR"
    potcar.write_text("  PAW_PBE Cu 05Jan2001\n   11.0\n")
    assert make_calculator("vasp", given).fingerprint() != before


INPUT = """
[structure]
file = "cu.xyz"
[reference]
calculator = "vasp"
workers = {workers}
[reference.arguments]
xc = "PBE"
encut = 300.0
command = "{command}"
[learning]
initial_rattles_A = [0.05, 0.1]
[[dynamics.stages]]
steps = 2
temperature_K = 300.0
"""


def input_file(folder, copper, command, *, workers=1):
    copper.to_atoms().write(folder / "cu.xyz")
    path = folder / "input.toml"
    path.write_text(INPUT.format(command=command, workers=workers))
    return path


@pytest.mark.parametrize("workers", [1, 2])
def test_labels_say_the_version_that_vasp_writes(installed, copper, tmp_path, workers):
    marks = {}
    for version in ("5.4.4.18Apr17-6-g9f103f2a35", "6.3.2"):
        command = installed(version=version)["command"]
        path = input_file(tmp_path, copper, command, workers=workers)
        reference = build_reference(load_settings(path))
        try:
            marks[version] = reference.fingerprint(copper)
            assert f"version: vasp {version};" in reference.description(copper) + ";"
        finally:
            reference.close()
    assert len(set(marks.values())) == 2


def test_the_labels_of_a_run_have_the_version_in_their_fingerprint(
    installed, copper, tmp_path
):
    path = input_file(tmp_path, copper, installed()["command"])
    assert main(["run", str(path)]) == 0
    view = RunView.load(tmp_path / "run")
    (mark,) = {label.fingerprint for label in view.labels}
    code = make_calculator("vasp", {**PHYSICS, "command": installed()["command"]})
    assert mark == replace(code, version="vasp 6.3.2").fingerprint()
    # It was asked for once, aside from the labels.
    folder = tmp_path / "run" / "reference"
    assert len((folder / "version" / "calls").read_text().splitlines()) == 1
    assert len((folder / "calls").read_text().splitlines()) == len(view.labels)


@pytest.mark.parametrize("how", ["unconverged", "truncated", "cut"])
def test_the_version_is_known_however_the_small_calculation_ends(
    installed, reference, how
):
    assert reference(installed(how))._caller.version() == "vasp 6.3.2"


def test_the_version_is_found_in_either_file(tmp_path):
    assert version_in(tmp_path) is None
    (tmp_path / "vasprun.xml").write_text(
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n <generator>\n'
        '  <i name="program" type="string">vasp </i>\n'
        '  <i name="version" type="string">5.4.4.18Apr17-6-g9f103f2a35  </i>\n'
        '  <i name="subversion" type="string">(build Oct 2018) complex parallel </i>\n'
    )
    assert version_in(tmp_path) == "5.4.4.18Apr17-6-g9f103f2a35"
    (tmp_path / "OUTCAR").write_text(
        " vasp.6.4.2 20Jul23 (build Oct 10 2023 12:03:21) complex\n  \n"
        " executed on             LinuxGNU date 2023.11.02  10:01:59\n"
    )
    assert version_in(tmp_path) == "6.4.2"


def test_a_vasp_that_tells_no_version_is_one_line(installed, copper, tmp_path, capsys):
    path = input_file(tmp_path, copper, installed("dies")["command"])
    assert main(["run", str(path)]) == 2
    told = capsys.readouterr().err.strip()
    assert "vasp does not tell its version" in told
    assert "[reference.arguments] command" in told
    assert "\n" not in told
    assert not (tmp_path / "run" / "journal.bin").exists()


def test_elements_without_a_potential_are_named(installed):
    with pytest.raises(InputError, match="no parameters for Au; it knows Cu"):
        make_calculator("vasp", installed()).require_elements(frozenset({29, 79}))


@pytest.mark.parametrize(
    ("changes", "variables", "words"),
    [
        ({"command": None}, {}, "needs the command that runs it"),
        ({"command": "no-such-vasp"}, {}, "'no-such-vasp' is not on the PATH"),
        ({}, {"VASP_PP_PATH": None}, "set the environment variable VASP_PP_PATH"),
        ({}, {"VASP_PP_PATH": "/nowhere"}, "potpaw_PBE is not there"),
        ({"setups": {"Cu": "_pv"}}, {}, "holds no POTCAR"),
        ({"nsw": 5}, {}, "one structure a call"),
        ({"encutt": 300}, {}, "did you mean 'encut'"),
    ],
)
def test_what_is_missing_is_one_line(installed, monkeypatch, changes, variables, words):
    given = {**installed(), **changes}
    for name, value in variables.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=words) as caught:
        make_calculator("vasp", given)
    assert "\n" not in str(caught.value)
