"""A reference code in a process of its own, with a limit on the time of a call.

A code that crashes or hangs in another process takes nothing with it: that process and
all it started are ended, and the next call starts a new one. The process stays between
calls, so that imports and shells are paid for once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import psutil

from otf.calculators import serving
from otf.calculators.caller import CallFailed, InProcess, WorkerLost
from otf.calculators.registry import make_calculator
from otf.configuration import Configuration
from otf.errors import InputError, OTFError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otf.calculators.caller import Results
    from otf.calculators.serving import Answer

PATIENCE = 5.0  # seconds a process is given to end itself
# Seconds a process is given to be ready: a busy file system makes a start of minutes
# of one of a second.
START = 300.0
LAST_LINES, LAST_LENGTH = 3, 300  # of what a process that is gone has printed
FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM)  # no code ends itself like this


@dataclass(frozen=True)
class Order:
    """What a worker is to build: plain data, because it travels.

    Attributes
    ----------
    calculator : name of the input file
    arguments : keyword arguments
    directory : where the code works, and the worker writes what its process prints
    ladder : changes of arguments for the first, second, ... retry; empty for the
        code's own
    python : interpreter of another environment that has ASE and the calculator, which
        is then named as "module:Class"; None for ours
    kpoint_spacing : 1/angstrom; None where the arguments set the k points
    restart : whether a call starts from electrons that lie in the directory, or that
        the calculator has kept from the call before
    """

    calculator: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    directory: Path | None = None
    ladder: tuple[Mapping[str, object], ...] = ()
    python: str | None = None
    kpoint_spacing: float | None = None
    restart: bool = False


@dataclass(frozen=True)
class _Limit:
    """How long an answer may take, None for ever, and the key that says so."""

    key: str
    seconds: float | None


class Worker:
    """A calculator in a process of its own (see the protocol ``Caller``).

    Parameters
    ----------
    order
        What it builds.
    time_limit
        Seconds a call may take; None for no limit.
    start_limit
        Seconds the process may take to be ready: imports, and the calculator built.

    Attributes
    ----------
    n_started : processes so far
    """

    def __init__(
        self,
        order: Order,
        *,
        time_limit: float | None = None,
        start_limit: float = START,
    ) -> None:
        self.order = order
        self.time_limit = time_limit
        self.start_limit = start_limit
        self.n_started = 0
        self._printed: BinaryIO | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def start(self) -> None:
        """Start the process and let it build the calculator.

        Raises
        ------
        InputError
            When the code refuses its arguments, or the interpreter cannot be run.
        CallFailed
            When the process dies before it is ready, or is not ready in time.
        """
        if self._process is not None:
            return
        near, far = socket.socketpair()
        self._printed = log = self._log()
        with far:
            try:
                self._process = subprocess.Popen(
                    [*self._command(), str(far.fileno())],
                    pass_fds=[far.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                near.close()
                self.close()
                raise InputError(
                    f"{self.order.python!r} cannot be run: {error.strerror} "
                    "(input file: [reference] python)"
                ) from error
        self.n_started += 1
        self._connection = Connection(near.detach())
        try:
            self._ask(self._plain_order(), _Limit("start_limit_s", self.start_limit))
        except CallFailed:
            self.close()
            raise

    def call(self, configuration: Configuration, attempt: int) -> Results:
        """Return the results of one call (see the protocol)."""
        self.start()
        try:
            return self._ask(
                (attempt, structure_of(configuration)),
                _Limit("time_limit_s", self.time_limit),
            )
        except CallFailed:
            self.close()
            raise

    def version(self) -> str:
        """Return the version of the code, asked in the process (see the protocol)."""
        self.start()
        try:
            answer = self._ask((0, None), _Limit("time_limit_s", self.time_limit))
        except CallFailed:
            self.close()
            raise
        return str(answer["version"])

    def close(self) -> None:
        """Ask the process to end, and end it with all it started if it does not."""
        process, self._process = self._process, None
        connection, self._connection = self._connection, None
        printed, self._printed = self._printed, None
        if printed is not None:
            printed.close()
        if process is None or connection is None:
            return
        with contextlib.suppress(OSError):
            connection.send(None)
        connection.close()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            end_tree(process)

    def interrupt(self) -> None:
        """End the process, from any thread; a call that waits for it fails."""
        process = self._process
        if process is not None and process.poll() is None:
            end_tree(process)

    def _ask(self, request: object, limit: _Limit) -> Results:
        """Send a request and wait for its answer."""
        process, connection = self._process, self._connection
        assert process is not None  # it was started
        assert connection is not None  # likewise
        try:
            connection.send(request)
            if not connection.poll(limit.seconds):
                end_tree(process)
                raise CallFailed(
                    f"no answer within {limit.seconds:g} s (input file: [reference] "
                    f"{limit.key}); the code and all it had started were ended"
                    f"{self._last_words()}"
                )
            word, content = connection.recv()
        except (EOFError, OSError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            end_tree(process)  # it may hang without listening, or leave children
            lost = process.returncode in FROM_OUTSIDE
            raise (WorkerLost if lost else CallFailed)(
                self._obituary(process)
            ) from error
        if word == "refused":
            self.close()
            raise InputError(str(content))
        if word == "failed":
            raise CallFailed(str(content))
        return content if isinstance(content, dict) else {}

    def _command(self) -> list[str]:
        if self.order.python is None:
            return [sys.executable, "-m", "otf.calculators.worker"]
        # As text: the folder of the file would come first on the path of modules, and
        # ours have the names of codes.
        return [self.order.python, "-c", Path(serving.__file__).read_text()]

    def _plain_order(self) -> dict[str, object]:
        order = self.order
        return {
            "path": list(sys.path),
            "calculator": order.calculator,
            "arguments": dict(order.arguments),
            "directory": None if order.directory is None else str(order.directory),
            "ladder": [dict(step) for step in order.ladder],
            "kpoint_spacing": order.kpoint_spacing,
            "restart": order.restart,
        }

    def _log(self) -> BinaryIO:
        """Return where the process prints to."""
        if self.order.directory is None:
            return tempfile.TemporaryFile()
        self.order.directory.mkdir(parents=True, exist_ok=True)
        return (self.order.directory / "worker.log").open("w+b")

    def _obituary(self, process: subprocess.Popen[bytes]) -> str:
        """Return how the process ended and what it printed last."""
        code = process.returncode
        how = f"exit code {code}"
        if code is not None and code < 0:
            how = signal.Signals(-code).name
        return f"its process died ({how}){self._last_words()}"

    def _last_words(self) -> str:
        """Return the last lines a process that has ended printed, in one."""
        if self._printed is None:
            return ""
        self._printed.seek(0)
        return last_words(self._printed.read())


def last_words(printed: bytes) -> str:
    """Return the last lines of what a process printed, in one; empty without any."""
    text = printed.decode(errors="replace")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    told = " | ".join([line for line in lines if line][-LAST_LINES:])
    return f": {told[-LAST_LENGTH:]}" if told else ""


def structure_of(configuration: Configuration) -> dict[str, object]:
    """Return the keyword arguments of an ASE Atoms object, plain."""
    names = {"initial_charges": "charges", "magnetic_moments": "magmoms"}
    return {
        names.get(key, key): array.tolist()
        for key, array in configuration.to_arrays().items()
    }


def end_tree(process: subprocess.Popen[bytes]) -> None:
    """End a process and all it has started, whatever groups they made."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()
    psutil.wait_procs(family, timeout=PATIENCE)


def main() -> None:
    """Serve a calculator of the registry."""
    connection = serving.connected()
    order = connection.recv()
    sys.path[:] = order["path"]
    directory = order["directory"]
    try:
        code = make_calculator(
            order["calculator"],
            order["arguments"],
            directory=None if directory is None else Path(directory),
            ladder=order["ladder"],
            kpoint_spacing=order["kpoint_spacing"],
            restart=order["restart"],
        )
        caller = InProcess(code)
        caller.start()
    except OTFError as error:
        connection.send(("refused", str(error)))
        return
    connection.send(("ready", None))

    def answer(attempt: int, structure: dict[str, object] | None) -> Answer:
        try:
            if structure is None:
                return "results", {"version": caller.version()}
            configuration = Configuration.from_atoms(serving.to_atoms(structure))
            results = caller.call(configuration, attempt)
        except CallFailed as error:
            return "failed", str(error)
        except InputError as error:
            return "refused", str(error)
        return "results", serving.plain(results)

    serving.serve(connection, answer)
    caller.close()


if __name__ == "__main__":
    main()
