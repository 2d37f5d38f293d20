"""Generators of a few thousand random weights, of the very classes that people load.

They draw 16 x 16 RGB images from latents of 8 x 8.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

TINY_IMAGE_SIZE = 16
WIDTH, TOKENS = 16, 32
SHAPE = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 2 * WIDTH}
UNET: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}


def save(make: Callable[[], Any], folder: Path) -> Path:
    """Makes something with weights of its own seed and saves it as its library does."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        make().save_pretrained(folder)
    return folder


def tokenizer() -> Any:
    """A CLIP tokenizer of single letters."""
    from transformers import CLIPTokenizer

    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    return CLIPTokenizer(
        vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=TOKENS
    )


def text_encoder(projected: bool = False) -> Any:
    """A CLIP text encoder, with a projection of its pooled output where wanted."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=54,
        hidden_size=WIDTH,
        projection_dim=WIDTH,
        max_position_embeddings=TOKENS,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        **SHAPE,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def image_encoder(projection_dim: int = WIDTH) -> Any:
    """A CLIP vision tower."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=WIDTH,
            projection_dim=projection_dim,
            image_size=TINY_IMAGE_SIZE,
            patch_size=8,
            **SHAPE,
        )
    )


def feature_extractor() -> Any:
    """The preprocessing of the vision tower."""
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor(
        size={"shortest_edge": TINY_IMAGE_SIZE},
        crop_size={"height": TINY_IMAGE_SIZE, "width": TINY_IMAGE_SIZE},
    )


def vae(latent_channels: int = 4, **changes: float) -> Any:
    """An autoencoder that halves each side."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=4,
        sample_size=TINY_IMAGE_SIZE,
        scaling_factor=0.5,
        **changes,
    )


def scheduler(prediction_type: str) -> Any:
    """The noise schedule of Stable Diffusion."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type=prediction_type,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def stable_unclip() -> Any:
    """Text and a noised image embedding; predicts velocity."""
    from diffusers import DDPMScheduler, StableUnCLIPImg2ImgPipeline, UNet2DConditionModel
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import (
        StableUnCLIPImageNormalizer,
    )

    normalizer = StableUnCLIPImageNormalizer(embedding_dim=WIDTH)
    normalizer.mean.data.normal_(std=0.1)
    normalizer.std.data.uniform_(0.5, 1.5)
    return StableUnCLIPImg2ImgPipeline(
        feature_extractor=feature_extractor(),
        image_encoder=image_encoder(),
        image_normalizer=normalizer,
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=tokenizer(),
        text_encoder=text_encoder(),
        unet=UNet2DConditionModel(
            cross_attention_dim=WIDTH,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=2 * WIDTH,
            **UNET,
        ),
        scheduler=scheduler("v_prediction"),
        vae=vae(),
    )


def stable_diffusion() -> Any:
    """Text alone; predicts noise."""
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=text_encoder(),
        tokenizer=tokenizer(),
        unet=UNet2DConditionModel(cross_attention_dim=WIDTH, **UNET),
        scheduler=scheduler("epsilon"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl() -> Any:
    """Two text encoders and the sizes of the picture; predicts noise."""
    from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel

    return StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=text_encoder(),
        text_encoder_2=text_encoder(projected=True),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
        unet=UNet2DConditionModel(
            cross_attention_dim=2 * WIDTH,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=WIDTH + 6 * 8,
            **UNET,
        ),
        scheduler=scheduler("epsilon"),
        add_watermarker=False,
    )


def stable_diffusion_3() -> Any:
    """A transformer of a flow, without the optional third text encoder."""
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )

    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=4 * WIDTH,
            caption_projection_dim=16,
            pooled_projection_dim=2 * WIDTH,
            out_channels=4,
            pos_embed_max_size=8,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(shift_factor=0.06),
        text_encoder=text_encoder(projected=True),
        tokenizer=tokenizer(),
        text_encoder_2=text_encoder(projected=True),
        tokenizer_2=tokenizer(),
        text_encoder_3=None,
        tokenizer_3=None,
    )


def movq(**changes: Any) -> Any:
    """An autoencoder with spatial norms and a codebook that decoding leaves aside."""
    from diffusers import VQModel

    config = {
        "down_block_types": ("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        "up_block_types": ("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
        "block_out_channels": (32, 32),  # spatial norms have 32 groups
        "layers_per_block": 1,
        "latent_channels": 4,
        "vq_embed_dim": 4,
        "num_vq_embeddings": 16,
        "norm_type": "spatial",
    }
    return VQModel(**config | changes)


def kandinsky(**changes: Any) -> Any:
    """The second stage: an image embedding alone; predicts noise and its variance."""
    from diffusers import DDPMScheduler, KandinskyV22Pipeline, UNet2DConditionModel

    config = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 8,
        "encoder_hid_dim": WIDTH,
        "encoder_hid_dim_type": "image_proj",
        "addition_embed_type": "image",
        "cross_attention_dim": 8,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
        "up_block_types": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        "attention_head_dim": 4,
        "norm_num_groups": 4,
        "resnet_time_scale_shift": "scale_shift",
    }
    return KandinskyV22Pipeline(
        unet=UNet2DConditionModel(**config | changes),
        scheduler=DDPMScheduler(
            beta_schedule="linear",
            beta_start=0.00085,
            beta_end=0.012,
            variance_type="learned_range",
        ),
        movq=movq(),
    )


def kandinsky_prior(width: int = WIDTH) -> Any:
    """The first stage: from a text to an image embedding."""
    from diffusers import KandinskyV22PriorPipeline, PriorTransformer, UnCLIPScheduler

    prior = PriorTransformer(
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        embedding_dim=width,
        num_embeddings=TOKENS,
        additional_embeddings=4,
    )
    prior.clip_mean.data.normal_(std=0.1)
    prior.clip_std.data.uniform_(0.5, 1.5)
    return KandinskyV22PriorPipeline(
        prior=prior,
        image_encoder=image_encoder(width),
        text_encoder=text_encoder(projected=True),
        tokenizer=tokenizer(),
        scheduler=UnCLIPScheduler(
            clip_sample_range=5.0, prediction_type="sample", variance_type="fixed_small_log"
        ),
        image_processor=feature_extractor(),
    )


def tiny_decoder(latent_channels: int = 4) -> Any:
    """An AutoencoderTiny of the latents above."""
    from diffusers import AutoencoderTiny

    return AutoencoderTiny(
        latent_channels=latent_channels,
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )


PIPELINES = {
    "stable-diffusion": stable_diffusion,
    "stable-diffusion-xl": stable_diffusion_xl,
    "stable-diffusion-3": stable_diffusion_3,
    "kandinsky-2.2": kandinsky,
}


def save_adapter(generator: Path, folder: Path, projection_dim: int = WIDTH) -> None:
    """An IP-Adapter for the UNet of a generator, in the form that its authors publish."""
    from diffusers import UNet2DConditionModel
    from safetensors.torch import save_file

    unet = UNet2DConditionModel.from_pretrained(generator, subfolder="unet")
    random = torch.Generator().manual_seed(1)
    cross, num_tokens = unet.config.cross_attention_dim, 4

    def weights(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random) * shape[-1] ** -0.5

    state = {
        "image_proj.proj.weight": weights(num_tokens * cross, projection_dim),
        "image_proj.proj.bias": torch.zeros(num_tokens * cross),
        "image_proj.norm.weight": torch.ones(cross),
        "image_proj.norm.bias": torch.zeros(cross),
    }
    layers = [name for name in unet.attn_processors if "attn2" in name]
    hidden = {
        name: unet.get_submodule(name.removesuffix(".processor")).to_k.out_features
        for name in layers
    }
    for index, name in enumerate(layers):  # their numbers count the self-attention layers too
        for part in ("to_k_ip", "to_v_ip"):
            state[f"ip_adapter.{2 * index + 1}.{part}.weight"] = weights(hidden[name], cross)
    folder.mkdir(parents=True)
    save_file(state, folder / "adapter.safetensors")
    save(lambda: image_encoder(projection_dim), folder / "image_encoder")
