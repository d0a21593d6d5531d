"""CP2K through its shell; an SCF that did not converge is told in its log only."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ase.calculators.cp2k import CP2K, parse_input

from otf.calculators.code import Calculator, Code, OutputFile, checksum
from otf.calculators.kpoints import Sampling
from otf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otf.calculators.kpoints import Grid
    from otf.configuration import Configuration

NOT_CONVERGED = "SCF run NOT converged"


class ShellInItsFolder(CP2K):  # type: ignore[misc]  # ASE has no types
    """CP2K whose shell works in the folder of its files, and is told names alone.

    A project may have 80 characters and no more, and a path no blanks.

    Parameters
    ----------
    command
        Of the shell.
    label, directory
        As ASE's.
    arguments
        The other ones of ASE's calculator.
    """

    def __init__(
        self,
        *,
        command: str = "cp2k_shell",
        label: str = "cp2k",
        directory: str | Path = ".",
        **arguments: object,
    ) -> None:
        path = (Path(directory) / label).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(
            command=f"cd {shlex.quote(str(path.parent))} && exec {command}",
            label=path.name,
            directory=str(path.parent),
            **arguments,
        )
        send, folder = self._shell.send, f"{path.parent}{os.sep}"
        self._shell.send = lambda line: send(line.replace(folder, ""))

    def _generate_input(self) -> str:
        whole: str = super()._generate_input()
        name = Path(self.label).name
        return whole.replace(f"PROJECT {self.label}", f"PROJECT {name}", 1)


def output_file(calculator: Calculator) -> Path:
    """Return the log of the shell."""
    return Path(f"{calculator.label}.out")


def words_of(command: str) -> str:
    """Return what ``command --version`` prints, empty when it does not run.

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
        return ""
    return answer.stdout.strip()


def checksums(arguments: Mapping[str, object], words: str) -> dict[str, str]:
    """Return those of the files of basis sets and potentials that can be found.

    They lie in ``CP2K_DATA_DIR``, or where the program was told when it was compiled.
    """
    whole = words.replace("\n   ", "")  # the options of the compiler are wrapped
    compiled = re.search(r'-D ?__DATA_DIR="?([^"\s]+)', whole)
    folder = os.environ.get("CP2K_DATA_DIR") or (compiled.group(1) if compiled else "")
    found = {}
    for key in ("basis_set_file", "potential_file"):
        path = Path(folder) / str(arguments.get(key, CP2K.default_parameters[key]))
        if path.is_file():
            found[path.name] = checksum(path)
    return found


def wave_functions(label: str) -> dict[str, str]:
    """Return the files of wave functions, without and with k points."""
    names = (f"{Path(label).name}-RESTART.{end}" for end in ("wfn", "kp"))
    return {name: name for name in names}


def with_keywords(template: str, section: str, *keywords: str) -> str:
    """Return an input template with keywords added to a section."""
    root = parse_input(template)
    for keyword in keywords:
        root.add_keyword(section, keyword)
    return "\n".join(root.write())


def kpoints_given(arguments: Mapping[str, object]) -> str | None:
    """Return the argument that sets k points, None without one."""
    root = parse_input(str(arguments.get("inp", "")))
    sections = root.get_subsection("FORCE_EVAL/DFT").subsections
    return "inp" if any(s.name.upper() == "KPOINTS" for s in sections) else None


def set_kpoints(calculator: Calculator, grid: Grid) -> None:
    """Hand over a grid; a single point needs no complex wave functions."""
    if max(grid) == 1:
        return
    # Half a step brings even grids, which would miss it, to the Gamma point.
    shift = [0.0 if n % 2 else 0.5 / n for n in grid]
    scheme = " ".join(str(number) for number in (*grid, *shift))
    inp = with_keywords(
        calculator.parameters.inp,
        "FORCE_EVAL/DFT/KPOINTS",
        f"SCHEME MACDONALD {scheme}",
    )
    calculator.set(inp=inp)


def raised(arguments: Mapping[str, object], factor: float) -> dict[str, object] | None:
    """Return the arguments with the cutoff times a factor."""
    cutoff = float(str(arguments.get("cutoff", CP2K.default_parameters["cutoff"])))
    return {**arguments, "cutoff": factor * cutoff}


def code(arguments: Mapping[str, object], *, restart: bool = False) -> Code:
    """Return the registry entry.

    Raises
    ------
    InputError
        When the shell is not installed.
    """
    filled = {"command": "cp2k_shell", "label": "cp2k", "inp": "", **arguments}
    files = wave_functions(str(filled["label"]))
    template = str(filled["inp"])
    words = words_of(str(filled["command"]))
    guess = with_keywords(template, "FORCE_EVAL/DFT/SCF", "SCF_GUESS RESTART")

    def prepare(calculator: Calculator, configuration: Configuration) -> None:
        charge, spin = configuration.charge, configuration.spin
        folder = output_file(calculator).parent
        there = restart and any((folder / name).is_file() for name in files)
        calculator.set(
            inp=guess if there else template,
            charge=filled.get("charge", 0) if charge is None else round(charge),
            multiplicity=filled.get("multiplicity") if spin is None else spin,
            uks=filled.get("uks", False) if spin is None else spin != 1,
        )

    return Code(
        name="cp2k",
        version=words.partition("\n")[0] or "unknown",
        arguments=filled,
        construct=ShellInItsFolder,
        prepare=prepare,
        keywords=frozenset(CP2K.default_parameters)
        | {"command", "label", "directory", "debug"},
        outputs=(OutputFile(output_file, not_converged=NOT_CONVERGED),),
        sampling=Sampling(set_kpoints, kpoints_given),
        electrons=files,
        raised=raised,
        checksums=checksums(filled, words),
    )
