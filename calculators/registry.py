"""Names of reference calculators, and the codes behind them.

A name is one of ours, one announced by an installed package (entry points of the group
``otf.calculators``), one of ASE, or ``module:Class``.
"""

from __future__ import annotations

import difflib
import inspect
from dataclasses import replace
from importlib import import_module
from importlib.metadata import (
    PackageNotFoundError,
    entry_points,
    packages_distributions,
    version,
)
from typing import TYPE_CHECKING

from ase.calculators.calculator import FileIOCalculator, get_calculator_class
from ase.calculators.genericfileio import GenericFileIOCalculator
from ase.calculators.names import names as ase_names

from otf.calculators import (
    abinit,
    cp2k,
    emt,
    espresso,
    lennard_jones,
    stillinger_weber,
    tblite,
)
from otf.calculators.code import Calculator, Code
from otf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

GROUP = "otf.calculators"
OURS: Mapping[str, Callable[[Mapping[str, object]], Code]] = {
    "abinit": abinit.code,
    "cp2k": cp2k.code,
    "emt": emt.code,
    "espresso": espresso.code,
    "lennard-jones": lennard_jones.code,
    "stillinger-weber": stillinger_weber.code,
    "tblite": tblite.code,
}


def calculator_names() -> list[str]:
    """Return every name that can be given, sorted; ``module:Class`` goes beyond."""
    announced = {point.name for point in entry_points(group=GROUP)}
    return sorted({*OURS, *announced, *ase_names})


def make_calculator(
    name: str,
    arguments: Mapping[str, object] | None = None,
    *,
    directory: Path | None = None,
    ladder: Sequence[Mapping[str, object]] = (),
) -> Code:
    """Return the code of that name with its arguments; nothing is run yet.

    Parameters
    ----------
    name
        Of :func:`calculator_names`, or ``module:Class`` of any ASE calculator.
    arguments
        Keyword arguments of the calculator, unit suffixes as that code has them.
    directory
        Where a code that writes files works, unless the arguments say otherwise.
    ladder
        Changes of arguments for the first, second, ... retry, in place of the code's
        own where there are any.

    Raises
    ------
    InputError
        Unknown name, package that is not installed, or an argument the code does not
        have; one line that names the key of the input file.
    """
    arguments = dict(arguments or {})
    if name in OURS:
        code = OURS[name](at(arguments, directory, needed=name in WORKS_IN_FILES))
    else:
        construct = find_class(name)
        needed = works_in_files(construct)
        code = Code(
            name=name,
            version=version_of(construct),
            arguments=at(arguments, directory, needed=needed),
            construct=construct,
        )
    if ladder:
        code = replace(code, ladder=tuple(ladder))
    require_known_arguments(code)
    return code


WORKS_IN_FILES = frozenset({"abinit", "cp2k", "espresso"})
# Potentials of milliseconds, which neither hang nor crash.
IN_PROCESS = frozenset({"emt", "lennard-jones", "stillinger-weber"})


def at(
    arguments: dict[str, object], directory: Path | None, *, needed: bool
) -> dict[str, object]:
    """Return the arguments with the working directory of a file-based code."""
    if directory is None or not needed:
        return arguments
    return {"directory": str(directory), **arguments}


def find_class(name: str) -> Callable[..., Calculator]:
    """Return the ASE calculator class behind a name that is not ours.

    Raises
    ------
    InputError
        When there is none.
    """
    for point in entry_points(group=GROUP):
        if point.name == name:
            return imported(name, point.load)
    if ":" in name:
        return imported(name, lambda: load(name))
    if name.lower() in ase_names:
        return imported(name, lambda: get_calculator_class(name.lower()))
    known = calculator_names()
    near = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise InputError(
        f"no calculator is called {name!r}{hint} Known: {', '.join(known)}, or "
        "module:Class (input file: [reference] calculator)"
    )


def imported(
    name: str, load: Callable[[], Callable[..., Calculator]]
) -> Callable[..., Calculator]:
    """Return what ``load`` imports; a missing package becomes one line.

    Raises
    ------
    InputError
        Names the package to install.
    """
    try:
        return load()
    except ModuleNotFoundError as error:
        package = (error.name or name).partition(".")[0]
        raise InputError(
            f"calculator {name!r} needs the package {package!r}, which is not "
            f"installed here: pip install {package}"
        ) from error
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"calculator {name!r} cannot be imported: {error} "
            "(input file: [reference] calculator)"
        ) from error


def load(name: str) -> Callable[..., Calculator]:
    """Return the object that ``module:Class`` names."""
    module, _, attribute = name.partition(":")
    found: Callable[..., Calculator] = getattr(import_module(module), attribute)
    return found


def version_of(construct: Callable[..., Calculator]) -> str:
    """Return name and version of the distribution a calculator comes from."""
    package = construct.__module__.partition(".")[0]
    for distribution in packages_distributions().get(package, [package]):
        try:
            return f"{distribution} {version(distribution)}"
        except PackageNotFoundError:
            continue
    return package


def parameters_of(
    construct: Callable[..., Calculator],
) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a class or function; empty when it cannot be asked."""
    try:
        return inspect.signature(construct).parameters
    except (TypeError, ValueError):
        return {}


def runs_commands(name: str) -> bool:
    """Return whether a calculator starts a program of its own."""
    if name in OURS:
        return name in WORKS_IN_FILES
    construct = find_class(name)
    return isinstance(construct, type) and issubclass(
        construct, (FileIOCalculator, GenericFileIOCalculator)
    )


def is_calculator_class(construct: object) -> bool:
    """Return whether an object is a class of ASE calculators."""
    return isinstance(construct, type) and hasattr(construct, "implemented_properties")


def works_in_files(construct: Callable[..., Calculator]) -> bool:
    """Return whether the calculator has a working directory."""
    if isinstance(construct, type) and issubclass(
        construct, (FileIOCalculator, GenericFileIOCalculator)
    ):
        return True
    return "directory" in parameters_of(construct)


def require_known_arguments(code: Code) -> None:
    """Raise when an argument is not one the code can have.

    A code that takes any keyword and has no list of defaults is trusted.

    Raises
    ------
    InputError
        With the nearest spelling.
    """
    known = accepted(code)
    if known is None:
        return
    for key in dict.fromkeys(
        k for part in (code.arguments, *code.ladder) for k in part
    ):
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {sorted(known)}"
            raise InputError(
                f"calculator {code.name!r} has no argument {key!r}; {hint} "
                f"(input file: [reference.arguments] {key})"
            )


def accepted(code: Code) -> frozenset[str] | None:
    """Return the names a calculator accepts, None when it accepts any."""
    if code.keywords is not None:
        return code.keywords
    parameters = parameters_of(code.construct)
    if not parameters:
        return None
    named = {
        p.name
        for p in parameters.values()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
        return frozenset(named)
    return None
