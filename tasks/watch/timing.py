"""How long each stage takes, and how much of it is work: `reports/timing.json`.

The file belongs to no stage: times differ from run to run, and outputs must not.
"""

import json
import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

TIMING = Path("reports/timing.json")

_lock = threading.Lock()
_running = 0
_since = 0.0
_work_s = 0.0


@contextmanager
def work() -> Iterator[None]:
    """Counts the time inside as work; what overlaps in several threads counts once."""
    global _running, _since, _work_s
    with _lock:
        if not _running:
            _since = time.monotonic()
        _running += 1
    try:
        yield
    finally:
        with _lock:
            _running -= 1
            if not _running:
                _work_s += time.monotonic() - _since


def work_s() -> float:
    """Seconds of work in this process so far."""
    with _lock:
        return _work_s + (time.monotonic() - _since if _running else 0.0)


def process_s() -> float:
    """Seconds since this process started, imports included."""
    return time.time() - psutil.Process().create_time()


def peak_rss_gb() -> float:
    """Most memory this process has held at once, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def record_stage(stage: str, total_s: float, work_s: float, path: Path = TIMING) -> None:
    """Notes the times of one stage beside those of the others; `total_s` becomes their sum."""
    timing = _read(path)
    stages = timing["stages"]
    stages[stage] = {
        "total_s": round(total_s, 2),
        "work_s": round(work_s, 2),
        "peak_rss_gb": round(peak_rss_gb(), 3),
    }
    timing["total_s"] = round(sum(times["total_s"] for times in stages.values()), 2)
    timing["peak_rss_gb"] = max(times["peak_rss_gb"] for times in stages.values())
    _write(path, timing)


def record_job(total_s: float, peak_rss_gb: float, path: Path = TIMING) -> None:
    """Notes the time of a whole job, start and end included, and the peak over its processes."""
    timing = _read(path)
    _write(path, {**timing, "total_s": round(total_s, 2), "peak_rss_gb": round(peak_rss_gb, 3)})


def _read(path: Path) -> dict[str, Any]:
    try:
        timing = json.loads(path.read_text(encoding="utf-8"))
        return {key: timing[key] for key in ("stages", "total_s", "peak_rss_gb")}
    except (OSError, ValueError, KeyError, TypeError):
        return {"stages": {}, "total_s": 0.0, "peak_rss_gb": 0.0}


def _write(path: Path, timing: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(timing, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)
