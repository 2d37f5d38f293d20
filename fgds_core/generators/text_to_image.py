"""Stable Diffusion 1.x, 2.x and XL: text alone.

Sources: Rombach et al. (2022), https://arxiv.org/abs/2112.10752; Podell et al. (2023),
https://arxiv.org/abs/2307.01952
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fgds_core.generators import stable_diffusion
from fgds_core.generators.family import Family, Pipeline
from fgds_core.generators.layout import DIFFUSION, Layout
from fgds_core.pretrained.clip import TEXT_ENCODER, TOKENIZER

if TYPE_CHECKING:
    from torch import Tensor

    from fgds_core.diffusion.denoise import Condition

LAYOUTS = {
    "StableDiffusionPipeline": Layout(DIFFUSION),
    "StableDiffusionXLPipeline": Layout(
        {**DIFFUSION, "text_encoder_2": TEXT_ENCODER, "tokenizer_2": TOKENIZER}
    ),
}

ADDED = ("text_embeds", "time_ids", "image_embeds")
"""What the UNet takes as `added_cond_kwargs`."""


def is_xl(pipeline: Pipeline) -> bool:
    """Whether the pipeline is a Stable Diffusion XL."""
    return type(pipeline).__name__ == "StableDiffusionXLPipeline"


def overflows(pipeline: Pipeline) -> bool:
    """Whether the decoder overflows in half precision: that of Stable Diffusion XL."""
    return is_xl(pipeline) and bool(pipeline.vae.config.force_upcast)


def encode_prompt(pipeline: Pipeline, prompt: str, image_size: int) -> Condition:
    """What the text encoders give for one prompt; for XL with the sizes it was trained with."""
    if not is_xl(pipeline):
        return stable_diffusion.encode_prompt(pipeline, prompt, image_size)
    embedding, _, pooled, _ = pipeline.encode_prompt(
        prompt, device=pipeline.unet.device, do_classifier_free_guidance=False
    )
    return _xl(pipeline, embedding.squeeze(0), pooled.squeeze(0), image_size)


def no_prompt(pipeline: Pipeline, image_size: int) -> Condition:
    """The empty prompt, or zeros where the generator was trained so."""
    condition = encode_prompt(pipeline, "", image_size)
    if is_xl(pipeline) and pipeline.config.force_zeros_for_empty_prompt:
        zeros = {
            name: condition[name].new_zeros(condition[name].shape)
            for name in ("encoder_hidden_states", "text_embeds")
        }
        return {**condition, **zeros}
    return condition


def ask(pipeline: Pipeline, z: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
    """Asks the UNet."""
    added: dict[str, Any] = {name: condition[name] for name in ADDED if name in condition}
    if "image_embeds" in added:  # one for each adapter
        added["image_embeds"] = [added["image_embeds"]]
    prediction: Tensor = pipeline.unet(
        z,
        timestep,
        encoder_hidden_states=condition["encoder_hidden_states"],
        added_cond_kwargs=added or None,
        return_dict=False,
    )[0]
    return prediction


def _xl(pipeline: Pipeline, embedding: Tensor, pooled: Tensor, image_size: int) -> Condition:
    size = (image_size, image_size)
    # Original size, top left corner of the crop, target size: a whole picture
    time_ids = embedding.new_tensor([*size, 0, 0, *size])  # [6]
    return {"encoder_hidden_states": embedding, "text_embeds": pooled, "time_ids": time_ids}


FAMILY = Family(
    layouts=LAYOUTS,
    network="unet",
    encode_prompt=encode_prompt,
    no_prompt=no_prompt,
    ask=ask,
    overflows=overflows,
)
