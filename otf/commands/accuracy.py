"""Errors of a model on labelled structures, for people and for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from otf.analysis.errors import ErrorReport, error_report
from otf.commands.cost import peak_memory, seconds
from otf.threads import in_order, one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from otf.commands.dataset import Dataset
    from otf.configuration import Configuration
    from otf.potential import Prediction

    Predict = Callable[[Configuration], Prediction]
    Progress = Callable[[str, int, int], None]

ALL = "all"
HEAD = (
    f"{'':<16}{'':>10}  {'energy, meV/atom':>27}  {'force, eV/A':>16}  "
    f"{'stress, GPa':>14}\n"
    f"{'':<16}{'structures':>10}  {'mean':>9}{'MAE':>9}{'RMSE':>9}  "
    f"{'MAE':>8}{'RMSE':>8}  "
    f"{'MAE':>7}{'RMSE':>7}"
)


@dataclass(frozen=True)
class Accuracy:
    """Errors on a data set.

    Attributes
    ----------
    total : over all structures
    groups : of each ``config_type``; empty where there are fewer than two
    n_local_references : of the model
    """

    total: ErrorReport
    groups: dict[str, ErrorReport]
    n_local_references: int


def accuracy_of(
    predict: Predict,
    data: Dataset,
    *,
    n_local_references: int,
    progress: Progress,
) -> Accuracy:
    """Predict every structure and compare with its labels."""
    predictions: list[Prediction] = []
    with one_blas_thread():  # structures share the cores, not their products
        for prediction in in_order(predict, data.configurations):
            progress("predict", len(predictions), len(data.frames))
            predictions.append(prediction)
    return Accuracy(
        total=_report(predictions, data, range(len(predictions))),
        groups={
            name: _report(predictions, data, members)
            for name, members in members_of(data.groups).items()
        },
        n_local_references=n_local_references,
    )


def print_accuracy(
    accuracy: Accuracy, *, as_json: bool, more: Mapping[str, object] | None = None
) -> None:
    """Print errors and cost on standard output; ``more`` is for programs alone."""
    print(to_json(accuracy, more or {}) if as_json else "\n".join(table(accuracy)))


def to_json(accuracy: Accuracy, more: Mapping[str, object]) -> str:
    """Return errors, size and cost as JSON; a kind without labels is null."""
    data: dict[str, object] = asdict(accuracy.total)
    data["n_local_references"] = accuracy.n_local_references
    data["seconds"] = round(seconds(), 3)
    data["peak_memory_MB"] = round(peak_memory() / 1e6, 1)
    if accuracy.groups:
        data["groups"] = {name: asdict(part) for name, part in accuracy.groups.items()}
    return json.dumps(data | dict(more), indent=2)


def table(accuracy: Accuracy) -> Iterator[str]:
    """Yield the lines people read."""
    yield HEAD
    for name, part in accuracy.groups.items():
        yield error_line(name or "no config_type", part)
    yield error_line(ALL, accuracy.total)
    yield (
        f"{accuracy.n_local_references} local references, {seconds():.1f} s, at most "
        f"{peak_memory() / 1e6:.0f} MB of memory"
    )


def error_line(name: str, report: ErrorReport) -> str:
    """Return a line below ``HEAD``."""
    numbers = (
        (report.energy_mean_meV_per_atom, 9, 2),
        (report.energy_mae_meV_per_atom, 9, 2),
        (report.energy_rmse_meV_per_atom, 9, 2),
        (report.force_mae_eV_per_A, 10, 4),
        (report.force_rmse_eV_per_A, 8, 4),
        (report.stress_mae_GPa, 9, 3),
        (report.stress_rmse_GPa, 7, 3),
    )
    cells = [
        f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"
        for value, width, digits in numbers
    ]
    return f"{name[:16]:<16}{report.n_frames:>10}  {''.join(cells)}"


def _report(
    predictions: Sequence[Prediction], data: Dataset, members: Sequence[int]
) -> ErrorReport:
    return error_report(
        [predictions[k] for k in members], [data.frames[k][1] for k in members]
    )


def members_of(groups: Sequence[str]) -> dict[str, list[int]]:
    """Return the structures of every group; none where there is but one group."""
    out: dict[str, list[int]] = {}
    for k, name in enumerate(groups):
        out.setdefault(name, []).append(k)
    return out if len(out) > 1 else {}
