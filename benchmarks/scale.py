"""Does the orchestration carry a data set of ImageNet-LT's size? A simulation without networks.

    python -m benchmarks.scale                  # about 22 minutes; writes results/scale.json
    python -m benchmarks.scale --classes 30     # a minute, most of it start-up; writes nothing

The flow, its tasks, shards and index are the real ones; the generator is a stub that takes a fixed
time an image. Eight Dask worker processes fill 1,000 classes up to 1,300 images, with 5 to 1,280
real ones as in ImageNet-LT.
"""

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from prefect import Task

from benchmarks.experiments import write_json
from flows.cli.params import read_params
from flows.cli.server import prefect_server
from tasks.identity.cache import Outputs

log = logging.getLogger(__name__)

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "scale.json"
TARGET = 1300
IMAGES_PER_PART = 650
WORKERS = 8


def real_counts(num_classes: int) -> tuple[int, ...]:
    """Real images of each class; of 1,000 about 116,000 in all, 5 to 1,280, as in ImageNet-LT."""
    last = num_classes - 1
    return tuple(round(5 + 1275 * (1 - rank / last) ** 10.5) for rank in range(num_classes))


def make_workspace(folder: Path, num_classes: int) -> None:
    """Puts down what the stage reads before it draws: black images, and networks never loaded."""
    import torch

    from fgds_core.data.imbalance import shot_bins
    from fgds_core.data.meta import Meta, write_meta
    from fgds_core.images.formats import PNG
    from fgds_core.images.pixels import encode
    from fgds_core.images.table import image_table, write_images

    names = tuple(f"class {number:04d}" for number in range(num_classes))
    counts = real_counts(num_classes)
    prepared = folder / "data" / "prepared"
    prepared.mkdir(parents=True)
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    (png,) = encode(torch.zeros(1, 3, 8, 8), PNG)
    write_images(prepared / "train.parquet", image_table([png] * len(labels), labels, names))
    write_meta(
        prepared,
        Meta(
            class_names=names,
            image_size=8,
            counts=dict.fromkeys(("train", "val", "test"), counts),
            bins=dict(zip(names, shot_bins(counts), strict=True)),
            groups=None,
            duplicates=dict.fromkeys(("train", "val", "test"), 0),
            content_sha256=dict.fromkeys(("train", "val", "test"), ""),
        ),
    )
    for name in ("models/baseline", "generator"):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text("{}")


def sections(latency: float) -> dict[str, Any]:
    """The parameters of the flow."""
    params = read_params(ROOT / "params.yaml")
    dask = params["compute"].dask.model_copy(
        update={
            "cluster_kwargs": {
                "n_workers": WORKERS,
                "threads_per_worker": 1,
                "dashboard_address": None,
                "preload": str(ROOT / "benchmarks" / "stub.py"),
                "env": {"STUB_LATENCY_S": str(latency)},
            }
        }
    )
    changes = {
        "generator": {"path": "generator"},
        "synthesize": {
            "target_per_class": TARGET,
            "images_per_part": IMAGES_PER_PART,
        },
        "compute": {"runner": "dask", "device": "cpu", "threads": 1, "dask": dask},
    }
    return {"seed": 0, **{name: params[name] for name in ("store", "retrain")}} | {
        name: params[name].model_copy(update=update) for name, update in changes.items()
    }


def measure_plan() -> None:
    """Prints how long planning takes and what the process held at most; run in a fresh one."""
    from fgds_core.synthesis.recipe import Recipe
    from tasks.survey import survey
    from tasks.workspace import FIRST

    given = sections(0.0)
    recipe = Recipe(given["generator"], given["synthesize"], given["seed"])
    started = time.monotonic()
    planned = survey(recipe, given["retrain"], given["store"], FIRST).whole
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(
        json.dumps(
            {
                "plan_seconds": seconds,
                "plan_peak_gb": peak,
                "images": sum(planned.wanted),
                "parts": len(planned.parts),
            }
        )
    )


@contextmanager
def timed_index() -> Iterator[dict[str, float]]:
    """Measures the flow's last task, which writes the index."""
    import flows.synthesize

    run, times = flows.synthesize.run, {}

    def timing(task: Task[..., Outputs], **inputs: object) -> Outputs:
        started = time.monotonic()
        outputs = run(task, **inputs)
        times["index_seconds"] = time.monotonic() - started
        return outputs

    flows.synthesize.run = timing
    try:
        yield times
    finally:
        flows.synthesize.run = run


def run(latency: float) -> dict[str, Any]:
    """Runs the whole stage in a workspace of its own; the figures of one simulation."""
    from flows.cli.arguments import arguments_of
    from flows.synthesize import synthesize
    from tasks.workspace import FIRST

    plan = json.loads(
        subprocess.run(
            [sys.executable, "-c", "from benchmarks.scale import measure_plan; measure_plan()"],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ).stdout
    )
    log.info("%s", plan)
    started, used = time.monotonic(), cpu_seconds()
    with timed_index() as index:
        synthesize(**arguments_of(synthesize, sections(latency), FIRST))
    seconds = time.monotonic() - started
    ideal = plan["images"] * latency / WORKERS
    return {
        **plan,
        **index,
        "total_seconds": seconds,
        "ideal_seconds": ideal,
        "overhead_over_ideal": seconds / ideal - 1,
        "flow_cpu_seconds": cpu_seconds() - used,
        "workers": WORKERS,
        "latency_seconds_per_image": latency,
        "images_per_part": IMAGES_PER_PART,
        "index_bytes": Path("data/synthetic/_index.json").stat().st_size,
    }


def cpu_seconds() -> float:
    """Processor time of this process, the flow's."""
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


def main() -> None:
    """Runs the simulation and writes its figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--latency", type=float, default=0.008, help="seconds an image")
    parser.add_argument("--classes", type=int, default=1000)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        make_workspace(Path(folder), args.classes)
        os.chdir(folder)
        os.environ |= {"PREFECT_HOME": f"{folder}/.prefect", "PYTHONPATH": str(ROOT)}
        with prefect_server() as url:
            from prefect.settings import PREFECT_API_URL, temporary_settings

            with temporary_settings({PREFECT_API_URL: url}):
                figures = run(args.latency)
        os.chdir(ROOT)
    if args.classes == 1000:
        write_json(RESULT, figures)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
