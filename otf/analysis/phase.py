"""The phase of a run in a word: its crystal structure, solid, or disordered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from otf.analysis.order import STRUCTURES, Surroundings, order_along, sublattice
from otf.analysis.rdf import pair_distributions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import Configuration

SOLID: Final = 0.5  # share of solid atoms above which a frame is no liquid
NAMED: Final = 0.2  # share of atoms that gives its name to a hot crystal
DISORDERED: Final = "disordered"


@dataclass(frozen=True)
class Phase:
    """What atoms were like over some frames.

    Attributes
    ----------
    name : a crystal structure, "solid" for one that has no name here, or "disordered"
        for liquids and glasses
    solid : share of atoms in a solid, whatever its structure
    named : share of atoms with the structure of the name; 0 where it is none
    """

    name: str
    solid: float
    named: float


def phase_of(
    frames: Sequence[Configuration], species: Sequence[int] | None = None
) -> Phase | None:
    """Return the phase of frames, all atoms taken for alike; None where it is unknown.

    Parameters
    ----------
    frames
        Of one run.
    species
        Atomic numbers: the phase is that of these atoms, as if the others were not
        there; None for all atoms.

    Notes
    -----
    Solid are atoms whose bonds have the order of their neighbours
    (:func:`otf.analysis.order.solid`); neighbours are closer than the first minimum of
    g(r), which cells without periodicity, or with less than two shells in half their
    width, do not show. Where half of the atoms are solid, the most frequent structure
    (:func:`otf.analysis.order.structures`) has its name when a fifth of all atoms show
    it: motion hides that of most atoms near the melting point, and a liquid shows
    hardly any.
    """
    alike = [sublattice(c, species) for c in frames]
    if not alike or not all(c.pbc.all() for c in alike):
        return None
    (found,) = pair_distributions(alike)
    if found.shell is None:
        return None
    order = order_along(alike, (6,), Surroundings(cutoff=found.shell.end))
    solid = float(order.solid.mean())
    if solid < SOLID:
        return Phase(DISORDERED, solid, 0.0)
    shares = order.structures.mean(axis=0)[1:]
    best = int(shares.argmax())
    if shares[best] < NAMED:
        return Phase("solid", solid, 0.0)
    return Phase(STRUCTURES[best + 1], solid, float(shares[best]))
