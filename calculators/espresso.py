"""Quantum ESPRESSO: plane waves; pw.x itself fails loudly when its SCF does."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ase.calculators.espresso import Espresso, EspressoProfile

from otf.calculators.code import Calculator, Code, OutputFile, checksum
from otf.calculators.serving import one_line
from otf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

TELLING = ("Error in routine", "convergence NOT achieved")


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


def with_forces(input_data: Mapping[str, object]) -> dict[str, object]:
    """Return input data, flat or by namelist, that ask for forces and stress."""
    asked = {"tprnfor": True, "tstress": True}
    control = input_data.get("control")
    if isinstance(control, dict):
        return {**input_data, "control": {**asked, **control}}
    return {**asked, **input_data}


def code(arguments: Mapping[str, object]) -> Code:
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
    data = rest.get("input_data", {})
    rest["input_data"] = with_forces(data if isinstance(data, dict) else {})
    profile = EspressoProfile(command=command, pseudo_dir=str(folder.resolve()))
    return Code(
        name="espresso",
        version=version_of(profile, command),
        arguments={**rest, "profile": profile},
        construct=Espresso,
        output=OutputFile(output_file, telling=TELLING),
        checksums={s: checksum(folder / str(f)) for s, f in sorted(files.items())},
    )
