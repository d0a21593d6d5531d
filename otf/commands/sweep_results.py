"""The results of the runs of a sweep, and which of them are replicas."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.analysis.phase import Phase
    from otf.analysis.run_means import RunMeans
    from otf.report.sweep_view import State
    from otf.settings.members import Member
    from otf.sweeping import End


@dataclass(frozen=True, eq=False)
class Result:
    """One run of a sweep.

    Attributes
    ----------
    member : what it was asked
    end : how it stands
    means : NaN where it is not finished
    phase : of the same part of it; None where it is not known
    steps : made
    calls : of the reference, which it asked for; None where none is called
    converged : the verdict on what it learned; None where there is none
    """

    member: Member
    end: End
    means: RunMeans
    phase: Phase | None = None
    steps: int = 0
    calls: int | None = None
    converged: bool | None = None

    @property
    def word(self) -> State:
        """Return how it stands in a word or two."""
        if self.end.problem:
            return "failed"
        if self.end.running:
            return "running"
        return "finished" if self.end.finished else "not finished"

    @property
    def verdict(self) -> str:
        """Return what came of its learning; empty where nothing is said of it."""
        if self.converged is None:
            return ""
        return "converged" if self.converged else "not converged"


def replicas_of(results: Sequence[Result]) -> list[tuple[Member, list[Result]]]:
    """Return runs that differ in their seeds alone, with the first member of each."""
    groups: dict[tuple[object, ...], list[Result]] = {}
    for result in results:
        m = result.member
        key = (m.structure, m.pressure_GPa, m.temperature_K)
        groups.setdefault(key, []).append(result)
    return [(group[0].member, group) for group in groups.values()]


def set_name(member: Member) -> str:
    """Return the name of a set of replicas: that of one of them, without its seed."""
    return member.name.rpartition("-")[0] or "all"


def common_phase(group: Sequence[Result]) -> tuple[str, int]:
    """Return the phase most replicas are in, and how many are; "" where none is known.

    Of two that are equally frequent it is that of the earlier replica.
    """
    names = Counter(r.phase.name for r in group if r.phase)
    return names.most_common(1)[0] if names else ("", 0)
