"""Families of generators: one module for each kind, loaded when it is chosen.

A module of a family waits for no library of models, so that a folder can be checked without one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fgds_core.generators.autoencoder import decode
from fgds_core.generators.config import GeneratorConfig, PriorConfig
from fgds_core.generators.layout import Layout
from fgds_core.pretrained.folder import Config, Folder

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fgds_core.diffusion.denoise import Condition

Pipeline = Any
"""A pipeline of diffusers, a holder of components."""

Component = Any
"""A network of diffusers or transformers, with a `config`."""


@dataclass(frozen=True)
class ImageCondition:
    """How a family is conditioned on an image.

    Attributes:
        embed: (pipeline, 8-bit pictures [3, H, W]) -> their embeddings, [B, D].
        condition: (pipeline, embeddings [B, D], noise level, noise [B, D]) -> what the network is
            told.
        unconditional: (pipeline, B) -> what the network is told instead where there is no image.
        noised: Whether the network knows the noise level of an embedding; if not it must be 0.
    """

    embed: Callable[[Pipeline, list[Tensor]], Tensor]
    condition: Callable[[Pipeline, Tensor, int, Tensor], Condition]
    unconditional: Callable[[Pipeline, int], Condition]
    noised: bool


if TYPE_CHECKING:
    DrawEmbeddings = Callable[
        [Pipeline, PriorConfig, Condition, Condition, Sequence[torch.Generator]], Condition
    ]


@dataclass(frozen=True)
class Family:
    """What one kind of generator does in its own way.

    Attributes:
        layouts: What its pipelines consist of, by their names in diffusers.
        network: Name of the denoising component.
        encode_prompt: (pipeline, prompt) -> what the network is told, without the axis of images.
        no_prompt: pipeline -> the same for the unconditional half of classifier-free guidance.
        ask: (pipeline, noisy latents, timestep, condition) -> the network's prediction.
        image: How it is conditioned on images; None takes text alone.
        fits: Refuses configurations, by component, that do not belong together.
        check: Refuses components that do not belong together.
        attach: Loads what the parameters name beside the pipeline; returns it with that.
        overflows: Whether the decoder of a pipeline overflows in half precision.
        decoder: Name of the component that decodes latents.
        decode: (decoder, latents) -> images.
        learned_variance: Whether the network predicts a variance in as many channels again, which
            `ask` leaves aside.
        multiple: (configurations) -> what the sides of its latents are multiples of.
        draw_embeddings: (pipeline, how, encoded prompts, the empty prompt, random generators) ->
            what the network is told, where a prior draws it for a text; None tells it the text.
    """

    layouts: Mapping[str, Layout]
    network: str
    encode_prompt: Callable[[Pipeline, str, int], Condition]
    no_prompt: Callable[[Pipeline, int], Condition]
    ask: Callable[[Pipeline, Tensor, Tensor, Condition], Tensor]
    image: ImageCondition | None = None
    fits: Callable[[Folder, Mapping[str, Config]], None] = lambda place, configs: None
    check: Callable[[Pipeline, str], None] = lambda pipeline, name: None
    attach: Callable[[Pipeline, GeneratorConfig], Pipeline] = lambda pipeline, config: pipeline
    overflows: Callable[[Pipeline], bool] = lambda pipeline: False
    decoder: str = "vae"
    decode: Callable[[Component, Tensor], Tensor] = decode
    learned_variance: bool = False
    multiple: Callable[[Mapping[str, Config]], int] = lambda configs: 1
    draw_embeddings: DrawEmbeddings | None = None


KINDS = {
    "stable-unclip": "fgds_core.generators.stable_unclip",
    "text-to-image": "fgds_core.generators.text_to_image",
    "ip-adapter": "fgds_core.generators.ip_adapter",
    "stable-diffusion-3": "fgds_core.generators.stable_diffusion_3",
    "kandinsky-2.2": "fgds_core.generators.kandinsky",
}
"""The module of each kind by its name in the parameters; its family is called `FAMILY`."""


def load_family(kind: str) -> Family:
    """The family of a kind, one of `KINDS`."""
    family: Family = import_module(KINDS[kind]).FAMILY
    return family
