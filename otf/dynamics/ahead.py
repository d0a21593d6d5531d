"""Steps that are made while nobody looks, and kept as far as they are sound."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from otf.errors import OTFError

if TYPE_CHECKING:
    from collections.abc import Callable

    from otf.kernels.watch import Watch
    from otf.potential import Prediction
    from otf.state import State

    Moment = tuple[State, Prediction]


def pace(n_sound: int, most: int) -> int:
    """Return how many steps to make ahead.

    Parameters
    ----------
    n_sound
        Steps since one took too much for granted. In vain are at most a quarter of the
        steps between two that do.
    most
        Of steps ahead.
    """
    return min(most, 1 + n_sound // 4)


def steps_ahead(
    step: Callable[[State, Prediction], Moment],
    state: State,
    prediction: Prediction,
    n_steps: int,
    watch: Watch,
) -> list[Moment]:
    """Return what steps lead to, up to the first that takes too much for granted.

    Parameters
    ----------
    step
        Makes one; what it takes for granted is asked of the watch.
    state, prediction
        Where they start.
    n_steps
        How many to make.
    watch
        Looks when all are made.
    """
    trail: list[Moment] = []
    # What is raised by a step that should not have been made, or again when it is made.
    with watch.ahead() as ahead, suppress(OTFError):
        for _ in range(n_steps):
            state, prediction = step(state, prediction)
            ahead.stepped()
            trail.append((state, prediction))
    return trail[: ahead.count_sound()]
