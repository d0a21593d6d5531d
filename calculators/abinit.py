"""ABINIT: plane waves; an SCF that did not converge is told in its output file only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ase.calculators.abinit import Abinit, AbinitProfile

from otf.calculators.code import Calculator, Code, OutputFile, checksum
from otf.calculators.espresso import version_of
from otf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

NOT_CONVERGED = "was not enough SCF cycles to converge"


def output_file(calculator: Calculator) -> Path:
    """Return the main output file of the last calculation."""
    return Path(calculator.directory) / "abinit.abo"


def code(arguments: Mapping[str, object]) -> Code:
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
        output=OutputFile(output_file, not_converged=NOT_CONVERGED),
        checksums={path.name: checksum(path) for path in files},
    )
