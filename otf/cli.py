"""The command line: finds the command, runs it, turns errors into one clear line."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from difflib import get_close_matches
from importlib.metadata import version
from keyword import iskeyword
from typing import TYPE_CHECKING, Final, NoReturn

from otf.errors import InputError, OTFError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

COMMANDS: Final = {
    "init": "write a commented input file for a structure",
    "check": "look at an input file and say what a run would do",
    "run": "run molecular dynamics that learns its force field",
    "resume": "go on with a run that was stopped",
    "sweep": "run one input at many temperatures, pressures, seeds and structures",
    "show": "print where a run stands, or what a model holds",
    "report": "write the HTML page of a run, or of a sweep",
    "data": "look at labelled structures before they are trusted",
    "import": "turn labelled structures of other programs into extended XYZ",
    "export": "write labelled structures for other programs",
    "export lammps": "write a model that LAMMPS runs, with an example of its input",
    "fit": "fit a model to labelled structures",
    "evaluate": "compare a model with labelled structures",
    "bench": "measure how fast a model is on this machine",
    "serve": "give forces to i-PI and other drivers of its protocol",
    "refit": "fit the labels of a run once more, for production",
    "distill": "fit a faster form of a model to the same labels",
    "select": "choose the structures worth a label",
    "validate": "measure errors of a model on structures it was not fitted to",
    "scan": "compare settings of the model by cross-validation",
    "coexistence": "find the melting temperature by two phases in one cell",
    "analyse": "measure structure, motion and phases of trajectories, with error bars",
}

USAGE_ERROR, FAILURE, INTERRUPTED = 2, 1, 130


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are errors of ours: one line, with the mend."""

    def error(self, message: str) -> NoReturn:
        msg = f"{message} (see {self.prog} --help)"
        raise InputError(msg)


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Return the parser; only the module of ``command`` is imported."""
    parser = _Parser(
        prog="otf-md",
        description="Molecular dynamics that learns its force field on the fly.",
    )
    parser.add_argument(
        "--version", action="version", version=f"otf-md {version('otf-md')}"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, line in COMMANDS.items():
        sentence = f"{line[0].upper()}{line[1:]}."
        subparser = commands.add_parser(name, help=line, description=sentence)
        if name == command:
            _module(name).configure(subparser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code.

    Parameters
    ----------
    arguments
        Without the program's name; those of the process when None.

    Returns
    -------
    int
        0 for success, 2 for a mistake in the input, 1 for anything else that went
        wrong, 130 after Ctrl-C.
    """
    logging.basicConfig(format="otf-md: %(levelname)s: %(message)s", style="%")
    logging.addLevelName(logging.WARNING, "warning")
    logging.addLevelName(logging.ERROR, "error")
    try:
        return _dispatch(sys.argv[1:] if arguments is None else list(arguments))
    except OTFError as error:
        _complain(str(error))
        return USAGE_ERROR if isinstance(error, InputError) else FAILURE
    except BrokenPipeError:
        # The reader of our output went away: nothing is wrong, and nothing must be
        # written to the closed pipe while Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        _complain(f"{error.strerror or error}{where}")
        return FAILURE
    except MemoryError:
        _complain("out of memory: see the forecast of otf-md check")
        return FAILURE
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED


def _dispatch(arguments: list[str]) -> int:
    arguments = _joined(arguments)
    command = next((word for word in arguments if not word.startswith("-")), None)
    if command is not None and command not in COMMANDS:
        alike = get_close_matches(command, COMMANDS, n=1)
        mend = f"did you mean {alike[0]}?" if alike else f"possible: {_LIST}"
        msg = f"there is no command {command}; {mend}"
        raise InputError(msg)
    parsed = build_parser(command).parse_args(arguments)
    code: int = _module(parsed.command).main(parsed)
    return code


def _joined(arguments: list[str]) -> list[str]:
    """Return the arguments with the two words of a command as one."""
    both = " ".join(arguments[:2])
    return [both, *arguments[2:]] if both in COMMANDS else arguments


def _module(command: str) -> ModuleType:
    """Return the module of a command; a word of Python's own gets a trailing _."""
    name = f"{command}_" if iskeyword(command) else command.replace(" ", "_")
    return importlib.import_module(f"otf.commands.{name}")


def _complain(text: str) -> None:
    for line in text.splitlines():
        print(f"otf-md: error: {line}", file=sys.stderr)


_LIST = ", ".join(COMMANDS)

if __name__ == "__main__":
    sys.exit(main())
