"""What a run was asked for, as far as its page needs it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """What the input file of a run says.

    Attributes
    ----------
    n_steps : of all stages
    ramps : for every stage, whether its temperature or pressure changes
    spilling_bound : largest spilling of an atom that is trusted
    works_beside : whether labels or fits are computed beside the run, so that it does
        not wait for them
    """

    n_steps: int
    ramps: tuple[bool, ...]
    spilling_bound: float
    works_beside: bool = False
