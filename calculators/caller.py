"""One call of a reference code: prepare, run, and ask the code whether it converged."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from otf.calculators.serving import Following, evaluate, one_line
from otf.errors import InputError

if TYPE_CHECKING:
    from otf.calculators.code import Calculator, Code
    from otf.configuration import Configuration

    Results = dict[str, object]

logger = logging.getLogger(__name__)


class CallFailed(Exception):  # noqa: N818 - caught by the reference, never seen
    """One call gave nothing that can be believed; the text says why, in one line."""


class WorkerLost(CallFailed):
    """The process of a call was ended by somebody else; nothing is wrong with it."""


class Caller(Protocol):
    """Runs a code, here or in a process of its own."""

    def start(self) -> None:
        """Build the calculator.

        Raises
        ------
        InputError
            When the code refuses its arguments.
        """
        ...

    def call(self, configuration: Configuration, attempt: int) -> Results:
        """Return what ASE calls results: energy, forces, perhaps stress.

        Parameters
        ----------
        configuration
            To be computed.
        attempt
            0 for the first; each further one is a rung of the code's ladder.

        Raises
        ------
        CallFailed
            When the code fails or has not converged; the next call starts anew.
        InputError
            When the code refuses its arguments.
        """
        ...

    def version(self) -> str:
        """Return the version of the code, where that runs.

        Raises
        ------
        CallFailed
            When the code does not tell it.
        InputError
            When the code refuses its arguments.
        """
        ...

    def close(self) -> None:
        """End the calculator and whatever process it holds."""
        ...


def introduced(code: Code, caller: Caller) -> Code:
    """Return a code with its version, also where only a run of the program tells it.

    Raises
    ------
    InputError
        When it does not.
    """
    if code.ask_version is None:
        return code
    try:
        return replace(code, version=caller.version())
    except CallFailed as error:
        caller.close()
        raise InputError(
            f"{code.name} does not tell its version: {error} (input file: "
            "[reference.arguments] command)"
        ) from error


class InProcess:
    """A calculator in this process."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self._calculator: Calculator = None
        self._rung = 0
        self._following = Following()

    def start(self) -> None:
        """Build the calculator (see the protocol)."""
        self._build(0)

    def call(self, configuration: Configuration, attempt: int) -> Results:
        """Run the code once and let it judge itself (see the protocol)."""
        if self._calculator is None or attempt != self._rung:
            self.close()
            self._build(attempt)
        try:
            return self._run(configuration)
        except CallFailed:
            self.close()
            raise
        except Exception as error:  # codes raise whatever they like
            reason = self._reason(error)
            self.close()
            raise CallFailed(reason) from error

    def version(self) -> str:
        """Return the version of the code (see the protocol)."""
        if self.code.ask_version is None:
            return self.code.version
        if self._calculator is None:
            self._build(0)
        return self.code.ask_version(self._calculator)

    def close(self) -> None:
        """End the calculator; a shell that has died cannot even say goodbye."""
        calculator, self._calculator = self._calculator, None
        close = getattr(calculator, "close", None)
        if close is None:
            return
        try:
            close()
        except Exception as error:
            logger.debug("closing %s: %s", self.code.name, one_line(error))

    def _build(self, attempt: int) -> None:
        self._calculator, self._rung = self.code.build(attempt), attempt
        self._following = Following()

    def _run(self, configuration: Configuration) -> Results:
        calculator = self._calculator
        self.code.make_ready(calculator, configuration)
        compute = self._following.evaluate if self.code.follows else evaluate
        results = compute(calculator, configuration.to_atoms())
        if (reason := self.code.objection(calculator)) is not None:
            raise CallFailed(reason)
        return results

    def _reason(self, error: Exception) -> str:
        """Return what is known of a failed call, in one line."""
        words = ""
        with contextlib.suppress(Exception):
            words = self.code.last_words(self._calculator)
        return f"{one_line(error)}: {words}" if words else one_line(error)
