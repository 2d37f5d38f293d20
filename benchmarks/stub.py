"""A generator that only takes time, read by Dask workers as a preload: see benchmarks.scale."""

import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import torch

import fgds_core.synthesis.part
import tasks.workers.worker
from fgds_core.data.meta import read_meta
from fgds_core.diffusion.noise import image_seed
from fgds_core.images.formats import PNG
from fgds_core.images.pixels import encode
from fgds_core.images.table import image_table
from fgds_core.synthesis.columns import synthetic_schema
from fgds_core.synthesis.plan import Part
from fgds_core.synthesis.recipe import Recipe
from fgds_core.synthesis.record import PartRecord, write_synthetic_part
from tasks.workspace import FIRST

LATENCY_S = float(os.environ["STUB_LATENCY_S"])
"""Seconds an image takes."""

(PICTURE,) = encode(torch.zeros(1, 3, 8, 8), PNG)


def write_part(
    part: Part,
    recipe: Recipe,
    models: object,
    fingerprint: str,
    out: Path,
    **options: object,
) -> PartRecord:
    """Takes the place of `fgds_core.synthesis.part.write_part`; every image is black."""
    time.sleep(LATENCY_S * part.num_images)
    return write_synthetic_part(out, part.path, rows(part, recipe.seed), fingerprint)


def rows(part: Part, run_seed: int) -> pa.Table:
    """The rows of a part."""
    names, n = class_names(), part.num_images
    index = range(part.first_index, part.first_index + n)
    schema = synthetic_schema(names)
    columns: dict[str, Sequence[Any]] = {
        name: [None if schema.field(name).type == "string" else 0] * n
        for name in schema.names
        if name not in ("image", "label")
    }
    columns |= {
        "prompt": [""] * n,
        "feedback": ["none"] * n,
        "index": list(index),
        "seed": [image_seed(run_seed, part.class_name, i) for i in index],
    }
    return image_table([PICTURE] * n, [part.label] * n, names, columns, schema=schema)


def class_names() -> tuple[str, ...]:
    """Of the prepared data in the working folder."""
    return read_meta(FIRST.prepared).class_names


fgds_core.synthesis.part.write_part = (
    write_part  # tasks arrive pickled with what they call, by name
)


class Idle:
    """Takes the place of a `Worker`: loads nothing."""

    def models(self, *arguments: object) -> SimpleNamespace:
        """Nothing, on a CPU."""
        return SimpleNamespace(generator=SimpleNamespace(device=torch.device("cpu")))

    def turn(self, device: torch.device) -> AbstractContextManager[object]:
        """Nothing to wait for."""
        return nullcontext()


setattr(tasks.workers.worker, "this_worker", Idle)  # noqa: B010, of another type
