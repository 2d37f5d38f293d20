"""What a generator is told of an image by its CLIP vision tower."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgds_core.generators.family import Pipeline

if TYPE_CHECKING:
    from torch import Tensor


def embed(pipeline: Pipeline, pictures: list[Tensor]) -> Tensor:
    """CLIP embeddings of 8-bit pictures [3, H, W], [B, D]."""
    tower = pipeline.image_encoder
    pixels = pipeline.feature_extractor(images=pictures, return_tensors="pt").pixel_values
    embeddings: Tensor = tower(pixels.to(tower.device, tower.dtype)).image_embeds
    return embeddings
