"""Writes down what the input file can say: reference page, JSON schema, table rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args, get_origin

import annotated_types

from otf.settings.settings import Settings
from otf.settings.wording import received, sections_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

_TABLES_OF_TABLES = {"stages"}


@dataclass(frozen=True)
class Key:
    """One key of the input file, in words.

    Attributes
    ----------
    name : as written in the file
    values : what it may be
    default : as the file would show it, "required" or "none"
    description : one sentence
    example : a value, for keys without a default
    """

    name: str
    values: str
    default: str
    description: str
    example: str


def keys_of(model: type[BaseModel]) -> list[Key]:
    """Return the keys of a section, without its subsections."""
    nested = sections_of(model)
    return [
        Key(
            name,
            _values(field),
            _default(field),
            field.description or "",
            _example(field.examples[0]) if field.examples else "",
        )
        for name, field in model.model_fields.items()
        if name not in nested
    ]


def all_sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the header and the model of every section of the input file."""
    for name, model in sections_of(Settings).items():
        yield f"[{name}]", model
        for inner, inner_model in sections_of(model).items():
            brackets = "[[{}]]" if inner in _TABLES_OF_TABLES else "[{}]"
            yield brackets.format(f"{name}.{inner}"), inner_model


def reference_page() -> str:
    """Return the input reference in Markdown."""
    lines = [
        "# Input reference",
        "",
        "The input is one file in [TOML](https://toml.io). Units are part of the key "
        "names. Keys that are not listed here are refused. Relative paths start at the "
        "folder of the input file.",
        "",
        "## At the top",
        "",
        *_table(keys_of(Settings)),
    ]
    for header, model in all_sections():
        lines += ["", f"## `{header}`", "", (model.__doc__ or "").strip(), ""]
        lines += _table(keys_of(model))
    return "\n".join(lines) + "\n"


def json_schema() -> str:
    """Return the JSON schema of the input file, for editors."""
    return json.dumps(Settings.model_json_schema(), indent=2) + "\n"


def _table(keys: list[Key]) -> list[str]:
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key in keys:
        default = key.default if key.default == "required" else f"`{key.default}`"
        if key.default == "none":
            default = "–"
        rows.append(
            f"| `{key.name}` | {key.values.replace('|', ' or ')} | {default} | "
            f"{key.description} |"
        )
    return rows


def _example(value: object) -> str:
    if isinstance(value, dict):
        items = ", ".join(f"{key} = {received(item)}" for key, item in value.items())
        return f"{{ {items} }}"
    return received(value)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return "none"
    if value == {}:
        return "{}"
    return received(value)


def _values(field: FieldInfo) -> str:
    words = _words(field.annotation)
    bounds = _bounds(field.annotation, field.metadata)
    return f"{words}, {bounds}" if bounds else words


def _words(annotation: object) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in _NAMES:
        return _NAMES[annotation]
    if origin is tuple:
        entry = _words(arguments[0])
        return f"list of {entry}" if entry.endswith("`") else f"list of {entry}s"
    if origin is dict:
        return "table"
    if arguments and all(isinstance(choice, str) for choice in arguments):
        return ", ".join(f'`"{choice}"`' for choice in arguments)
    inner = [arguments[0]] if hasattr(annotation, "__metadata__") else arguments
    each = [_words(part) for part in inner if part is not type(None)]
    return " or ".join(dict.fromkeys(each))


_NAMES: dict[object, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "`true`, `false`",
}


def _bounds(annotation: object, metadata: list[object]) -> str:
    found = list(_constraints(metadata))
    for part in get_args(annotation):
        found += _constraints(getattr(part, "__metadata__", ()))
        found += [
            bound
            for inner in get_args(part)
            for bound in _constraints(getattr(inner, "__metadata__", ()))
        ]
    if hasattr(annotation, "__metadata__"):
        found += _constraints(annotation.__metadata__)
    return " and ".join(dict.fromkeys(found))


def _constraints(metadata: object) -> Iterator[str]:
    for item in metadata if isinstance(metadata, list | tuple) else ():
        for constraint in (item, *getattr(item, "metadata", ())):
            for kind, attribute, sign in _SIGNS:
                if isinstance(constraint, kind):
                    yield f"{sign} {_figure(getattr(constraint, attribute))}"


def _figure(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


_SIGNS: tuple[tuple[type, str, str], ...] = (
    (annotated_types.Gt, "gt", ">"),
    (annotated_types.Ge, "ge", "≥"),
    (annotated_types.Lt, "lt", "<"),
    (annotated_types.Le, "le", "≤"),
)
