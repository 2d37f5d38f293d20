"""Stable Diffusion 1.5 or XL with an IP-Adapter: text, and a CLIP embedding of an image.

The image has cross-attention layers of its own, beside those of the text.

Source: Ye et al. (2023), https://arxiv.org/abs/2308.06721
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgds_core.errors import InputError
from fgds_core.generators.adapter import adapter_weights, check_adapter, tower_folder
from fgds_core.generators.clip import embed
from fgds_core.generators.config import GeneratorConfig
from fgds_core.generators.family import Family, ImageCondition, Pipeline
from fgds_core.generators.known import check_published
from fgds_core.generators.text_to_image import FAMILY as TEXT_TO_IMAGE
from fgds_core.pretrained.folder import Folder

if TYPE_CHECKING:
    from torch import Tensor

    from fgds_core.diffusion.denoise import Condition


def condition(
    pipeline: Pipeline, embeddings: Tensor, noise_level: int, noise: Tensor
) -> Condition:
    """The embeddings themselves, one image each, [B, 1, D]."""
    return {"image_embeds": embeddings[:, None].to(pipeline.unet.dtype)}


def unconditional(pipeline: Pipeline, num_images: int) -> Condition:
    """Zeros in place of the embedding."""
    import torch

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


def attach(pipeline: Pipeline, config: GeneratorConfig) -> Pipeline:
    """Loads the adapter and its image encoder into the pipeline.

    Raises:
        InputError: They are not there, are damaged, or do not fit the generator.
    """
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    from fgds_core.pretrained.load import fetch, load_network, quiet, reason, weights_of

    adapter = config.adapter
    assert adapter is not None  # the parameters agree on it
    key, tower = "generator.adapter", tower_folder(adapter)
    weights = f"{adapter.subfolder}/{adapter.weight_name}"
    files = [weights, *weights_of("model", tower)]
    folder = fetch(adapter.path, adapter.revision, files, f"{key}.path")
    check_adapter(adapter, pipeline.unet.config, folder)
    check_published(adapter.path, folder, key, only=adapter_weights(adapter))
    encoder = load_network(
        CLIPVisionModelWithProjection.from_pretrained, Folder(folder, key) / tower, pipeline.dtype
    )
    side = encoder.config.image_size
    with quiet():
        try:
            pipeline.register_modules(
                image_encoder=encoder,
                feature_extractor=CLIPImageProcessor(size={"shortest_edge": side}, crop_size=side),
            )
            pipeline.load_ip_adapter(
                str(folder),
                subfolder=adapter.subfolder,
                weight_name=adapter.weight_name,
                image_encoder_folder=None,
                local_files_only=True,
                low_cpu_mem_usage=False,
            )
        except Exception as error:
            raise InputError(
                f"generator.adapter: the IP-Adapter {weights} of {adapter.path} does not fit the"
                f" generator ({reason(error)}); give the one made for it"
            ) from error
    pipeline.set_ip_adapter_scale(adapter.scale)
    return pipeline


FAMILY = Family(
    layouts=TEXT_TO_IMAGE.layouts,
    network=TEXT_TO_IMAGE.network,
    encode_prompt=TEXT_TO_IMAGE.encode_prompt,
    no_prompt=TEXT_TO_IMAGE.no_prompt,
    ask=TEXT_TO_IMAGE.ask,
    image=ImageCondition(embed, condition, unconditional, noised=False),
    check=check,
    attach=attach,
    overflows=TEXT_TO_IMAGE.overflows,
)
