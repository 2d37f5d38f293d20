"""Stable unCLIP: text by cross-attention, a noised CLIP image embedding as class embedding.

The image embedding is concatenated with an embedding of the amount of noise on it. The
unconditional half is the empty prompt and zeros for the whole image vector, as in
`StableUnCLIPImg2ImgPipeline`.

Source: Ramesh et al. (2022), https://arxiv.org/abs/2204.06125
"""

import torch
from torch import Tensor

from fgds_core.diffusion.denoise import Condition
from fgds_core.generators.model import Family, ImageCondition, Pipeline
from fgds_core.generators.text_to_image import encode_prompt, no_prompt


def embed(pipeline: Pipeline, pictures: list[Tensor]) -> Tensor:
    """CLIP embeddings of 8-bit pictures [3, H, W], [B, D]."""
    tower = pipeline.image_encoder
    pixels = pipeline.feature_extractor(images=pictures, return_tensors="pt").pixel_values
    embeddings: Tensor = tower(pixels.to(tower.device, tower.dtype)).image_embeds
    return embeddings


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
    unet = pipeline.unet
    width = unet.config.projection_class_embeddings_input_dim
    return {"class_labels": torch.zeros(num_images, width, device=unet.device, dtype=unet.dtype)}


def ask(pipeline: Pipeline, z: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
    """Asks the UNet."""
    prediction: Tensor = pipeline.unet(z, timestep, return_dict=False, **condition)[0]
    return prediction


FAMILY = Family(
    network="unet",
    encode_prompt=encode_prompt,
    no_prompt=no_prompt,
    ask=ask,
    image=ImageCondition(embed, condition, unconditional, noised=True),
)
