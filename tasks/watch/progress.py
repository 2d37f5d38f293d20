"""A bar for each long stage: on a terminal it moves, in a log it is a line every few seconds.

In Prefect's UI it is a progress artifact. What a stage came to is one line at its end.
"""

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, TextIO

from tqdm import tqdm

from fgds_core.files import read_json
from tasks.identity.artifacts import progress_artifact

log = logging.getLogger(__name__)

LOG_EVERY_S = 5.0
FIRST_LINES_S = 3.0
"""How soon the next line of a log may follow while there is no rate yet."""

WINDOW_S = 60.0
"""A rate is that of the last minute: classes differ, and machines are shared."""

MIN_UPDATES = 3
MIN_S = 3.0
"""How much has to be seen before a rate is believed, the first update not counted: it holds what
is done once, such as loading and tuning."""


class Advance(Protocol):
    """Moves a bar by the units done since the last call, from any thread."""

    def __call__(self, done: int, *, found: bool = False) -> None:
        """Units that were `found` in a cache are done, and say nothing about the rate."""


_shown: ContextVar[Mapping[str, Advance]] = ContextVar("shown", default=MappingProxyType({}))


@contextmanager
def bar(
    name: str, total: int, unit: str, stream: TextIO | None = None, at_once: int = 1
) -> Iterator[Advance]:
    """Shows how far a stage is, how fast, and when it will be done.

    Args:
        name: What is shown first, the stage.
        total: How many units there are in all.
        unit: What is counted, plural.
        stream: Where to show it; standard error if None.
        at_once: How many work side by side, see `Pace`.

    Yields:
        A function to call with the number of units done since the last call.
    """
    stream = stream or sys.stderr
    lock = threading.Lock()
    shown = (_Bar if stream.isatty() else _Log)(name, total, unit, stream)
    pace = Pace(total, at_once)
    with progress_artifact(name) as show_share:

        def advance(done: int, *, found: bool = False) -> None:
            with lock:
                pace.update(done, found=found)
                shown.update(done, pace)
                show_share(pace.done / max(1, total))

        token = _shown.set({**_shown.get(), name: advance})
        try:
            yield advance
        finally:
            _shown.reset(token)
            shown.close(pace)


def advance(name: str, done: int, *, found: bool = False) -> None:
    """Moves the bar of that name, if one is shown here: tasks cannot be handed a bar.

    Args:
        name: Of the bar.
        done: Units done since the last call.
        found: Whether they were there already; see `Advance`.
    """
    if (move := _shown.get().get(name)) is not None:
        move(done, found=found)


def say(stage: str, text: str) -> None:
    """Says what a stage is doing while its bar stands still; leaves the bar whole."""
    tqdm.write(f"{stage}  {text}", file=sys.stderr)


def say_result(stage: str, result: str) -> None:
    """Ends a stage with one line of what came of it, on the console and on the page of its run."""
    print(f"{stage}: {result}", flush=True)
    log.info("%s", result)


def accuracy_line(metrics: Path) -> str:
    """Such as `test accuracy 80.5 % (many 71.2, medium 87.9, few 85.5)`, of a Metrics JSON."""
    values = read_json(metrics, "run the stage again")
    shots = [
        f"{name} {100 * values[name]:.1f}"
        for name in ("many", "medium", "few")
        if values.get(name) is not None
    ]
    line = f"test accuracy {100 * values['overall']:.1f} %"
    return f"{line} ({', '.join(shots)})" if shots else line


class Pace:
    """How fast something is, and how long it will take: of the last minute, warm-up left out.

    Of several that work side by side each begins with a warm-up, and their updates come in
    bursts. So a rate is that between two updates that are whole rounds of all of them apart.
    """

    def __init__(self, total: int, at_once: int = 1) -> None:
        self.total = total
        self.at_once = at_once
        self.done = 0
        self._worked = 0
        self._seen: deque[tuple[float, int]] = deque()

    def update(self, done: int, *, found: bool = False) -> None:
        """Counts units that are done now."""
        self.done += done
        if found:
            return
        self._worked += done
        now = time.monotonic()
        self._seen.append((now, self._worked))
        most = max(MIN_UPDATES, self.at_once)
        while len(self._seen) > most + 1 and now - self._seen[1][0] >= WINDOW_S:
            self._seen.popleft()

    @property
    def rate(self) -> float | None:
        """Units a second, None while too little was seen."""
        later = len(self._seen) - 1  # updates after the first of those that are looked at
        if later < max(MIN_UPDATES, self.at_once):
            return None
        (since, before), (until, after) = self._seen[later % self.at_once], self._seen[-1]
        return (after - before) / (until - since) if until - since >= MIN_S else None

    @property
    def eta_s(self) -> float | None:
        """Seconds to go, None while nobody knows."""
        rate = self.rate
        return (self.total - self.done) / rate if rate else None


class _Log:
    """Lines such as `synthesize  340/1158  9.1 images/s  ETA 1:30`."""

    def __init__(self, name: str, total: int, unit: str, stream: TextIO) -> None:
        self.name, self.total, self.unit, self.stream = name, total, unit, stream
        self.started = self.shown = time.monotonic()
        self._print(f"0/{total} {unit}")

    def update(self, done: int, pace: Pace) -> None:
        silent_s = LOG_EVERY_S if pace.rate else FIRST_LINES_S
        if pace.done < self.total and time.monotonic() - self.shown >= silent_s:
            self.shown = time.monotonic()
            text = f"{pace.done}/{self.total}"
            if pace.rate is None:
                text += f" {self.unit}"
            else:
                text += f"  {pace.rate:.1f} {self.unit}/s  ETA {clock(pace.eta_s or 0)}"
            self._print(text)

    def close(self, pace: Pace) -> None:
        seconds = time.monotonic() - self.started
        text = f"{pace.done}/{self.total} {self.unit}"
        self._print(f"{text}  done in {clock(seconds)}" if pace.done >= self.total else text)

    def _print(self, text: str) -> None:
        print(f"{self.name}  {text}", file=self.stream, flush=True)


class _Bar:
    """A bar that moves, with the same rate and time to go."""

    def __init__(self, name: str, total: int, unit: str, stream: TextIO) -> None:
        self.unit = unit
        self.bar = tqdm(
            total=total,
            desc=name,
            file=stream,
            dynamic_ncols=True,
            bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]",
        )

    def update(self, done: int, pace: Pace) -> None:
        if pace.rate:
            eta = clock(pace.eta_s or 0)
            self.bar.set_postfix_str(f"{pace.rate:.1f} {self.unit}/s, ETA {eta}", refresh=False)
        self.bar.update(done)

    def close(self, pace: Pace) -> None:
        rate = f"{pace.rate:.1f} {self.unit}/s" if pace.rate else ""
        self.bar.set_postfix_str(rate, refresh=False)
        self.bar.close()


def clock(seconds: float) -> str:
    """Minutes and seconds such as 1:30, with hours where there are some."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
