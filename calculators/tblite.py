"""Extended tight binding of tblite: seconds a call, Gamma point only."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from otf.calculators.code import Calculator, Code
from otf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otf.configuration import Configuration

NOTICE = (
    "tblite is semiempirical and samples the Gamma point only: its energy per atom "
    "depends on the size of the cell, so keep one cell size in a training set, and do "
    "not expect it to be accurate for covalent solids"
)
HEAVIEST = 86  # GFN1-xTB, GFN2-xTB and IPEA1-xTB have parameters up to radon

SOLVATION = frozenset(
    f"{model}_solvation"
    for model in ("alpb", "gbsa", "cosmo", "cpcm", "pcm", "gbe", "gb")
)


def code(arguments: Mapping[str, object]) -> Code:
    """Return the registry entry.

    Raises
    ------
    InputError
        When tblite is not installed.
    """
    try:
        from tblite.ase import TBLite
    except ImportError as error:
        raise InputError(
            f"calculator 'tblite' cannot be imported ({error}); "
            "install it with: pip install tblite"
        ) from error
    filled = {"method": "GFN1-xTB", "accuracy": 1.0, "verbosity": 0, **arguments}
    known = str(filled["method"]) in ("GFN1-xTB", "GFN2-xTB", "IPEA1-xTB")

    def prepare(calculator: Calculator, configuration: Configuration) -> None:
        # When both are None, tblite sums the initial charges and moments of the atoms.
        charge, spin = configuration.charge, configuration.spin
        calculator.set(
            charge=filled.get("charge") if charge is None else charge,
            multiplicity=filled.get("multiplicity") if spin is None else spin,
        )

    return Code(
        name="tblite",
        version=version("tblite"),
        arguments=filled,
        construct=TBLite,
        ladder=(
            {"mixer_damping": 0.2, "max_iterations": 500},
            {"mixer_damping": 0.05, "max_iterations": 1000},
        ),
        prepare=prepare,
        elements=frozenset(range(1, HEAVIEST + 1)) if known else None,
        keywords=frozenset(TBLite.default_parameters) | SOLVATION,
        gamma_only=True,
        notice=NOTICE,
    )
