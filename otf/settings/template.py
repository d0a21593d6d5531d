"""Writes a commented input file: what is chosen is active, every default is shown."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from otf.settings.describe import all_sections, keys_of
from otf.settings.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otf.settings.describe import Key

    Values = Mapping[str, object]

_OPTIONAL = {"coexistence", "sweep"}
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_HEAD = """\
# Input of otf-md. A key behind a # shows its default: remove the # to change it.
# Look at it with `otf-md check {name}`, run it with `otf-md run {name}`.
"""


def commented_input(
    chosen: Mapping[str, Values], *, stages: Sequence[Values], name: str
) -> str:
    """Return an input file in TOML.

    Parameters
    ----------
    chosen
        Values that are set, by section; "" for the keys at the top.
    stages
        Values of each stage.
    name
        Of the file, for the comments.
    """
    parts = [_HEAD.format(name=name), _lines(keys_of(Settings), chosen.get("", {}))]
    for header, model in all_sections():
        section = header.strip("[]")
        if section == "dynamics.stages":
            parts += [_section(header, keys_of(model), stage) for stage in stages]
        else:
            values = chosen.get(section, {})
            doc = f"# {(model.__doc__ or '').strip()}\n"
            # Some sections are there or not: their header alone says so.
            optional = "." in section or section in _OPTIONAL
            shown = f"#{header}" if optional and not values else header
            parts.append(doc + _section(shown, keys_of(model), values))
    return "\n".join(parts)


def _section(header: str, keys: Sequence[Key], values: Values) -> str:
    return f"{header}\n" + _lines(keys, values)


def _lines(keys: Sequence[Key], values: Values) -> str:
    lines = []
    for key in keys:
        if key.name in values:
            code = f"{key.name} = {toml(values[key.name])}"
        else:
            code = f"#{key.name} = {key.example or key.default}"
        lines.append(f"{code:<36} # {key.description}\n")
    return "".join(lines)


def toml(value: object) -> str:
    """Return a value as TOML writes it, tables inline."""
    if isinstance(value, dict):
        items = (f"{_key(key)} = {toml(item)}" for key, item in value.items())
        return "{ " + ", ".join(items) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def plain_input(data: Mapping[str, object]) -> str:
    """Return an input file in TOML that holds these keys and sections only."""
    tables = {name: value for name, value in data.items() if isinstance(value, dict)}
    lines = [f"{k} = {toml(v)}" for k, v in data.items() if k not in tables]
    for name, table in tables.items():
        lines += ["", f"[{name}]"]
        lines += [f"{_key(key)} = {toml(value)}" for key, value in table.items()]
    return "\n".join(lines).lstrip("\n") + "\n"
