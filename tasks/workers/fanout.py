"""Runs a task for each of many items, on this machine or on a cluster, whoever dies meanwhile."""

import logging
from asyncio import CancelledError as TaskCancelledError
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError
from typing import Any, TypeVar, cast

from prefect import Task, unmapped
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from fgds_core.errors import InputError
from tasks.identity.cache import CACHED, Outputs, holds
from tasks.workers.config import ComputeConfig, DaskConfig
from tasks.workers.devices import needs_processes, num_workers
from tasks.workers.pool import ProcessRunner

log = logging.getLogger(__name__)

Result = TypeVar("Result")

Finished = Callable[[Any, object, bool], object]
"""Told of each item: (the item, its outputs or the error, whether the cache answered)."""

MAX_FRUITLESS = 3
"""How often all workers may die without one part finished before what they had is given up."""


CONNECT_TIMEOUT_S = 30
"""How long a Dask scheduler may take to answer."""


class WorkerLost(Exception):
    """The worker died before its part was finished."""


def make_runner(compute: ComputeConfig) -> TaskRunner[Any]:
    """The runner that `compute` names: threads, processes, or the workers of a Dask cluster.

    Raises:
        InputError: The cluster's class is not there.
    """
    if compute.runner == "dask" and compute.dask is not None:
        return _dask_runner(compute.dask)
    if needs_processes(compute):
        return ProcessRunner(max_workers=num_workers(compute))
    return ThreadPoolTaskRunner(max_workers=num_workers(compute))


def runs_here(compute: ComputeConfig) -> bool:
    """Whether the tasks run in the flow's own process, and show their progress themselves."""
    return compute.runner == "local" and not needs_processes(compute)


def num_at_once(compute: ComputeConfig) -> int:
    """How many parts are drawn at a time; 1 where nobody knows, as of a cluster that grows."""
    if compute.runner == "local" or compute.dask is None:
        return num_workers(compute)
    workers = compute.dask.cluster_kwargs.get("n_workers")
    is_ours = compute.dask.address is None and compute.dask.adapt is None
    return workers if is_ours and isinstance(workers, int) and workers > 0 else 1


def _dask_runner(dask: DaskConfig) -> TaskRunner[Any]:
    from prefect_dask.task_runners import DaskTaskRunner

    if dask.address is not None:
        _check_scheduler(dask.address)
        return DaskTaskRunner(address=dask.address)
    try:
        return DaskTaskRunner(
            cluster_class=dask.cluster_class,
            cluster_kwargs=_on_this_machine(dask),
            adapt_kwargs=dict(dask.adapt or {}),
        )
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"compute.dask.cluster_class: there is no {dask.cluster_class} here ({error}); install"
            " its package, or name another class"
        ) from error


def _on_this_machine(dask: DaskConfig) -> dict[str, Any]:
    """The cluster's arguments; its dashboard listens on loopback unless they say otherwise.

    A dashboard asks nobody for a password, and Dask's own default is every address there is.
    """
    loopback = {"dashboard_address": "127.0.0.1:0"}
    if dask.cluster_class == "dask.distributed.LocalCluster":
        return loopback | {"worker_dashboard_address": "127.0.0.1:0"} | dask.cluster_kwargs
    if dask.cluster_class == "dask_cuda.LocalCUDACluster":
        return loopback | dask.cluster_kwargs
    if dask.cluster_class.startswith("dask_jobqueue."):  # jobs have to reach its scheduler
        options = loopback | dict(dask.cluster_kwargs.get("scheduler_options") or {})
        return dask.cluster_kwargs | {"scheduler_options": options}
    return dict(dask.cluster_kwargs)


def _check_scheduler(address: str) -> None:
    from distributed import Client

    try:
        Client(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False).close()
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        raise InputError(
            f"compute.dask.address: no Dask scheduler answers at {address} ({error}); start one"
            " with `dask scheduler`, correct the address, or set it to null"
        ) from error


def run_each(
    task: Task[..., Result],
    over: Mapping[str, Sequence[Any]],
    make_runner: Callable[[], TaskRunner[Any]],
    finished: Finished = lambda item, outcome, remembered: None,
    **shared: object,
) -> list[Result | Exception]:
    """Runs a task for each of many items, or takes the remembered outputs where they hold.

    What a dead worker had is given to new ones, as long as parts get finished.

    Args:
        task: From `stage_task`.
        over: The arguments that have a value for each item, in the order in which they are
            started; the first of them are the items.
        make_runner: Makes what runs as many at a time as it has workers.
        finished: Called as each item ends.
        shared: The other arguments.

    Returns:
        For each item its outputs, or the error it failed with; one failure stops no other item.
    """
    constant = {name: unmapped(value) for name, value in shared.items()}
    items = next(iter(over.values()))
    results: dict[int, Result | Exception] = {}

    def round_of(task: Task[..., Result], places: Sequence[int]) -> tuple[list[int], list[int]]:
        """Runs the items at some places: those whose remembered bytes are gone, and the lost."""
        stale, lost = [], []
        with make_runner() as runner:
            futures = runner.map(
                cast("Task[..., Any]", task),  # may be a coroutine's, by Prefect's types
                {name: [values[place] for place in places] for name, values in over.items()}
                | constant,
            )
            place_of = dict(zip(futures, places, strict=True))
            for future in as_completed(list(futures)):
                place = place_of[future]
                outcome = results[place] = _outcome(future)
                if isinstance(outcome, WorkerLost):
                    lost.append(place)
                elif isinstance(outcome, Exception):
                    finished(items[place], outcome, False)
                elif not isinstance(outcome, Outputs) or holds(future.state, outcome):
                    finished(items[place], outcome, future.state.name == CACHED)
                else:
                    stale.append(place)
        return stale, lost

    stale, lost = round_of(task, range(len(items)))
    again = task.with_options(refresh_cache=True)
    if stale:
        lost += round_of(again, stale)[1]
    fruitless = 0
    while lost and fruitless < MAX_FRUITLESS:
        log.warning("workers died; %d parts are given to new ones", len(lost))
        others_first = lost[len(lost) // 2 :] + lost[: len(lost) // 2]  # one of them may kill
        try:
            lost = round_of(again, others_first)[1]
        except InputError as error:  # the cluster itself is gone
            results |= dict.fromkeys(lost, error)
            break
        fruitless = fruitless + 1 if len(lost) == len(others_first) else 0
    for place in lost:
        finished(items[place], results[place], False)
    return [results[place] for place in range(len(items))]


def _outcome(future: PrefectFuture[Result]) -> Result | Exception:
    """What a run gave, or the error it failed with; what is raised comes from the way to it."""
    try:
        return future.result(raise_on_failure=False)
    except (BrokenExecutor, CancelledError, TaskCancelledError, OSError) as error:
        return WorkerLost(f"its worker died ({error or type(error).__name__})")
    except Exception as error:
        return error
