"""VASP: works in one folder, and starts from what lies there unless it is told not to.

Its program is found through ``command`` or the variables ASE reads, its potentials
through ``VASP_PP_PATH``. It ends without an error when its SCF cycle does not converge,
so both of its files have to say that it did.

ASE's module is imported where it is needed: it brings matplotlib, which every worker of
another code would wait for.
"""

from __future__ import annotations

import re
import shutil
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ase import Atoms
from ase.config import cfg
from ase.data import atomic_numbers, chemical_symbols

from otf.calculators.caller import CallFailed
from otf.calculators.code import Calculator, Code, OutputFile, checksum
from otf.calculators.kpoints import Sampling, one_of
from otf.calculators.serving import one_line
from otf.errors import InputError, StoreError
from otf.store.outcar import read_outcar
from otf.store.vasprun import read_vasprun

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otf.calculators.kpoints import Grid
    from otf.configuration import Configuration
    from otf.store.labelled import Reading

# One structure, no relaxation, and no start from files of the call before.
SINGLE = {"ibrion": -1, "nsw": 0, "istart": 0, "icharg": 2, "lwave": False}
SINGLE |= {"lcharg": False}
LADDER = (
    {"algo": "Normal", "amix": 0.1, "bmix": 1e-4, "nelm": 200},
    {"algo": "All", "nelm": 300},
)
COMMANDS = ("ASE_VASP_COMMAND", "VASP_COMMAND", "VASP_SCRIPT")
HEAD = 10_000  # characters of a file that hold the version
TELLING = (
    "VERY BAD NEWS",
    "Fatal error",
    "internal error",
    "REFUSE TO CONTINUE",
    "Error EDDDAV",
    "ERROR",
)
WAVES = "WAVECAR"
# What a calculation of one atom needs to end soon; its numbers mean nothing.
SMALLEST = {**SINGLE, "nelm": 1, "prec": "Low", "kpts": (1, 1, 1), "gamma": True}
PROGRAM = ("command", "xc", "pp", "pp_version", "setups")
BOX = 6.0  # angstrom
_VERSION = re.compile(r"(?m)^\s*vasp\.(\S+)")
_GENERATED = re.compile(r'<i\s+name=[\'"]version[\'"][^>]*>\s*([^<\s]+)')


def output_file(name: str) -> OutputFile:
    """Return a file in the folder VASP works in."""
    return OutputFile(
        lambda calculator: Path(calculator.directory) / name, telling=TELLING
    )


def setting(name: str) -> str | None:
    """Return a setting of ASE: of its configuration file, or of the environment."""
    with warnings.catch_warnings(action="ignore"):  # ASE prefers its file
        return str(cfg[name]) if name in cfg else None


def require_command(command: str | None) -> None:
    """Raise when there is no program to run.

    Raises
    ------
    InputError
        Says how to name one.
    """
    if command is None:
        if any(setting(name) for name in COMMANDS):
            return
        raise InputError(
            'vasp needs the command that runs it, such as "mpirun -n 16 vasp_std", or '
            "the environment variable ASE_VASP_COMMAND (input file: "
            "[reference.arguments] command)"
        )
    if shutil.which(command.split()[0]) is None:
        raise InputError(
            f"the program {command.split()[0]!r} is not on the PATH; install it or "
            "give its full path (input file: [reference.arguments] command)"
        )


def potential_folder(calculator: Calculator) -> Path:
    """Return the folder with the POTCAR folders of this functional.

    Raises
    ------
    InputError
        When VASP_PP_PATH is not set, or the folder is not there.
    """
    home = setting("VASP_PP_PATH")
    if home is None:
        raise InputError(
            "vasp needs its potentials: set the environment variable VASP_PP_PATH to "
            "the folder that holds potpaw_PBE or potpaw (input file: [reference])"
        )
    calculator.check_xc()
    given = calculator.input_params
    version = given["pp_version"] or setting("VASP_PP_VERSION")
    name = str(given["pp"])
    if name.lower() == "pbe":
        name = f"potpaw_PBE.{version}" if version else "potpaw_PBE"
    elif name.lower() == "lda":
        name = f"potpaw_LDA.{version}" if version else "potpaw"
    folder = Path(home) / name
    if not folder.is_dir():
        raise InputError(
            f"{folder} is not there; VASP_PP_PATH must name the folder that holds it, "
            "and xc or pp its kind (input file: [reference.arguments] xc)"
        )
    return folder


def potentials(calculator: Calculator) -> dict[str, Path]:
    """Return the POTCAR file of every element that has one with these setups.

    Raises
    ------
    InputError
        When the folder of potentials cannot be found, or is empty.
    """
    from ase.calculators.vasp.create_input import get_pp_setup

    folder = potential_folder(calculator)
    setups, _ = get_pp_setup(calculator.input_params["setups"])
    found: dict[str, Path] = {}
    for symbol in chemical_symbols[1:]:
        place = folder / f"{symbol}{setups.get(symbol, '')}"
        for name in ("POTCAR", "POTCAR.Z"):
            if (place / name).is_file():
                found.setdefault(symbol, place / name)
    if not found:
        raise InputError(
            f"{folder} holds no POTCAR of the setups asked for "
            "(input file: [reference.arguments] setups)"
        )
    return found


def doubt(calculator: Calculator) -> str | None:
    """Return why the last call must not be believed: both files have to say it ended.

    VASP 5 writes that EDIFF was reached even after its last electronic step; a cycle
    as long as NELM counts as not converged.
    """
    folder = Path(calculator.directory)
    for name, read in (("vasprun.xml", read_vasprun), ("OUTCAR", read_outcar)):
        try:
            reading: Reading = read(folder / name)
        except StoreError as error:
            return str(error)
        if len(reading.frames) != 1:
            lost = [reason for reason, count in reading.left_out.items() if count]
            reason = ", ".join(lost) or f"{len(reading.frames)} structures in it"
            return f"{reason} ({folder / name})"
    return None


def version_in(folder: Path) -> str | None:
    """Return the version that VASP wrote into OUTCAR or vasprun.xml, None without."""
    for name, pattern in (("OUTCAR", _VERSION), ("vasprun.xml", _GENERATED)):
        with suppress(OSError):
            with (folder / name).open(errors="replace") as file:
                head = file.read(HEAD)
            if found := pattern.search(head):
                return found[1]
    return None


def ask_version(calculator: Calculator, arguments: Mapping[str, object]) -> str:
    """Compute one atom in a folder of its own, for the version VASP then writes.

    Whether that calculation ends well does not matter.

    Raises
    ------
    CallFailed
        When VASP writes none.
    """
    from ase.calculators.vasp import Vasp

    folder = Path(calculator.directory) / "version"
    if folder.is_dir():
        shutil.rmtree(folder)
    symbol = min(potentials(calculator), key=atomic_numbers.__getitem__)
    atom = Atoms(symbol, cell=3 * [BOX], pbc=True)
    given = {key: arguments[key] for key in PROGRAM if key in arguments}
    small = Vasp(**given, **SMALLEST, directory=str(folder), txt="vasp.out")
    trouble = "it wrote none into OUTCAR and vasprun.xml"
    try:
        small.calculate(atom)
    except Exception as error:  # ASE and VASP raise whatever they like
        trouble = one_line(error)
    if (version := version_in(folder)) is None:
        raise CallFailed(f"{trouble} ({folder})")
    return f"vasp {version}"


def set_kpoints(calculator: Calculator, grid: Grid) -> None:
    """Hand a grid with the Gamma point to the calculator."""
    calculator.set(kpts=grid, gamma=True)


def raised(arguments: Mapping[str, object], factor: float) -> dict[str, object] | None:
    """Return the arguments with ENCUT times a factor, None without it."""
    if "encut" not in arguments:
        return None
    return {**arguments, "encut": factor * float(str(arguments["encut"]))}


def known_keywords() -> frozenset[str]:
    """Return what ASE knows of INCAR and itself; ``custom`` takes newer tags.

    ASE writes any other name to INCAR as it is, and VASP would pass over it.
    """
    from ase.calculators.vasp import Vasp

    empty = Vasp()
    tables = [value for name, value in vars(empty).items() if name.endswith("_params")]
    names = {key for table in tables for key in table}
    return frozenset(names | {"command", "directory", "label", "txt"})


def code(arguments: Mapping[str, object], *, restart: bool = False) -> Code:
    """Return the registry entry.

    Arguments go to :class:`ase.calculators.vasp.Vasp` as they are. VASP tells its
    version in its output only, so a run asks for it by a small calculation.

    Raises
    ------
    InputError
        When the program or the potentials cannot be found, or more than one structure
        is asked for.
    """
    from ase.calculators.vasp import Vasp

    filled = {**SINGLE, **arguments}
    if filled["nsw"] != 0 or filled["ibrion"] != -1:
        raise InputError(
            "vasp computes one structure a call: remove nsw and ibrion "
            "(input file: [reference.arguments] nsw)"
        )
    command = filled.get("command")
    require_command(None if command is None else str(command))

    def prepare(calculator: Calculator, configuration: Configuration) -> None:
        if configuration.charge is not None:
            calculator.set(charge=configuration.charge)
        if configuration.spin is not None:
            unpaired = configuration.spin - 1
            calculator.set(ispin=2 if unpaired else 1, nupdown=unpaired or None)
        if restart:
            there = (Path(calculator.directory) / WAVES).is_file()
            start = {"istart": 1, "icharg": 0} if there else {"istart": 0, "icharg": 2}
            calculator.set(**start, lwave=True)

    entry = Code(
        name="vasp",
        version="vasp",
        arguments=filled,
        construct=Vasp,
        ladder=LADDER,
        prepare=prepare,
        keywords=known_keywords(),
        outputs=tuple(map(output_file, ("vasp.out", "OUTCAR", "vasprun.xml"))),
        doubt=doubt,
        sampling=Sampling(set_kpoints, one_of("kpts", "kspacing", "kgamma")),
        electrons={WAVES: WAVES},
        raised=raised,
        ask_version=lambda calculator: ask_version(calculator, filled),
    )
    return with_potentials(entry)


def with_potentials(entry: Code) -> Code:
    """Return the code with its elements, and the checksums of their potentials."""
    found = potentials(entry.build())
    return replace(
        entry,
        elements=frozenset(atomic_numbers[symbol] for symbol in found),
        checksums={symbol: checksum(path) for symbol, path in found.items()},
    )
