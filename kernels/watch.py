"""What is taken for granted while a GPU works, and looked at when it is done.

To look at a number that a GPU computes is to wait for all that it was told to do
before. Steps that hardly ever go wrong are therefore made ahead, and what they took
for granted is looked at together.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Array = Any  # numpy.ndarray


class Ahead:
    """Steps that are made while nobody looks.

    Parameters
    ----------
    xp
        The module of the arrays.
    """

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self._now: list[Array] = []
        self._steps: list[Array] = []

    def suppose(self, condition: Array) -> None:
        """Take a condition, of shape (), for granted in the step that is being made."""
        self._now.append(condition)

    def stepped(self) -> None:
        """Say that a step is made."""
        held = self._xp.asarray(True)
        for condition in self._now:
            held = held & condition
        self._now = []
        self._steps.append(held)

    def count_sound(self) -> int:
        """Return the number of steps before the first that took too much for granted.

        Waits for all of them.
        """
        if not self._steps:
            return 0
        sound = self._xp.cumprod(self._xp.stack(self._steps))
        return int(sound.sum())


class Watch:
    """Looks at conditions, at once or later together.

    Parameters
    ----------
    xp
        The module of the arrays.
    """

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self._ahead: Ahead | None = None

    def holds(self, condition: Array) -> bool:
        """Return whether a condition, of shape (), holds; in steps ahead it does."""
        if self._ahead is None:
            return bool(condition)
        self._ahead.suppose(condition)
        return True

    @contextmanager
    def ahead(self) -> Iterator[Ahead]:
        """Let what holds be taken for granted until the block ends."""
        self._ahead = ahead = Ahead(self._xp)
        try:
            yield ahead
        finally:
            self._ahead = None
