"""Worker processes whose death keeps neither the others nor the flow from ending.

What workers log goes to the flow through one pipe. A worker holds the pipe's lock while it writes,
and one that is killed meanwhile takes the lock along: whoever then waits for its own last message
to be sent, as Python does at the end of a process, waits for ever. So nobody waits for that.
"""

import os
import sys
import threading
from multiprocessing.util import Finalize
from typing import Any, Self

from prefect.task_runners import ProcessPoolTaskRunner

from fgds_core.processes import Pool

LAST_WORDS_S = 2.0
"""How long a worker that ends may take to send what it has logged."""


class ProcessRunner(ProcessPoolTaskRunner):
    """Prefect's processes, of which any may be killed at any moment."""

    def __init__(self, max_workers: int | None = None) -> None:
        super().__init__(max_workers=max_workers, initializer=end_in_time)

    def __enter__(self) -> Self:
        super().__enter__()
        made: Any = self._executor  # no process has started yet
        self._executor = Pool(
            made._max_workers,
            mp_context=made._mp_context,
            initializer=made._initializer,
            initargs=made._initargs,
        )
        made.shutdown()
        return self

    def _stop_message_forwarding(self) -> None:
        messages: Any = self._subprocess_message_queue
        if messages is not None:
            messages.cancel_join_thread()
        super()._stop_message_forwarding()


def end_in_time() -> None:
    """Has this process end when it is told to, with its last messages sent or not."""
    # After a queue is told to send the rest (priority 10), before it is waited for (-5)
    Finalize(None, _end, exitpriority=-1)


def _end() -> None:
    for thread in threading.enumerate():
        if thread.name == "QueueFeederThread":
            thread.join(LAST_WORDS_S)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
