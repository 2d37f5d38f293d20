"""How long each stage takes, and how much of it is work: `reports/timing.json`.

The file belongs to no stage: times differ from run to run, and outputs must not.
"""

import json
import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import psutil

TIMING = Path("reports/timing.json")


class WorkTime:
    """Seconds of work; what overlaps in several threads counts once.

    Attributes:
        num_images: Images that were drawn, those that were there already not counted.
        images_s: Seconds that they took, of each device by itself.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._since = 0.0
        self._finished_s = 0.0
        self.num_images, self.images_s = 0, 0.0

    @contextmanager
    def working(self) -> Iterator[None]:
        """Counts the time inside."""
        with self._lock:
            if not self._running:
                self._since = time.monotonic()
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                if not self._running:
                    self._finished_s += time.monotonic() - self._since

    @property
    def seconds(self) -> float:
        """So far."""
        with self._lock:
            running_s = time.monotonic() - self._since if self._running else 0.0
            return self._finished_s + running_s

    @property
    def per_image_s(self) -> float | None:
        """Seconds of a device for each image that was drawn; None where none was."""
        return self.images_s / self.num_images if self.num_images else None


_counting: ContextVar[WorkTime | None] = ContextVar("counting", default=None)


@contextmanager
def work_counted() -> Iterator[WorkTime]:
    """Counts the `work` that is done inside, in the threads of tasks too."""
    counted = WorkTime()
    token = _counting.set(counted)
    try:
        yield counted
    finally:
        _counting.reset(token)


def work() -> AbstractContextManager[None]:
    """Counts the time inside as work, for whoever counts it."""
    counted = _counting.get()
    return nullcontext() if counted is None else counted.working()


def count_images(num_images: int, seconds: float) -> None:
    """Counts images that were drawn, and the seconds they took, for whoever counts them."""
    if (counted := _counting.get()) is not None:
        counted.num_images += num_images
        counted.images_s += seconds


def process_s() -> float:
    """Seconds since this process started, imports included."""
    return time.time() - psutil.Process().create_time()


def peak_rss_gb() -> float:
    """Most memory this process has held at once, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def record_stage(
    stage: str,
    total_s: float,
    work_s: float,
    path: Path = TIMING,
    per_image_s: float | None = None,
) -> None:
    """Notes the times of one stage beside those of the others; `total_s` becomes their sum.

    Args:
        stage: Its name.
        total_s: Seconds from start to end.
        work_s: Of these, work.
        path: The file.
        per_image_s: Seconds for each image that was drawn; None keeps what was known, for a run
            that found all of them drew none.
    """
    timing = read_timing(path)
    stages = timing["stages"]
    if per_image_s is None:
        per_image_s = stages.get(stage, {}).get("per_image_s")
    stages[stage] = {
        "total_s": round(total_s, 2),
        "work_s": round(work_s, 2),
        "peak_rss_gb": round(peak_rss_gb(), 3),
        **({} if per_image_s is None else {"per_image_s": float(f"{per_image_s:.3g}")}),
    }
    timing["total_s"] = round(sum(times["total_s"] for times in stages.values()), 2)
    timing["peak_rss_gb"] = max(times["peak_rss_gb"] for times in stages.values())
    _write(path, timing)


def record_job(total_s: float, peak_rss_gb: float, path: Path = TIMING) -> None:
    """Notes the time of a whole job, start and end included, and the peak over its processes."""
    timing = read_timing(path)
    _write(path, {**timing, "total_s": round(total_s, 2), "peak_rss_gb": round(peak_rss_gb, 3)})


def read_timing(path: Path = TIMING) -> dict[str, Any]:
    """`stages`, and `total_s` and `peak_rss_gb` of them all; of none if the file has no times."""
    try:
        timing = json.loads(path.read_text(encoding="utf-8"))
        return {key: timing[key] for key in ("stages", "total_s", "peak_rss_gb")}
    except (OSError, ValueError, KeyError, TypeError):
        return {"stages": {}, "total_s": 0.0, "peak_rss_gb": 0.0}


SAME_BUDGET = ("retrain", "train_control", "train_baseline")
"""Stages that take as long as a training between rounds of drawing, or nearly: the best first."""


def training_s(path: Path = TIMING) -> float | None:
    """Seconds that training a classifier took last; None where no time is noted."""
    stages = read_timing(path)["stages"]
    return next((stages[name]["work_s"] for name in SAME_BUDGET if name in stages), None)


def _write(path: Path, timing: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(timing, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)
