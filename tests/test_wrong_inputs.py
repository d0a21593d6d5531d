"""Forty mistakes before a run: each is one clear line, and costs nothing."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from otf.cli import main

GOOD = {
    "structure": 'file = "cu.extxyz"',
    "reference": 'calculator = "emt"',
    "dynamics": "timestep_fs = 2.0",
    "[dynamics.stages]": "steps = 10\ntemperature_K = 300",
}


@dataclass(frozen=True)
class Wrong:
    """One wrong input.

    Attributes
    ----------
    name : of the case
    says : what the line must contain
    sections : replace those of the good input; None leaves one out
    text : the whole input, instead
    structure : what the structure file holds; None for a good copper crystal
    """

    name: str
    says: str
    sections: dict[str, str | None] = field(default_factory=dict)
    text: str | bytes | None = None
    structure: str | None = None


def extxyz(
    lines: list[str], cell: str = "10 0 0 0 10 0 0 0 10", pbc: str = "T T T"
) -> str:
    head = f'Lattice="{cell}" Properties=species:S:1:pos:R:3 pbc="{pbc}"'
    return "\n".join([str(len(lines)), head, *lines]) + "\n"


NPT = 'ensemble = "NPT"'
NPH = 'ensemble = "NPH"\ninitial_temperature_K = 300.0'
AT_1_GPA = {"[dynamics.stages]": "steps = 10\ntemperature_K = 300\npressure_GPa = 1.0"}

CASES = [
    Wrong("no TOML", "no valid TOML", text="[structure\nfile = 3"),
    Wrong("a key twice", "no valid TOML", text="seed = 1\nseed = 2\n"),
    Wrong("an empty file", "[structure] is missing", text=""),
    Wrong("a binary file", "no text in UTF-8", text=b"\x89HDF\r\n\x1a\n\xff\xfe"),
    Wrong(
        "a misspelt section",
        "did you mean descriptor?",
        {"descritpor": "n_max = 8"},
    ),
    Wrong(
        "a misspelt key",
        "did you mean timestep_fs?",
        {"dynamics": "time_step_fs = 1.0"},
    ),
    Wrong(
        "a key of another section",
        "it belongs to [dynamics]",
        {"output": "timestep_fs = 1.0"},
    ),
    Wrong(
        "a negative cutoff",
        "must be greater than 0, got -5.5",
        {"descriptor": "cutoff_three_body_A = -5.5"},
    ),
    Wrong(
        "an absurd time step",
        "must be at most 20, got 2000.0",
        {"dynamics": "timestep_fs = 2000.0"},
    ),
    Wrong(
        "a number in quotes",
        "must be a number",
        {"dynamics": 'timestep_fs = "2"'},
    ),
    Wrong("a number that is none", "finite", {"dynamics": "timestep_fs = nan"}),
    Wrong(
        "half a step",
        "must be a whole number, got 10.5",
        {"[dynamics.stages]": "steps = 10.5\ntemperature_K = 300"},
    ),
    Wrong(
        "no steps",
        "steps must be at least 1, got 0",
        {"[dynamics.stages]": "steps = 0\ntemperature_K = 300"},
    ),
    Wrong(
        "below zero kelvin",
        "must be at least 0, got -5",
        {"[dynamics.stages]": "steps = 10\ntemperature_K = -5"},
    ),
    Wrong("no stages", "nothing to do", {"[dynamics.stages]": None}),
    Wrong("no reference", "[reference] is missing", {"reference": None}),
    Wrong(
        "a stage without temperature",
        "needs temperature_K",
        {"[dynamics.stages]": "steps = 10"},
    ),
    Wrong(
        "NVE with a thermostat",
        'thermostat contradicts ensemble = "NVE"',
        {
            "dynamics": 'ensemble = "NVE"\nthermostat = "csvr"',
            "[dynamics.stages]": "steps = 10",
        },
    ),
    Wrong(
        "an unknown thermostat",
        'got "berendsen"',
        {"dynamics": 'thermostat = "berendsen"'},
    ),
    Wrong(
        "a budget without calls",
        "needs budget_calls",
        {"learning": 'policy = "budget"'},
    ),
    Wrong(
        "a model and learning",
        "contradicts a finished model",
        {"potential": 'model = "m.h5"', "learning": "queue = 3"},
    ),
    Wrong("no model file", "no file", {"potential": 'model = "m.h5"'}),
    Wrong("no earlier run", "no file", {"learning": 'start_from = ["old"]'}),
    Wrong(
        "no structure file",
        "did you mean cu.extxyz?",
        {"structure": 'file = "cu.extxzy"'},
    ),
    Wrong("a folder as structure", "structure.file", {"structure": 'file = "."'}),
    Wrong("an unreadable structure", "no structure ASE can read", structure="%&!\n"),
    Wrong("an empty structure", "is empty", structure=""),
    Wrong(
        "an unknown format",
        "no structure ASE can read",
        {"structure": 'file = "cu.extxyz"\nformat = "klingon"'},
    ),
    Wrong(
        "a frame that is not there",
        "no frame 7",
        {"structure": 'file = "cu.extxyz"\nindex = 7'},
    ),
    Wrong(
        "two copies instead of three",
        "must have 3 entries",
        {"structure": 'file = "cu.extxyz"\nrepeat = [2, 2]'},
    ),
    Wrong(
        "a fixed atom that is not there",
        "fix_atoms counts from 0 to 3, got 4",
        {"structure": 'file = "cu.extxyz"\nfix_atoms = [4]'},
    ),
    Wrong(
        "atoms on top of each other",
        "atoms 0 (Cu) and 1 (Cu) are 0.1",
        structure=extxyz(["Cu 0 0 0", "Cu 0.1 0 0"]),
    ),
    Wrong(
        "a position that is no number",
        "position that is no number",
        structure=extxyz(["Cu 0 0 0", "Cu nan 0 0"]),
    ),
    Wrong(
        "a periodic cell of no volume",
        "cell vectors are zero",
        structure=extxyz(["Cu 0 0 0"], cell="0 0 0 0 0 0 0 0 0"),
    ),
    Wrong(
        "parallel cell vectors",
        "parallel",
        structure=extxyz(["Cu 0 0 0"], cell="5 0 0 5 0 0 0 0 5"),
    ),
    Wrong(
        "an element that is none",
        "no chemical element",
        structure=extxyz(["X 0 0 0"]),
    ),
    Wrong(
        "an element the calculator does not know",
        "no parameters for Na",
        structure=extxyz(["Na 0 0 0"]),
    ),
    Wrong(
        "an unknown calculator",
        "did you mean 'tblite'?",
        {"reference": 'calculator = "tblight"'},
    ),
    Wrong(
        "a calculator whose module is not there",
        "not_installed",
        {"reference": 'calculator = "not_installed:Class"'},
    ),
    Wrong(
        "a wrong calculator argument",
        "has no argument 'asap_cutof'",
        {"reference": 'calculator = "emt"\narguments = { asap_cutof = true }'},
    ),
    Wrong(
        "friction for half of the elements",
        "no value for Cu",
        {"dynamics": "friction_per_ps = { Na = 1.0 }"},
    ),
    Wrong(
        "isolated atoms for half of the elements",
        "no value for Cu",
        {"baseline": "isolated_atom_energies_eV = { Na = -4.2 }"},
    ),
    Wrong(
        "charges for half of the elements",
        "charges_e has no value for Cu",
        {"baseline": "electrostatics = { charges_e = { Na = 1.0 } }"},
    ),
    Wrong(
        "charges that do not cancel",
        "sum to +4 e, expected +0",
        {"baseline": "electrostatics = { charges_e = { Cu = 1.0 } }"},
    ),
    Wrong(
        "the width of an element without charge",
        "widths_A names Na, which has no charge",
        {
            "baseline": "electrostatics = { charges_e = { Cu = 0.0 }, "
            "widths_A = { Na = 1.0 } }"
        },
    ),
    Wrong(
        "an unknown dispersion correction",
        'method must be "D2", "D3(BJ)" or "D4", got "D3"',
        {"baseline": 'dispersion = { method = "D3", functional = "PBE" }'},
    ),
    Wrong(
        "dispersion without parameters",
        "dispersion needs either functional",
        {"baseline": 'dispersion = { method = "D2" }'},
    ),
    Wrong(
        "dispersion of an unknown functional",
        "D2 has no parameters for 'PW91'",
        {"baseline": 'dispersion = { method = "D2", functional = "PW91" }'},
    ),
    Wrong(
        "coefficients of D2 beside D4",
        'c6_eV_A6 belongs to method = "D2", got method = "D4"',
        {
            "baseline": 'dispersion = { method = "D4", functional = "PBE", '
            "c6_eV_A6 = { Cu = 100.0 } }"
        },
    ),
    Wrong(
        "two time steps without a fast force",
        'fast = "baseline" needs electrostatics, dispersion or a calculator under '
        "[baseline], or give the file of a cheaper model (",
        {"dynamics": "respa = { inner_steps = 4 }"},
    ),
    Wrong(
        "a fast force that is being learned",
        'fast = "learned" needs a finished model',
        {"dynamics": 'respa = { inner_steps = 4, fast = "learned" }'},
    ),
    Wrong(
        "two time steps of one",
        "inner_steps must be at least 2, got 1",
        {"dynamics": 'respa = { inner_steps = 1, fast = "cheap.h5" }'},
    ),
    Wrong(
        "two time steps without their number",
        "inner_steps is missing from [dynamics.respa]",
        {"dynamics": 'respa = { fast = "cheap.h5" }'},
    ),
    Wrong(
        "a fast force from nowhere",
        "cheap.h5: there is no such model file (dynamics.respa.fast)",
        {"dynamics": 'respa = { inner_steps = 4, fast = "cheap.h5" }'},
    ),
    Wrong(
        "a fast force from a structure",
        "cu.extxyz: is no model file",
        {"dynamics": 'respa = { inner_steps = 4, fast = "cu.extxyz" }'},
    ),
    Wrong(
        "two time steps with a moving cell",
        'respa needs ensemble = "NVE" or "NVT", got ensemble = "NPT": remove it',
        {"dynamics": NPT + '\nrespa = { inner_steps = 4, fast = "cheap.h5" }'}
        | AT_1_GPA,
    ),
    Wrong(
        "an unknown calculator as a baseline",
        "or module:Class (input file: [baseline.calculator] name)",
        {"baseline": 'calculator = { name = "tblight" }'},
    ),
    Wrong(
        "an argument in the section of the baseline",
        "arguments of the calculator go into [baseline.calculator.arguments]",
        {"baseline": 'calculator = { name = "emt", asap_cutoff = true }'},
    ),
    Wrong(
        "the mass of an element that is not there",
        "masses_amu names H, of which the structure has none",
        {"structure": 'file = "cu.extxyz"\nmasses_amu = { H = 3.0 }'},
    ),
    Wrong(
        "a negative mass",
        "must be greater than 0, got -3.0",
        {"structure": 'file = "cu.extxyz"\nmasses_amu = { Cu = -3.0 }'},
    ),
    Wrong(
        "a pressure in a fixed cell",
        'pressure_GPa needs ensemble = "NPT", got ensemble = "NVT"',
        {"[dynamics.stages]": "steps = 10\ntemperature_K = 300\npressure_GPa = 1.0"},
    ),
    Wrong(
        "a barostat in a fixed cell",
        'barostat needs ensemble = "NPT", got ensemble = "NVT"',
        {"dynamics": 'barostat = "mtk"'},
    ),
    Wrong(
        "an unknown barostat",
        'got "berendsen"',
        {"dynamics": 'ensemble = "NPT"\nbarostat = "berendsen"', **AT_1_GPA},
    ),
    Wrong(
        "no pressure",
        'ensemble = "NPT" needs pressure_GPa, or hold_cell = true',
        {"dynamics": NPT},
    ),
    Wrong(
        "the end of a pressure without its start",
        "pressure_end_GPa needs pressure_GPa beside it",
        {
            "dynamics": NPT,
            "[dynamics.stages]": "steps = 10\ntemperature_K = 300\n"
            "pressure_end_GPa = 1.0",
        },
    ),
    Wrong(
        "a pressure on a cell that is held",
        "pressure_GPa contradicts hold_cell",
        {
            "dynamics": NPT,
            "[dynamics.stages]": "steps = 10\ntemperature_K = 300\n"
            "pressure_GPa = 1.0\nhold_cell = true\n\n[[dynamics.stages]]\n"
            "steps = 10\ntemperature_K = 300\npressure_GPa = 1.0",
        },
    ),
    Wrong(
        "a cell that is always held",
        "the cell is held in every stage",
        {
            "dynamics": NPT,
            "[dynamics.stages]": "steps = 10\ntemperature_K = 300\nhold_cell = true",
        },
    ),
    Wrong(
        "three pressures on a cell that keeps its shape",
        'got cell = "isotropic"',
        {
            "dynamics": NPT,
            "[dynamics.stages]": "steps = 10\ntemperature_K = 300\n"
            "pressure_GPa = [0.0, 0.0, 1.0]",
        },
    ),
    Wrong(
        "two pressures",
        "pressure_GPa",
        {
            "dynamics": f'{NPT}\ncell = "full"',
            "[dynamics.stages]": "steps = 10\ntemperature_K = 300\n"
            "pressure_GPa = [0.0, 1.0]",
        },
    ),
    Wrong(
        "an unknown cell",
        'did you mean "isotropic"?',
        {"dynamics": f'{NPT}\ncell = "isotropc"', **AT_1_GPA},
    ),
    Wrong(
        "a component that is none",
        '"zx"',
        {"dynamics": f'{NPT}\ncell = ["zz", "zx"]', **AT_1_GPA},
    ),
    Wrong(
        "components that make another",
        "xy and yz together make xz: add it (dynamics.cell)",
        {"dynamics": f'{NPT}\ncell = ["xx", "xy", "yz"]', **AT_1_GPA},
    ),
    Wrong(
        "chains beside noise",
        "barostat = 'mtk' goes with thermostat = 'nose-hoover', got thermostat = "
        "'csvr'",
        {"dynamics": f'{NPT}\nbarostat = "mtk"\nthermostat = "csvr"', **AT_1_GPA},
    ),
    Wrong(
        "friction of a cell without inertia",
        "cell_friction_per_ps belongs to barostat = 'parrinello-rahman'",
        {"dynamics": f"{NPT}\ncell_friction_per_ps = 2.0", **AT_1_GPA},
    ),
    Wrong(
        "mass and time of the cell",
        "cell_mass_amu and barostat_time_fs say the same",
        {
            "dynamics": f'{NPT}\nbarostat = "parrinello-rahman"\n'
            "cell_mass_amu = 100.0\nbarostat_time_fs = 500.0",
            **AT_1_GPA,
        },
    ),
    Wrong(
        "inertia at absolute zero",
        "needs a temperature above 0 K",
        {
            "dynamics": f'{NPT}\nbarostat = "mtk"',
            "[dynamics.stages]": "steps = 10\ntemperature_K = 0\npressure_GPa = 1.0",
        },
    ),
    Wrong(
        "a slab under pressure",
        "needs a structure that is periodic in three directions",
        {"dynamics": NPT, **AT_1_GPA},
        structure=extxyz(["Cu 0 0 0"], cell="5 0 0 0 5 0 0 0 20", pbc="T T F"),
    ),
    Wrong(
        "fixed atoms under pressure",
        'fixed atoms contradict ensemble = "NPT"',
        {
            "structure": 'file = "cu.extxyz"\nfix_atoms = [0]',
            "dynamics": NPT,
            **AT_1_GPA,
        },
    ),
    Wrong(
        "stress that is not learned under pressure",
        "train_stress = 'no' leaves unlearned",
        {"regression": 'train_stress = "no"', "dynamics": NPT, **AT_1_GPA},
    ),
    Wrong(
        "a reference without stress under pressure",
        "gives no stress",
        {
            "reference": 'calculator = "ase.calculators.tip3p:TIP3P"',
            "dynamics": NPT,
            **AT_1_GPA,
        },
    ),
    Wrong(
        "a tolerance of the stress in a fixed cell",
        'max_stress_error_GPa needs ensemble = "NPT"',
        {"learning": "max_stress_error_GPa = 0.1"},
    ),
    Wrong(
        "constant enthalpy with a barostat",
        'barostat contradicts ensemble = "NPH"',
        {
            "dynamics": f'{NPH}\nbarostat = "mtk"',
            "[dynamics.stages]": "steps = 10\npressure_GPa = 1.0",
        },
    ),
    Wrong(
        "constant enthalpy with a thermostat",
        'thermostat contradicts ensemble = "NPH": remove it, or set ensemble = "NPT"',
        {
            "dynamics": f'{NPH}\nthermostat = "csvr"',
            "[dynamics.stages]": "steps = 10\npressure_GPa = 1.0",
        },
    ),
    Wrong(
        "constant enthalpy from nowhere",
        'ensemble = "NPH" needs initial_temperature_K above 0',
        {
            "dynamics": 'ensemble = "NPH"',
            "[dynamics.stages]": "steps = 10\npressure_GPa = 1.0",
        },
    ),
    Wrong(
        "constant enthalpy without a pressure",
        'ensemble = "NPH" needs pressure_GPa, or hold_cell = true',
        {"dynamics": NPH, "[dynamics.stages]": "steps = 10"},
    ),
    Wrong(
        "constant enthalpy at a temperature",
        'temperature_K contradicts ensemble = "NPH"',
        {"dynamics": NPH, **AT_1_GPA},
    ),
    Wrong(
        "friction of what is no element",
        "'Kr2' is no chemical symbol",
        {"dynamics": "friction_per_ps = { Kr2 = 1.0 }"},
    ),
]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    bulk("Cu", cubic=True).write("cu.extxyz")
    return tmp_path


def written(case: Wrong) -> None:
    """Write the input and the structure of a case."""
    if case.structure is not None:
        Path("cu.extxyz").write_text(case.structure)
    text = case.text
    if text is None:
        sections = {**GOOD, **case.sections}
        parts = [f"[{k}]\n{v}\n" for k, v in sections.items() if v is not None]
        text = "\n".join(parts)
    data = text.encode() if isinstance(text, str) else text
    Path("input.toml").write_bytes(data)


def contents(folder: Path) -> dict[Path, bytes | None]:
    """Return what lies in a folder, with None for folders."""
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def test_the_input_the_wrong_ones_are_made_from_is_sound(folder, capsys):
    written(Wrong("good", ""))
    assert main(["check", "input.toml"]) == 0
    assert "is sound" in capsys.readouterr().out


def test_there_are_forty_different_cases():
    assert len({case.name for case in CASES}) == len(CASES) >= 40


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_wrong_input_is_one_clear_line(case, command, folder, capsys):
    written(case)
    before = contents(folder)
    assert main([command, "input.toml"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("otf-md: error: ")
    assert case.says in line
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["no TOML", "a negative cutoff", "no structure file"])
def test_no_traceback_reaches_the_terminal(name, folder):
    written(next(case for case in CASES if case.name == name))
    done = subprocess.run(
        [sys.executable, "-m", "otf.cli", "check", "input.toml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["inptu.toml", "nothing/like/it.toml"])
def test_an_input_file_that_is_not_there_is_named(name, folder, capsys):
    written(Wrong("good", ""))
    assert main(["check", name]) == 2
    error = capsys.readouterr().err
    assert f"there is no input file {name}" in error
    assert ("did you mean input.toml?" in error) == (name == "inptu.toml")


def test_a_folder_is_no_input_file(folder, capsys):
    assert main(["check", "."]) == 2
    assert "is a folder" in capsys.readouterr().err


def test_atoms_that_are_close_but_possible_are_a_warning(folder, capsys):
    # Copper at 0.7 of the sum of its covalent radii, 2 x 1.32 A.
    pair = Atoms("Cu2", positions=[[0, 0, 0], [0.7 * 2.64, 0, 0]], cell=np.eye(3) * 12)
    pair.pbc = True
    written(Wrong("good", ""))
    pair.write("cu.extxyz")
    assert main(["check", "input.toml"]) == 0
    assert "0.70 of the sum of their covalent radii" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["resume", "report", "show"])
@pytest.mark.parametrize("path", ["no/such/folder", ".", "cu.extxyz"])
def test_what_is_no_run_is_one_clear_line(command, path, folder, capsys):
    before = contents(folder)
    assert main([command, path]) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("otf-md: error: ")
    assert path in line
    assert contents(folder) == before


def test_a_run_is_never_started_on_top_of_another(folder, capsys):
    written(Wrong("good", ""))
    Path("run").mkdir()
    Path("run/journal.bin").write_bytes(b"labels that were paid for")
    assert main(["run", "input.toml"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "otf-md resume" in line
    assert Path("run/journal.bin").read_bytes() == b"labels that were paid for"


@pytest.mark.parametrize("command", ["resume", "report", "show"])
def test_a_damaged_journal_is_one_clear_line(command, folder, capsys):
    written(Wrong("good", ""))
    Path("run").mkdir()
    Path("run/input.toml").write_text(Path("input.toml").read_text())
    Path("run/journal.bin").write_bytes(b"no journal at all, but long enough")
    assert main([command, "run"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "journal.bin" in line


def test_a_model_file_that_is_none_is_one_clear_line(folder, capsys):
    written(
        Wrong("", "", {"potential": 'model = "cu.extxyz"', "reference": None}),
    )
    assert main(["run", "input.toml"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "is no model file" in line
    assert not Path("run").exists()
