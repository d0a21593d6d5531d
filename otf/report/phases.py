"""The phase of every part of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otf.analysis.phase import DISORDERED, phase_of
from otf.errors import InputError
from otf.report.frames import configurations_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.analysis.phase import Phase
    from otf.store.frames import Frame, System

MOST_FRAMES = 10  # from the end of a part
MAX_ATOMS = 20_000  # of these frames together


def phases_of(
    system: System | None, frames: Sequence[Sequence[Frame]]
) -> tuple[list[Phase | None], str]:
    """Return the phase at the end of every part, and why phases are left out.

    Parameters
    ----------
    system
        Of all frames.
    frames
        Of every part.

    Returns
    -------
    phases : None where one is not known, or a solid has no name: the bonds of
        molecules are ordered in a liquid, too
    why : empty where all that is needed is installed
    """
    n_atoms = 1 if system is None else len(system.numbers)
    limit = min(MOST_FRAMES, MAX_ATOMS // n_atoms)
    if not limit:  # one frame alone would take a while
        return [None for _ in frames], ""
    try:
        found = [phase_of(configurations_of(system, some[-limit:])) for some in frames]
    except InputError as error:
        return [None for _ in frames], str(error)
    return [phase if _is_sure(phase) else None for phase in found], ""


def _is_sure(phase: Phase | None) -> bool:
    return phase is not None and (phase.named > 0.0 or phase.name == DISORDERED)


def in_words(phase: Phase | None) -> str:
    """Return a phase with the share of its atoms that are solid, a dash for none."""
    if phase is None:
        return "–"
    return f"{phase.name} ({100.0 * phase.solid:.0f} % solid)"
