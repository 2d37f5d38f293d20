"""What the denoiser and the decoder are taught: to take noise off real images, and to show them.

Source: Ho et al. (2020), https://arxiv.org/abs/2006.11239; without condition at times, as
classifier-free guidance wants it: Ho and Salimans (2022), https://arxiv.org/abs/2207.12598
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from fgds_core.adapt.adaptation import Told
from fgds_core.adapt.examples import Encoder
from fgds_core.diffusion.denoise import Condition
from fgds_core.diffusion.noise import stream
from fgds_core.diffusion.solver import Scheduler, make_scheduler
from fgds_core.generators.model import Generator, drop_coordinates

WITHOUT_TEXT = 0.1
"""Share of the images that are learnt without their caption."""

WITHOUT_IMAGE = 0.2
"""Share of the images that are learnt without an embedding, where drawing tells one."""

LOOKS = 4
"""Noises that a held-out image is looked at under."""

EDGES = 1.0
"""Weight of the differences between neighbouring pixels in the decoder's loss."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is learnt, and how it is told.

    Attributes:
        generator: Learns.
        encoder: The real training images of the classes.
        captions: Of each image, those it may go by.
        weights: How often each image is taken beside the others, [N].
        told: What drawing tells of an image.
        seed: Of the run.
        batch_size: Images a step.
        words: Whether words of the text encoder learn.
    """

    generator: Generator
    encoder: Encoder
    captions: Sequence[Sequence[str]]
    weights: Tensor
    told: Told
    seed: int
    batch_size: int
    words: bool

    @cached_property
    def scheduler(self) -> Scheduler:
        """Puts noise on latents as the generator's own training did."""
        return make_scheduler("DDPMScheduler", self.generator.scheduler_config)

    def step(self, step: int, places: Sequence[int]) -> Tensor:
        """The denoiser's loss of one step.

        Args:
            step: Its number, from which all its chance follows.
            places: Images that may be taken.
        """
        rng = stream(self.seed, f"adapt {step}")
        among = torch.as_tensor(places)
        drawn = torch.multinomial(self.weights[among], self.batch_size, True, generator=rng)
        return self.loss(among[drawn].tolist(), rng, drop=True)

    def held_out(self, places: Sequence[int]) -> float:
        """The denoiser's loss of held-out images, always under the same noise."""
        total, many = 0.0, [place for place in places for _ in range(LOOKS)]
        for first in range(0, len(many), self.batch_size):
            some = many[first : first + self.batch_size]
            rng = stream(self.seed, f"adapt, held out {first}")
            total += float(self.loss(some, rng, drop=False)) * len(some)
        return total / len(many)

    def loss(self, places: Sequence[int], rng: torch.Generator, *, drop: bool) -> Tensor:
        """Mean squared error of what the denoiser predicts.

        Args:
            places: The images, B of them.
            rng: Draws noise, its level, the captions and what is left out.
            drop: Whether some images go without their caption or their embedding.
        """
        generator, scheduler = self.generator, self.scheduler
        seen = self.encoder(places)
        z0 = seen.z0
        noise = torch.randn(z0.shape, generator=rng).to(z0)
        number = scheduler.config.num_train_timesteps
        timesteps = torch.randint(number, (len(z0),), generator=rng).to(z0.device)
        z = scheduler.add_noise(z0, noise, timesteps)
        told = self._told(places, seen.embeddings, rng, drop)
        predicted = generator.ask(z, timesteps, **told)
        kind = generator.scheduler_config["prediction_type"]
        if kind == "v_prediction":
            target = scheduler.get_velocity(z0, noise, timesteps)
        else:
            target = {"epsilon": noise, "sample": z0}[kind]
        return F.mse_loss(predicted.float(), target.float())

    def _told(
        self, places: Sequence[int], embeddings: Tensor | None, rng: torch.Generator, drop: bool
    ) -> Condition:
        """What the denoiser is told of images, as drawing would tell it."""
        config, generator, number = self.told, self.generator, len(places)
        chances = torch.rand(3, number, generator=rng)
        prompts: list[str | None] = []
        for place, chance, left in zip(places, *chances[:2].tolist(), strict=True):
            own = self.captions[place]
            if config.conditioning == "image":
                prompts.append("")
            else:
                prompts.append(
                    None if drop and left < WITHOUT_TEXT else own[int(chance * len(own))]
                )
        told = dict(self._text(prompts))
        image = generator.family.image
        if image is None or embeddings is None:
            return told
        without = image.unconditional(generator.pipeline, number)
        if config.conditioning == "text":
            return {**told, **without}
        seeds = torch.randint(2**62, (number,), generator=rng).tolist()
        rngs = [stream(seed, "embedding dropout") for seed in seeds]
        embeddings = drop_coordinates(
            embeddings, config.embedding_dropout, config.embedding_rescale, rngs
        )
        noise = torch.randn(embeddings.shape, generator=rng)
        with_image = generator.condition_on(embeddings, config.noise_level, noise)
        share = WITHOUT_IMAGE if drop else 0.0
        kept = (chances[2] >= share).to(generator.device)
        for name, value in with_image.items():
            shape = (number, *[1] * (value.dim() - 1))
            told[name] = torch.where(kept.view(shape), value, without[name])
        return told

    def _text(self, prompts: Sequence[str | None]) -> Condition:
        """What the text encoder gives; while it learns words, anew at every step."""
        generator = self.generator
        if not self.words:
            return generator.encode_prompts(prompts)
        size = generator.latent_shape[1] * generator.latent_scale
        encoded = {
            prompt: generator.family.no_prompt(generator.pipeline, size)
            if prompt is None
            else generator.family.encode_prompt(generator.pipeline, prompt, size)
            for prompt in dict.fromkeys(prompts)
        }
        each = [encoded[prompt] for prompt in prompts]
        return {name: torch.stack([one[name] for one in each]) for name in each[0]}

    def shown(self, step: int, places: Sequence[int]) -> Tensor:
        """The decoder's loss of one step; see `step`."""
        rng = stream(self.seed, f"adapt, decoder {step}")
        among = torch.as_tensor(places)
        drawn = torch.multinomial(self.weights[among], self.batch_size, True, generator=rng)
        return self._difference(among[drawn].tolist(), EDGES)

    def held_out_shown(self, places: Sequence[int]) -> float:
        """How far decoded held-out images are from themselves, a mean absolute error."""
        total = 0.0
        for first in range(0, len(places), self.batch_size):
            some = places[first : first + self.batch_size]
            total += float(self._difference(some, 0.0)) * len(some)
        return total / len(places)

    def _difference(self, places: Sequence[int], edges: float) -> Tensor:
        x = self.encoder.pixels(places)  # [B, 3, H, W]
        y = self.generator.decode(self.encoder(places).z0)
        loss = F.l1_loss(y, x)
        for axis in (-2, -1) if edges else ():
            loss = loss + edges * F.l1_loss(y.diff(dim=axis), x.diff(dim=axis))
        return loss
