"""Calculators of another Python, whose environment has ASE and the code."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

from otf.calculators import gpaw
from otf.calculators.code import Code
from otf.calculators.registry import spaced
from otf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from otf.calculators.code import Calculator

_ASK = """
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
import ase
name = sys.argv[1].partition(".")[0]
module = import_module(sys.argv[1])
try:
    known = version(name)
except PackageNotFoundError:
    known = getattr(import_module(name), "__version__", "unknown")
print(name, known, "ase", ase.__version__)
"""


def foreign_code(
    name: str,
    arguments: Mapping[str, object],
    python: str,
    *,
    directory: Path | None = None,
    ladder: Sequence[Mapping[str, object]] = (),
    kpoint_spacing: float | None = None,
) -> Code:
    """Return the entry of a calculator that only another interpreter can import.

    Its arguments and its ladder are plain, ready to travel.

    Parameters
    ----------
    name
        "module:Class", or "gpaw".
    arguments, directory, ladder, kpoint_spacing
        See :func:`otf.calculators.registry.make_calculator`.
    python
        The interpreter.

    Raises
    ------
    InputError
        When the interpreter cannot be run or does not have the calculator.
    """
    known = name in ("gpaw", gpaw.CLASS)
    name = gpaw.CLASS if known else name
    module, _, attribute = name.partition(":")
    if not attribute:
        raise InputError(
            f'with another python the calculator is named as "module:Class", got '
            f"{name!r} (input file: [reference] calculator)"
        )
    try:
        answer = subprocess.run(
            [python, "-c", _ASK, module],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(
            f"{python!r} cannot be run: {error} (input file: [reference] python)"
        ) from error
    if answer.returncode:
        last = answer.stderr.strip().rpartition("\n")[2]
        raise InputError(
            f"{python!r} cannot import {module!r}: {last} (input file: [reference])"
        )
    entry = Code(
        name=name,
        version=answer.stdout.strip(),
        arguments=dict(arguments),
        construct=_elsewhere,
        ladder=tuple(ladder),
    )
    if not known:
        return entry if kpoint_spacing is None else spaced(entry, kpoint_spacing)
    if kpoint_spacing is not None:
        spaced(replace(entry, sampling=gpaw.SAMPLING), kpoint_spacing)
        arguments = gpaw.spaced_arguments(arguments, kpoint_spacing)
    return replace(
        entry,
        arguments=gpaw.complete(arguments, directory),
        ladder=entry.ladder or gpaw.LADDER,
        raised=gpaw.raised,
    )


def _elsewhere(**arguments: object) -> Calculator:
    raise InputError("this calculator is built by another python only")
