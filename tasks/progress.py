"""A bar for each long stage: on a terminal it moves, in a log it is a line every few seconds.

In Prefect's UI it is a progress artifact.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from tqdm import tqdm

from tasks.artifacts import progress_artifact

LOG_EVERY_S = 10.0

_shown: dict[str, Callable[[int], None]] = {}


@contextmanager
def bar(
    name: str, total: int, unit: str, stream: TextIO | None = None
) -> Iterator[Callable[[int], None]]:
    """Shows how far a stage is, how fast, and when it will be done.

    Args:
        name: What is shown first, the stage.
        total: How many units there are in all.
        unit: What is counted, plural.
        stream: Where to show it; standard error if None.

    Yields:
        A function to call with the number of units done since the last call, from any thread.
    """
    stream = stream or sys.stderr
    lock = threading.Lock()
    shown = (
        tqdm(total=total, desc=name, unit=f" {unit}", file=stream, dynamic_ncols=True)
        if stream.isatty()
        else _Log(name, total, unit, stream)
    )

    so_far = 0
    with progress_artifact(name) as show_share:

        def advance(done: int) -> None:
            nonlocal so_far
            with lock:
                shown.update(done)
                so_far += done
                show_share(so_far / max(1, total))

        _shown[name] = advance
        try:
            yield advance
        finally:
            del _shown[name]
            shown.close()


def advance(name: str, done: int) -> None:
    """Moves the bar of that name, if this process shows it: tasks cannot be handed a bar."""
    if name in _shown:
        _shown[name](done)


class _Log:
    """Lines such as `synthesize  340/1158  9.1 images/s  ETA 1:30`."""

    def __init__(self, name: str, total: int, unit: str, stream: TextIO) -> None:
        self.name, self.total, self.unit, self.stream = name, total, unit, stream
        self.done = 0
        self.started = self.shown = time.monotonic()

    def update(self, done: int) -> None:
        self.done += done
        if time.monotonic() - self.shown >= LOG_EVERY_S:
            self.show()

    def close(self) -> None:
        self.show()

    def show(self) -> None:
        self.shown = time.monotonic()
        seconds = self.shown - self.started
        rate = self.done / seconds if seconds > 0 else 0.0
        line = f"{self.name}  {self.done}/{self.total}  {rate:.1f} {self.unit}/s"
        left = self.total - self.done
        if left <= 0:
            line += f"  done in {clock(seconds)}"
        elif rate > 0:
            line += f"  ETA {clock(left / rate)}"
        print(line, file=self.stream, flush=True)


def clock(seconds: float) -> str:
    """Minutes and seconds such as 1:30, with hours where there are some."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
