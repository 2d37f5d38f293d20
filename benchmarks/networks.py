"""Stable unCLIP generators with random weights: the real configuration and a launch-bound one.

No text encoder or vision tower of the real one is built: prompts and embeddings are encoded once
for each class and real image, and cost nothing a step.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from fgds_core.classify.network import Classifier, DataContract, create_classifier
from fgds_core.generators.model import Generator
from fgds_core.generators.stable_unclip import FAMILY


@dataclass(frozen=True)
class Sizes:
    """Sizes of a generator's networks and of the classifier that guides it.

    Attributes:
        unet: Configuration of the UNet2DConditionModel.
        vae: Configuration of the AutoencoderKL.
        tiny: Configuration of the AutoencoderTiny.
        text: Width of the text embedding.
        tokens: Length of a prompt.
        embedding: Width of the image embedding.
        image_size: Pixels a side.
        classifier: The timm network that guides.
        classifier_kwargs: Its further arguments.
        classifier_size: Its input, in pixels a side.
    """

    unet: dict[str, Any]
    vae: dict[str, Any]
    tiny: dict[str, Any]
    text: int
    tokens: int
    embedding: int
    image_size: int
    classifier: str
    classifier_kwargs: dict[str, Any]
    classifier_size: int


# stabilityai/stable-diffusion-2-1-unclip, its published configuration; TAESD; ResNeXt-50 at 224
REAL = Sizes(
    unet={
        "block_out_channels": (320, 640, 1280, 1280),
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    },
    vae={
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "scaling_factor": 0.18215,
    },
    tiny={},
    text=1024,
    tokens=77,
    embedding=1024,
    image_size=512,
    classifier="resnext50_32x4d",
    classifier_kwargs={},
    classifier_size=224,
)

# So small that starting its many operations takes longer than computing them
SMALL = Sizes(
    unet={
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    },
    vae={
        "block_out_channels": (8, 16, 16),
        "layers_per_block": 2,
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "norm_num_groups": 4,
        "scaling_factor": 0.18215,
    },
    tiny={
        "encoder_block_out_channels": (8, 8, 8),
        "decoder_block_out_channels": (8, 8, 8),
        "num_encoder_blocks": (1, 1, 1),
        "num_decoder_blocks": (1, 1, 1),
    },
    text=16,
    tokens=16,
    embedding=16,
    image_size=32,
    classifier="resnet10t",
    classifier_kwargs={"stem_width": 8, "channels": [8, 8, 16, 16]},
    classifier_size=32,
)


class TextEncoder(nn.Module):
    """Stands for the text encoder: a fixed embedding for each prompt."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, prompts: list[str]) -> Tensor:
        """Embeddings of prompts, [B, tokens, text]."""
        random = torch.Generator().manual_seed(len(prompts[0]))
        shape = (len(prompts), self.sizes.tokens, self.sizes.text)
        return torch.randn(shape, generator=random)


class Pipeline(SimpleNamespace):
    """The components of a Stable unCLIP that sampling asks."""

    def encode_prompt(
        self, prompt: str, device: torch.device, num_images: int, guided: bool
    ) -> tuple[Tensor, None]:
        """The pipeline's own signature."""
        return self.text_encoder([prompt]).to(device, self.unet.dtype), None

    def noise_image_embeddings(self, embeddings: Tensor, level: int, noise: Tensor) -> Tensor:
        """Embeddings beside an embedding of no noise."""
        return torch.cat([embeddings, torch.zeros_like(embeddings)], dim=-1)


def generator(
    sizes: Sizes,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    *,
    channels_last: bool = False,
    compile: bool = False,
) -> Generator:
    """A generator of random weights; on the meta device, of none."""
    from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, UNet2DConditionModel

    with torch.device(device), torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=sizes.image_size // 2 ** (len(sizes.vae["block_out_channels"]) - 1),
            cross_attention_dim=sizes.text,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=2 * sizes.embedding,
            **sizes.unet,
        )
        vae = AutoencoderKL(latent_channels=4, sample_size=sizes.image_size, **sizes.vae)
        tiny = AutoencoderTiny(**sizes.tiny)
    for network in (unet, vae, tiny):
        network.requires_grad_(False).eval().to(dtype)
    tiny.to(memory_format=torch.channels_last)  # as the loader has it
    for network in (unet, vae.decoder, tiny.decoder):
        if channels_last:
            network.to(memory_format=torch.channels_last)
        if compile:
            network.compile()
    pipeline = Pipeline(
        unet=unet,
        vae=vae,
        text_encoder=TextEncoder(sizes),
        scheduler=DDIMScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            prediction_type="v_prediction",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
    )
    return Generator(pipeline, FAMILY, "random weights", tiny_decoder=tiny)


def classifier(sizes: Sizes, device: torch.device) -> Classifier:
    """A classifier of random weights."""
    if device.type != "meta":
        made = create_classifier(
            sizes.classifier,
            sizes.classifier_kwargs,
            [str(label) for label in range(100)],
            sizes.classifier_size,
            seed=0,
        )
        return made.requires_grad_(False).eval().to(device)
    import timm

    with device:
        network = timm.create_model(sizes.classifier, num_classes=100, **sizes.classifier_kwargs)
    contract = DataContract(sizes.classifier_size, (0.5,) * 3, (0.25,) * 3, "bicubic")
    made = Classifier(
        network.requires_grad_(False).eval(),
        model=sizes.classifier,
        model_kwargs=sizes.classifier_kwargs,
        class_names=[str(label) for label in range(100)],
        contract=contract,
    )
    return made.to(device)
