"""Stable unCLIP: text by cross-attention, a noised CLIP image embedding as class embedding.

The image embedding is concatenated with an embedding of the amount of noise on it. The
unconditional half is the empty prompt and zeros for the whole image vector, as in
`StableUnCLIPImg2ImgPipeline`.

Source: Ramesh et al. (2022), https://arxiv.org/abs/2204.06125
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fgds_core.generators.clip import embed
from fgds_core.generators.family import Family, ImageCondition, Pipeline
from fgds_core.generators.layout import DIFFUSION, SCHEDULER, WEIGHTS, Layout
from fgds_core.generators.stable_diffusion import encode_prompt, no_prompt
from fgds_core.pretrained.clip import PROCESSOR, TOWER
from fgds_core.pretrained.component import Component
from fgds_core.pretrained.folder import REMEDY, Config, Folder, positive

if TYPE_CHECKING:
    from torch import Tensor

    from fgds_core.diffusion.denoise import Condition

LAYOUTS = {
    "StableUnCLIPImg2ImgPipeline": Layout(
        {
            **DIFFUSION,
            "feature_extractor": PROCESSOR,
            "image_encoder": TOWER,
            "image_noising_scheduler": SCHEDULER,
            "image_normalizer": Component(
                "stable_diffusion", ("StableUnCLIPImageNormalizer",), weights=WEIGHTS
            ),
        },
    ),
}


def condition(
    pipeline: Pipeline, embeddings: Tensor, noise_level: int, noise: Tensor
) -> Condition:
    """Noised embeddings beside the embedding of the noise level, [B, 2D]."""
    vectors: Tensor = pipeline.noise_image_embeddings(
        embeddings, noise_level, noise=noise.to(embeddings)
    )
    return {"class_labels": vectors.detach().to(pipeline.unet.dtype)}


def unconditional(pipeline: Pipeline, num_images: int) -> Condition:
    """Zeros for the whole image vector."""
    import torch

    unet = pipeline.unet
    width = unet.config.projection_class_embeddings_input_dim
    return {"class_labels": torch.zeros(num_images, width, device=unet.device, dtype=unet.dtype)}


def ask(pipeline: Pipeline, z: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
    """Asks the UNet."""
    prediction: Tensor = pipeline.unet(z, timestep, return_dict=False, **condition)[0]
    return prediction


def fits(place: Folder, configs: Mapping[str, Config]) -> None:
    """Refuses a vision tower whose embeddings the normaliser or the UNet do not take."""
    given = positive(place, configs, "image_encoder", "projection_dim", 512)
    taken = positive(place, configs, "unet", "projection_class_embeddings_input_dim", None)
    if taken != 2 * given:
        raise place.wrong(
            f"does not fit: its unet takes image vectors of {taken} numbers, its image_encoder"
            f" gives {2 * given}",
            "the components are of different models: " + REMEDY,
        )
    normal = positive(place, configs, "image_normalizer", "embedding_dim", 768)
    if normal != given:
        raise place.wrong(
            f"does not fit: its image_normalizer takes embeddings of {normal} numbers, its"
            f" image_encoder gives {given}",
            "the components are of different models: " + REMEDY,
        )


FAMILY = Family(
    layouts=LAYOUTS,
    network="unet",
    encode_prompt=encode_prompt,
    no_prompt=no_prompt,
    ask=ask,
    image=ImageCondition(embed, condition, unconditional, noised=True),
    fits=fits,
)
