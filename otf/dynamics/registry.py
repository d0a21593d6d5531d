"""The integrators by name; an input file names one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from otf.dynamics.barostats import StochasticCellRescaling
from otf.dynamics.extended_cell import LangevinParrinelloRahman, MartynaTobiasKlein
from otf.dynamics.nose_hoover import NoseHooverChain
from otf.dynamics.thermostats import Langevin, StochasticVelocityRescaling
from otf.dynamics.verlet import VelocityVerlet

if TYPE_CHECKING:
    from collections.abc import Callable

    from otf.dynamics.sampler import Sampler

INTEGRATORS: Final[dict[str, Callable[..., Sampler]]] = {
    "verlet": VelocityVerlet,
    "langevin": Langevin,
    "nose_hoover": NoseHooverChain,
    "rescaling": StochasticVelocityRescaling,
}

BAROSTATS: Final[dict[str, Callable[..., Sampler]]] = {
    "cell-rescaling": StochasticCellRescaling,
    "parrinello-rahman": LangevinParrinelloRahman,
    "mtk": MartynaTobiasKlein,
}
