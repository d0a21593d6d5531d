"""The last words of a run: verdict, numbers, report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otf.commands.run_page import write_run_page
from otf.store.run_reader import RunView
from otf.store.schema import RunFolder

if TYPE_CHECKING:
    from pathlib import Path

    from otf.stepping import Outcome

SIGNALLED = 128  # the shell's convention: 128 + number of the signal


def conclude(outcome: Outcome, path: Path) -> int:
    """Print how a run ended, write its report, and return the exit code."""
    folder = RunFolder(path)
    view = RunView.load(path)
    write_run_page(view, folder.report)
    if outcome.stopped is not None:
        return 0 if outcome.signal is None else SIGNALLED + outcome.signal
    if outcome.verdict is not None:
        word = "converged" if outcome.verdict.converged else "not converged"
        bypassed = 1.0 - outcome.n_calls / max(outcome.steps, 1)
        print(f"verdict    {word}: {outcome.verdict.reason}")
        print(
            f"calls      {outcome.n_calls} reference calls in {outcome.steps} steps, "
            f"{bypassed:.2%} bypassed"
        )
        print(f"model      {folder.model}")
    print(f"trajectory {folder.trajectory}")
    print(f"report     {folder.report}")
    return 0
