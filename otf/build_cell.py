"""The part of the input file that moves the cell becomes a barostat."""

from __future__ import annotations

from dataclasses import replace
from math import cbrt
from typing import TYPE_CHECKING

import numpy as np

from otf.dynamics.cell import (
    CellFreedom,
    fixed_angles,
    isotropic,
    of_components,
    triangular,
)
from otf.dynamics.extended_cell import ConstantEnthalpy
from otf.dynamics.pressure import CellMotion, Load
from otf.dynamics.registry import BAROSTATS
from otf.errors import InputError

if TYPE_CHECKING:
    from types import ModuleType

    from otf.calculators.code import Code
    from otf.configuration import FloatArray
    from otf.dynamics.sampler import Sampler
    from otf.settings import Settings
    from otf.settings.dynamics import Dynamics
    from otf.state import State

# A cell that changes by this much in one step has left the dynamics.
LARGEST_STRAIN = 0.02
WORDS = {
    "orthorhombic": ("xx", "yy", "zz"),
    "full": ("xx", "yy", "zz", "yz", "xz", "xy"),
}


def require_stress(settings: Settings, code: Code) -> None:
    """Ask the class of a calculator whether it gives the stress a moving cell needs.

    A code that is no class, or says yes and gives none, is met at its first label.

    Raises
    ------
    InputError
        When it says that it does not.
    """
    known = getattr(code.construct, "implemented_properties", None)
    dynamics = settings.dynamics
    if dynamics.moves_cell and known and "stress" not in known:
        raise InputError(
            f"calculator {code.name!r} gives no stress, which ensemble = "
            f'"{dynamics.ensemble}" needs: '
            'take another, or set ensemble = "NVT" (reference.calculator)'
        )


def with_movable_cell(settings: Settings, state: State) -> State:
    """Return the first state, turned where the components of the cell have names.

    Raises
    ------
    InputError
        When the cell is not periodic in three directions, an atom is fixed, or the
        components that are free need another.
    """
    ensemble = settings.dynamics.ensemble
    if not settings.dynamics.moves_cell:
        return state
    if not state.configuration.pbc.all():
        raise InputError(
            f'ensemble = "{ensemble}" needs a structure that is periodic in three '
            'directions: give it a cell, or set ensemble = "NVT" (dynamics.ensemble)'
        )
    if not state.free.all():
        raise InputError(
            f'fixed atoms contradict ensemble = "{ensemble}", which moves every atom '
            'with the cell: free them, or set ensemble = "NVT" (structure.fix_atoms, '
            "or constraints in structure.file)"
        )
    # Where no edge of the cell can turn, it stays as it is.
    if settings.dynamics.cell not in ("isotropic", "fixed-angles"):
        state = triangular(state)
    first = replace(state, first_cell=state.configuration.cell)
    freedom_of(settings.dynamics, first.first_cell)
    return first


def freedom_of(dynamics: Dynamics, first_cell: FloatArray) -> CellFreedom:
    """Return what of the cell may change.

    Raises
    ------
    InputError
        When the components that are free need another.
    """
    if dynamics.cell == "isotropic":
        return isotropic()
    if dynamics.cell == "fixed-angles":
        return fixed_angles(first_cell)
    names = WORDS[dynamics.cell] if isinstance(dynamics.cell, str) else dynamics.cell
    try:
        return of_components(names)
    except InputError as error:
        raise InputError(f"{error}: add it (dynamics.cell)") from None


def build_barostat(
    dynamics: Dynamics, thermostat: Sampler, first_cell: FloatArray, xp: ModuleType
) -> Sampler:
    """Return the integrator of atoms and cell.

    Parameters
    ----------
    dynamics
        Of the input file.
    thermostat
        The integrator at constant volume.
    first_cell
        (3, 3) angstrom, that of the first step.
    xp
        The module of the arrays of the atoms.
    """
    cell = CellMotion(
        freedom=freedom_of(dynamics, first_cell),
        load=Load(first_cell),
        largest_strain=LARGEST_STRAIN,
        xp=xp,
    )
    if dynamics.ensemble == "NPH":
        return ConstantEnthalpy(
            motion=thermostat.motion,
            cell=cell,
            relaxation_time=dynamics.barostat_time,
            temperature=dynamics.start_temperature,
        )
    make = BAROSTATS[dynamics.barostat]
    if dynamics.barostat == "mtk":
        return make(
            motion=thermostat.motion,
            cell=cell,
            thermostat_time=dynamics.time_constant,
            relaxation_time=dynamics.barostat_time,
            length=dynamics.chain_length,
        )
    if dynamics.barostat == "parrinello-rahman":
        mass, volume = dynamics.cell_mass_amu, abs(float(np.linalg.det(first_cell)))
        return make(
            thermostat=thermostat,
            cell=cell,
            friction=dynamics.cell_friction,
            relaxation_time=dynamics.barostat_time,
            # That of cell vectors, per length; that of strains, per strain.
            inertia=None if mass is None else mass * cbrt(volume) ** 2,
        )
    return make(
        thermostat=thermostat,
        cell=cell,
        relaxation_time=dynamics.barostat_time,
        compressibility=dynamics.compressibility,
    )
