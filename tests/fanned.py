"""Tasks that worker processes can import."""

import os
import signal
from pathlib import Path

from prefect.events.worker import EventsWorker

from tasks.identity.cache import Outputs, stage_task, written


@stage_task(name="write-one")
def write_one(name: str) -> Outputs:
    """Writes a file of its name; `broken` fails, `deadly` kills its process, `unlucky` the first
    time only, `interrupted` too, while it holds the lock of what the workers log."""
    with Path("made.log").open("a") as log:
        log.write(f"{name}\n")
    if name == "broken":
        raise FloatingPointError("no numbers")
    if name == "deadly" or (name == "unlucky" and made().count("unlucky") == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "interrupted" and made().count(name) == 1:
        dict(EventsWorker._client_override[1])["event_queue"]._wlock.acquire()
        os.kill(os.getpid(), signal.SIGKILL)
    Path(name).write_text(name)
    return written(name)


def made() -> list[str]:
    """What was written so far, by any process, in the order of its start."""
    log = Path("made.log")
    return log.read_text().split() if log.exists() else []
