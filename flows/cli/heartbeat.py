"""A word every few seconds from a command that works and says nothing else."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from tasks.watch.progress import clock

SILENCE_S = 5.0
"""How long a command may be silent."""


class Heard:
    """A stream that knows when it was last written to."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.last = time.monotonic()

    def write(self, text: str) -> int:
        """Writes, and remembers when."""
        self.last = time.monotonic()
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.stream, name)


def is_due(now: float, last: float, most_s: float) -> bool:
    """Whether a word is due, so that the next look would not come too late.

    Args:
        now: Seconds of a clock.
        last: When something was said.
        most_s: Seconds of silence; every twentieth of it somebody looks.
    """
    return now - last >= 0.95 * most_s


@contextmanager
def never_silent(name: str, most_s: float = SILENCE_S) -> Iterator[None]:
    """Says that a command still works whenever it was silent for some seconds.

    Loading, compiling and waiting for others say nothing themselves. What processes of its own
    write is not heard.

    Args:
        name: Of the command.
        most_s: Seconds of silence.
    """
    started, stop = time.monotonic(), threading.Event()
    out, err = sys.stdout, sys.stderr
    heard_out, heard_err = Heard(out), Heard(err)

    def watch() -> None:
        while not stop.wait(most_s / 20):
            now = time.monotonic()
            if is_due(now, max(heard_out.last, heard_err.last), most_s):
                text = f"{name}  still at work after {clock(now - started)}"
                print(text, file=heard_err, flush=True)

    watcher = threading.Thread(target=watch, daemon=True)
    sys.stdout, sys.stderr = heard_out, heard_err
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
        sys.stdout, sys.stderr = out, err
