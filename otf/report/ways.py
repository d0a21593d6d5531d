"""What moved in a run, part by part: its stages, or the runs that learned together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from otf.report.frames import configurations_of, spread_frames
from otf.report.parts import Part, parts_of
from otf.report.phases import phases_of
from otf.store.schema import SHARED, RunFolder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otf.analysis.phase import Phase
    from otf.configuration import Configuration
    from otf.report.plan import Plan
    from otf.store.frames import Frame, System
    from otf.store.run_reader import RunView

Ways: TypeAlias = "Mapping[str, Sequence[tuple[int, Configuration]]]"
"""Steps and structures of every part, by its name in sentences."""

MOST_FRAMES, FEWEST_FRAMES = 100, 4  # of a part
MOST_ATOMS = 2_000_000  # of all frames that are held
FEW_OF_A_WALKER = 30  # frames of each of the runs that learn together
_ALL = Part(1, "", 0, 2**62)


@dataclass(frozen=True, eq=False)
class Motion:
    """The parts of a run and what moved in them.

    Attributes
    ----------
    parts : stages
    system : of the frames; None without any
    frames : some of every part
    phases : of every part; None where it is not known
    why : phases are left out; empty where they are not
    """

    parts: Sequence[Part]
    system: System | None
    frames: Sequence[Sequence[Frame]]
    phases: Sequence[Phase | None]
    why: str = ""

    @property
    def ways(self) -> dict[str, list[tuple[int, Configuration]]]:
        """Return the structures of every part with their steps."""
        return {
            named(part.words, phase): stepped(self.system, some)
            for part, some, phase in zip(
                self.parts, self.frames, self.phases, strict=True
            )
        }


def motion_of(view: RunView, plan: Plan | None) -> Motion:
    """Return what moved in a run.

    Raises
    ------
    StoreError
        When the frames are damaged.
    """
    parts = parts_of(view, plan)
    first = view.start.configuration
    n_atoms = len(parts) * (1 if first is None else first.n_atoms)
    limit = max(FEWEST_FRAMES, min(MOST_FRAMES, MOST_ATOMS // n_atoms))
    system, frames = spread_frames(view.folder.frames, parts, limit=limit)
    return Motion(parts, system, frames, *phases_of(system, frames))


def ways_of(view: RunView, motion: Motion) -> Ways:
    """Return the parts of a run; of a folder that several runs share, these runs.

    Raises
    ------
    StoreError
        When the frames of one are damaged.
    """
    folder = view.folder.path
    if motion.system is not None or folder.name != SHARED:
        return motion.ways
    ways = {}
    for path in sorted(folder.resolve().parent.iterdir()):
        walker = RunFolder(path)
        if path.name == SHARED or not walker.journal.is_file():
            continue
        system, frames = spread_frames(walker.frames, [_ALL], limit=FEW_OF_A_WALKER)
        (phase,), _ = phases_of(system, frames)
        ways[named(f"Run {path.name}", phase)] = stepped(system, frames[0])
    return ways


def named(words: str, phase: Phase | None) -> str:
    """Return how a sentence calls a part."""
    return words if phase is None else f"{words}, {phase.name} at the end"


def stepped(
    system: System | None, frames: Sequence[Frame]
) -> list[tuple[int, Configuration]]:
    """Return the structures of frames with their steps."""
    steps = [frame.step for frame in frames]
    return list(zip(steps, configurations_of(system, frames), strict=True))
