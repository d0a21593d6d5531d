"""The command line: fast help, one line for each error, exit codes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ase.build import bulk, molecule

from otf.cli import COMMANDS, main
from otf.commands.forecast import forecast
from otf.commands.init import enough_copies, timestep
from otf.settings import load_settings
from otf.settings.structures import first_configuration

# What is imported before the help is printed. Each of these takes a tenth of a second
# or more.
SLOW = ("ase", "h5py", "matplotlib", "numba", "numpy", "pydantic", "scipy", "tblite")


@pytest.fixture
def rock_salt(tmp_path) -> Path:
    path = tmp_path / "nacl.extxyz"
    bulk("NaCl", "rocksalt", a=5.64, cubic=True).write(path)
    return path


def test_help_imports_none_of_the_slow_libraries():
    script = (
        "import sys\nfrom otf.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([m for m in {SLOW!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert all(re.search(rf"\n    {name}\s", printed) for name in COMMANDS)


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    from importlib.metadata import version

    assert capsys.readouterr().out == f"otf-md {version('otf-md')}\n"


@pytest.mark.parametrize(
    ("arguments", "mend"),
    [
        (["chekc", "input.toml"], "did you mean check?"),
        ([], "COMMAND"),
        (["check"], "required: input"),
        (["check", "--fast", "input.toml"], "--fast"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(arguments, mend, capsys):
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("otf-md: error: ")
    assert mend in line


def test_init_writes_an_input_that_check_accepts(rock_salt, capsys):
    output = rock_salt.parent / "input.toml"
    assert main(["init", str(rock_salt), "-o", str(output)]) == 0
    assert main(["check", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "Na32Cl32, 64 atoms" in printed
    assert "is sound" in printed


def test_init_overwrites_nothing(rock_salt, capsys):
    output = rock_salt.parent / "input.toml"
    output.write_text("mine")
    assert main(["init", str(rock_salt), "-o", str(output)]) == 2
    assert output.read_text() == "mine"
    assert "exists already" in capsys.readouterr().err


def test_init_finds_the_structure_from_the_folder_of_the_input(rock_salt):
    folder = rock_salt.parent / "inputs"
    folder.mkdir()
    assert main(["init", str(rock_salt), "-o", str(folder / "input.toml")]) == 0
    settings = load_settings(folder / "input.toml")
    assert settings.structure.file == "../nacl.extxyz"
    assert settings.structure_path.resolve() == rock_salt.resolve()


def test_init_takes_the_temperature_and_the_steps_asked_for(rock_salt):
    output = rock_salt.parent / "input.toml"
    options = ["--temperature-K", "900", "--steps", "123"]
    assert main(["init", str(rock_salt), "-o", str(output), *options]) == 0
    (stage,) = load_settings(output).dynamics.stages
    assert (stage.steps, stage.temperatures) == (123, (900.0, 900.0))


def test_init_leaves_the_calculator_open_for_elements_without_tight_binding(tmp_path):
    structure, output = tmp_path / "u.extxyz", tmp_path / "input.toml"
    bulk("U", "bcc", a=3.47).write(structure)
    assert main(["init", str(structure), "-o", str(output)]) == 0
    assert '#calculator = "module:Class"' in output.read_text()


def test_hydrogen_asks_for_a_shorter_time_step():
    assert timestep(molecule("H2O")) == 0.5
    assert timestep(bulk("C")) == 1.0
    assert timestep(bulk("NaCl", "rocksalt", a=5.64)) == 2.0


def test_copies_make_every_periodic_height_nine_angstrom():
    assert enough_copies(bulk("Si", cubic=True)) == [2, 2, 2]
    assert enough_copies(bulk("Cu", cubic=True)) == [3, 3, 3]
    assert enough_copies(molecule("H2O")) == [1, 1, 1]
    slab = bulk("Si", cubic=True)
    slab.pbc = (True, True, False)
    assert enough_copies(slab) == [2, 2, 1]


def test_copies_stop_at_what_a_first_run_can_afford():
    large = bulk("Si", cubic=True) * (3, 3, 1)
    n_atoms = len(large) * enough_copies(large)[2]
    assert enough_copies(large)[:2] == [1, 1]
    assert n_atoms <= 128


def test_check_says_what_a_run_would_do(rock_salt, capsys):
    output = rock_salt.parent / "input.toml"
    output.write_text(
        '[structure]\nfile = "nacl.extxyz"\nrepeat = [2, 2, 2]\n'
        '[reference]\ncalculator = "tblite"\n'
        "[limits]\nmemory_GB = 1e-3\n"
        "[dynamics]\ntimestep_fs = 2.0\n"
        "[[dynamics.stages]]\nsteps = 500\ntemperature_K = 300\n"
        "temperature_end_K = 1200.0\n"
    )
    assert main(["check", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "500 steps of 2 fs = 1 ps, starting at 300 K" in printed
    assert "stage 1: 500 steps, 300 to 1200 K" in printed
    assert "Gamma point only" in printed
    assert "exceeds memory_GB = 0.001" in printed


def test_check_warns_of_a_cell_smaller_than_the_cutoff(rock_salt, capsys):
    output = rock_salt.parent / "input.toml"
    output.write_text(
        '[structure]\nfile = "nacl.extxyz"\n[reference]\ncalculator = "tblite"\n'
        "[[dynamics.stages]]\nsteps = 5\ntemperature_K = 300\n"
    )
    assert main(["check", str(output)]) == 0
    assert "5.64 A wide, less than the cutoff of 6.5 A" in capsys.readouterr().out


def test_the_forecast_counts_one_row_for_every_label_component(rock_salt):
    output = rock_salt.parent / "input.toml"
    output.write_text(
        '[structure]\nfile = "nacl.extxyz"\n[reference]\ncalculator = "tblite"\n'
        '[learning]\npolicy = "budget"\nbudget_calls = 10\nmax_references = 20\n'
        "[[dynamics.stages]]\nsteps = 1000\ntemperature_K = 300\n"
    )
    settings = load_settings(output)
    sizes = forecast(settings, first_configuration(settings))
    assert sizes.n_labels == 10
    assert sizes.n_rows == 10 * (1 + 3 * 8 + 6)
    assert sizes.n_references == 2 * 20
    rows_and_squares = 8 * 40 * (310 + 17 * 40)
    assert rows_and_squares < sizes.memory < 40e6


def test_the_structure_is_repeated_rattled_and_charged(rock_salt):
    output = rock_salt.parent / "input.toml"
    output.write_text(
        '[structure]\nfile = "nacl.extxyz"\nrepeat = [2, 1, 1]\nrattle_A = 0.1\n'
        "charge = 1.0\nmultiplicity = 2\nfix_atoms = [0, 5]\n"
        '[reference]\ncalculator = "tblite"\n'
        "[[dynamics.stages]]\nsteps = 5\ntemperature_K = 300\n"
    )
    settings = load_settings(output)
    configuration = first_configuration(settings)
    perfect = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat((2, 1, 1))
    shifts = configuration.positions - perfect.positions
    assert configuration.n_atoms == 16
    assert (configuration.charge, configuration.spin) == (1.0, 2)
    assert not shifts[[0, 5]].any()
    # 42 numbers of deviation 0.1: their deviation is within 4 of its own.
    moved = shifts[[k for k in range(16) if k not in (0, 5)]]
    assert abs(moved.std() / 0.1 - 1.0) < 4.0 / (2 * moved.size) ** 0.5
    again = first_configuration(settings)
    assert (again.positions == configuration.positions).all()


def test_ctrl_c_ends_with_one_line_and_its_exit_code(monkeypatch, capsys):
    from otf.commands import check

    def interrupt(_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(check, "main", interrupt)
    assert main(["check", "input.toml"]) == 130
    assert capsys.readouterr().err == "otf-md: error: interrupted\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (
            PermissionError(13, "Permission denied", "run/x"),
            "Permission denied (run/x)",
        ),
        (MemoryError(), "out of memory: see the forecast of otf-md check"),
    ],
)
def test_trouble_with_the_machine_is_one_line(error, line, monkeypatch, capsys):
    from otf.commands import check

    def fail(_arguments):
        raise error

    monkeypatch.setattr(check, "main", fail)
    assert main(["check", "input.toml"]) == 1
    assert capsys.readouterr().err == f"otf-md: error: {line}\n"


def test_a_reader_that_goes_away_is_no_error_message(rock_salt):
    output = rock_salt.parent / "input.toml"
    assert main(["init", str(rock_salt), "-o", str(output)]) == 0
    command = f"{sys.executable} -m otf.cli check {output} | true"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
