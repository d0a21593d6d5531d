"""The reference of the input file, where several labels are computed at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from otf.calculators.caller import introduced
from otf.calculators.clusters import make_cluster
from otf.calculators.executor import Lane, ReferencePool, Remote, Repeating
from otf.calculators.reference import Reference
from otf.calculators.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from otf.calculators.code import Code
    from otf.calculators.executor import Interruptible
    from otf.calculators.worker import Order
    from otf.settings.system import Reference as ReferenceSection
    from otf.store.label_cache import LabelCache


def build_pool(
    section: ReferenceSection,
    code: Code,
    order: Order,
    *,
    cache: LabelCache | None,
    watch: Callable[[int, int], None] | None,
) -> ReferencePool:
    """Return as many references as the input file has workers.

    Parameters
    ----------
    order
        What every worker builds, each in a folder of its own below that of the order.
    cache
        Labels all runs share.
    watch
        Called with the labels that have arrived and those asked for.

    Raises
    ------
    InputError
        When the executor cannot be used, or the code does not tell its version.
    """
    cluster = None
    if section.executor is not None:
        cluster = make_cluster(
            section.executor, section.executor_arguments, size=section.workers
        )

    def caller(mine: Order) -> Interruptible:
        call, start = section.time_limit_s, section.start_limit_s
        if cluster is None:
            return Worker(mine, time_limit=call, start_limit=start)
        return Remote(cluster.executor, mine, time_limit=call, start_limit=start)

    def place(number: int) -> Path | None:
        return None if order.directory is None else order.directory / str(number)

    places = [place(number) for number in range(1, section.workers + 1)]
    callers = [Repeating(caller(replace(order, directory=one))) for one in places]
    try:
        code = introduced(code, callers[0])
    except BaseException:
        if cluster is not None:
            cluster.close()
        raise

    def lane(steady: Repeating, directory: Path | None) -> Lane:
        reference = Reference(code, caller=steady, retries=section.retries, cache=cache)
        return Lane(reference, steady, directory)

    return ReferencePool(
        code,
        [lane(*each) for each in zip(callers, places, strict=True)],
        watch=watch,
        release=None if cluster is None else cluster.close,
    )
