"""Runs of the stage synthesize that something happens to, in copies of one prepared clone."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from micro import ROOT

from fgds_core.errors import InputError
from fgds_core.images.table import column_values, read_table
from fgds_core.synthesis.shards import read_index

SYNTHESIZE = ("flows.synthesize",)
TIMEOUT_S = 240.0
"""How long anything may take: a run that hangs has not survived."""

WORKERS = 2
"""Parts that are drawn at a time, and so the most that a fault may cost."""


def until(true: Callable[[], bool], process: "Process") -> None:
    """Waits until something is true while a process runs."""
    deadline = time.monotonic() + TIMEOUT_S
    while not true():
        assert process.poll() is None, f"ended too early\n{process.said}"
        assert time.monotonic() < deadline, f"nothing came\n{process.said}"
        time.sleep(0.05)


def _heed_ctrl_c() -> None:
    """Undoes what a shell does to its background jobs, which these tests may be one of."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Process(subprocess.Popen[bytes]):
    """A module that runs in a session of its own, and what it says."""

    def __init__(self, folder: Path, log: Path, env: dict[str, str], *arguments: str) -> None:
        self.log = log
        with log.open("wb") as file:
            super().__init__(
                [sys.executable, "-m", *arguments],
                cwd=folder,
                env=env,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_heed_ctrl_c,
            )

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def children(self, *words: str) -> list[int]:
        """The processes below this one whose commands have some words."""
        return [
            child.pid
            for child in psutil.Process(self.pid).children(recursive=True)
            if all(word in " ".join(child.cmdline()) for word in words)
        ]

    def end(self, timeout: float = TIMEOUT_S) -> int:
        """Waits for the exit status."""
        try:
            return self.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"hangs\n{self.said}") from None

    def kill_all(self) -> None:
        """Kills it with all it has started."""
        if self.poll() is None:
            below = psutil.Process(self.pid).children(recursive=True)
            os.killpg(self.pid, signal.SIGKILL)
            for child in below:
                if child.is_running():
                    child.kill()
            self.wait()


@dataclass
class Case:
    """A fault, the copy of the clone in which it happens, and what came of it.

    Attributes:
        name: What happens.
        folder: The copy.
        logs: Folder of what its processes say.
        whole: The synthetic set of an undisturbed run, path -> bytes.
        parts_planned: Parts that have to be drawn at least once.
    """

    name: str
    folder: Path
    logs: Path
    whole: dict[str, bytes]
    parts_planned: int = 0
    processes: list[Process] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    @property
    def out(self) -> Path:
        return self.folder / "data" / "synthetic"

    def move_to(self, folder: Path) -> None:
        """Goes on in another place."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        self.folder = folder

    def start(
        self, *arguments: str, fault: str = "none", server: bool = True, **env: str
    ) -> Process:
        """Starts a module in the copy, with a fault in its code where one is named."""
        env = {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "",
            "FGDS_DRAWN": str(self.logs / "drawn"),
            "FGDS_FAULT": fault,
            "PYTHONPATH": str(ROOT / "tests" / "inject"),
            **env,
        }
        if not server:
            del env["PREFECT_API_URL"]
        log = self.logs / f"{len(self.processes)}.log"
        self.processes.append(Process(self.folder, log, env, *(arguments or SYNTHESIZE)))
        return self.processes[-1]

    def interrupted(self, **options: object) -> Process:
        """A run that is in the middle of it: some parts are there, most are not."""
        run = self.start(**options)
        until(lambda: len(self.parts()) >= 4, run)
        return run

    def run(self, status: int = 0, **options: object) -> str:
        """Runs the stage to its end; returns what it says, which is never a traceback."""
        return self.ended(self.start(**options), status)

    def ended(self, run: Process, status: int) -> str:
        """What a run has said that ends now."""
        assert run.end() == status, run.said
        assert "Traceback" not in run.said, run.said
        return run.said

    def parts(self) -> list[Path]:
        return sorted(self.out.glob("*/*.parquet"))

    def drawings(self, by: int | None = None) -> int:
        """How often a part was drawn, by all processes of the case or by one."""
        drawn = self.logs / "drawn"
        lines = drawn.read_text().splitlines() if drawn.exists() else []
        return sum(by in (None, int(line.split()[0])) for line in lines)

    def wait_for_another_drawing(self, by: int, run: Process) -> None:
        """Waits until a process of a run has just begun to draw a part."""
        before = self.drawings(by)
        until(lambda: self.drawings(by) > before, run)

    def close(self) -> None:
        """Ends what still runs, and the measured time."""
        self.seconds = time.monotonic() - self.began
        for process in self.processes:
            process.kill_all()

    def row(self, survived: bool | None) -> dict[str, object]:
        """The line of the case in the table."""
        row: dict[str, object] = {"case": self.name, "survived": survived}
        lost = duplicated = redone = None
        if survived is not None:
            lost, duplicated = self._images()
            redone = self.drawings() - self.parts_planned
        return row | {
            "images_lost": lost,
            "images_duplicated": duplicated,
            "parts_redone": redone,
            "seconds": round(self.seconds, 1),
        }

    def _images(self) -> tuple[int | None, int | None]:
        """How many wanted images the finished set lacks, and how many it has twice."""
        try:
            index = read_index(self.out)
        except InputError:
            return None, None  # there is no set
        tables = [read_table(self.out / part.path) for part in index.parts]
        places, seeds = [], []
        for table in tables:
            places += zip(*(column_values(table, c) for c in ("label", "index")), strict=True)
            seeds += column_values(table, "seed")
        wanted = {(c, i) for c, number in enumerate(index.wanted) for i in range(number)}
        return len(wanted - set(places)), len(seeds) - min(len(set(seeds)), len(set(places)))
