"""The journal of the last run of synthesize: which process, since when, and what failed.

One JSON object a line in `.runs/synthesize.jsonl`, which git and DVC ignore. What is finished is
not in it: the parts themselves say that, whatever happens to the process.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tasks.workspace import RUNS

JOURNAL = RUNS / "synthesize.jsonl"

Note = Callable[..., None]
"""Appends a line: `note("found", part=...)`, `note("failed", part=..., error=...)`, or
`note("round", number=...)` where another round begins."""


@dataclass(frozen=True)
class Run:
    """The last run, as its journal tells it; times in seconds since 1970.

    Attributes:
        host: Name of its machine.
        pid: Its process there.
        process_started: When that process started, since numbers of processes come again.
        started: When it began to draw.
        round_started: When it began to draw the round it is in, or was in last.
        ended: When it ended, None while it runs or after it was killed.
        fingerprint: Of the set it draws.
        found: Paths of the parts it found in a cache.
        failed: Path -> error of the parts that failed.
    """

    host: str
    pid: int
    process_started: float
    started: float
    round_started: float
    ended: float | None
    fingerprint: str
    found: frozenset[str]
    failed: dict[str, str]

    @property
    def is_running(self) -> bool | None:
        """Whether its process is still there; None if only another machine can tell."""
        if self.ended is not None:
            return False
        if self.host != socket.gethostname():
            return None
        try:
            process = psutil.Process(self.pid)
            there = process.status() != psutil.STATUS_ZOMBIE
            return there and abs(process.create_time() - self.process_started) < 5
        except psutil.NoSuchProcess:
            return False


@contextmanager
def journal(fingerprint: str, path: Path = JOURNAL) -> Iterator[Note]:
    """Begins the journal of a run of this process, in place of that of the last one.

    Args:
        fingerprint: Of the set that is drawn.
        path: The file.

    Yields:
        A function that appends a line.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:

        def note(event: str, **values: object) -> None:
            file.write(json.dumps({"event": event, "at": time.time(), **values}) + "\n")
            file.flush()

        note(
            "started",
            host=socket.gethostname(),
            pid=os.getpid(),
            process_started=psutil.Process().create_time(),
            fingerprint=fingerprint,
        )
        try:
            yield note
        finally:
            note("ended")


def read_run(path: Path = JOURNAL) -> Run | None:
    """Reads the journal; None where there is none, or none that can be read."""
    try:
        notes = list(_notes(path.read_text(encoding="utf-8")))
        first = notes[0]
        return Run(
            host=first["host"],
            pid=first["pid"],
            process_started=first["process_started"],
            started=first["at"],
            round_started=[note["at"] for note in notes if note["event"] in _BEGINNINGS][-1],
            ended=notes[-1]["at"] if notes[-1]["event"] == "ended" else None,
            fingerprint=first["fingerprint"],
            found=frozenset(note["part"] for note in notes if note["event"] == "found"),
            failed={note["part"]: note["error"] for note in notes if note["event"] == "failed"},
        )
    except (OSError, LookupError, TypeError):
        return None


_BEGINNINGS = ("started", "round")


def _notes(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return  # a killed process may leave half a line, at the end
