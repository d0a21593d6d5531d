"""The structures runs start from, looked at before anything moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ase.data import chemical_symbols

from otf.calculators.geometry import require_sane_distances
from otf.configuration import species_of
from otf.errors import InputError
from otf.potential import Untrusted
from otf.settings.structures import first_configuration, movable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otf.configuration import Configuration
    from otf.settings import Settings
    from otf.settings.members import Member
    from otf.settings.sweep import Sweep


def sound_configuration(settings: Settings) -> Configuration:
    """Return the first structure, with all that concerns it looked at.

    Raises
    ------
    InputError
        When the structure is not possible, or a table of the input lacks an element.
    """
    configuration = first_configuration(settings)
    movable(settings, configuration)
    try:
        require_sane_distances(configuration)
    except Untrusted as error:
        msg = f"the first structure cannot be run: {error.reason} (structure.file)"
        raise InputError(msg) from None
    tables = {
        "dynamics.friction_per_ps": settings.dynamics.friction_per_ps,
        "baseline.isolated_atom_energies_eV": (
            settings.baseline.isolated_atom_energies_eV or 0.0
        ),
    }
    for key, table in tables.items():
        if isinstance(table, dict):
            _require_elements(key, table, species_of([configuration]))
    return configuration


def sound_structures(sweep: Sweep, members: Sequence[Member]) -> list[Configuration]:
    """Return what the runs of a sweep start from, each file once.

    Raises
    ------
    InputError
        When a structure is not possible, lacks atoms whose order is asked for, or has
        other elements than those it shares a model with.
    """
    found = {}
    for member in members:
        path = member.settings.structure.file
        if path not in found:
            found[path] = sound_configuration(member.settings)
    if sweep.share_model:
        _require_one_set_of_elements(found)
    _require_phase_species(sweep.phase_species, found)
    return list(found.values())


def _require_elements(
    key: str, table: dict[str, float], species: tuple[int, ...]
) -> None:
    missing = [chemical_symbols[z] for z in species if chemical_symbols[z] not in table]
    if missing:
        name = key.rpartition(".")[2]
        msg = f"{name} has no value for {', '.join(missing)}: add it ({key})"
        raise InputError(msg)


def _require_one_set_of_elements(structures: Mapping[str, Configuration]) -> None:
    elements = {
        path: ", ".join(chemical_symbols[z] for z in species_of([configuration]))
        for path, configuration in structures.items()
    }
    first = next(iter(elements))
    for path, held in elements.items():
        if held != elements[first]:
            msg = (
                f"runs that share a model need the same elements, but {first} has "
                f"{elements[first]} and {path} has {held}: sweep them one by one, or "
                "remove share_model (sweep.structures)"
            )
            raise InputError(msg)


def _require_phase_species(
    wanted: Sequence[str], structures: Mapping[str, Configuration]
) -> None:
    for path, configuration in structures.items():
        held = [str(chemical_symbols[z]) for z in species_of([configuration])]
        for symbol in wanted:
            if symbol not in held:
                msg = (
                    f"{path}: {symbol} is not there; it holds {', '.join(held)} "
                    "(sweep.phase_species)"
                )
                raise InputError(msg)
