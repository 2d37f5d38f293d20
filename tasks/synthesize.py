"""The tasks of the stage synthesize: one for each part of a class, one for the index."""

import gc
import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fgds_core.data.meta import read_meta
from fgds_core.errors import InputError
from fgds_core.generators.config import GeneratorConfig
from fgds_core.synthesis.card import write_card
from fgds_core.synthesis.config import SynthesizeConfig
from fgds_core.synthesis.models import LoadedModels, load_models
from fgds_core.synthesis.part import finished_part, write_part
from fgds_core.synthesis.plan import Part, Plan, plan_set
from fgds_core.synthesis.recipe import Recipe
from fgds_core.synthesis.record import PartRecord, sidecar_path
from fgds_core.synthesis.shards import remove_index, write_index
from tasks.identity.cache import Outputs, stage_task, written
from tasks.identity.drawing import drawing_code, fingerprint
from tasks.layout import BASELINE, PREPARED, SYNTHETIC, SYNTHETIC_INDEX
from tasks.store.inputs import Shared, fetch
from tasks.store.parts import fetch_part, send_part
from tasks.watch.progress import advance, say
from tasks.watch.timing import work
from tasks.workers.config import ComputeConfig
from tasks.workers.devices import claim_device, use_device

log = logging.getLogger(__name__)

SPARE = 1.2
"""Synthetic images may compress worse than the real ones their size is estimated from."""

LEFT_FREE = 1 << 20
"""Bytes that drawing leaves for what else writes to the disk."""


@dataclass(frozen=True)
class Sources:
    """What all parts of a run are drawn from, as a worker has to have it too.

    Attributes:
        inputs: Digest of all that is loaded.
        code: Digest of the code that draws.
        store: Where inputs and parts are, if not all in the worker's workspace.
    """

    inputs: str
    code: str
    store: Shared | None = None


def sources_of(
    inputs: Mapping[str, str], made_by: Mapping[str, Any], store: Shared | None = None
) -> Sources:
    """The sources of a run, from its `input_digests` and what it is `made_by`."""
    return Sources(fingerprint(inputs), made_by["code"], store)


def check_code(sources: Sources, generator: GeneratorConfig, config: SynthesizeConfig) -> None:
    """Refuses to draw by other code than the flow's, which names the images by its own.

    Raises:
        InputError: This worker's code is another.
    """
    if drawing_code(generator, config) != sources.code:
        raise InputError(
            f"the worker on {socket.gethostname()} (process {os.getpid()}) has other code than the"
            " flow; bring its copy of the repository up to date and start it again"
        )


@dataclass(frozen=True)
class DrawnPart(Outputs):
    """The files of a part, and its record for the index.

    Attributes:
        record: For the index.
        seconds: What drawing took; None for a part that was there.
    """

    record: PartRecord
    seconds: float | None


def plan(config: SynthesizeConfig) -> Plan:
    """Plans the synthetic set for the prepared data."""
    meta = read_meta(Path(PREPARED))
    return plan_set(meta.counts["train"], meta.class_names, config)


def parquet_bytes(num_images: int, num_real: int) -> float:
    """Estimated size of synthetic images at rest; the real ones say how large an image is."""
    return SPARE * num_images * Path(PREPARED, "train.parquet").stat().st_size / num_real


def check_space(plan: Plan) -> None:
    """Refuses a run that would fill the disk.

    Raises:
        InputError: There is too little space for the images and their copy in DVC's cache.
    """
    num_images = sum(plan.wanted)
    there = sum(file.stat().st_size for file in Path(SYNTHETIC).rglob("*.parquet"))
    needed = max(0, parquet_bytes(num_images, sum(plan.real)) - there) * 2
    free = shutil.disk_usage("data").free
    if needed > free:
        raise InputError(
            f"{num_images} synthetic images need about {needed / 1e9:.2f} GB with their copy in "
            f"DVC's cache, but {Path(SYNTHETIC).resolve()} has {free / 1e9:.2f} GB free; free "
            "space, or lower synthesize.target_per_class"
        )


def check_room(part: Part) -> None:
    """Refuses a part that a disk which has filled up since cannot take, before it is drawn.

    Raises:
        InputError: There is no room for it.
    """
    real = read_meta(Path(PREPARED)).counts["train"]
    needed = parquet_bytes(part.num_images, sum(real)) + LEFT_FREE
    if shutil.disk_usage("data").free < needed:
        raise InputError(
            f"no space left for {SYNTHETIC}, a part needs {needed / 1e6:.1f} MB; make room and run"
            " again, finished parts are kept"
        )


@stage_task(name="synthesize", task_run_name="synthesize-{part.class_name}-{part.index}")
def draw_part(
    part: Part,
    generator: GeneratorConfig,
    config: SynthesizeConfig,
    seed: int,
    fingerprint: str,
    sources: Sources,
    compute: ComputeConfig,
) -> DrawnPart:
    """Draws one part of a class, unless the same one was drawn before.

    Args:
        part: Which images.
        generator: The generator and its prompts.
        config: How they are drawn.
        seed: Seed of the run.
        fingerprint: Of everything that decides what they show.
        sources: In no cache key, for they are those of all classes.
        compute: In no cache key.
    """
    out, seconds = Path(SYNTHETIC), None
    record = finished_part(part, fingerprint, out)
    if record is None and sources.store is not None:
        record = fetch_part(sources.store.config, part, fingerprint, out)
    if record is not None:
        advance("synthesize", part.num_images)
    else:
        check_code(sources, generator, config)
        studio = load_studio(generator, config, sources, compute)
        check_room(part)
        log.info("drawing %s", part.path)
        with work(), _turn(studio.generator.device):
            started = time.monotonic()
            remove_index(out)
            record = write_part(
                part,
                Recipe(generator, config, seed),
                studio,
                fingerprint,
                out,
                batch_size=compute.batch_size,
                micro_batch=compute.micro_batch,
                advance=partial(advance, "synthesize"),
            )
            seconds = time.monotonic() - started
    if sources.store is not None:
        record = send_part(sources.store.config, part, record, out)
    file = f"{SYNTHETIC}/{record.path}"
    outputs = written(file, f"{SYNTHETIC}/{sidecar_path(record.path)}")
    return DrawnPart(outputs.owned, outputs.files, record, seconds)


_drawing = threading.Lock()


def _turn(device: torch.device) -> AbstractContextManager[object]:
    """A turn on a device: threads of a worker share a CPU, but never a GPU."""
    return nullcontext() if device.type == "cpu" else _drawing


_loading = threading.Lock()
_studio: dict[tuple[object, ...], LoadedModels] = {}
_gpu: list[str] = []


def load_studio(
    generator: GeneratorConfig, config: SynthesizeConfig, sources: Sources, compute: ComputeConfig
) -> LoadedModels:
    """Loads the networks and the real images, once for each process and content of the inputs.

    Raises:
        InputError: An input is missing or does not fit, or there is no device.
    """
    key = (generator.model_dump_json(), config.model_dump_json(), compute.model_dump_json())
    with _loading:
        if (*key, sources) not in _studio:
            _studio.clear()  # first, for a worker that lives on may not have room for both
            gc.collect()
            _studio[*key, sources] = _load_studio(generator, config, sources, compute)
        return _studio[*key, sources]


def _load_studio(
    generator: GeneratorConfig, config: SynthesizeConfig, sources: Sources, compute: ComputeConfig
) -> LoadedModels:
    if sources.store is not None:
        fetch(sources.store)
    device = _device(compute)
    say("synthesize", f"loading the real images, the classifiers and the generator on {device}")
    with work():
        return load_models(
            Recipe(generator, config, 0),
            Path(PREPARED),
            Path(BASELINE),
            device,
            micro_batch=compute.micro_batch,
            channels_last=compute.channels_last,
            compile=compute.compile,
            gradient_checkpointing=compute.gradient_checkpointing,
        )


def _device(compute: ComputeConfig) -> str:
    """The device of this process; a GPU is claimed once, whatever is loaded and drawn later."""
    device = use_device(compute)
    if device != "cuda":
        return device
    if not _gpu:
        _gpu.append(claim_device(compute))
    return _gpu[0]


@stage_task(name="synthesize-index")
def write_synthetic_index(
    records: tuple[PartRecord, ...],
    class_names: tuple[str, ...],
    wanted: tuple[int, ...],
    made_by: dict[str, Any],
    fingerprint: str,
) -> Outputs:
    """Writes the card and, last, the index: it turns the parts into a synthetic set."""
    card = write_card(Path(SYNTHETIC), wanted)
    write_index(
        Path(SYNTHETIC),
        records,
        class_names=class_names,
        wanted=wanted,
        fingerprint=fingerprint,
        made_by=made_by,
    )
    return written(*(f"{SYNTHETIC}/{name}" for name in card), SYNTHETIC_INDEX)
