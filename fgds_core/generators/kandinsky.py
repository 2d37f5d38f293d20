"""Kandinsky 2.2: a UNet that is told one CLIP image embedding, be it of an image or of a text.

A prior, a model of its own beside it, draws the embedding for a text: another one from each seed.
The UNet predicts the noise and, in as many channels again, its variance, which solvers of fixed
variance leave aside. The decoder is a MoVQ without the quantisation.

Sources: Razzhigaev et al. (2023), https://arxiv.org/abs/2310.03502; Ramesh et al. (2022) for the
prior, https://arxiv.org/abs/2204.06125; Zheng et al. (2022) for the decoder,
https://arxiv.org/abs/2209.09002
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fgds_core.generators.config import GeneratorConfig, PriorConfig
from fgds_core.generators.family import Component, Family, ImageCondition, Pipeline
from fgds_core.generators.known import check_published
from fgds_core.generators.layout import SCHEDULER, UNET, WEIGHTS, Layout
from fgds_core.generators.prior import KEY, check_prior
from fgds_core.generators.prior import LAYOUTS as PRIOR_LAYOUTS
from fgds_core.pretrained import component
from fgds_core.pretrained.folder import Config, Folder, read, short

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fgds_core.diffusion.denoise import Condition

LAYOUTS = {
    "KandinskyV22Pipeline": Layout(
        {
            "movq": component.Component("diffusers", ("VQModel",), weights=WEIGHTS),
            "scheduler": SCHEDULER,
            "unet": UNET,
        }
    ),
}


def encode_prompt(pipeline: Pipeline, prompt: str, image_size: int) -> Condition:
    """What the text encoder gives for one prompt, which the prior is told."""
    tokenizer, encoder = pipeline.prior_tokenizer, pipeline.prior_text_encoder
    tokens = tokenizer(
        prompt,
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).to(encoder.device)
    encoded = encoder(tokens.input_ids)
    return {
        "proj_embedding": encoded.text_embeds.squeeze(0),  # [D]
        "encoder_hidden_states": encoded.last_hidden_state.squeeze(0),  # [T, C]
        "attention_mask": tokens.attention_mask.squeeze(0).bool(),  # [T]
    }


def no_prompt(pipeline: Pipeline, image_size: int) -> Condition:
    """The empty prompt."""
    return encode_prompt(pipeline, "", image_size)


def draw_embeddings(
    pipeline: Pipeline,
    config: PriorConfig,
    text: Condition,
    no_text: Condition,
    rngs: Sequence[torch.Generator],
) -> Condition:
    """Draws the embedding of an image for each text, under classifier-free guidance.

    Args:
        pipeline: Holds the prior.
        config: Its steps and how strongly it is guided.
        text: From `encode_prompt`, for each of B images.
        no_text: The same of the empty prompt.
        rngs: One per image, for where it starts and for each step.
    """
    import torch

    from fgds_core.diffusion.noise import randn

    prior = pipeline.prior_prior
    dtype, device = prior.dtype, prior.device
    solver = type(pipeline.prior_scheduler).from_config(pipeline.prior_scheduler.config)
    solver.set_timesteps(config.num_inference_steps)
    weight, told = config.guidance_scale, text
    if weight != 1:
        told = {name: torch.cat([no_text[name], text[name]]) for name in text}
    noise = randn((prior.config.embedding_dim,), rngs)
    z = noise.to(device, torch.promote_types(dtype, torch.float32)) * solver.init_noise_sigma
    earlier = [*solver.timesteps[1:], None]
    for timestep, previous in zip(solver.timesteps, earlier, strict=True):
        twice = z if weight == 1 else torch.cat([z, z])  # [B or 2B, D]
        z0 = prior(twice.to(dtype), timestep, **told).predicted_image_embedding.to(z.dtype)
        if weight != 1:
            free, conditional = z0.chunk(2)
            z0 = free + weight * (conditional - free)
        z = solver.step(z0, timestep, z, prev_timestep=previous, generator=list(rngs)).prev_sample
    return {"image_embeds": prior.post_process_latents(z).to(dtype)}


def embed(pipeline: Pipeline, pictures: list[Tensor]) -> Tensor:
    """CLIP embeddings of 8-bit pictures [3, H, W], by the tower of the prior, [B, D]."""
    tower = pipeline.prior_image_encoder
    pixels = pipeline.prior_image_processor(images=pictures, return_tensors="pt").pixel_values
    embeddings: Tensor = tower(pixels.to(tower.device, tower.dtype)).image_embeds
    return embeddings


def condition(
    pipeline: Pipeline, embeddings: Tensor, noise_level: int, noise: Tensor
) -> Condition:
    """The embeddings themselves, [B, D]."""
    return {"image_embeds": embeddings.to(pipeline.unet.dtype)}


def unconditional(pipeline: Pipeline, num_images: int) -> Condition:
    """The embedding of an image of zeros, as its authors have it."""
    import torch

    tower = pipeline.prior_image_encoder
    side = tower.config.image_size
    black = torch.zeros(1, 3, side, side, device=tower.device, dtype=tower.dtype)
    with torch.no_grad():
        embedding = tower(black).image_embeds  # [1, D]
    return {"image_embeds": embedding.to(pipeline.unet.dtype).expand(num_images, -1)}


def ask(pipeline: Pipeline, z: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
    """Asks the UNet; its second half, the variance, is left aside."""
    prediction: Tensor = pipeline.unet(
        z,
        timestep,
        encoder_hidden_states=None,
        added_cond_kwargs=dict(condition),
        return_dict=False,
    )[0]
    return prediction[:, : z.shape[1]]  # [B, 2C, H, W] -> [B, C, H, W]


def decode(movq: Component, z: Tensor) -> Tensor:
    """Decodes latents as they are: neither scaled nor quantised."""
    dtype = next(movq.parameters()).dtype
    x: Tensor = movq.decode(z.to(dtype), force_not_quantize=True, return_dict=False)[0]
    return x.to(z.dtype)


def fits(place: Folder, configs: Mapping[str, Config]) -> None:
    """Refuses a UNet that is told something else, and a MoVQ of other latents."""
    unet, movq = configs["unet"], configs["movq"]
    for key, wanted in (("addition_embed_type", "image"), ("encoder_hid_dim_type", "image_proj")):
        if unet.get(key) != wanted:
            raise (place / "unet" / "config.json").wrong(
                f"says {key} {short(unet.get(key))}, not {wanted}",
                "give the decoder of Kandinsky 2.2 for text to image, not one for other tasks",
            )
    latents = movq.get("latent_channels", 3)
    if (codes := movq.get("vq_embed_dim") or latents) != unet.get("in_channels", 4):
        raise place.wrong(
            f"does not fit: its unet draws latents of {short(unet.get('in_channels', 4))}"
            f" channels, its movq decodes {short(codes)}"
        )
    if movq.get("lookup_from_codebook"):
        raise (place / "movq" / "config.json").wrong(
            "says lookup_from_codebook true: it decodes codes, not latents"
        )


def multiple(configs: Mapping[str, Config]) -> int:
    """The sides of its latents: the UNet's way up doubles what its way down has halved."""
    blocks = configs["unet"].get("block_out_channels", [0] * 4)
    return int(2 ** (len(blocks) - 1)) if isinstance(blocks, list) and len(blocks) <= 16 else 1


def attach(pipeline: Pipeline, config: GeneratorConfig) -> Pipeline:
    """Loads the prior, which makes both one pipeline.

    Raises:
        InputError: It is not there, is damaged, or does not fit the generator.
    """
    from diffusers import KandinskyV22CombinedPipeline

    from fgds_core.generators.parts import bring, load_parts

    prior = config.prior
    assert prior is not None  # the parameters agree on it
    source = (prior.path, prior.revision, config.variant)
    folder = bring(*source, layouts=PRIOR_LAYOUTS, key=KEY, asked=KEY)
    local = None if str(folder) == prior.path else folder
    check_prior(prior, config.variant, pipeline.unet.config, local)
    check_published(prior.path, folder, KEY, config.variant)
    place = Folder(folder, KEY)
    index = read(place, "model_index.json")
    layout = PRIOR_LAYOUTS[str(index["_class_name"])]
    parts = load_parts(place, layout, index, config.variant, pipeline.unet.dtype)
    # Its layers know how to; the class does not say so
    pipeline.movq._supports_gradient_checkpointing = True
    return KandinskyV22CombinedPipeline(
        unet=pipeline.unet,
        scheduler=pipeline.scheduler,
        movq=pipeline.movq,
        **{f"prior_{part}": value for part, value in parts.items()},
    )


FAMILY = Family(
    layouts=LAYOUTS,
    network="unet",
    encode_prompt=encode_prompt,
    no_prompt=no_prompt,
    ask=ask,
    image=ImageCondition(embed, condition, unconditional, noised=False),
    fits=fits,
    attach=attach,
    decoder="movq",
    decode=decode,
    learned_variance=True,
    multiple=multiple,
    draw_embeddings=draw_embeddings,
)
