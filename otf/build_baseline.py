"""The section [baseline] of the input file becomes a sum of baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

from otf.calculators.baseline import calculator_baseline
from otf.calculators.geometry import COVALENT_RADII
from otf.configuration import Configuration, species_of
from otf.errors import InputError
from otf.models.baselines.core_repulsion import CoreRepulsion
from otf.models.baselines.dispersion_d2 import (
    CUTOFF,
    DAMPING,
    DispersionD2,
    published,
    scale_of,
)
from otf.models.baselines.dispersion_wheels import DispersionD3, DispersionD4
from otf.models.baselines.fixed_charges import FixedCharges
from otf.models.baselines.interface import sum_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otf.models.baselines.interface import Baseline as Known
    from otf.settings.baseline import Baseline, Dispersion
    from otf.settings.settings import Settings


def build_baseline(section: Baseline, species: Sequence[int]) -> Known:
    """Return the sum of all that is known before learning.

    Raises
    ------
    InputError
        When an element has no parameters, or a program that is needed is missing.
    """
    parts: list[Known] = []
    if section.core_repulsion:
        parts.append(CoreRepulsion(COVALENT_RADII, species))
    if section.electrostatics is not None:
        e = section.electrostatics
        require_values("baseline.electrostatics.charges_e", e.charges, species)
        parts.append(
            FixedCharges(e.charges, e.widths, accuracy=e.accuracy, cutoff=e.cutoff_A)
        )
    if section.dispersion is not None:
        parts.append(build_dispersion(section.dispersion, species))
    if section.calculator is not None:
        parts.append(
            calculator_baseline(section.calculator.name, section.calculator.arguments)
        )
    return sum_of(parts)


def build_dispersion(section: Dispersion, species: Sequence[int]) -> Known:
    """Return the dispersion correction of the input file.

    Raises
    ------
    InputError
        When an element or a functional has no parameters, or a program is missing.
    """
    if section.method != "D2":
        wheel = {"D3(BJ)": DispersionD3, "D4": DispersionD4}[section.method]
        return wheel(section.functional, section.parameters, cutoff=section.cutoff_A)
    c6, radii = published(species)
    c6, radii = {**c6, **section.c6}, {**radii, **section.radii}
    require_values("baseline.dispersion.c6_eV_A6", c6, species)
    require_values("baseline.dispersion.radii_A", radii, species)
    given = dict(section.parameters)
    if section.functional is not None:
        given["s6"] = scale_of(section.functional)
    if not {"s6"} <= set(given) <= {"s6", "d"}:
        raise InputError(
            f"D2 has the parameters s6 and d, got {', '.join(sorted(given))} "
            "(baseline.dispersion.parameters)"
        )
    return DispersionD2(
        {z: c6[z] for z in species},
        {z: radii[z] for z in species},
        scale=given["s6"],
        damping=given.get("d", DAMPING),
        cutoff=section.cutoff_A or CUTOFF,
    )


def isolated_energies(section: Baseline) -> dict[int, float] | None:
    """Return what is learned of isolated atoms (eV), None when nothing is known.

    A calculator that is subtracted from the labels is subtracted from these as well;
    of the other baselines a single atom has no energy.
    """
    given = section.isolated_atom_energies
    if given is None or section.calculator is None:
        return given
    known = calculator_baseline(section.calculator.name, section.calculator.arguments)
    return {
        z: energy - float(known.evaluate(_lone_atom(z)).energies.sum())
        for z, energy in given.items()
    }


def _lone_atom(number: int) -> Configuration:
    return Configuration(
        numbers=np.array([number]),
        positions=np.zeros((1, 3)),
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, dtype=np.bool_),
    )


def require_values(
    key: str, table: Mapping[int, float], species: Sequence[int]
) -> None:
    """Raise InputError when a table of the input file lacks an element."""
    missing = [chemical_symbols[z] for z in species if z not in table]
    if missing:
        name = key.rpartition(".")[2]
        raise InputError(
            f"{name} has no value for {', '.join(missing)}: add it ({key})"
        )


def require_sound_baseline(settings: Settings, configuration: Configuration) -> None:
    """Evaluate the baseline once, so that its mistakes are found before a label.

    Raises
    ------
    InputError
        When an element lacks parameters, charges do not cancel, or a program is
        missing.
    """
    species = species_of([configuration])
    build_baseline(settings.baseline, species).evaluate(configuration)
