"""Calculators of another Python, whose environment has ASE and the code."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from otf.calculators.code import Code
from otf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    ladder: Sequence[Mapping[str, object]] = (),
) -> Code:
    """Return the entry of a calculator that only another interpreter can import.

    Raises
    ------
    InputError
        When the interpreter cannot be run or does not have the calculator.
    """
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
    return Code(
        name=name,
        version=answer.stdout.strip(),
        arguments=dict(arguments),
        construct=_elsewhere,
        ladder=tuple(ladder),
    )


def _elsewhere(**arguments: object) -> Calculator:
    raise InputError("this calculator is built by another python only")
