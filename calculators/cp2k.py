"""CP2K through its shell; an SCF that did not converge is told in its log only."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ase.calculators.cp2k import CP2K

from otf.calculators.code import Calculator, Code, OutputFile
from otf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otf.configuration import Configuration

NOT_CONVERGED = "SCF run NOT converged"


def output_file(calculator: Calculator) -> Path:
    """Return the log of the shell."""
    return Path(f"{calculator.label}.out")


def version_of(command: str) -> str:
    """Return the first line of ``command --version``, such as "CP2K version 2023.1".

    Raises
    ------
    InputError
        When the shell is not installed.
    """
    program = shutil.which(command.split()[0])
    if program is None:
        raise InputError(
            f"the program {command.split()[0]!r} is not on the PATH; install CP2K or "
            "give its full path (input file: [reference.arguments] command)"
        )
    try:
        answer = subprocess.run(
            [*command.split(), "--version"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip().partition("\n")[0] or "unknown"


def code(arguments: Mapping[str, object]) -> Code:
    """Return the registry entry.

    Raises
    ------
    InputError
        When the shell is not installed.
    """
    filled = {"command": "cp2k_shell", "label": "cp2k", **arguments}

    def prepare(calculator: Calculator, configuration: Configuration) -> None:
        charge, spin = configuration.charge, configuration.spin
        calculator.set(
            charge=filled.get("charge", 0) if charge is None else round(charge),
            multiplicity=filled.get("multiplicity") if spin is None else spin,
            uks=filled.get("uks", False) if spin is None else spin != 1,
        )

    return Code(
        name="cp2k",
        version=version_of(str(filled["command"])),
        arguments=filled,
        construct=CP2K,
        prepare=prepare,
        keywords=frozenset(CP2K.default_parameters)
        | {"command", "label", "directory", "debug"},
        output=OutputFile(output_file, not_converged=NOT_CONVERGED),
    )
