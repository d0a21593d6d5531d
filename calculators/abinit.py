"""ABINIT: plane waves; an SCF that did not converge is told in its output file only.

Errors are told at the end of its log, where the output file may not even exist.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ase.calculators.abinit import Abinit, AbinitProfile

from otf.calculators.code import (
    Calculator,
    Code,
    OutputFile,
    checksum,
    leave_electrons,
)
from otf.calculators.espresso import version_of
from otf.calculators.kpoints import Sampling, one_of
from otf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otf.calculators.kpoints import Grid
    from otf.configuration import Configuration

TELLING = ("--- !ERROR", "--- !BUG")
WRITTEN, READ = "abinito_WFK", "abiniti_WFK"
NOT_CONVERGED = "was not enough SCF cycles to converge"


def output_file(calculator: Calculator) -> Path:
    """Return the main output file of the last calculation."""
    return Path(calculator.directory) / "abinit.abo"


def log_file(calculator: Calculator) -> Path:
    """Return what the program printed."""
    return Path(calculator.directory) / "abinit.log"


def set_kpoints(calculator: Calculator, grid: Grid) -> None:
    """Hand over a grid with the Gamma point; ASE would shift even ones by itself."""
    keys = {"kptopt": 1, "ngkpt": list(grid), "nshiftk": 1, "shiftk": [0.0, 0.0, 0.0]}
    calculator.parameters.update(keys)


def start_from_files(calculator: Calculator, configuration: Configuration) -> None:
    """Start from the wave functions that lie there, if they do."""
    there = (Path(calculator.directory) / READ).is_file()
    calculator.parameters.update(irdwfk=int(there))


def raised(arguments: Mapping[str, object], factor: float) -> dict[str, object] | None:
    """Return the arguments with cutoffs times a factor, None without a cutoff."""
    cutoffs = {
        key: factor * float(str(arguments[key]))
        for key in ("ecut", "pawecutdg")
        if key in arguments
    }
    return {**arguments, **cutoffs} if cutoffs else None


def code(arguments: Mapping[str, object], *, restart: bool = False) -> Code:
    """Return the registry entry.

    ``command`` (default ``abinit``) and ``pp_paths`` make the ASE profile; everything
    else goes to :class:`ase.calculators.abinit.Abinit` as it is. ASE picks the
    pseudopotentials in that folder by its own rules, so all of them are in the
    fingerprint.

    Raises
    ------
    InputError
        When the program or the folder of pseudopotentials is missing.
    """
    rest = dict(arguments)
    command = str(rest.pop("command", "abinit"))
    folder = Path(str(rest.pop("pp_paths", "."))).resolve()
    if not folder.is_dir():
        raise InputError(
            f"the pseudopotential folder {folder} does not exist "
            "(input file: [reference.arguments] pp_paths)"
        )
    profile = AbinitProfile(command=command, pp_paths=str(folder))
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return Code(
        name="abinit",
        version=version_of(profile, command),
        arguments={**rest, "profile": profile},
        construct=Abinit,
        prepare=start_from_files if restart else leave_electrons,
        outputs=(
            OutputFile(log_file, telling=TELLING, following=5),
            OutputFile(output_file, not_converged=NOT_CONVERGED),
        ),
        sampling=Sampling(set_kpoints, one_of("kpts", "ngkpt", "kptrlatt", "kptopt")),
        electrons={WRITTEN: READ},
        raised=raised,
        checksums={path.name: checksum(path) for path in files},
    )
