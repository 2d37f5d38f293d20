"""Draws one part of a class and writes its file.

Batches are fixed slices of a part, so a resumed run repeats them. Where images are valued together
the whole part is one batch, of which the networks take as many at a time as otherwise a batch has.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
from torch import Tensor

from fgds_core.errors import InputError
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.formats import Encoding
from fgds_core.images.pixels import encode
from fgds_core.images.table import image_table
from fgds_core.synthesis import columns, record
from fgds_core.synthesis.condition import embed
from fgds_core.synthesis.config import SynthesizeConfig
from fgds_core.synthesis.draw import Drawn, draw_finite, scale_of
from fgds_core.synthesis.models import LoadedModels
from fgds_core.synthesis.plan import Part
from fgds_core.synthesis.recipe import Recipe
from fgds_core.synthesis.request import ImageRequest, plan_images
from fgds_core.synthesis.strength import for_class


def write_part(
    part: Part,
    recipe: Recipe,
    models: LoadedModels,
    fingerprint: str,
    out: Path,
    *,
    batch_size: int,
    micro_batch: int | None = None,
    advance: Callable[[int], object] = lambda num_images: None,
) -> record.PartRecord:
    """Draws one part and writes it.

    Args:
        part: The part.
        recipe: How its images are drawn.
        models: What they are drawn with.
        fingerprint: Of everything that decides what the part holds.
        out: Folder of the synthetic set.
        batch_size: Images that go through the denoising network together.
        micro_batch: Images decoded and classified at a time; None is `batch_size`.
        advance: Called with the number of images done since the last call.

    Returns:
        The record of the finished part.

    Raises:
        InputError: If the class has no real image to condition on.
        FloatingPointError: If an image came out with values that are not finite in every attempt.
    """
    own = models.real.of_class(part.label)
    config = for_class(recipe.synthesize, len(own))
    if config.conditioning != "text" and not len(own):
        raise InputError(
            f"class {part.class_name!r} has no real training image to condition on; add one, or"
            " set synthesize.conditioning to text"
        )
    requests = plan_images(part, recipe, len(own), own.groups)
    embedded = embed(models.generator, requests, models.real, config, batch_size)
    together = models.feedback is not None and models.feedback.together
    size = len(requests) if together else batch_size
    tables = []
    for first in range(0, len(requests), size):
        batch = requests[first : first + size]
        drawn = draw_finite(
            models.generator,
            batch,
            embedded,
            config,
            models.feedback,
            image_size=own.size,
            micro_batch=micro_batch,
            at_a_time=batch_size,
        )
        rows = [_table(images, whole, own, config, models.encoding) for whole, images in drawn]
        tables.append(rows[0] if len(rows) == 1 else pa.concat_tables(rows).sort_by("index"))
        advance(len(batch))
    return record.write_synthetic_part(out, part.path, pa.concat_tables(tables), fingerprint)


def _table(
    drawn: Drawn,
    batch: Sequence[ImageRequest],
    own: ImageDataset,
    config: SynthesizeConfig,
    encoding: Encoding,
) -> pa.Table:
    """Puts a batch into the rows of a part; `own` are the real images of its class."""
    num_images = len(batch)
    on = drawn.stats.first is not None
    chosen = [request.conditioning_id for request in batch]
    return image_table(
        encode(drawn.images, encoding),
        [request.label for request in batch],
        own.class_names,
        {
            "group": [request.group for request in batch],
            "prompt": [request.prompt for request in batch],
            "seed": [request.seed for request in batch],
            "index": [request.index for request in batch],
            "attempt": [request.attempt for request in batch],
            "conditioning_id": chosen,
            "embedding_dropout": [0.0 if i is None else config.embedding_dropout for i in chosen],
            "noise_level": [0 if i is None else config.noise_level for i in chosen],
            "guidance_scale": [config.guidance_scale] * num_images,
            "feedback": [config.feedback if on else "none"] * num_images,
            "feedback_scale": [scale_of(config, r.attempt) if on else 0.0 for r in batch],
            "criterion_first": _finite_or_none(drawn.stats.first, num_images),
            "criterion_last": _finite_or_none(drawn.stats.last, num_images),
            "criterion_final": _finite_or_none(drawn.criterion, num_images),
            "guided_steps": drawn.stats.guided.tolist(),
            "skipped_steps": drawn.stats.skipped.tolist(),
            "nonfinite_steps": drawn.stats.non_finite.tolist(),
        },
        schema=columns.synthetic_schema(own.class_names),
    )


def _finite_or_none(values: Tensor | None, num_images: int) -> list[float | None]:
    if values is None:
        return [None] * num_images
    return [value if math.isfinite(value) else None for value in values.tolist()]
