"""What the pipelines of diffusers consist of."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fgds_core.pretrained.clip import TEXT_ENCODER, TOKENIZER
from fgds_core.pretrained.component import Component

WEIGHTS = "diffusion_pytorch_model"
"""How the names of weights' files of diffusers begin."""

SCHEDULER = Component("diffusers", (), "scheduler_config.json")  # of any class, see `folders`

UNET = Component("diffusers", ("UNet2DConditionModel",), weights=WEIGHTS)

VAE = Component("diffusers", ("AutoencoderKL",), weights=WEIGHTS)

TINY_DECODER = Component("diffusers", ("AutoencoderTiny",), weights=WEIGHTS)

DIFFUSION = {
    "scheduler": SCHEDULER,
    "text_encoder": TEXT_ENCODER,
    "tokenizer": TOKENIZER,
    "unet": UNET,
    "vae": VAE,
}


@dataclass(frozen=True)
class Layout:
    """What a pipeline of diffusers consists of.

    Attributes:
        components: What has to be there, by name.
        optional: What is used where it is there.
    """

    components: Mapping[str, Component]
    optional: Mapping[str, Component] = field(default_factory=dict)
