"""Calculators of another Python, whose environment has ASE and the code."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from otf.calculators import gpaw, gpaw_setups
from otf.calculators.code import Code
from otf.calculators.registry import spaced
from otf.calculators.worker import START, last_words
from otf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otf.calculators.code import Calculator

_ASK = """
import json, sys
sys.path.extend(json.loads(sys.argv[2]))
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
    limit: float = START,
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
    limit
        Seconds the import may take.

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
    answer = try_import(module, python, limit=limit)
    if answer.returncode:
        raise InputError(
            f"{python!r} cannot import {module!r}"
            f"{last_words(answer.stderr.encode())} (input file: [reference])"
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
    filled = replace(
        entry,
        arguments=gpaw.complete(arguments, directory),
        ladder=entry.ladder or gpaw.LADDER,
        raised=gpaw.raised,
    )
    return gpaw.with_setups(
        filled, gpaw_setups_elsewhere(arguments, python, limit=limit)
    )


def try_import(
    module: str, python: str = sys.executable, *, limit: float = START
) -> subprocess.CompletedProcess[str]:
    """Import a module in a process of its own, which prints its version and ASE's.

    A module may hang or crash when it is imported: whoever asks this first does not.
    Of an import that fails in another way the answer has the exit code and the words.

    Parameters
    ----------
    module
        Its name.
    python
        The interpreter; ours finds what this process finds.
    limit
        Seconds the import may take.

    Raises
    ------
    InputError
        When the interpreter cannot be run, or the import crashes or takes longer.
    """
    ours = python == sys.executable
    # Our folders would hide packages of another Python.
    path = json.dumps(sys.path if ours else [])
    who = "this Python" if ours else repr(python)
    return _run(
        [python, "-c", _ASK, module, path], f"{who} cannot import {module!r}", limit
    )


def gpaw_setups_elsewhere(
    arguments: Mapping[str, object], python: str, *, limit: float = START
) -> dict[str, str]:
    """Return the checksums of the set-ups that a GPAW of another Python takes.

    Raises
    ------
    InputError
        When it does not know the functional, or the interpreter does not answer.
    """
    asked = json.dumps({k: arguments[k] for k in gpaw.SETTING if k in arguments})
    cannot = f"{python!r} cannot list the set-ups of GPAW"
    source = Path(gpaw_setups.__file__).read_text()
    answer = _run([python, "-c", source, asked], cannot, limit)
    if answer.returncode:
        raise InputError(
            f"{cannot}{last_words(answer.stderr.encode())} (input file: "
            "[reference.arguments] xc)"
        )
    found: dict[str, str] = json.loads(answer.stdout.splitlines()[-1])
    return found


def _run(
    command: Sequence[str], cannot: str, limit: float
) -> subprocess.CompletedProcess[str]:
    """Return what a Python prints; when it hangs or crashes, it ``cannot``."""
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{cannot} within {limit:g} s{last_words(error.stderr or b'')} "
            "(input file: [reference] start_limit_s)"
        ) from error
    except OSError as error:
        raise InputError(
            f"{command[0]!r} cannot be run: {error.strerror} (input file: [reference] "
            "python)"
        ) from error
    if answer.returncode < 0:
        raise InputError(
            f"{cannot}: it died ({signal.Signals(-answer.returncode).name})"
            f"{last_words(answer.stderr.encode())} (input file: [reference] calculator)"
        )
    return answer


def _elsewhere(**arguments: object) -> Calculator:
    raise InputError("this calculator is built by another python only")
