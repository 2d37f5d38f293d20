"""Memory and processor time of a command with all the processes it starts.

Memory is the proportional set size: a page that several processes share counts once, in equal
shares. The peak is the maximum over time of its sum over the process tree, read twenty times a
second, so an allocation that lives for less than that can be missed.
"""

import os
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
        peak_gb: Most memory its process tree held at once, in GB; 0 where that was not read.
        cpu_s: Processor seconds of the tree, but for what a process did after it was last read.
        wall_s: Seconds from start to end.
        readings: How often the processes were read.
        processes: Most processes at once.
    """

    peak_gb: float
    cpu_s: float
    wall_s: float
    readings: int
    processes: int


class Tree:
    """A process and all below it, as they come and go."""

    def __init__(self, root: int, *, memory: bool) -> None:
        """Reads nothing yet.

        Args:
            root: Number of the process.
            memory: Whether to read memory, which takes milliseconds a process.
        """
        self._root = psutil.Process(root)
        self._memory = memory
        self._cpu_s: dict[tuple[int, float], float] = {}
        self.peak_bytes = self.readings = self.processes = 0

    def read(self) -> None:
        """Takes down what the processes hold and have used until now."""
        held = alive = 0
        for process in self._alive():
            try:
                times = process.cpu_times()
                self._cpu_s[process.pid, process.create_time()] = times.user + times.system
                held += process.memory_full_info().pss if self._memory else 0
                alive += 1
            except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
                continue  # it has ended since it was listed
        self.peak_bytes = max(self.peak_bytes, held)
        self.processes = max(self.processes, alive)
        self.readings += 1

    @property
    def cpu_s(self) -> float:
        """Processor seconds of every process that was seen, its last reading."""
        return sum(self._cpu_s.values())

    def _alive(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def measure(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    memory: bool = True,
) -> Usage:
    """Runs a command to its end and measures its process tree.

    Args:
        command: The command and its arguments.
        cwd: Where it runs.
        env: Its environment; None is that of this process.
        log: Where its output goes; None is nowhere.
        memory: Whether to read memory; without it the reading takes next to no time.

    Raises:
        RuntimeError: It failed; repeats the end of its output.
    """
    started = time.monotonic()
    with (log or Path(os.devnull)).open("w") as output:
        child = subprocess.Popen(command, cwd=cwd, env=env, stdout=output, stderr=output)
        tree = Tree(child.pid, memory=memory)
        while child.poll() is None:
            read_at = time.monotonic()
            tree.read()
            time.sleep(max(0.0, read_at + EVERY_S - time.monotonic()))
        wall_s = time.monotonic() - started
    if child.returncode:
        said = "" if log is None else log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{' '.join(command)} ended with status {child.returncode}:\n{said}")
    return Usage(tree.peak_bytes / 1e9, tree.cpu_s, wall_s, tree.readings, tree.processes)
