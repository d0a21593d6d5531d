"""Effective medium theory of ASE: metals in ten milliseconds."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from ase.calculators.emt import EMT, parameters
from ase.data import atomic_numbers

from otf.calculators.code import Code

if TYPE_CHECKING:
    from collections.abc import Mapping


def code(arguments: Mapping[str, object]) -> Code:
    """Return the registry entry."""
    return Code(
        name="emt",
        version=f"ase {version('ase')}",
        arguments={"asap_cutoff": False, **arguments},
        construct=EMT,
        keywords=frozenset({"asap_cutoff"}),
        elements=frozenset(atomic_numbers[symbol] for symbol in parameters),
    )
