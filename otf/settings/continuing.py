"""What may change in the input of a run before it goes on."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FREE: Final = ("limits",)  # sections that decide when a run stops, not what it does


def changed_keys(begun: str, asked: str) -> list[str]:
    """Return the keys that keep a run from going on with another input.

    Parameters
    ----------
    begun
        The input file the run was begun with, TOML; all keys have changed where it is
        none.
    asked
        That it would go on with.

    Returns
    -------
    keys : such as dynamics.timestep_fs, in the order of the input; empty when the run
        may go on
    """
    try:
        before = tomllib.loads(begun)
    except tomllib.TOMLDecodeError:
        before = {}
    after = tomllib.loads(asked)
    for section in FREE:
        before.pop(section, None)
        after.pop(section, None)
    return list(_unequal(before, after, ""))


def _unequal(
    before: Mapping[str, object], after: Mapping[str, object], place: str
) -> Iterator[str]:
    for key in dict.fromkeys([*after, *before]):
        a, b = before.get(key), after.get(key)
        if a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _unequal(a, b, f"{place}{key}.")
        else:
            yield f"{place}{key}"
