"""How many weights the generators of docs/generators.md have, from their published configurations.

    python -m benchmarks.weights        # seconds; no weights are loaded or made

Prints millions of weights by part and GiB in half precision, and the same of each repository whose
weights are known (docs/generators.md has both).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.networks import REAL


def unet(**config: Any) -> nn.Module:  # noqa: ANN401
    """A UNet of Stable Diffusion."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(**config)


def vae(channels: int = 4) -> nn.Module:
    """The autoencoder that all of them share the shape of."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(latent_channels=channels, **REAL.vae)


def text(width: int, layers: int, heads: int, projection: int | None = None) -> nn.Module:
    """A CLIP text encoder."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        projection_dim=projection or width,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def vision(width: int, layers: int, heads: int, mlp: int, projection: int) -> nn.Module:
    """A CLIP vision tower of 14-pixel patches at 224."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=mlp,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            projection_dim=projection,
            patch_size=14,
        )
    )


def sd21_unclip() -> dict[str, nn.Module]:
    """Stable Diffusion 2.1 unCLIP, the ViT-H one."""
    return {
        "network": unet(
            cross_attention_dim=1024,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=2048,
            **REAL.unet,
        ),
        "vae": vae(),
        "text": text(1024, 23, 16),
        "vision": vision(1280, 32, 16, 5120, 1024),
    }


def sd21_unclip_small() -> dict[str, nn.Module]:
    """Its smaller variant, the ViT-L one."""
    network = unet(
        cross_attention_dim=1024,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=1536,
        **REAL.unet,
    )
    tower = vision(1024, 24, 16, 4096, 768)
    return {**sd21_unclip(), "network": network, "vision": tower}


def sd3() -> dict[str, nn.Module]:
    """Stable Diffusion 3 medium, with T5."""
    from diffusers import SD3Transformer2DModel
    from transformers import T5Config, T5EncoderModel

    t5 = T5Config(
        d_model=4096,
        d_kv=64,
        d_ff=10240,
        num_layers=24,
        num_heads=64,
        feed_forward_proj="gated-gelu",
    )
    return {
        "network": SD3Transformer2DModel(
            num_layers=24,
            num_attention_heads=24,
            joint_attention_dim=4096,
            caption_projection_dim=1536,
            pooled_projection_dim=2048,
            pos_embed_max_size=192,
        ),
        "vae": vae(16),
        "text": nn.ModuleList([text(768, 12, 12, 768), text(1280, 32, 20, 1280)]),
        "T5": T5EncoderModel(t5),
    }


def tiny() -> dict[str, nn.Module]:
    """A tiny autoencoder."""
    from diffusers import AutoencoderTiny

    return {"vae": AutoencoderTiny(**REAL.tiny)}


def some(make: Callable[[], dict[str, nn.Module]], *parts: str) -> Callable[[], list[nn.Module]]:
    """Some parts of a generator, all if none is named."""

    def made() -> list[nn.Module]:
        found = make()
        return [found[name] for name in parts or found]

    return made


def sd15_adapter() -> dict[str, nn.Module]:
    """Stable Diffusion 1.5 with ip-adapter_sd15."""
    return {
        "network": unet(
            cross_attention_dim=768,
            attention_head_dim=8,
            block_out_channels=(320, 640, 1280, 1280),
        ),
        "vae": vae(),
        "text": text(768, 12, 12),
        "vision": vision(1280, 32, 16, 5120, 1024),
    }


def sdxl_adapter() -> dict[str, nn.Module]:
    """Stable Diffusion XL with ip-adapter_sdxl_vit-h."""
    return {
        "network": unet(
            cross_attention_dim=2048,
            attention_head_dim=(5, 10, 20),
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        ),
        "vae": vae(),
        "text": nn.ModuleList([text(768, 12, 12), text(1280, 32, 20, 1280)]),
        "vision": vision(1280, 32, 16, 5120, 1024),
    }


def kandinsky22() -> dict[str, nn.Module]:
    """Kandinsky 2.2: the UNet and MoVQ of its decoder, the ViT-bigG towers of its prior."""
    from diffusers import VQModel

    return {
        "network": unet(
            in_channels=4,
            out_channels=8,
            encoder_hid_dim=1280,
            encoder_hid_dim_type="image_proj",
            addition_embed_type="image",
            cross_attention_dim=768,
            block_out_channels=(384, 768, 1152, 1536),
            layers_per_block=3,
            attention_head_dim=64,
            down_block_types=("ResnetDownsampleBlock2D", *("SimpleCrossAttnDownBlock2D",) * 3),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            up_block_types=(*("SimpleCrossAttnUpBlock2D",) * 3, "ResnetUpsampleBlock2D"),
            resnet_time_scale_shift="scale_shift",
        ),
        "vae": VQModel(
            down_block_types=(*("DownEncoderBlock2D",) * 3, "AttnDownEncoderBlock2D"),
            up_block_types=("AttnUpDecoderBlock2D", *("UpDecoderBlock2D",) * 3),
            block_out_channels=(128, 256, 256, 512),
            layers_per_block=2,
            latent_channels=4,
            vq_embed_dim=4,
            num_vq_embeddings=16384,
            norm_type="spatial",
        ),
        "text": nn.ModuleList([text(1280, 32, 20, 1280), prior()]),
        "vision": vision(1664, 48, 16, 8192, 1280),
    }


def prior() -> nn.Module:
    """What draws an image embedding for a text in Kandinsky 2.2."""
    from diffusers import PriorTransformer

    return PriorTransformer(
        num_attention_heads=32, attention_head_dim=64, num_layers=20, embedding_dim=1280
    )


GENERATORS: dict[str, Callable[[], dict[str, nn.Module]]] = {
    "SD 2.1 unCLIP": sd21_unclip,
    "SD 1.5 + IP-Adapter": sd15_adapter,
    "SDXL + IP-Adapter": sdxl_adapter,
    "Kandinsky 2.2 (text: with the prior)": kandinsky22,
}


REPOSITORIES: dict[str, Callable[[], list[nn.Module]]] = {
    "stabilityai/stable-diffusion-2-1-unclip": some(sd21_unclip),
    "stabilityai/stable-diffusion-2-1-unclip-small": some(sd21_unclip_small),
    "stable-diffusion-v1-5/stable-diffusion-v1-5": some(sd15_adapter, "network", "vae", "text"),
    "stabilityai/stable-diffusion-xl-base-1.0": some(sdxl_adapter, "network", "vae", "text"),
    "h94/IP-Adapter": some(sd15_adapter, "vision"),  # the layers of an adapter come on top
    "stabilityai/stable-diffusion-3-medium-diffusers": some(sd3),
    "kandinsky-community/kandinsky-2-2-decoder": some(kandinsky22, "network", "vae"),
    "kandinsky-community/kandinsky-2-2-prior": some(kandinsky22, "text", "vision"),
    "madebyollin/taesd": some(tiny),
    "madebyollin/taesdxl": some(tiny),
}
"""What of each repository is loaded, by its id on the hub."""


def half_gib(path: str) -> float:
    """What is loaded of a repository, in GiB of half precision."""
    with torch.device("meta"):
        modules = REPOSITORIES[path]()
    return sum(2 * p.numel() for module in modules for p in module.parameters()) / 2**30


def main() -> None:
    """Prints the tables."""
    print("| generator | network | vae | text | vision | GiB in half precision |")
    print("|---|---|---|---|---|---|")
    for name, make in GENERATORS.items():
        with torch.device("meta"):
            parts = make()
        counts = {
            part: sum(p.numel() for p in module.parameters()) for part, module in parts.items()
        }
        cells = " | ".join(f"{count / 1e6:.0f} M" for count in counts.values())
        print(f"| {name} | {cells} | {2 * sum(counts.values()) / 2**30:.1f} |")
    for path in REPOSITORIES:
        print(f"{path}: {half_gib(path):.2f}")


if __name__ == "__main__":
    main()
