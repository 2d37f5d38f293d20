"""The measures of images beside prdc, their memory for 50,000 images, and their intervals.

    uv pip install --no-deps prdc==0.2                # the package they are compared with
    python -m benchmarks.metrics speed                # 4 CPU minutes; writes metrics.json
    python -m benchmarks.metrics speed --threads 2    # adds the same with two threads
    python -m benchmarks.metrics peak                 # some CPU minutes; adds the memory
    python -m benchmarks.metrics bands                # ten CPU minutes; adds what intervals hold

Both get the same float32 features, drawn from a seed, and the same cores, and take turns. CPU time
is that of the process: other work on the machine disturbs it less than the clock. Features of the
second part lie on disk, as those of a run do. The third draws sets anew and counts how often an
interval holds the mean of all draws.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.experiments import write_json
from benchmarks.sampling import machine
from fgds_core.assess import fidelity
from fgds_core.assess.estimates import Estimate, rounded
from fgds_core.assess.vectors import Features, write_vectors

RESULT = Path(__file__).parent / "results" / "metrics.json"
NUM_IMAGES, WIDTH, NEAREST_K = 10_000, 2_048, 5
MANY_IMAGES = 50_000
ROWS = 1_000  # drawn at a time

Rows = Iterator[NDArray[np.float32]]
Vectors = NDArray[np.float64]
Set = NDArray[np.float32] | Features


def gaussian(num_images: int, seed: int) -> Rows:
    """Independent features: all distances are nearly equal, the hardest case for bounds."""
    rng = np.random.default_rng(seed)
    for start in range(0, num_images, ROWS):
        yield rng.standard_normal((min(ROWS, num_images - start), WIDTH), dtype=np.float32)


def like_inception(num_images: int, seed: int) -> Rows:
    """Features that are positive, of few directions and of unequal sizes, in ten classes."""
    fixed, rng = np.random.default_rng(0), np.random.default_rng(seed)
    turn = fixed.standard_normal((256, WIDTH), dtype=np.float32)
    turn *= np.arange(1, 257, dtype=np.float32)[:, None] ** -0.5
    classes = fixed.standard_normal((10, 256), dtype=np.float32)
    for start in range(0, num_images, ROWS):
        rows = min(ROWS, num_images - start)
        hidden = (
            rng.standard_normal((rows, 256), dtype=np.float32)
            + classes[rng.integers(10, size=rows)]
        )
        yield np.maximum(hidden @ turn / 4 + np.float32(0.1), 0)


KINDS: dict[str, Callable[[int, int], Rows]] = {
    "gaussian": gaussian,
    "like_inception": like_inception,
}


def ours(real: Set, synthetic: Set) -> dict[str, float | None]:
    """The four measures of this project, without intervals as prdc has none."""
    options: dict[str, Any] = {"min_images": 2, "has_interval": False}
    rng = np.random.default_rng(0)
    found = fidelity.prdc(real, synthetic, nearest_k=NEAREST_K, rng=rng, **options)
    return {name: estimate.value for name, estimate in found.items()}


def prdc(real: Set, synthetic: Set) -> dict[str, float]:
    """Those of prdc."""
    with contextlib.redirect_stdout(io.StringIO()):
        found = importlib.import_module("prdc").compute_prdc(real, synthetic, NEAREST_K)
    return {name: float(value) for name, value in found.items()}


def compare(kind: str, num_images: int, repeats: int) -> dict[str, Any]:
    """Seconds of both and the largest difference of their numbers."""
    real, synthetic = (np.concatenate(list(KINDS[kind](num_images, seed))) for seed in (1, 2))
    ours(real[:300], synthetic[:300])
    prdc(real[:300], synthetic[:300])
    runs: list[dict[str, Any]] = []
    for turn in range(repeats):
        found = {}
        for name, measure in (("ours", ours), ("prdc", prdc))[:: 1 if turn % 2 else -1]:
            cpu, wall = time.process_time(), time.perf_counter()
            values = measure(real, synthetic)
            seconds = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
            found[name] = {"values": values, **seconds}
            print(kind, name, rounded(found[name]), flush=True)
        runs.append(found)
    differences = [
        abs(run["ours"]["values"][name] - value)
        for run in runs
        for name, value in run["prdc"]["values"].items()
    ]

    def median(name: str, clock: str) -> float:
        return float(np.median([run[name][clock] for run in runs]))

    return {
        "max_abs_difference": max(differences),
        "speedup_cpu": median("prdc", "cpu") / median("ours", "cpu"),
        "speedup_wall": median("prdc", "wall") / median("ours", "wall"),
        "runs": runs,
    }


def speed(threads: int, repeats: int, num_images: int) -> dict[str, Any]:
    """The comparison on so many cores, one thread each."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    torch.set_num_threads(threads)
    with threadpool_limits(threads):
        found = {kind: compare(kind, num_images, repeats) for kind in KINDS}
    return {"load": os.getloadavg()[0], "num_images": num_images, "repeats": repeats, **found}


def peak(num_images: int) -> dict[str, Any]:
    """The most memory that the measures need, in GB (10^9 bytes), one after the other.

    The largest resident set of the whole process, libraries included. FID is without its interval,
    which repeats the same work in the same memory.
    """
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        real, synthetic = (
            Features.of(
                write_vectors(Path(folder) / str(seed), num_images, gaussian(num_images, seed))
            )
            for seed in (1, 2)
        )
        options: dict[str, Any] = {"min_images": 2, "rng": np.random.default_rng(0)}
        jobs: dict[str, Callable[[], Any]] = {
            "before": lambda: None,
            "prdc": lambda: ours(real, synthetic),
            "kid": lambda: (
                fidelity.kid(real, synthetic, subsets=10, subset_size=1000, **options).value
            ),
            "fid": lambda: fidelity.fid(real, synthetic, blocks=0, **options).value,
        }
        for name, job in jobs.items():
            cpu, wall = time.process_time(), time.perf_counter()
            value = job()
            found[name] = {
                "value": value,
                "cpu": time.process_time() - cpu,
                "wall": time.perf_counter() - wall,
                "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
            }
            print(name, rounded(found[name]), flush=True)
    return {"num_images": num_images, "jobs": found}


def alike(num_images: int, rng: np.random.Generator) -> tuple[Vectors, Vectors]:
    """Two sets of one distribution."""
    return rng.normal(size=(num_images, 16)), rng.normal(size=(num_images, 16))


def shifted(num_images: int, rng: np.random.Generator) -> tuple[Vectors, Vectors]:
    """Synthetic images are a little elsewhere and more various."""
    real, synthetic = alike(num_images, rng)
    return real, 1.1 * synthetic + 0.25


def half_of_the_modes(num_images: int, rng: np.random.Generator) -> tuple[Vectors, Vectors]:
    """Synthetic images show five of ten kinds, and these too typical."""
    centres = 2 * np.random.default_rng(0).normal(size=(10, 8))
    real, synthetic = rng.normal(size=(2, num_images, 8))
    some = centres[rng.integers(5, size=num_images)]
    return centres[rng.integers(10, size=num_images)] + real, some + 0.8 * synthetic


PAIRS = {"alike": alike, "shifted": shifted, "half_of_the_modes": half_of_the_modes}
"""Sets whose measures are drawn anew, again and again."""


def bands(num_images: int, draws: int) -> dict[str, Any]:
    """The share of draws in which an interval of "95 %" holds the mean of its measure."""
    found: dict[str, Any] = {"draws": draws}
    for kind, pair in PAIRS.items():
        rng = np.random.default_rng(num_images)
        each: dict[str, list[Estimate]] = {}
        for _ in range(draws):
            options = {"min_images": 2, "rng": rng}
            real, synthetic = pair(num_images, rng)
            one = fidelity.prdc(real, synthetic, nearest_k=5, has_interval=True, **options)
            one["kid"] = fidelity.kid(real, synthetic, subsets=50, subset_size=100, **options)
            one["fid"] = fidelity.fid(real, synthetic, blocks=10, **options)
            for name, estimate in one.items():
                each.setdefault(name, []).append(estimate)
        found[kind] = {name: held(estimates) for name, estimates in each.items()}
        print(num_images, kind, found[kind], flush=True)
    return found


def held(estimates: list[Estimate]) -> dict[str, float]:
    """How many intervals hold the mean of all, that mean, and how wide they are."""
    values, low, high = (
        np.array([getattr(each, end) for each in estimates]) for end in ("value", "low", "high")
    )
    mean = values.mean()
    return {
        "held": float(((low <= mean) & (mean <= high)).mean()),
        "mean": float(mean),
        "width": float((high - low).mean()),
    }


def main() -> None:
    """Measures one part and adds it to the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=("speed", "peak", "bands"))
    parser.add_argument("--threads", type=int, default=1, help="cores and threads of both")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each")
    parser.add_argument("--images", type=int, help="of a set; but for bands none is written")
    parser.add_argument("--draws", type=int, default=100, help="of each pair of sets")
    asked = parser.parse_args()
    if asked.part == "bands":
        torch.set_num_threads(asked.threads)
        for num_images in (asked.images,) if asked.images else (60, 300, 1000):
            found = bands(num_images, asked.draws)
            results = json.loads(RESULT.read_text())
            results.setdefault("bands", {})[str(num_images)] = found
            write_json(RESULT, rounded(results))
        return
    found = (
        speed(asked.threads, asked.repeats, asked.images or NUM_IMAGES)
        if asked.part == "speed"
        else peak(asked.images or MANY_IMAGES)
    )
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    if asked.part == "speed":
        results[f"speed_{asked.threads}_threads"] = found
        kinds = [found[kind] for kind in KINDS]
        results["speedup_over_prdc"] = min(kind["speedup_cpu"] for kind in kinds)
        results["max_abs_difference"] = max(kind["max_abs_difference"] for kind in kinds)
    else:
        results["peak"] = found
        results["peak_gb_50k"] = max(job["peak_gb"] for job in found["jobs"].values())
    results["machine"] = machine() | {
        "cores": os.cpu_count(),
        "multiplies_bfloat16": bool(torch.cpu.get_capabilities().get("avx512_bf16")),
    }
    if asked.images is None:
        write_json(RESULT, rounded(results))
    else:
        print(json.dumps(rounded(results), indent=1))


if __name__ == "__main__":
    main()
