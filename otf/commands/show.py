"""otf-md show: where a run stands, or what a model file holds."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from otf.commands.model_card import (
    card_of,
    lines_of,
    lines_of_checks,
    record_of_checks,
)
from otf.commands.stages import Stages
from otf.deploy.proof import prove_everywhere
from otf.deploy.saved_model import model_of
from otf.errors import InputError, StoreError
from otf.report.account import account_of, duration
from otf.settings import parse_settings
from otf.store.model_file import read_model
from otf.store.run_reader import RunView
from otf.store.schema import RunFolder

if TYPE_CHECKING:
    import argparse

    from otf.deploy.proof import Check
    from otf.settings import Settings

SECONDS_PER_DAY = 86_400.0
FS_PER_NS = 1e6
# The run loop counts its wall clock here, over all resumes.
WALL_CLOCK = "wall_s"


@dataclass(frozen=True)
class Standing:
    """Where a run stands.

    Attributes
    ----------
    status : running, stopped or finished, with the verdict of a finished run
    steps, planned_steps : made, and asked for
    time_fs : simulated
    stage : number of the present one, and of all
    temperature_K : at the last printed step; NaN before
    reference_calls : labels paid for, audits included
    cached_labels : labels that the cache of all runs had
    doubted_labels : labels that were computed once more before they were believed
    bypassed_fraction : of the steps, those that needed no reference
    reference_seconds : wall clock of all labels
    error_eV_per_A, threshold_eV_per_A : e and t
    max_spilling : of the last printed step
    n_local_references : of all elements
    n_failures : structures the reference gave no labels for
    n_rollbacks : returns to an earlier step
    audit_force_rmse_eV_per_A : over all audits; None without
    seconds_per_step : wall clock, labels included; None before the first checkpoint
    ns_per_day : None as above
    remaining_s : forecast; None as above
    """

    status: str
    steps: int
    planned_steps: int
    time_fs: float
    stage: str
    temperature_K: float  # noqa: N815 - the unit in the name of a key
    reference_calls: int
    cached_labels: int
    doubted_labels: int
    bypassed_fraction: float
    reference_seconds: float
    error_eV_per_A: float  # noqa: N815
    threshold_eV_per_A: float  # noqa: N815
    max_spilling: float
    n_local_references: int
    n_failures: int
    n_rollbacks: int
    audit_force_rmse_eV_per_A: float | None  # noqa: N815
    seconds_per_step: float | None
    ns_per_day: float | None
    remaining_s: float | None


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("path", type=Path, help="folder of a run, or a model file")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="let a model prove itself on every backend of this machine",
    )


def main(arguments: argparse.Namespace) -> int:
    """Print where the run stands, or what the model was made from.

    Raises
    ------
    InputError
        When there is nothing at the path, or a run is to be verified.
    StoreError
        When a file cannot be read, or a backend does not give the proof again.
    """
    path: Path = arguments.path
    if not path.exists():
        msg = f"there is no run or model {path}"
        raise InputError(msg)
    if not path.is_dir():
        return _show_model(path, verify=arguments.verify, as_json=arguments.json)
    if arguments.verify:
        msg = f"{path} is a run: give --verify its model, {RunFolder(path).model}"
        raise InputError(msg)
    standing = standing_of(RunView.load(path))
    if arguments.json:
        print(json.dumps(_without_nan(asdict(standing)), indent=2))
    else:
        print(in_words(standing))
    return 0


def _show_model(path: Path, *, verify: bool, as_json: bool) -> int:
    file = read_model(path)
    card = card_of(file)
    checks: list[Check] = []
    if verify:
        stages = Stages()
        model = model_of(file, path)
        checks = prove_everywhere(model, file.proof, progress=stages)
        stages.close()
    if as_json:
        if verify:
            card["backends"] = record_of_checks(checks)
        print(json.dumps(_without_nan(card), indent=2))
    else:
        print("\n".join([*lines_of(card), *lines_of_checks(checks)]))
    refusals = [f"{path}: {check.refusal}" for check in checks if check.refusal]
    if refusals:
        raise StoreError("\n".join(refusals))
    return 0


def standing_of(view: RunView) -> Standing:
    """Return where a run stands, from its files alone."""
    settings = parse_settings(
        view.start.input_text, name="input.toml", folder=view.folder.path.parent
    )
    account = account_of(view)
    step, planned = view.step, settings.dynamics.n_steps
    pace = _seconds_per_step(view)
    femtoseconds = settings.dynamics.timestep_fs
    return Standing(
        status=_status(view),
        steps=step,
        planned_steps=planned,
        time_fs=step * femtoseconds,
        stage=_stage(settings, step),
        temperature_K=_last(view, "temperature_K"),
        reference_calls=account.n_calls,
        cached_labels=account.n_cached,
        doubted_labels=account.n_doubted,
        bypassed_fraction=account.bypassed,
        reference_seconds=account.reference_seconds,
        error_eV_per_A=_last(view, "e_eV_per_A"),
        threshold_eV_per_A=_last(view, "threshold_eV_per_A"),
        max_spilling=_last(view, "max_spilling"),
        n_local_references=view.retrains[-1].n_references if view.retrains else 0,
        n_failures=len(view.failures),
        n_rollbacks=len(view.rollbacks),
        audit_force_rmse_eV_per_A=_audit_rmse(view),
        seconds_per_step=pace,
        ns_per_day=SECONDS_PER_DAY / pace * femtoseconds / FS_PER_NS if pace else None,
        remaining_s=pace * (planned - step) if pace else None,
    )


def in_words(standing: Standing) -> str:
    """Return the standing as lines for people."""
    done = standing.steps / max(standing.planned_steps, 1)
    lines = {
        "status": standing.status,
        "step": f"{standing.steps} of {standing.planned_steps} ({done:.0%}), "
        f"{standing.time_fs / 1000.0:g} ps, stage {standing.stage}",
    }
    # What walkers share moves nowhere, and a run that just began has not either.
    moves = math.isfinite(standing.temperature_K)
    if moves:
        lines["temperature"] = f"{standing.temperature_K:.0f} K"
    lines["reference calls"] = (
        f"{standing.reference_calls}, {standing.bypassed_fraction:.2%} of the steps "
        f"bypassed them, {duration(standing.reference_seconds)}"
    )
    if moves:
        lines["error e"] = (
            f"{standing.error_eV_per_A:.3f} eV/A, threshold "
            f"{standing.threshold_eV_per_A:.3f} eV/A, spilling "
            f"{standing.max_spilling:.1e}"
        )
    lines["local references"] = str(standing.n_local_references)
    if standing.cached_labels:
        lines["from the cache"] = f"{standing.cached_labels} labels"
    if standing.doubted_labels:
        lines["computed twice"] = (
            f"{standing.doubted_labels} labels, far from what the model expected"
        )
    if standing.audit_force_rmse_eV_per_A is not None:
        lines["audits"] = f"force RMSE {standing.audit_force_rmse_eV_per_A:.3f} eV/A"
    if standing.n_failures:
        lines["without labels"] = f"{standing.n_failures} structures, in quarantine/"
    if standing.n_rollbacks:
        lines["roll-backs"] = str(standing.n_rollbacks)
    if standing.seconds_per_step and standing.ns_per_day:
        lines["speed"] = (
            f"{duration(standing.seconds_per_step)} a step, "
            f"{standing.ns_per_day:.3g} ns a day"
        )
    if standing.remaining_s and standing.status == "running":
        lines["time left"] = f"about {duration(standing.remaining_s)}"
    return "\n".join(f"{name:<17} {text}" for name, text in lines.items())


def _status(view: RunView) -> str:
    if view.running:
        return "running"
    if view.finish is None:
        return f"stopped: go on with otf-md resume {view.folder.path}"
    verdict = {True: "converged", False: "not converged", None: "not learning"}
    return f"finished, {verdict[view.finish.converged]}: {view.finish.reason}"


def _stage(settings: Settings, step: int) -> str:
    stages, ends = settings.dynamics.stages, 0
    for number, stage in enumerate(stages, start=1):
        ends += stage.steps
        if step < ends:
            return f"{number} of {len(stages)}"
    return f"{len(stages)} of {len(stages)}"


def _seconds_per_step(view: RunView) -> float | None:
    if view.checkpoint is None or view.checkpoint.state.step == 0:
        return None
    wall = view.checkpoint.counters.get(WALL_CLOCK)
    if not isinstance(wall, int | float):
        return None
    return float(wall) / view.checkpoint.state.step


def _last(view: RunView, column: str) -> float:
    values = view.thermo[column]
    return float(values[-1]) if len(values) else math.nan


def _audit_rmse(view: RunView) -> float | None:
    if not view.audits:
        return None
    squares = [audit.force_rmse**2 for audit in view.audits]
    return math.sqrt(math.fsum(squares) / len(squares))


def _without_nan(data: object) -> object:
    """Replace what JSON cannot hold."""
    if isinstance(data, dict):
        return {key: _without_nan(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_without_nan(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data
