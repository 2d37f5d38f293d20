"""Memory and processor time of a command with all the processes it starts.

Memory is the proportional set size: a page that several processes share counts once, in equal
shares. The peak is the maximum over time of its sum over the process tree, read twenty times a
second, so an allocation that lives for less than that can be missed.
"""

import os
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

EVERY_S = 0.05
"""Seconds from one reading to the next."""

DEFINITION = (
    "maximum over time of the proportional set size (PSS) summed over the stage's process tree, "
    f"read every {1000 * EVERY_S:.0f} ms; the Prefect server that all stages share is not in it"
)


@dataclass(frozen=True)
class Usage:
    """What a command has used.

    Attributes:
        peak_gb: Most memory its process tree held at once, in GB.
        cpu_s: Processor seconds of the tree, of the children that were waited for.
        wall_s: Seconds from start to end.
        readings: How often memory was read.
        processes: Most processes at once.
    """

    peak_gb: float
    cpu_s: float
    wall_s: float
    readings: int
    processes: int


def tree_bytes(root: psutil.Process) -> tuple[int, int]:
    """Proportional set size of a process and all below it, in bytes, and how many they are."""
    total, alive = 0, 0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
            alive += 1
        except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
            continue  # it has ended since it was listed
    return total, alive


def measure(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    every_s: float = EVERY_S,
) -> Usage:
    """Runs a command to its end and measures its process tree.

    Args:
        command: The command and its arguments.
        cwd: Where it runs.
        env: Its environment; None is that of this process.
        log: Where its output goes; None is nowhere.
        every_s: Seconds from one reading of the memory to the next.

    Raises:
        RuntimeError: It failed; repeats the end of its output.
    """
    used, started = _children_s(), time.monotonic()
    with (log or Path(os.devnull)).open("w") as output:
        child = subprocess.Popen(command, cwd=cwd, env=env, stdout=output, stderr=output)
        root, peak, most, readings = psutil.Process(child.pid), 0, 0, 0
        while child.poll() is None:
            read_at = time.monotonic()
            try:
                held, alive = tree_bytes(root)
            except psutil.NoSuchProcess:
                break
            peak, most, readings = max(peak, held), max(most, alive), readings + 1
            time.sleep(max(0.0, read_at + every_s - time.monotonic()))
        status = child.wait()
    if status:
        said = "" if log is None else log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{' '.join(command)} ended with status {status}:\n{said}")
    wall_s = time.monotonic() - started
    return Usage(peak / 1e9, _children_s() - used, wall_s, readings, most)


def _children_s() -> float:
    """Processor seconds of this process's children that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
