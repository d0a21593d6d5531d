"""The far end of a worker: calculations on request, one after the other.

It runs in a process of its own: of our environment, or of another Python that has ASE
and a calculator but not this package. So it imports nothing of ours, and what travels
is plain: numbers and lists, exact to the bit.

Messages
--------
The first request says what to build, every other is a pair (attempt, structure); None
ends the process. An answer is a pair of a word and what belongs to it: ("ready", None),
("results", results), ("failed", reason) for a call that may be repeated, ("refused",
reason) for arguments that are wrong.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from importlib import import_module
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from ase import Atoms
from ase.calculators.calculator import all_changes, compare_atoms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Answer = tuple[str, object]

PROPERTIES = ("energy", "free_energy", "forces", "stress")
NOT_CONVERGED = "the code says that its SCF did not converge"
_HEARTBEAT = 2.0  # seconds between two looks at whether anybody still listens


def evaluate(
    calculator: Any, atoms: Atoms, changes: Sequence[str] = tuple(all_changes)
) -> dict[str, object]:
    """Return the results of one calculation.

    All properties are asked for at once, because some codes would run a second time
    for each.

    Parameters
    ----------
    calculator
        Of ASE.
    atoms
        The structure.
    changes
        What is said to be other than in the call before. Where that is everything, no
        calculator starts from the state of that call.
    """
    stress = "stress" in calculator.implemented_properties and atoms.cell.rank == 3
    wanted = ["energy", "forces", *(["stress"] if stress else [])]
    if hasattr(calculator, "calculate") and hasattr(calculator, "results"):
        calculator.results = {}
        calculator.calculate(atoms, wanted, list(changes))
        return dict(calculator.results)
    return {name: calculator.get_property(name, atoms) for name in wanted}


class Following:
    """Calls of one calculator that start from the electrons of the call before.

    Only where atoms and cell are the same, and the call before came to its end. A call
    that fails on the way from there is made from atoms: the electrons may be at fault.
    """

    def __init__(self) -> None:
        self._before: Atoms | None = None

    def evaluate(self, calculator: Any, atoms: Atoms) -> dict[str, object]:
        """Return the results of one calculation (see the function)."""
        before, self._before = self._before, None
        results = None
        if before is not None and only_positions_differ(before, atoms):
            try:
                results = evaluate(calculator, atoms, ["positions"])
            except Exception:  # codes raise whatever they like
                results = None
            if says_not_converged(calculator):
                results = None
        if results is None:
            results = evaluate(calculator, atoms)
        self._before = atoms
        return results


def only_positions_differ(one: Atoms, other: Atoms) -> bool:
    """Return whether electrons of one structure fit the other."""
    differing = set(compare_atoms(one, other, tol=0.0))
    return differing <= {"positions"} and one.info == other.info


def says_not_converged(calculator: Any) -> bool:
    """Return whether a calculator itself says that its SCF did not converge."""
    cycle = getattr(calculator, "scf", calculator)
    return getattr(cycle, "converged", None) is False


def plain(results: dict[str, object]) -> dict[str, object]:
    """Return what labels are made of, arrays as lists."""
    out = {}
    for name in PROPERTIES:
        value = results.get(name)
        if value is not None:
            to_list = getattr(value, "tolist", None)
            out[name] = value if to_list is None else to_list()
    return out


def merged(arguments: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return arguments with changes; tables are merged, anything else is replaced."""
    out = dict(arguments)
    for key, value in changes.items():
        old = out.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = merged(old, value)
        out[key] = value
    return out


def to_atoms(structure: dict[str, Any]) -> Atoms:
    """Return the structure of a request."""
    fields = dict(structure)
    info = {k: fields.pop(k) for k in ("charge", "spin") if k in fields}
    atoms = Atoms(**fields)
    atoms.info.update(info)
    return atoms


def one_line(error: BaseException, *, limit: int = 200) -> str:
    """Return class and message of an exception; of a long message its tail."""
    text = " ".join(str(error).split())
    if len(text) > limit:
        text = "..." + text[-limit:]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def serve(connection: Connection, answer: Callable[[int, Any], Answer]) -> None:
    """Answer requests until there are no more."""
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        if request is None:
            return
        connection.send(answer(*request))


def connected() -> Connection:
    """Return the connection to the parent, whose number is the last argument.

    Once the parent is gone, this process and its children are ended.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_HEARTBEAT)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    return Connection(int(sys.argv[-1]))


def main() -> None:
    """Serve any calculator class, named as ``module:Class``, of this Python."""
    connection = connected()
    order = connection.recv()
    named, given = order["calculator"], order["arguments"]
    steps = [given, *(merged(given, change) for change in order["ladder"])]
    try:
        module, _, name = named.partition(":")
        construct = getattr(import_module(module), name)
        calculator = construct(**steps[0])
    except Exception as error:  # packages and codes raise whatever they like
        reason = (
            f"calculator {named!r} cannot be built by {sys.executable}: "
            f"{one_line(error)} (input file: [reference])"
        )
        connection.send(("refused", reason))
        return
    connection.send(("ready", None))
    rung, following = 0, Following()

    def answer(attempt: int, structure: dict[str, Any]) -> Answer:
        nonlocal calculator, rung, following
        try:
            if attempt != rung:
                rung, following = attempt, Following()
                calculator = construct(**steps[min(rung, len(steps) - 1)])
            compute = following.evaluate if order["restart"] else evaluate
            results = compute(calculator, to_atoms(structure))
            if says_not_converged(calculator):
                return "failed", NOT_CONVERGED
            return "results", plain(results)
        except Exception as error:
            return "failed", one_line(error)

    serve(connection, answer)


if __name__ == "__main__":
    main()
