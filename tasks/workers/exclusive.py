"""One run at a time in a workspace, and what a run that is stopped says."""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fgds_core.errors import InputError
from tasks.workspace import RUNS


@contextmanager
def exclusive() -> Iterator[None]:
    """Keeps other runs out of this workspace; the lock ends with the process however it dies.

    A run may enter again, as a pipeline's stages do.

    Raises:
        InputError: Another run is here; names it.
    """
    RUNS.mkdir(exist_ok=True)
    owner = RUNS / "owner.txt"
    lock = FileLock(RUNS.resolve() / "lock", thread_local=False, is_singleton=True)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        who = owner.read_text("utf-8", "replace").strip() if owner.exists() else "another process"
        raise InputError(
            f"{Path.cwd()} is in use by {who}; wait until it ends, stop it, or start in a copy of"
            " the repository"
        ) from None
    try:
        if lock.lock_counter == 1:
            owner.write_text(
                f"`{' '.join([Path(sys.argv[0]).name, *sys.argv[1:]])}` (process {os.getpid()} on"
                f" {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')})\n",
                encoding="utf-8",
                errors="backslashreplace",  # arguments may be any bytes
            )
        yield
    finally:
        lock.release()
