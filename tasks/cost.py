"""What drawing costs, measured by a probe and said before it is spent."""

import heapq
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect import task
from prefect.cache_policies import NO_CACHE

from fgds_core.errors import InputError, UnfinishedError
from fgds_core.synthesis.part import write_part
from fgds_core.synthesis.plan import Part
from tasks.round import Round
from tasks.store.config import StoreConfig
from tasks.store.inputs import share
from tasks.survey import Survey
from tasks.watch.timing import TIMING, training_s
from tasks.workers.config import ComputeConfig
from tasks.workers.devices import num_workers
from tasks.workers.fanout import make_runner, run_each
from tasks.workers.worker import Sources, this_worker
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Probe:
    """What drawing a few images took.

    Attributes:
        class_name: The class whose images they are.
        num_images: How many.
        device: Where they were drawn.
        seconds_per_image: Of one worker: embedding, drawing and writing.
        startup_s: Seconds until a worker draws at that speed: loading, and what only its first
            batch takes.
    """

    class_name: str
    num_images: int
    device: str
    seconds_per_image: float
    startup_s: float


@dataclass(frozen=True)
class Cost:
    """What a workload takes.

    Attributes:
        device_hours: Hours of drawing, summed over the workers.
        wall_s: Seconds from start to end, start-up included, if each worker has a device.
        longest_part_s: Seconds of the longest part, the least with any number of workers.
    """

    device_hours: float
    wall_s: float
    longest_part_s: float


@dataclass(frozen=True)
class Ahead:
    """What a set in rounds takes beside the parts that are known.

    Attributes:
        num_images: Images of rounds that are not planned yet, and those that are expected to be
            drawn again because a check leaves others out.
        num_trainings: Classifiers that are trained between.
        training_s: Seconds of one; None if nobody knows.
    """

    num_images: int = 0
    num_trainings: int = 0
    training_s: float | None = None

    @property
    def trainings_s(self) -> float:
        """Of all of them, as far as it is known."""
        return self.num_trainings * (self.training_s or 0.0)


NOTHING_AHEAD = Ahead()


def ahead_of(found: Survey, workspace: Workspace) -> Ahead:
    """What a set takes beside its known parts.

    Args:
        found: The set.
        workspace: Where the times of stages are noted.
    """
    known = training_s(workspace.real_reports / TIMING.name)
    again = (found.foreseen.expected if found.foreseen else None) or 0
    return Ahead(found.unplanned + again, found.num_trainings, known)


def longest(parts: Sequence[Part]) -> Part:
    """The part with most images, the first of them."""
    return max(parts, key=lambda part: part.num_images)


def probe(
    part: Part,
    fingerprint: str,
    sources: Sources,
    compute: ComputeConfig,
    workspace: Workspace,
    num_images: int | None = None,
) -> Probe:
    """Draws the first images of a part as a run would, but into a temporary folder.

    They are drawn twice: the first time also compiles, tunes and allocates. The process keeps the
    networks, and the GPU they are on, like a worker.

    Args:
        part: One that is still to draw.
        fingerprint: Of everything that decides what it shows.
        sources: What it is drawn from.
        compute: The device and the size of a batch.
        workspace: Where prepared data and the classifier are.
        num_images: At most so many; None is a batch.

    Raises:
        InputError: They cannot be drawn; says why.
    """
    wished = compute.batch_size if num_images is None else num_images
    few = replace(part, num_images=min(part.num_images, compute.batch_size, wished))
    started = time.perf_counter()
    models = this_worker().models(sources, compute, workspace, part.class_name)
    loaded = time.perf_counter()

    def draw() -> float:
        begun = time.perf_counter()
        with TemporaryDirectory(prefix="fgds-probe-") as folder:
            write_part(
                few,
                sources.recipe,
                models,
                fingerprint,
                Path(folder),
                batch_size=compute.batch_size,
                micro_batch=compute.micro_batch,
            )
        return time.perf_counter() - begun

    try:
        first_s, second_s = draw(), draw()
    except (FloatingPointError, RuntimeError) as error:  # not finite, or out of memory
        raise InputError(
            f"the probe cannot draw {few.num_images} images of class {few.class_name!r}: {error}"
        ) from error
    return Probe(
        class_name=few.class_name,
        num_images=few.num_images,
        device=str(models.generator.device),
        seconds_per_image=second_s / few.num_images,
        startup_s=loaded - started + max(0.0, first_s - second_s),
    )


def cost(
    parts: Sequence[Part], measured: Probe, workers: int, ahead: Ahead = NOTHING_AHEAD
) -> Cost:
    """What drawing some parts takes when each worker takes the next one as it gets free.

    Args:
        parts: In the order they are drawn.
        measured: From `probe`.
        workers: Parts that are drawn at the same time.
        ahead: What follows. Its images are spread over all workers, which start anew after each
            training.
    """
    loads = [0] * max(1, min(workers, len(parts)))  # images of each worker, a heap
    for part in parts:
        heapq.heapreplace(loads, loads[0] + part.num_images)
    drawing_s = (sum(loads) + ahead.num_images) * measured.seconds_per_image
    in_turn = max(loads) + math.ceil(ahead.num_images / workers)
    return Cost(
        device_hours=(drawing_s + ahead.trainings_s) / 3600,
        wall_s=in_turn * measured.seconds_per_image
        + measured.startup_s * (bool(parts) + ahead.num_trainings)
        + ahead.trainings_s,
        longest_part_s=max((part.num_images for part in parts), default=0)
        * measured.seconds_per_image,
    )


def planned_workers(compute: ComputeConfig) -> int:
    """How many workers will draw; of a cluster that runs already, `compute.workers`."""
    if compute.runner == "local" or compute.dask is None:
        return num_workers(compute)
    if compute.dask.address is not None:
        return compute.workers
    most = (compute.dask.adapt or {}).get("maximum")
    return int(most or compute.dask.cluster_kwargs.get("n_workers") or compute.workers)


def check_device_hours(device_hours: float, limit: float, num_images: int) -> None:
    """Refuses a run that costs too much.

    Args:
        device_hours: From `cost`.
        limit: In device-hours.
        num_images: Images to draw.

    Raises:
        InputError: It is above the limit.
    """
    if device_hours > limit:
        raise InputError(
            f"{num_images:,} images to draw take about {device_hours:.3g} device-hours, more than"
            f" the limit of {limit:g}; raise the limit (--max-device-hours or"
            " compute.max_device_hours), or lower synthesize.target_per_class or"
            " synthesize.num_inference_steps"
        )


def check_cost(
    found: Survey, store: StoreConfig, compute: ComputeConfig, workspace: Workspace
) -> None:
    """Refuses a run above `compute.max_device_hours`, by a probe that one of its workers draws.

    Without a limit, or with nothing left to draw, there is no probe.

    Args:
        found: The set and what of it is there; finished parts cost nothing.
        store: Where workers find what it is drawn from.
        compute: The limit, the device and the workers.
        workspace: Where prepared data and the classifier are.

    Raises:
        InputError: The run costs more, or the probe cannot be drawn.
        UnfinishedError: The probe's worker failed.
    """
    if compute.max_device_hours is None or not (found.left or found.unplanned):
        return
    each, part = to_probe(found)
    probing = task(name="probe", cache_policy=NO_CACHE, persist_result=True)
    fingerprint = each.part_fingerprint(part.label, each.plan.class_names)
    (measured,) = run_each(
        probing(probe),
        {"part": [part], "fingerprint": [fingerprint]},
        partial(make_runner, compute),
        sources=each.sources(share(store, each.inputs)),
        compute=compute,
        workspace=each.workspace,
    )
    if isinstance(measured, InputError):
        raise measured
    if isinstance(measured, Exception):
        raise UnfinishedError(f"the probe of what the run costs failed: {measured}")
    ahead = ahead_of(found, workspace)
    estimate = cost(found.left, measured, planned_workers(compute), ahead)
    num_images = sum(part.num_images for part in found.left) + ahead.num_images
    check_device_hours(estimate.device_hours, compute.max_device_hours, num_images)


def to_probe(found: Survey) -> tuple[Round, Part]:
    """The longest part that can be drawn now and is left, or else that was drawn last.

    Args:
        found: A set of which something is left.
    """
    for each in found.goes:
        if each.left:
            return each, longest(each.left)
    return found.rounds[-1], longest(found.rounds[-1].plan.parts)
