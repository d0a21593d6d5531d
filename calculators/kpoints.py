"""k points from a spacing in reciprocal space, the same grid for every code.

The grid contains the Gamma point, so that it changes with the cell and with nothing
else, and has a single point along axes that are not periodic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ase.calculators.calculator import kptdensity2monkhorstpack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otf.configuration import Configuration

Grid = tuple[int, int, int]


@dataclass(frozen=True)
class Sampling:
    """How a code is told its k points.

    Attributes
    ----------
    apply : hands a grid to a calculator before a call
    given : returns the argument that sets k points already, None without one
    """

    apply: Callable[[Any, Grid], None]
    given: Callable[[Mapping[str, object]], str | None]


def one_of(*names: str) -> Callable[[Mapping[str, object]], str | None]:
    """Return a function that finds the first of these names among arguments."""

    def given(arguments: Mapping[str, object]) -> str | None:
        return next((name for name in names if arguments.get(name) is not None), None)

    return given


def grid_of(configuration: Configuration, spacing: float) -> Grid:
    """Return the numbers of k points along the reciprocal vectors.

    Parameters
    ----------
    configuration
        Its cell and which axes repeat count.
    spacing
        Largest distance between neighbours on the grid, 1/angstrom.

    Notes
    -----
    N_i = ceil(|b_i| / spacing) with b_i . a_j = 2 pi delta_ij, the rule of KSPACING in
    VASP.
    """
    size = kptdensity2monkhorstpack(configuration.to_atoms(), 1.0 / spacing, even=False)
    return int(size[0]), int(size[1]), int(size[2])
