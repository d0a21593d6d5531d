"""Quantum ESPRESSO: plane waves; pw.x itself fails loudly when its SCF does.

What pw.x leaves, ``pwscf.save``, it starts from only when ``startingpot`` says so.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase.calculators.espresso import Espresso, EspressoProfile

from otf.calculators.code import (
    Calculator,
    Code,
    OutputFile,
    checksum,
    leave_electrons,
)
from otf.calculators.kpoints import Sampling, one_of
from otf.calculators.serving import one_line
from otf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otf.calculators.kpoints import Grid
    from otf.configuration import Configuration

TELLING = ("Error in routine", "convergence NOT achieved")
SAVED = "pwscf.save"


def output_file(calculator: Calculator) -> Path:
    """Return what pw.x printed."""
    return Path(calculator.directory) / "espresso.pwo"


def version_of(profile: Calculator, command: str) -> str:
    """Return the version a code prints.

    Raises
    ------
    InputError
        When the command cannot be run here.
    """
    program = command.split()[0]
    if shutil.which(program) is None:
        raise InputError(
            f"the program {program!r} is not on the PATH; install it or give its full "
            "path (input file: [reference.arguments] command)"
        )
    try:
        return str(profile.version())
    except (subprocess.SubprocessError, OSError, RuntimeError, AttributeError) as error:
        raise InputError(
            f"{command!r} does not tell its version: {one_line(error)} "
            "(input file: [reference.arguments] command)"
        ) from error


def with_entries(
    input_data: Mapping[str, object], namelist: str, entries: Mapping[str, object]
) -> dict[str, object]:
    """Return input data, flat or by namelist, with entries of a namelist set."""
    nested = any(isinstance(value, dict) for value in input_data.values())
    if not nested:
        return {**input_data, **entries}
    table = input_data.get(namelist)
    return {
        **input_data,
        namelist: {**(table if isinstance(table, dict) else {}), **entries},
    }


def with_forces(input_data: Mapping[str, object]) -> dict[str, object]:
    """Return input data that ask for forces and stress, unless they say otherwise."""
    asked = {"tprnfor": True, "tstress": True}
    control = input_data.get("control")
    given = control if isinstance(control, dict) else input_data
    missing = {key: value for key, value in asked.items() if key not in given}
    return with_entries(input_data, "control", missing)


def raised(arguments: Mapping[str, object], factor: float) -> dict[str, object] | None:
    """Return the arguments with cutoffs times a factor, None without a cutoff."""
    data = dict(table(arguments, "input_data"))
    inner = data.get("system")
    given = inner if isinstance(inner, dict) else data
    cutoffs = {
        key: factor * float(given[key])
        for key in ("ecutwfc", "ecutrho")
        if key in given
    }
    if not cutoffs:
        return None
    return {**arguments, "input_data": with_entries(data, "system", cutoffs)}


def set_kpoints(calculator: Calculator, grid: Grid) -> None:
    """Hand a grid to the calculator; without offset it has the Gamma point."""
    calculator.parameters.update(kpts=grid, koffset=(0, 0, 0))


def table(arguments: Mapping[str, object], key: str) -> dict[str, Any]:
    """Return an argument that is a table, empty when it is not."""
    value = arguments.get(key)
    return value if isinstance(value, dict) else {}


def start_from_files(calculator: Calculator, configuration: Configuration) -> None:
    """Start from the density and wave functions that lie there, if they do."""
    there = (Path(calculator.directory) / SAVED).is_dir()
    entries = {
        "startingpot": "file" if there else "atomic",
        "startingwfc": "file" if there else "atomic+random",
    }
    data = dict(calculator.parameters["input_data"])
    calculator.parameters["input_data"] = with_entries(data, "electrons", entries)


def code(arguments: Mapping[str, object], *, restart: bool = False) -> Code:
    """Return the registry entry.

    ``command`` (default ``pw.x``) and ``pseudo_dir`` make the ASE profile; everything
    else goes to :class:`ase.calculators.espresso.Espresso` as it is.

    Raises
    ------
    InputError
        When the program or a pseudopotential file is missing.
    """
    rest = dict(arguments)
    command = str(rest.pop("command", "pw.x"))
    folder = Path(str(rest.pop("pseudo_dir", ".")))
    files = rest.get("pseudopotentials")
    if not isinstance(files, dict) or not files:
        raise InputError(
            "espresso needs a pseudopotential file for every element, such as "
            '{ Si = "Si.upf" } (input file: [reference.arguments] pseudopotentials)'
        )
    data = with_forces(table(rest, "input_data"))
    if restart:
        keep = {"disk_io": "low", "outdir": "./", "prefix": SAVED.removesuffix(".save")}
        data = with_entries(data, "control", keep)
    profile = EspressoProfile(command=command, pseudo_dir=str(folder.resolve()))
    steps = ({"mixing_beta": 0.3}, {"mixing_beta": 0.1, "electron_maxstep": 300})
    return Code(
        name="espresso",
        version=version_of(profile, command),
        arguments={**rest, "input_data": data, "profile": profile},
        construct=Espresso,
        ladder=tuple(
            {"input_data": with_entries(data, "electrons", step)} for step in steps
        ),
        prepare=start_from_files if restart else leave_electrons,
        outputs=(OutputFile(output_file, telling=TELLING),),
        sampling=Sampling(set_kpoints, one_of("kpts", "kspacing", "koffset")),
        electrons={SAVED: SAVED},
        raised=raised,
        checksums={s: checksum(folder / str(f)) for s, f in sorted(files.items())},
    )
