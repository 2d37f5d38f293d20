"""Stable Diffusion 1.5 or XL with an IP-Adapter: text, and a CLIP embedding of an image.

The image has cross-attention layers of its own, beside those of the text.

Source: Ye et al. (2023), https://arxiv.org/abs/2308.06721
"""

import torch
from torch import Tensor

from fgds_core.diffusion.denoise import Condition
from fgds_core.errors import InputError
from fgds_core.generators.model import Family, ImageCondition, Pipeline
from fgds_core.generators.stable_unclip import embed
from fgds_core.generators.text_to_image import FAMILY as TEXT_TO_IMAGE


def condition(
    pipeline: Pipeline, embeddings: Tensor, noise_level: int, noise: Tensor
) -> Condition:
    """The embeddings themselves, one image each, [B, 1, D]."""
    return {"image_embeds": embeddings[:, None].to(pipeline.unet.dtype)}


def unconditional(pipeline: Pipeline, num_images: int) -> Condition:
    """Zeros in place of the embedding."""
    unet = pipeline.unet
    width = pipeline.image_encoder.config.projection_dim
    return {
        "image_embeds": torch.zeros(num_images, 1, width, device=unet.device, dtype=unet.dtype)
    }


def check(pipeline: Pipeline, name: str) -> None:
    """Refuses adapters of patch embeddings, and an image encoder that does not fit."""
    from diffusers.models.embeddings import ImageProjection

    (projection,) = pipeline.unet.encoder_hid_proj.image_projection_layers
    if not isinstance(projection, ImageProjection):
        raise InputError(
            f"generator.adapter: {name} is a {type(projection).__name__}, which takes patch"
            " features; give an IP-Adapter that takes the pooled CLIP embedding (not a plus or"
            " full-face one)"
        )
    taken = projection.image_embeds.in_features
    given = pipeline.image_encoder.config.projection_dim
    if taken != given:
        raise InputError(
            f"generator.adapter: the adapter takes image embeddings of {taken} numbers, the"
            f" image encoder beside it gives {given}; name the encoder it was trained with"
        )


FAMILY = Family(
    network=TEXT_TO_IMAGE.network,
    encode_prompt=TEXT_TO_IMAGE.encode_prompt,
    no_prompt=TEXT_TO_IMAGE.no_prompt,
    ask=TEXT_TO_IMAGE.ask,
    image=ImageCondition(embed, condition, unconditional, noised=False),
    check=check,
)
