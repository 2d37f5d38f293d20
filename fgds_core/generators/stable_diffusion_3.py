"""Stable Diffusion 3: a transformer that predicts a flow; text alone.

Source: Esser et al. (2024), https://arxiv.org/abs/2403.03206
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fgds_core.generators.family import Family, Pipeline
from fgds_core.generators.layout import SCHEDULER, VAE, WEIGHTS, Layout
from fgds_core.pretrained import clip
from fgds_core.pretrained.component import Component
from fgds_core.pretrained.folder import Config

if TYPE_CHECKING:
    from torch import Tensor

    from fgds_core.diffusion.denoise import Condition

LAYOUTS = {
    "StableDiffusion3Pipeline": Layout(
        {
            "scheduler": SCHEDULER,
            "text_encoder": clip.TEXT_ENCODER,
            "text_encoder_2": clip.TEXT_ENCODER,
            "tokenizer": clip.TOKENIZER,
            "tokenizer_2": clip.TOKENIZER,
            "transformer": Component("diffusers", ("SD3Transformer2DModel",), weights=WEIGHTS),
            "vae": VAE,
        },
        {
            "text_encoder_3": Component("transformers", ("T5EncoderModel",), weights=clip.WEIGHTS),
            "tokenizer_3": Component(
                "transformers", ("T5Tokenizer", "T5TokenizerFast"), "tokenizer_config.json"
            ),
        },
    ),
}


def encode_prompt(pipeline: Pipeline, prompt: str, image_size: int) -> Condition:
    """Token and pooled embeddings of one prompt."""
    embedding, _, pooled, _ = pipeline.encode_prompt(
        prompt,
        prompt,
        prompt,
        device=pipeline.transformer.device,
        do_classifier_free_guidance=False,
    )
    return {
        "encoder_hidden_states": embedding.squeeze(0),  # [T, C]
        "pooled_projections": pooled.squeeze(0),  # [C']
    }


def no_prompt(pipeline: Pipeline, image_size: int) -> Condition:
    """The empty prompt."""
    return encode_prompt(pipeline, "", image_size)


def ask(pipeline: Pipeline, z: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
    """Asks the transformer."""
    prediction: Tensor = pipeline.transformer(
        hidden_states=z, timestep=timestep.expand(len(z)), return_dict=False, **condition
    )[0]
    return prediction


def multiple(configs: Mapping[str, Config]) -> int:
    """The sides of its latents: those of its patches."""
    patch = configs["transformer"].get("patch_size", 2)
    return patch if type(patch) is int else 1


FAMILY = Family(
    layouts=LAYOUTS,
    network="transformer",
    encode_prompt=encode_prompt,
    no_prompt=no_prompt,
    ask=ask,
    multiple=multiple,
)
