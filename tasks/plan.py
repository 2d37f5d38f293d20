"""What the stage synthesize has to draw and what that costs, said before it is spent."""

import heapq
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect import task
from prefect.cache_policies import NO_CACHE

from fgds_core.data.imbalance import BINS, shot_bins
from fgds_core.data.meta import META_NAME, Meta, read_meta
from fgds_core.errors import InputError, UnfinishedError
from fgds_core.generators.config import GeneratorConfig
from fgds_core.synthesis.config import SynthesizeConfig
from fgds_core.synthesis.part import finished_part, write_part
from fgds_core.synthesis.plan import Part, plan_set
from fgds_core.synthesis.recipe import Recipe
from tasks.layout import PREPARED, SYNTHETIC
from tasks.store.config import StoreConfig
from tasks.store.parts import stored
from tasks.synthesize import Sources, check_code, load_studio
from tasks.workers.config import ComputeConfig
from tasks.workers.devices import num_workers
from tasks.workers.fanout import make_runner, run_each


@dataclass(frozen=True)
class Share:
    """What a class, or all classes of a bin, have and want.

    Attributes:
        name: The class or the bin.
        bin: Its shot bin.
        real: Real training images.
        wanted: Synthetic images.
        finished: Those of them in finished parts.
        num_parts: Files the wanted ones come in.
        num_classes: 1, or the classes of the bin.
    """

    name: str
    bin: str
    real: int
    wanted: int
    finished: int
    num_parts: int
    num_classes: int = 1


@dataclass(frozen=True)
class Workload:
    """What there is to draw.

    Attributes:
        classes: One share for each of the K classes.
        bins: One share for each bin that has a class.
        unfinished: The parts that are still to draw, in the order of the run.
    """

    classes: tuple[Share, ...]
    bins: tuple[Share, ...]
    unfinished: tuple[Part, ...]

    @property
    def num_images(self) -> int:
        """Images that are still to draw."""
        return sum(part.num_images for part in self.unfinished)


@dataclass(frozen=True)
class Probe:
    """What drawing a few images took.

    Attributes:
        class_name: The class whose images they are.
        num_images: How many.
        device: Where they were drawn.
        seconds_per_image: Of one worker: embedding, drawing, judging and writing.
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


def workload(
    counts: Sequence[int],
    class_names: Sequence[str],
    config: SynthesizeConfig,
    is_finished: Callable[[Part], bool] = lambda part: False,
) -> Workload:
    """Counts what is wanted and what is left, by class and by bin.

    Args:
        counts: Real training images of each class, [K].
        class_names: Name of each class, K of them.
        config: The target and the size of a part.
        is_finished: Whether a part need not be drawn.

    Raises:
        InputError: No class needs an image.
    """
    planned = plan_set(counts, class_names, config)
    finished: Counter[int] = Counter()
    num_parts: Counter[int] = Counter()
    unfinished = []
    for part in planned.parts:
        num_parts[part.label] += 1
        if is_finished(part):
            finished[part.label] += part.num_images
        else:
            unfinished.append(part)
    classes = tuple(
        Share(name, shot_bin, counts[label], wanted, finished[label], num_parts[label])
        for label, (name, shot_bin, wanted) in enumerate(
            zip(class_names, shot_bins(counts), planned.wanted, strict=True)
        )
    )
    bins = [total(name, [share for share in classes if share.bin == name]) for name in BINS]
    return Workload(classes, tuple(each for each in bins if each.num_classes), tuple(unfinished))


def total(name: str, shares: Sequence[Share]) -> Share:
    """The sum of some classes, under a name."""
    return Share(
        name=name,
        bin=name,
        real=sum(share.real for share in shares),
        wanted=sum(share.wanted for share in shares),
        finished=sum(share.finished for share in shares),
        num_parts=sum(share.num_parts for share in shares),
        num_classes=sum(share.num_classes for share in shares),
    )


def prepared_meta() -> Meta:
    """What is known of the prepared data.

    Raises:
        InputError: There are none.
    """
    if not Path(PREPARED, META_NAME).is_file():
        raise InputError(f"{PREPARED} is missing; make it with `dvc repro prepare`")
    return read_meta(Path(PREPARED))


def is_drawn(part: Part, fingerprint: str) -> bool:
    """Whether a run would find the part finished, by its fingerprint and sha256."""
    return finished_part(part, fingerprint, Path(SYNTHETIC)) is not None


def undrawn(
    parts: Sequence[Part], fingerprints: Sequence[str], store: StoreConfig | None
) -> list[Part]:
    """The parts that a run has to draw: neither here nor listed in the store.

    Args:
        parts: All of the set.
        fingerprints: Of everything that decides what they show, one for each part.
        store: Where other workers' parts are; None is nowhere else.

    Raises:
        InputError: The store is out of reach.
    """
    there = stored(store, parts, fingerprints) if store is not None else {}
    return [
        part
        for part, fingerprint in zip(parts, fingerprints, strict=True)
        if part.path not in there and not is_drawn(part, fingerprint)
    ]


def longest(parts: Sequence[Part]) -> Part:
    """The part with most images, the first of them."""
    return max(parts, key=lambda part: part.num_images)


def probe(
    part: Part,
    generator: GeneratorConfig,
    config: SynthesizeConfig,
    seed: int,
    fingerprint: str,
    sources: Sources,
    compute: ComputeConfig,
    num_images: int | None = None,
) -> Probe:
    """Draws the first images of a part as a run would, but into a temporary folder.

    They are drawn twice: the first time also compiles, tunes and allocates. The process keeps the
    networks, and the GPU they are on, like a worker.

    Args:
        part: One that is still to draw.
        generator: The generator and its prompts.
        config: How the images are drawn.
        seed: Seed of the run.
        fingerprint: Of everything that decides what they show.
        sources: What they are drawn from.
        compute: The device and the size of a batch.
        num_images: At most so many; None is a batch.

    Raises:
        InputError: They cannot be drawn; says why.
    """
    wished = compute.batch_size if num_images is None else num_images
    few = replace(part, num_images=min(part.num_images, compute.batch_size, wished))
    started = time.perf_counter()
    check_code(sources, generator, config)
    studio = load_studio(generator, config, sources, compute)
    loaded = time.perf_counter()

    def draw() -> float:
        begun = time.perf_counter()
        with TemporaryDirectory(prefix="fgds-probe-") as folder:
            write_part(
                few,
                Recipe(generator, config, seed),
                studio,
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
        device=str(studio.generator.device),
        seconds_per_image=second_s / few.num_images,
        startup_s=loaded - started + max(0.0, first_s - second_s),
    )


def cost(parts: Sequence[Part], measured: Probe, workers: int) -> Cost:
    """What drawing some parts takes when each worker takes the next one as it gets free.

    Args:
        parts: In the order they are drawn, at least one.
        measured: From `probe`.
        workers: Parts that are drawn at the same time.
    """
    loads = [0] * min(workers, len(parts))  # images of each worker, a heap
    for part in parts:
        heapq.heapreplace(loads, loads[0] + part.num_images)
    return Cost(
        device_hours=sum(loads) * measured.seconds_per_image / 3600,
        wall_s=max(loads) * measured.seconds_per_image + measured.startup_s,
        longest_part_s=longest(parts).num_images * measured.seconds_per_image,
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
    parts: Sequence[Part],
    fingerprints: Sequence[str],
    generator: GeneratorConfig,
    config: SynthesizeConfig,
    seed: int,
    sources: Sources,
    compute: ComputeConfig,
) -> None:
    """Refuses a run above `compute.max_device_hours`, by a probe that one of its workers draws.

    Without a limit, or with nothing left to draw, there is no probe.

    Args:
        parts: All of the set; finished ones cost nothing.
        fingerprints: Of everything that decides what they show, one for each part.
        generator: The generator and its prompts.
        config: How the images are drawn.
        seed: Seed of the run.
        sources: What they are drawn from.
        compute: The limit, the device and the workers.

    Raises:
        InputError: The run costs more, or the probe cannot be drawn.
        UnfinishedError: The probe's worker failed.
    """
    if compute.max_device_hours is None:
        return
    store = None if sources.store is None else sources.store.config
    left = undrawn(parts, fingerprints, store)
    if not left:
        return
    probed = longest(left)
    (measured,) = run_each(
        task(name="probe", cache_policy=NO_CACHE, persist_result=True)(probe),
        "part",
        [probed],
        partial(make_runner, compute),
        generator=generator,
        config=config,
        seed=seed,
        fingerprint=fingerprints[parts.index(probed)],
        sources=sources,
        compute=compute,
    )
    if isinstance(measured, InputError):
        raise measured
    if isinstance(measured, Exception):
        raise UnfinishedError(f"the probe of what the run costs failed: {measured}")
    estimate = cost(left, measured, planned_workers(compute))
    num_images = sum(part.num_images for part in left)
    check_device_hours(estimate.device_hours, compute.max_device_hours, num_images)
