"""Work on all cores: items in, results out in the same order, a bounded number of them at a time.

A process that was killed ends the work with one message, and the processes end with whoever
started them.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, Generic, TypeVar

from fgds_core.errors import InputError

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 3
"""Items in work or done for each process: what keeps all of them busy while this one is, too."""


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Pool(ProcessPoolExecutor):
    """A pool that answers every item, also one that is handed in while a process dies.

    In Python 3.11 a pool is broken without the lock under which items are taken: one that comes
    just then is never answered, or ends the thread that would answer the others. 3.12 has it.
    """

    def _start_executor_manager_thread(self) -> None:
        super()._start_executor_manager_thread()
        manager: Any = self._executor_manager_thread
        if sys.version_info < (3, 12) and "terminate_broken" not in vars(manager):
            manager.terminate_broken = _refusing_first(manager)


def _refusing_first(manager: Any) -> Callable[[object], None]:  # noqa: ANN401  # private
    """Breaks a pool once no further item can come in."""
    terminate = manager.terminate_broken

    def terminate_broken(cause: object) -> None:
        with manager.shutdown_lock:
            executor = manager.executor_reference()
            if executor is not None:
                executor._broken = "A process of the pool was terminated abruptly"
            del executor  # it may end while this thread goes on
        terminate(cause)

    return terminate_broken


class Workers(AbstractContextManager["Workers[Item, Result]"], Generic[Item, Result]):
    """Processes that work for one function, which is done here until they have started."""

    def __init__(self, function: Callable[[Item], Result], number: int) -> None:
        """Starts no process yet.

        Args:
            function: What is done to each item; it and the items can be pickled.
            number: Of processes; with fewer than two none is ever started.
        """
        self._function = function
        self._number = number
        self._pool: Pool | None = None
        self._begun: Future[None] | None = None

    def start(self) -> None:
        """Starts the processes: what is left is worth them. Where the system refuses, none is."""
        if self._pool is not None or self._number < 2:
            return
        # Not forked: this process has threads, which a fork would leave in the middle of anything
        context = multiprocessing.get_context("forkserver")
        pool = None
        try:
            pool = Pool(self._number, mp_context=context, initializer=serve)
            self._begun, *_ = [pool.submit(_nothing) for _ in range(self._number)]
        except OSError as error:
            if pool is not None:
                pool.shutdown(wait=False)
            self._number = 0
            log.warning("no processes can be started (%s): this one does all the work", error)
            return
        self._pool = pool

    def map(self, items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
        """Each item with its result, in their order.

        Raises:
            InputError: A process was killed.
        """
        ahead: deque[tuple[Item, Future[Result]]] = deque()
        try:
            for item in items:
                if self._pool is None or self._begun is None or not self._begun.done():
                    yield item, self._function(item)
                    continue
                ahead.append((item, self._pool.submit(self._function, item)))
                if len(ahead) >= _AHEAD * self._number:
                    first, result = ahead.popleft()
                    yield first, result.result()
            while ahead:
                first, result = ahead.popleft()
                yield first, result.result()
        except BrokenProcessPool as error:
            raise InputError(
                "a process that prepared images was killed, most likely for want of memory; run "
                "again with fewer of them (compute.loader_workers), or without (0)"
            ) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def _nothing() -> None:
    """Done once a process has started."""


def serve() -> None:
    """Leaves interrupts to the process that started this one, and ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
