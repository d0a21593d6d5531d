"""Turns the findings of the validation into lines for people."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, get_args

from pydantic import BaseModel

from otf.settings.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

Location = tuple[int | str, ...]

_TAGS = {"number", "table", "list", "word"}  # branches of a union, not keys of the file
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a text in quotes",
    "bool_type": "true or false",
    "tuple_type": "a list in square brackets",
    "dict_type": "a table such as { Na = 1.0 }",
    "model_type": "a section",
    "model_attributes_type": "a section",
    "string_too_short": "a text that is not empty",
}
_BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def wording(error: ValidationError, *, name: str) -> list[str]:
    """Return one line for each mistake in the file of this name."""
    lines = []
    for finding in error.errors(include_url=False):
        if finding["type"] == "value_error" and not finding["loc"]:
            text = str(finding["ctx"]["error"])
            lines += [_with_file(line, name) for line in text.splitlines()]
        else:
            place = tuple(part for part in finding["loc"] if part not in _TAGS)
            lines.append(f"{_sentence(finding, place)} ({name}: {dotted(place)})")
    return lines


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice spelt most like a word, None when none is alike."""
    by_lower = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def dotted(place: Location) -> str:
    """Return a key path as people write it: dynamics.stages[0].steps."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part != "[key]":
            text += f".{part}" if text else part
    return text


def received(value: object) -> str:
    """Return a value as the input file would show it, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _short(f'"{value}"')
    if isinstance(value, dict):
        return "a table" if value else "an empty table"
    if isinstance(value, list | tuple):
        return _short("[" + ", ".join(map(received, value)) + "]")
    return _short(str(value))


def _with_file(line: str, name: str) -> str:
    head, opening, key = line.rpartition("(")
    return f"{head}{opening}{name}: {key}"


def _sentence(finding: ErrorDetails, place: Location) -> str:
    key, kind, value = _label(place), finding["type"], finding["input"]
    context = finding.get("ctx", {})
    if kind in _WHOLE_SENTENCES:
        return _WHOLE_SENTENCES[kind](place)
    if kind == "value_error":
        return f"{context['error']}, in {_label(_without_key(place))}"
    if kind == "literal_error":
        return _not_among(key, str(context["expected"]), value)
    return f"{key} must {_demand(finding)}, got {received(value)}"


def _demand(finding: ErrorDetails) -> str:
    kind, context = finding["type"], finding.get("ctx", {})
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return f"be {words} {context[bound]:g}"
    if kind in {"too_long", "too_short"}:
        return f"have {context.get('max_length', context.get('min_length'))} entries"
    return "be " + _EXPECTED.get(kind, finding["msg"].lower())


def _label(place: Location) -> str:
    names = [k for k, part in enumerate(place) if isinstance(part, str)]
    return dotted(place[names[-1] :]) if names else "the input"


def _without_key(place: Location) -> Location:
    return place[:-2] if place[-1] == "[key]" else place


def _missing(place: Location) -> str:
    key, section = place[-1], dotted(place[:-1])
    if not section:
        return f"section [{key}] is missing"
    return f"{key} is missing from [{section}]"


def _unknown(place: Location) -> str:
    key = str(place[-1])
    section = dotted(place[:-1])
    known = list(_section_at(place[:-1]).model_fields)
    where = (
        f"[{section}] has no key {key}" if section else f"there is no [{key}] or key"
    )
    if not section:
        where = f"{key} is neither a section nor a key at the top"
    if found := nearest(key, known):
        return f"{where}; did you mean {found}?"
    if "arguments" in known:
        return f"{where}; arguments of the calculator go into [{section}.arguments]"
    owners = [
        name
        for name, model in sections_of(Settings).items()
        if key in model.model_fields and name != section
    ]
    if owners:
        return f"{where}; it belongs to [{owners[0]}]"
    return f"{where}; possible are {', '.join(known)}"


def _not_among(key: str, expected: str, value: object) -> str:
    allowed = expected.replace("'", '"')
    line = f"{key} must be {allowed}, got {received(value)}"
    if isinstance(value, str) and (found := nearest(value, allowed.split('"')[1::2])):
        return f'{line}; did you mean "{found}"?'
    return line


def _section_at(place: Location) -> type[BaseModel]:
    model: type[BaseModel] = Settings
    for part in place:
        if isinstance(part, str):
            model = sections_of(model)[part]
    return model


def sections_of(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Return the subsections of a section, by name."""
    found = {}
    for name, field in model.model_fields.items():
        section = _model_in(field.annotation)
        if section is not None:
            found[name] = section
    return found


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        if (found := _model_in(argument)) is not None:
            return found
    return None


_WHOLE_SENTENCES = {"missing": _missing, "extra_forbidden": _unknown}


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
