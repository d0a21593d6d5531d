"""GPAW: in this Python, or in another one that has ASE and GPAW.

It raises when its SCF cycle does not converge. It keeps density and wave functions from
one call to the next when it is told that nothing but positions has changed.

Of the other Python nothing of ours is needed: arguments, and their changes for a retry,
travel as plain data.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ase.data import atomic_numbers

from otf.calculators.code import Calculator, Code
from otf.calculators.gpaw_setups import setups_of
from otf.calculators.kpoints import Sampling, one_of
from otf.calculators.serving import one_line
from otf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otf.calculators.kpoints import Grid

CLASS = "gpaw:GPAW"
SETTING = ("xc", "setups")  # what chooses the set-ups
LADDER = (
    {"mixer": {"backend": "pulay", "beta": 0.02, "nmaxold": 5, "weight": 50.0}},
    {
        "mixer": {"backend": "pulay", "beta": 0.01, "nmaxold": 8, "weight": 100.0},
        "maxiter": 600,
    },
)


def complete(
    arguments: Mapping[str, object], directory: Path | None = None
) -> dict[str, object]:
    """Return the arguments with the log in the folder of the run."""
    rest = dict(arguments)
    folder = rest.pop("directory", directory)
    log = None if folder is None else str(Path(str(folder)) / "gpaw.txt")
    return {"txt": log, **rest}


def spaced_arguments(
    arguments: Mapping[str, object], spacing: float
) -> dict[str, object]:
    """Return arguments with k points by spacing, 1/angstrom, for another Python."""
    return {**arguments, "kpts": {"density": 1.0 / spacing, "gamma": True}}


def raised(arguments: Mapping[str, object], factor: float) -> dict[str, object] | None:
    """Return the arguments with the plane-wave cutoff times a factor, None without."""
    mode = arguments.get("mode")
    if not isinstance(mode, dict) or "ecut" not in mode:
        return None
    return {**arguments, "mode": {**mode, "ecut": factor * float(mode["ecut"])}}


def set_kpoints(calculator: Calculator, grid: Grid) -> None:
    """Hand a grid with the Gamma point to the calculator."""
    calculator.set(kpts={"size": list(grid), "gamma": True})


SAMPLING = Sampling(set_kpoints, one_of("kpts"))


def code(arguments: Mapping[str, object], *, restart: bool = False) -> Code:
    """Return the registry entry for a GPAW of this Python.

    Raises
    ------
    InputError
        When GPAW cannot be imported here, or has no set-ups.
    """
    try:
        from gpaw import GPAW
    except ImportError as error:
        raise InputError(
            f"calculator 'gpaw' cannot be imported here ({error}); install it, or name "
            'a Python that has it, such as python = "/usr/bin/python3" '
            "(input file: [reference] python)"
        ) from error
    entry = Code(
        name="gpaw",
        version=f"gpaw {version('gpaw')}",
        arguments=complete(arguments),
        construct=GPAW,
        ladder=LADDER,
        sampling=SAMPLING,
        follows=restart,
        raised=raised,
    )
    try:
        setups = setups_of({k: arguments[k] for k in SETTING if k in arguments})
    except Exception as error:  # of a functional it does not know, a NameError
        raise InputError(
            f"GPAW cannot list its set-ups: {one_line(error)} "
            "(input file: [reference.arguments] xc)"
        ) from error
    return with_setups(entry, setups)


def with_setups(entry: Code, setups: Mapping[str, str]) -> Code:
    """Return the code with its elements, and the checksums of their set-ups.

    Raises
    ------
    InputError
        When there are none.
    """
    if not setups:
        raise InputError(
            "GPAW finds no set-ups of this functional and kind: install gpaw-data or "
            "set GPAW_SETUP_PATH (input file: [reference.arguments] xc, setups)"
        )
    return replace(
        entry,
        elements=frozenset(atomic_numbers[symbol] for symbol in setups),
        checksums=dict(setups),
    )
