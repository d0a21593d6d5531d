"""otf-md analyse critical: critical temperature and exponent from a table."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from otf.analysis.critical import fit_critical
from otf.commands.analyses.outcome import Outcome, Quantity
from otf.commands.dataset import require_exists
from otf.errors import InputError
from otf.report.drawing import Curve, Lines
from otf.settings.wording import nearest

if TYPE_CHECKING:
    import argparse

    from otf.configuration import FloatArray

LINE = "critical temperature and exponent beta of (T_c - T)^(2 beta), from a table"
LIKELY: Final = 0.01
CURVE: Final = 400


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "trajectory",
        type=Path,
        metavar="TABLE",
        help="CSV file with a line of names, such as otf-md analyse lattice and tilts "
        "write",
    )
    parser.add_argument(
        "--x",
        default="temperature_K",
        metavar="COLUMN",
        help="temperatures (default: temperature_K)",
    )
    parser.add_argument(
        "--y",
        required=True,
        metavar="COLUMN",
        help="what grows as the square of the order parameter, such as c_over_a",
    )
    parser.add_argument(
        "--error",
        metavar="COLUMN",
        help="standard errors of it (default: the column named as it with _error)",
    )
    parser.add_argument(
        "--minus",
        type=float,
        default=0.0,
        metavar="VALUE",
        help="what it is in the high phase, such as 1 for c_over_a (default: 0)",
    )


def analyse(arguments: argparse.Namespace) -> Outcome:
    """Return critical temperature and exponent.

    Raises
    ------
    InputError
        When there is no such table or column, or no law fits.
    """
    path: Path = arguments.trajectory
    require_exists(path)
    columns = _columns(path)
    t = _column(columns, arguments.x, path)
    y = _column(columns, arguments.y, path) - arguments.minus
    name = arguments.error
    if name is None and f"{arguments.y}_error" in columns:
        name = f"{arguments.y}_error"
    sigma = None if name is None else _column(columns, name, path)
    known = np.isfinite(t) & np.isfinite(y)
    if sigma is not None:
        known &= np.isfinite(sigma)
    t, y, sigma = t[known], y[known], None if sigma is None else sigma[known]
    try:
        fit = fit_critical(t, y, sigma)
    except InputError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from error
    c, b, a = fit.critical_temperature, fit.beta, fit.amplitude
    notes = []
    if fit.probability < LIKELY:
        notes.append(
            f"the points scatter more about the law than their errors allow "
            f"(probability {fit.probability:.1g}): leave out what is far from T_c, or "
            "the transition is no continuous one"
        )
    if sigma is None:
        notes.append("the table has no errors: those below are from the scatter")
    if c.value > t.max():
        notes.append("T_c lies above the last point: extrapolated")
    line = np.unique(np.concatenate([np.linspace(t.min(), t.max(), CURVE), [c.value]]))
    exponent = Quantity("beta", b.value, b.error)
    quantities = [
        Quantity("critical temperature", c.value, c.error, "K"),
        exponent,
        Quantity("T_c at least", fit.critical_interval[0], unit="K"),
        Quantity("T_c at most", fit.critical_interval[1], unit="K"),
        Quantity("beta at least", fit.beta_interval[0]),
        Quantity("beta at most", fit.beta_interval[1]),
        Quantity("amplitude at 100 K below", a.value, a.error),
    ]
    if sigma is not None:
        quantities.append(Quantity("chance of a worse fit", fit.probability))
    return Outcome(
        quantities,
        tables={
            "points": {
                "temperature_K": t,
                "value": y,
                "error": np.full(len(t), np.nan) if sigma is None else sigma,
                "fit": fit.value(t),
            }
        },
        panels=[
            Lines(
                "temperature (K)",
                arguments.y + (f" − {arguments.minus:g}" if arguments.minus else ""),
                [
                    Curve("", t, y, sigma, form="points", color=0),
                    Curve(f"β = {exponent}", line, fit.value(line)),
                ],
                verticals={c.value: f"{Quantity('', c.value, c.error, 'K')}"},
                horizontals=(0.0,),
            )
        ],
        notes=notes,
    )


def _columns(path: Path) -> dict[str, list[str]]:
    try:
        with path.open(newline="") as handle:
            rows = [row for row in csv.reader(handle) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"{path} cannot be read as a table ({error})"
        raise InputError(msg) from error
    if len(rows) < 2:
        msg = f"{path} is no table: a line of names and lines of numbers are expected"
        raise InputError(msg)
    head, body = rows[0], rows[1:]
    for k, row in enumerate(body):
        if len(row) != len(head):
            msg = (
                f"{path}, line {k + 2}: {len(row)} values stand under {len(head)} names"
            )
            raise InputError(msg)
    return {name.strip(): [row[k] for row in body] for k, name in enumerate(head)}


def _column(columns: dict[str, list[str]], name: str, path: Path) -> FloatArray:
    if name not in columns:
        near = nearest(name, list(columns))
        hint = f"; did you mean {near}?" if near else f"; it has {', '.join(columns)}"
        msg = f"{path} has no column {name}{hint}"
        raise InputError(msg)
    try:
        words = (word.strip() for word in columns[name])
        return np.array([float(word) if word else np.nan for word in words])
    except ValueError as error:
        msg = f"{path}: column {name} holds what is no number ({error})"
        raise InputError(msg) from error
