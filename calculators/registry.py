"""Names of reference calculators, and the codes behind them.

A name is one of ours, one announced by an installed package (entry points of the group
``otf.calculators``), one of ASE, or ``module:Class``.
"""

from __future__ import annotations

import difflib
import inspect
from dataclasses import replace
from functools import partial
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
    gpaw,
    lennard_jones,
    stillinger_weber,
    tblite,
    vasp,
)
from otf.calculators.code import Calculator, Code
from otf.calculators.serving import one_line
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
    "gpaw": gpaw.code,
    "lennard-jones": lennard_jones.code,
    "stillinger-weber": stillinger_weber.code,
    "tblite": tblite.code,
    "vasp": vasp.code,
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
    kpoint_spacing: float | None = None,
    restart: bool = False,
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
    kpoint_spacing
        1/angstrom, see :mod:`otf.calculators.kpoints`; None leaves k points to the
        arguments.
    restart
        Start from electrons that lie in the directory, and leave them there, or from
        those the calculator has kept.

    Raises
    ------
    InputError
        Unknown name, package that is not installed, or something the code does not
        have; one line that names the key of the input file.
    """
    arguments = dict(arguments or {})
    if restart and name not in RESTARTING:
        raise InputError(
            f"calculator {name!r} cannot start from the electrons of the call before; "
            f"{', '.join(sorted(RESTARTING))} can: remove restart "
            "(input file: [reference] restart)"
        )
    if name in OURS:
        arguments = at(arguments, directory, needed=name in WORKS_IN_FILES)
        build = RESTARTING[name] if restart else OURS[name]
        code = build(arguments)
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
    return code if kpoint_spacing is None else spaced(code, kpoint_spacing)


def spaced(code: Code, spacing: float) -> Code:
    """Return a code whose k points come from a spacing in 1/angstrom.

    Raises
    ------
    InputError
        When the code has no k points, or its arguments set them already.
    """
    key = "(input file: [reference] kpoint_spacing_per_A)"
    if code.sampling is None:
        known = ", ".join(sorted(WITH_KPOINTS))
        raise InputError(
            f"kpoint_spacing_per_A means nothing to calculator {code.name!r}, only to "
            f"{known}: remove it {key}"
        )
    if (given := code.sampling.given(code.arguments)) is not None:
        raise InputError(
            f"kpoint_spacing_per_A contradicts {given} under [reference.arguments], "
            f"which sets the k points already: remove one of them {key}"
        )
    return replace(code, kpoint_spacing=spacing)


RESTARTING: Mapping[str, Callable[[Mapping[str, object]], Code]] = {
    "abinit": partial(abinit.code, restart=True),
    "cp2k": partial(cp2k.code, restart=True),
    "espresso": partial(espresso.code, restart=True),
    "gpaw": partial(gpaw.code, restart=True),
    "vasp": partial(vasp.code, restart=True),
}
WITH_KPOINTS = frozenset({"abinit", "cp2k", "espresso", "gpaw", "vasp"})
STARTS_PROGRAMS = frozenset({"abinit", "cp2k", "espresso", "vasp"})
WORKS_IN_FILES = STARTS_PROGRAMS | {"gpaw"}
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
        own = ""
        if name == f"{package}:{name.partition(':')[2]}":  # perhaps no package at all
            own = f"; if {package}.py is a file of yours, add its folder to PYTHONPATH"
        raise InputError(
            f"calculator {name!r} needs the package {package!r}, which is not "
            f"installed here: pip install {package}{own}"
        ) from error
    except (Exception, SystemExit) as error:  # modules raise whatever they like
        raise InputError(
            f"calculator {name!r} cannot be imported: {one_line(error)} "
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
        return name in STARTS_PROGRAMS
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
