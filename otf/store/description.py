"""What a fingerprint of a reference stands for, in words that can be compared.

A description is one line, ``code: espresso; version: 7.2; arguments.kpts: [4,4,4]``.
It travels with the labels, so that a refusal to mix them can name what differs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BETWEEN = "; "
_IS = ": "
_HASH = 16  # digits of a checksum; the fingerprint has all of them
# What would end a quoted value, or the line it stands on.
_PLAIN = str.maketrans({'"': "'", ";": ",", "\n": " ", "\r": " ", "\\": "/"})
_FIRST = ("code", "version", "named")  # what tells most
_MOST = 3  # entries a person wants to read


def described(record: Mapping[str, object]) -> str:
    """Return a record of settings as one line, sorted by its keys.

    Parameters
    ----------
    record
        Mappings, lists and scalars of JSON; what is None or empty is left out.
    """
    return _BETWEEN.join(f"{path}{_IS}{value}" for path, value in _entries(record, ""))


def _entries(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key in sorted(value):
            name = str(key).translate(_PLAIN).replace(_IS, " ")
            yield from _entries(value[key], f"{path}.{name}" if path else name)
    elif isinstance(value, str):
        short = value[:_HASH] if path.startswith("checksums.") else value
        yield path, short.translate(_PLAIN)
    elif value is not None:
        yield path, json.dumps(value, separators=(",", ":")).translate(_PLAIN)


def difference(one: str, other: str) -> str:
    """Return where two descriptions differ, such as "ecut 30 against 40".

    Empty when one of them is not known, or nothing differs.
    """
    if not one or not other:
        return ""
    first, second = _table(one), _table(other)
    paths = sorted({*first, *second}, key=lambda path: (path not in _FIRST, path))
    found = [
        f"{path.removeprefix('arguments.')} {first.get(path, 'not given')} against "
        f"{second.get(path, 'not given')}"
        for path in paths
        if first.get(path) != second.get(path)
    ]
    more = len(found) - _MOST
    return ", ".join(found[:_MOST]) + (f" and {more} more" if more > 0 else "")


def _table(description: str) -> dict[str, str]:
    parts = (entry.partition(_IS) for entry in description.split(_BETWEEN))
    return {path: value for path, _, value in parts}
