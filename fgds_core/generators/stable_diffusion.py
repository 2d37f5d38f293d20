"""What a Stable Diffusion with one text encoder is told of a prompt.

Source: Rombach et al. (2022), https://arxiv.org/abs/2112.10752
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgds_core.generators.family import Pipeline

if TYPE_CHECKING:
    from fgds_core.diffusion.denoise import Condition


def encode_prompt(pipeline: Pipeline, prompt: str, image_size: int) -> Condition:
    """What the text encoder gives for one prompt."""
    embedding, _ = pipeline.encode_prompt(prompt, pipeline.unet.device, 1, False)
    return {"encoder_hidden_states": embedding.squeeze(0)}  # [T, C]


def no_prompt(pipeline: Pipeline, image_size: int) -> Condition:
    """The empty prompt."""
    return encode_prompt(pipeline, "", image_size)
