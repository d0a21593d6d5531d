"""Executors by name: where labels are computed that this machine does not compute.

Both packages are optional and imported only when they are named.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from otf.calculators.serving import one_line
from otf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor

_WHERE = "(input file: [reference] executor_arguments)"


@dataclass(frozen=True, eq=False)
class Cluster:
    """An executor, and what ends it with all that belongs to it."""

    executor: Executor
    close: Callable[[], None]


def make_cluster(name: str, arguments: Mapping[str, object], *, size: int) -> Cluster:
    """Return an executor of the input file.

    Parameters
    ----------
    name
        One of ``CLUSTERS``.
    arguments
        Of the package, as the documentation of each function below says.
    size
        Functions at a time, where the arguments do not say it.

    Raises
    ------
    InputError
        When the package is not installed or refuses the arguments.
    """
    try:
        return CLUSTERS[name](dict(arguments), size)
    except ModuleNotFoundError as error:
        package = (error.name or name).partition(".")[0]
        raise InputError(
            f"executor {name!r} needs the package {package!r}, which is not installed "
            f"here: pip install {package} (input file: [reference] executor)"
        ) from error
    except InputError:
        raise
    except Exception as error:  # packages raise whatever they like
        raise InputError(
            f"executor {name!r} cannot be used: {one_line(error)} {_WHERE}"
        ) from error


def executorlib(arguments: dict[str, object], size: int) -> Cluster:
    """Return an executor of executorlib: this machine, Slurm or Flux.

    ``class`` is SingleNodeExecutor (where nothing is given), SlurmClusterExecutor,
    SlurmJobExecutor, FluxClusterExecutor or FluxJobExecutor; all else is handed over.
    """
    module = import_module("executorlib")
    kind = arguments.pop("class", "SingleNodeExecutor")
    known = [one for one in module.__all__ if one.endswith("Executor")]
    known.remove("BaseExecutor")
    if kind not in known:
        raise InputError(
            f"executorlib has no class {kind!r}; possible: {', '.join(known)} {_WHERE}"
        )
    if not {"max_workers", "max_cores"} & arguments.keys():
        arguments["max_workers"] = size
    executor = getattr(module, str(kind))(**arguments)
    return Cluster(executor, lambda: executor.shutdown(wait=False, cancel_futures=True))


def dask(arguments: dict[str, object], size: int) -> Cluster:
    """Return an executor of a Dask cluster.

    ``cluster`` is the class of a cluster to start, such as
    "dask_jobqueue:SLURMCluster", with ``cluster_arguments``; all else is handed to
    ``distributed.Client``, such as ``address`` or ``scheduler_file`` of a cluster that
    runs. Without any of these the workers are processes of this machine.
    """
    client_class = import_module("distributed").Client
    name = arguments.pop("cluster", None)
    given = arguments.pop("cluster_arguments", {})
    cluster = None
    if name is not None:
        module, _, attribute = str(name).partition(":")
        cluster = getattr(import_module(module), attribute)(**_table(given))
        cluster.scale(size)
        arguments["address"] = cluster
    elif not {"address", "scheduler_file"} & arguments.keys():
        here = {"n_workers": size, "threads_per_worker": 1, "dashboard_address": None}
        arguments = {**here, **arguments}
    client = client_class(**arguments)

    def close() -> None:
        client.close()
        if cluster is not None:
            cluster.close()

    # One and the same function asked twice is to be computed twice.
    return Cluster(client.get_executor(pure=False), close)


def _table(given: object) -> dict[str, object]:
    if not isinstance(given, dict):
        raise InputError(f"cluster_arguments must be a table, got {given!r} {_WHERE}")
    return given


CLUSTERS: Mapping[str, Callable[[dict[str, object], int], Cluster]] = {
    "executorlib": executorlib,
    "dask": dask,
}
