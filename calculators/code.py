"""What is special about one reference code: how to build, prepare and judge it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ase.data import chemical_symbols

from otf.calculators.kpoints import grid_of
from otf.calculators.serving import NOT_CONVERGED, merged, one_line, says_not_converged
from otf.errors import InputError
from otf.store.description import described

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from otf.calculators.kpoints import Sampling
    from otf.configuration import Configuration

    Arguments = Mapping[str, object]

# ASE ships no types, so a calculator is Any at this one door.
Calculator = Any

# Where and how a code runs: none of it moves the numbers beyond their tolerance. They
# are left out in tables of arguments too.
NOT_PHYSICS = frozenset(
    {
        "algo",
        "amix",
        "bmix",
        "command",
        "debug",
        "diagonalization",
        "directory",
        "disk_io",
        "electron_maxstep",
        "kpar",
        "label",
        "max_iterations",
        "max_scf",
        "maxiter",
        "mixer",
        "mixer_damping",
        "mixer_memory",
        "mixing_beta",
        "mixing_mode",
        "mixing_ndim",
        "ncore",
        "nelm",
        "npar",
        "nstep",
        "outdir",
        "parallel",
        "pp_paths",
        "prefix",
        "profile",
        "pseudo_dir",
        "txt",
        "verbosity",
        "wfcdir",
    }
)


@dataclass(frozen=True)
class OutputFile:
    """Where a code says what went wrong, because ASE does not tell.

    Attributes
    ----------
    path : the file the code writes, given the calculator
    not_converged : text that means an SCF without convergence, in codes that return
        energy and forces all the same
    telling : texts that mark the line of an error
    following : lines after a telling one that belong to it
    """

    path: Callable[[Calculator], Path]
    not_converged: str | None = None
    telling: tuple[str, ...] = ()
    following: int = 1

    def clear(self, calculator: Calculator) -> None:
        """Remove the file, so that what is read later is of the next call."""
        self.path(calculator).unlink(missing_ok=True)

    def says_not_converged(self, calculator: Calculator) -> bool:
        """Return whether the SCF did not converge; the file has to be there."""
        if self.not_converged is None:
            return False
        return self.not_converged in self.path(calculator).read_text(errors="replace")

    def last_words(self, calculator: Calculator) -> str:
        """Return the last telling line and those after it; empty without any."""
        try:
            lines = self.path(calculator).read_text(errors="replace").splitlines()
        except OSError:
            return ""
        for k in range(len(lines) - 1, -1, -1):
            if any(text in lines[k] for text in self.telling):
                return " ".join(" ".join(lines[k : k + 1 + self.following]).split())
        return ""


def leave_electrons(calculator: Calculator, configuration: Configuration) -> None:
    """Leave charge and spin to what the code reads from the Atoms object."""


def believe(calculator: Calculator) -> str | None:
    """Believe a code that raises when it fails."""
    return None


@dataclass(frozen=True)
class Code:
    """A reference code with its arguments, ready to build calculators.

    Attributes
    ----------
    name : as in the input file
    version : of the code, part of the fingerprint
    arguments : what the user gave, defaults of ours filled in
    construct : builds an ASE calculator from keyword arguments
    ladder : changes of arguments for the first, second, ... retry; they help the SCF
        and leave the physics as it is
    prepare : hands charge and spin of a configuration to the calculator
    elements : atomic numbers it has parameters for; None when only the code knows
    keywords : every argument it can have; None asks the signature of ``construct``
    outputs : the files that say what went wrong, the most telling first
    doubt : why the results of the last call must not be believed, None when they may
    sampling : how it is told a grid of k points, for codes that have them
    kpoint_spacing : 1/angstrom, see :mod:`otf.calculators.kpoints`; None where the
        arguments set the k points
    electrons : name of a file the code leaves -> name under which it starts from it;
        empty when every call starts from atoms
    follows : whether a call starts from the electrons its calculator object has left
    raised : returns arguments with the cutoff times a factor, None without a cutoff
    gamma_only : no k points, so cells of different size do not belong together
    notice : one sentence on what the numbers are worth; empty for none
    checksums : file name -> checksum of every pseudopotential or parameter file
    ask_version : runs the program of a calculator for the version only its output
        tells; None where ``version`` has it
    """

    name: str
    version: str
    arguments: Arguments
    construct: Callable[..., Calculator]
    ladder: tuple[Arguments, ...] = ()
    prepare: Callable[[Calculator, Configuration], None] = leave_electrons
    elements: frozenset[int] | None = None
    keywords: frozenset[str] | None = None
    outputs: tuple[OutputFile, ...] = ()
    doubt: Callable[[Calculator], str | None] = believe
    sampling: Sampling | None = None
    kpoint_spacing: float | None = None
    electrons: Mapping[str, str] = field(default_factory=dict)
    follows: bool = False
    raised: Callable[[Arguments, float], Arguments | None] | None = None
    gamma_only: bool = False
    notice: str = ""
    checksums: Mapping[str, str] = field(default_factory=dict)
    ask_version: Callable[[Calculator], str] | None = None

    @property
    def takes_electrons(self) -> bool:
        """Return whether charge and spin of a configuration reach the code."""
        return self.prepare is not leave_electrons

    def build(self, attempt: int = 0) -> Calculator:
        """Return a new calculator for this attempt, 0 being the first.

        Raises
        ------
        InputError
            When the code refuses its arguments.
        """
        steps: tuple[Arguments, ...] = ({}, *self.ladder)
        change = steps[min(attempt, len(self.ladder))]
        arguments = merged(dict(self.arguments), dict(change))
        try:
            return self.construct(**arguments)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"calculator {self.name!r} refuses its arguments: {one_line(error)} "
                "(input file: [reference.arguments])"
            ) from error

    def make_ready(self, calculator: Calculator, configuration: Configuration) -> None:
        """Hand over what depends on the structure, and clear the old output."""
        self.prepare(calculator, configuration)
        if self.sampling is not None and self.kpoint_spacing is not None:
            grid = grid_of(configuration, self.kpoint_spacing)
            self.sampling.apply(calculator, grid)
        for output in self.outputs:
            output.clear(calculator)

    def objection(self, calculator: Calculator) -> str | None:
        """Return why what a calculator has returned must not be believed."""
        for output in self.outputs:
            if output.says_not_converged(calculator):
                return f"the SCF did not converge ({output.path(calculator)})"
        if says_not_converged(calculator):
            return NOT_CONVERGED
        return self.doubt(calculator)

    def last_words(self, calculator: Calculator) -> str:
        """Return what the files of a failed call say, empty when they do not."""
        words = (output.last_words(calculator) for output in self.outputs)
        return next(filter(None, words), "")

    def require_elements(self, numbers: frozenset[int]) -> None:
        """Raise when an atomic number has no parameters in this code.

        Raises
        ------
        InputError
            Names the elements and those that are possible.
        """
        if self.elements is None or numbers <= self.elements:
            return
        missing = ", ".join(
            chemical_symbols[z] for z in sorted(numbers - self.elements)
        )
        known = " ".join(chemical_symbols[z] for z in sorted(self.elements))
        raise InputError(
            f"calculator {self.name!r} has no parameters for {missing}; "
            f"it knows {known} (input file: [reference] calculator)"
        )

    def fingerprint(self, n_atoms: int | None = None) -> str:
        """Return a hash of everything that sets the energy scale.

        Labels of different fingerprints never share an energy scale. Paths, threads
        and mixing are left out.

        Parameters
        ----------
        n_atoms
            Part of the hash for codes without k points: their energy per atom depends
            on the size of the cell.
        """
        return hashlib.sha256(self._physics(n_atoms).encode()).hexdigest()[:16]

    def description(self, n_atoms: int | None = None) -> str:
        """Return what the fingerprint is a hash of, in one line of words."""
        return described(json.loads(self._physics(n_atoms)))

    def _physics(self, n_atoms: int | None) -> str:
        """Return everything that sets the energy scale as canonical JSON."""
        record: dict[str, object] = {
            "code": self.name,
            "version": self.version,
            "arguments": physics(self.arguments),
            "checksums": dict(self.checksums),
            "n_atoms": n_atoms if self.gamma_only else None,
        }
        if self.kpoint_spacing is not None:  # the density, whatever the grid
            record["kpoint_spacing"] = self.kpoint_spacing
        return json.dumps(record, sort_keys=True, separators=(",", ":"), default=plain)


def physics(arguments: Mapping[str, object]) -> dict[str, object]:
    """Return the arguments that move the numbers, at any depth of tables."""
    return {
        key: physics(value) if isinstance(value, dict) else value
        for key, value in arguments.items()
        if key.lower() not in NOT_PHYSICS
    }


def plain(value: object) -> object:
    """Return an array as a list, and an object by its type, for canonical JSON."""
    to_list = getattr(value, "tolist", None)
    if to_list is not None:
        return to_list()
    return f"{type(value).__module__}.{type(value).__qualname__}"


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); it is named in the input file "
            "under [reference.arguments]"
        ) from error
