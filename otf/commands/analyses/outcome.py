"""What an analysis found, as lines, tables, JSON and pictures."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from otf.commands.dataset import require_writable
from otf.report.drawing import drawn
from otf.store.disk import write_aside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike

    from otf.report.drawing import Panel


@dataclass(frozen=True)
class Quantity:
    """A number of the result.

    Attributes
    ----------
    name : in words
    value : in the unit
    error : standard error; NaN where there is none to be had
    unit : empty for a pure number
    """

    name: str
    value: float
    error: float = math.nan
    unit: str = ""

    def __str__(self) -> str:
        """Return value and error with as many digits as the error allows."""
        return f"{with_error(self.value, self.error)} {self.unit}".rstrip()


@dataclass(frozen=True)
class Outcome:
    """The result of an analysis.

    Attributes
    ----------
    quantities : what it comes to
    tables : columns by name, with the unit in it, of every table by its name; the
        first has the name of the file
    panels : of the picture
    columns : of the picture
    notes : what a reader must know, one sentence each
    """

    quantities: Sequence[Quantity]
    tables: Mapping[str, Mapping[str, ArrayLike]]
    panels: Sequence[Panel]
    columns: int = 1
    notes: Sequence[str] = field(default_factory=tuple)


def with_error(value: float, error: float) -> str:
    """Return ``value ± error``, the error with two digits; no ± where it is NaN."""
    if not math.isfinite(error) or not math.isfinite(value):
        return f"{value:.6g}"
    if error <= 0.0:
        return f"{value:.6g} ± 0"
    place = 1 - math.floor(math.log10(error))
    if abs(value) >= 1e6 or max(abs(value), error) < 1e-4:
        power = math.floor(math.log10(max(abs(value), error)))
        scale = 10.0**power
        digits = max(0, place + power)
        return f"({value / scale:.{digits}f} ± {error / scale:.{digits}f})e{power:+d}"
    digits = max(0, place)
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def paths_of(prefix: Path) -> dict[str, Path]:
    """Return the files of a result by their suffix."""
    return {
        suffix: prefix.with_name(f"{prefix.name}.{suffix}")
        for suffix in ("csv", "json", "png", "svg")
    }


def require_prefix(prefix: Path, *inputs: Path) -> None:
    """Raise InputError when the files of a result cannot be written."""
    for path in paths_of(prefix).values():
        require_writable(path, *inputs)


def write_outcome(outcome: Outcome, prefix: Path, record: Mapping[str, object]) -> None:
    """Write tables, JSON and pictures; each file is whole or absent."""
    paths = paths_of(prefix)
    texts = {}
    for k, (name, columns) in enumerate(outcome.tables.items()):
        path = paths["csv"]
        if k > 0:
            path = prefix.with_name(f"{prefix.name}-{name}.csv")
        texts[path] = table(columns).encode()
    texts[paths["json"]] = (json.dumps(record, indent=2) + "\n").encode()
    pictures = drawn(outcome.panels, columns=outcome.columns) if outcome.panels else {}
    for suffix, data in pictures.items():
        texts[paths[suffix]] = data
    for path, data in texts.items():
        _write(path, data)


def _write(path: Path, data: bytes) -> None:
    def write(handle: BinaryIO) -> None:
        handle.write(data)

    write_aside(path, write)


def table(columns: Mapping[str, ArrayLike]) -> str:
    """Return columns of equal length as CSV; an unknown number is left empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*(np.asarray(column) for column in columns.values()), strict=True):
        writer.writerow([_cell(value) for value in row])
    return text.getvalue()


def _cell(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "" if math.isnan(value) else f"{float(value):.9g}"
    return str(value)


def record_of(
    outcome: Outcome, kind: str, inputs: Mapping[str, object]
) -> dict[str, object]:
    """Return the result as plain JSON; an unknown number is null."""
    record = {
        "analysis": kind,
        **inputs,
        "results": [
            {"name": q.name, "value": q.value, "error": q.error, "unit": q.unit}
            for q in outcome.quantities
        ],
        "notes": list(outcome.notes),
        "tables": {
            name: {key: np.asarray(column).tolist() for key, column in columns.items()}
            for name, columns in outcome.tables.items()
        },
    }
    return {key: _finite(value) for key, value in record.items()}


def _finite(data: object) -> object:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data


def in_words(outcome: Outcome) -> str:
    """Return the result as lines for people."""
    width = max((len(q.name) for q in outcome.quantities), default=0)
    lines = [f"{q.name:<{width}}  {q}" for q in outcome.quantities]
    return "\n".join([*lines, *(f"note: {note}" for note in outcome.notes)])
