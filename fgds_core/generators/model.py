"""A pre-trained generator in memory, whatever its family.

The networks are those of a diffusers pipeline, which is never called as a whole. What families do
in different ways - what their text encoders give, how an image conditions them, how their network
is asked - is a `Family`: one record of functions for each kind.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fgds_core.diffusion.denoise import ClassifierFree, Condition
from fgds_core.diffusion.noise import stream
from fgds_core.diffusion.solver import schedule_of
from fgds_core.errors import InputError
from fgds_core.generators.autoencoder import decode
from fgds_core.generators.config import PriorConfig
from fgds_core.generators.family import Component, Family, ImageCondition, Pipeline
from fgds_core.images.pixels import to_uint8


@dataclass(frozen=True)
class Generator:
    """A generator in memory, its weights frozen."""

    pipeline: Pipeline
    family: Family
    name: str
    """Where it came from, for messages."""
    image_size: int | None = None
    """Pixels a side of what it draws; None is what it was trained for."""
    micro_batch: int | None = None
    """Images that go through encoders and decoder at a time; None is all of them."""
    tiny_decoder: Component | None = None
    """An `AutoencoderTiny` of the same latents; None where there is none."""
    prior: PriorConfig | None = None
    """How its prior draws; None where it has none."""
    _prompts: dict[str | None, Condition] = field(default_factory=dict, repr=False)
    _encoding: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    """A tokenizer holds its padding as state, so only one thread at a time may use it."""

    @property
    def network(self) -> Component:
        """The denoising network."""
        return getattr(self.pipeline, self.family.network)

    @property
    def decoder(self) -> Component:
        """The autoencoder that decodes its latents."""
        return getattr(self.pipeline, self.family.decoder)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return torch.device(self.network.device)

    @cached_property  # diffusers walks through all modules to find it, and every step asks
    def dtype(self) -> torch.dtype:
        """What the denoising network computes in."""
        dtype: torch.dtype = self.network.dtype
        return dtype

    @property
    def latent_scale(self) -> int:
        """Pixels a side that one latent pixel stands for."""
        return int(2 ** (len(self.decoder.config.block_out_channels) - 1))

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Shape of one image's latent, (C, H, W)."""
        config = self.network.config
        size = config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        if self.image_size is not None:
            height = width = self.image_size // self.latent_scale
        return config.in_channels, height, width

    @property
    def scheduler_config(self) -> dict[str, Any]:
        """The noise schedule it was trained with and, as `prediction_type`, what it predicts."""
        return schedule_of(self.pipeline.scheduler)

    @property
    def takes_images(self) -> bool:
        """Whether it can be conditioned on images."""
        return self.family.image is not None

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str | None]) -> Condition:
        """Encodes prompts, each distinct one only once.

        Args:
            prompts: One per image; what exceeds the tokenizer's length is cut off. None is the
                unconditional half of classifier-free guidance.

        Returns:
            What the network is told, by name; the first axis is B.
        """
        with self._encoding:
            for prompt in dict.fromkeys(prompts):
                if prompt not in self._prompts:
                    size = self.latent_shape[1] * self.latent_scale
                    self._prompts[prompt] = (
                        self.family.no_prompt(self.pipeline, size)
                        if prompt is None
                        else self.family.encode_prompt(self.pipeline, prompt, size)
                    )
        encoded = [self._prompts[prompt] for prompt in prompts]
        return {name: torch.stack([one[name] for one in encoded]) for name in encoded[0]}

    @torch.no_grad()
    def embed_images(self, x: Tensor) -> Tensor:
        """Embeds images with the CLIP tower that the generator was trained with.

        Args:
            x: Images in [-1, 1], [B, 3, H, W]; quantised to 8 bits as the tower's preprocessing
                expects.

        Returns:
            Image embeddings as the tower gives them, [B, D].

        Raises:
            InputError: If the generator takes text alone.
        """
        image = self._image()
        return torch.cat(
            [
                image.embed(self.pipeline, list(to_uint8(some.cpu())))
                for some in torch.split(x, self.micro_batch or max(len(x), 1))
            ]
        )

    @torch.no_grad()
    def condition_on(self, embeddings: Tensor, noise_level: int, noise: Tensor) -> Condition:
        """Turns image embeddings into what the network is told.

        Args:
            embeddings: From `embed_images`, [B, D].
            noise_level: Training step of the noise put on them, from 0 (least) to 999.
            noise: Standard normal noise, [B, D].

        Raises:
            InputError: If the generator takes no images, or knows no noise on embeddings.
        """
        image = self._image()
        if noise_level and not image.noised:
            raise InputError(
                f"synthesize.noise_level is {noise_level}, but the generator {self.name} was not"
                " trained with noised image embeddings; set it to 0"
            )
        return image.condition(self.pipeline, embeddings, noise_level, noise)

    def decode(self, z: Tensor) -> Tensor:
        """Decodes latents [B, C, H, W], differentiably, to images of about [-1, 1]."""
        return self.family.decode(self.decoder, z)

    def decode_half(self, z: Tensor) -> Tensor:
        """Decodes latents at half their resolution: a quarter of the pixels, of the cost."""
        return self.decode(F.avg_pool2d(z, 2))

    def decode_tiny(self, z: Tensor) -> Tensor:
        """Decodes latents with the tiny decoder.

        Raises:
            InputError: If the generator has none.
        """
        if self.tiny_decoder is None:
            raise InputError(
                "synthesize.feedback_decoder tiny needs generator.tiny_decoder, a folder or hub id"
                " of an AutoencoderTiny for the generator's latents; name one, or choose exact or"
                " half"
            )
        return decode(self.tiny_decoder, z)

    def ask(self, z: Tensor, timestep: Tensor, **condition: Tensor) -> Tensor:
        """Asks the denoising network, in its own precision."""
        return self.family.ask(self.pipeline, z.to(self.dtype), timestep.to(z.device), condition)

    def denoiser(
        self,
        prompts: Sequence[str],
        image: Condition | None,
        guidance_scale: float,
        seeds: Sequence[int] = (),
    ) -> ClassifierFree:
        """Makes the denoiser of a batch under classifier-free guidance.

        Args:
            prompts: One per image; empty ones give no text.
            image: From `condition_on`; None gives no image.
            guidance_scale: Weight of the condition; 1 is off.
            seeds: Of each image; they count where a prior draws what a text tells.
        """
        no_image: Condition = {}
        if self.family.image is not None:
            no_image = self.family.image.unconditional(self.pipeline, len(prompts))
        text, no_text = self.encode_prompts(prompts), self.encode_prompts([None] * len(prompts))
        if self.family.draw_embeddings is not None:
            if any(prompts):
                image = self._drawn(text, no_text, image, seeds)
            text = no_text = {}
        return ClassifierFree(
            self.ask,
            self.scheduler_config["prediction_type"],
            conditional={**text, **(no_image if image is None else image)},
            unconditional={**no_text, **no_image},
            guidance_scale=guidance_scale,
        )

    @torch.no_grad()
    def _drawn(
        self, text: Condition, no_text: Condition, image: Condition | None, seeds: Sequence[int]
    ) -> Condition:
        """What the prior draws for texts, or its mean with what images tell."""
        draw, prior = self.family.draw_embeddings, self.prior
        assert draw is not None
        assert prior is not None
        rngs = [stream(seed, "prior") for seed in seeds]
        drawn = draw(self.pipeline, prior, text, no_text, rngs)
        if image is None:
            return drawn
        return {name: torch.lerp(image[name], drawn[name], prior.text_share) for name in drawn}

    def _image(self) -> ImageCondition:
        if self.family.image is None:
            raise InputError(
                f"the generator {self.name} takes text alone; set synthesize.conditioning to text,"
                " or choose a generator that takes images"
            )
        return self.family.image


def drop_coordinates(
    embeddings: Tensor, rate: float, rescale: bool, rngs: Sequence[torch.Generator]
) -> Tensor:
    """Sets random coordinates of each embedding to zero, with one random generator per image.

    Args:
        embeddings: Image embeddings, [B, D].
        rate: Probability of each coordinate to be dropped, in [0, 1).
        rescale: Whether the others are divided by `1 - rate`, which keeps the expectation.
        rngs: One per image.

    Returns:
        Embeddings with holes, [B, D].
    """
    if rate == 0:
        return embeddings
    chances = torch.stack([torch.rand(embeddings.shape[1], generator=rng) for rng in rngs])
    kept = (chances >= rate).to(embeddings)  # [B, D]
    return embeddings * kept / (1 - rate if rescale else 1)
