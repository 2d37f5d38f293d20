"""A small conditional GAN of the real training images, as another generator.

The discriminator is a projection of the condition on its features, with spectral norms and the
hinge loss, and sees real and drawn images under the same differentiable augmentation: there are
few real ones. Each condition is drawn twice, and the generator seeks that two latents give two
images. Images are drawn with the running mean of the generator's weights.

Sources: Miyato et al. (2018), https://arxiv.org/abs/1802.05957; Miyato and Koyama (2018),
    https://arxiv.org/abs/1802.05637; Zhao et al. (2020), https://arxiv.org/abs/2006.10738 (the
    augmentation); Mao et al. (2019), https://arxiv.org/abs/1903.05628 (mode seeking)

B images, Z latent numbers, E numbers that tell the condition.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.controls.conditions import (
    Condition,
    balanced_batches,
    conditions_of,
    real_of,
    seeded,
)
from benchmarks.controls.written import Asked
from fgds_core.diffusion.noise import randn, stream
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.pixels import to_uint8

NUM_STEPS = 2000
BATCH_SIZE = 32
LEARNING_RATE = 5e-4
BETAS = (0.5, 0.9)
EMA_DECAY = 0.995  # a step
MODE_SEEKING = 0.02  # weight beside the hinge loss
LATENT = 32
WIDTH = 32
TOLD = 32
SHIFT = 1 / 8  # share of the side
CUT = 1 / 2  # share of the side


class Generator(nn.Module):
    """Latents to images of a multiple of 8 pixels a side; the condition scales all features."""

    def __init__(self, num_classes: int, num_groups: int, side: int) -> None:
        super().__init__()
        self.side = side // 8
        widths = (4 * WIDTH, 2 * WIDTH, WIDTH)
        self.told = Condition(num_classes, num_groups, TOLD)
        self.inner = nn.Linear(LATENT + TOLD, widths[0] * self.side**2)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, affine=False) for width in widths)
        self.scales = nn.ModuleList(nn.Linear(LATENT + TOLD, 2 * width) for width in widths)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)
            for inputs, outputs in zip(widths, (*widths[1:], 3), strict=True)
        )

    def forward(self, z: Tensor, conditions: Tensor) -> Tensor:
        """Images in [-1, 1], [B, 3, H, W].

        Args:
            z: Standard normal, [B, Z].
            conditions: Class and group, [B, 2].
        """
        told = torch.cat([z, self.told(conditions)], dim=1)
        h = self.inner(told).unflatten(1, (-1, self.side, self.side))
        for norm, scales, up in zip(self.norms, self.scales, self.ups, strict=True):
            scale, shift = scales(told)[..., None, None].chunk(2, dim=1)
            h = up(F.relu((1 + scale) * norm(h) + shift))
        return h.tanh()


class Discriminator(nn.Module):
    """How real images look for their condition, high for real ones."""

    def __init__(self, num_classes: int, num_groups: int, side: int) -> None:
        super().__init__()
        widths = (3, WIDTH, 2 * WIDTH, 4 * WIDTH)
        features = widths[-1] * (side // 8) ** 2
        self.told = Condition(num_classes, num_groups, features)
        for embedding in (self.told.of_class, self.told.of_group):
            spectral_norm(embedding)
        self.body = nn.Sequential()
        for inputs, outputs in pairwise(widths):
            self.body.append(spectral_norm(nn.Conv2d(inputs, outputs, 4, 2, 1)))
            self.body.append(nn.LeakyReLU(0.2))
        self.body.append(nn.Flatten())
        self.score = spectral_norm(nn.Linear(features, 1))

    def forward(self, x: Tensor, conditions: Tensor) -> Tensor:
        """Scores [B] of images, [B, 3, H, W], of classes and groups, [B, 2]."""
        h = self.body(x)
        scores: Tensor = self.score(h).squeeze(1) + (h * self.told(conditions)).sum(dim=1)
        return scores


def brightness(x: Tensor, rng: torch.Generator) -> Tensor:
    """Adds up to half the range of [0, 1] to all of an image."""
    return x + 2 * (_uniform(x, rng) - 0.5)


def saturation(x: Tensor, rng: torch.Generator) -> Tensor:
    """Scales what tells an image's colours from grey by 0 to 2."""
    grey = x.mean(dim=1, keepdim=True)
    return grey + (x - grey) * 2 * _uniform(x, rng)


def contrast(x: Tensor, rng: torch.Generator) -> Tensor:
    """Scales what tells an image from its mean by 0.5 to 1.5."""
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (x - mean) * (0.5 + _uniform(x, rng))


def translation(x: Tensor, rng: torch.Generator) -> Tensor:
    """Moves an image by up to `SHIFT` of its sides, zeros behind it."""
    side = x.shape[-1]
    most = round(side * SHIFT)
    moved = F.pad(x, (most, most, most, most))
    rows, columns = (_starts(x, 2 * most + 1, rng) + torch.arange(side) for _ in range(2))  # [B,S]
    which = torch.arange(len(x))[:, None, None]
    return moved.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def cutout(x: Tensor, rng: torch.Generator) -> Tensor:
    """Makes a square of `CUT` of the sides zero, part of which may lie outside."""
    side = x.shape[-1]
    size, places = round(side * CUT), torch.arange(side)
    inside = []
    for _ in range(2):
        start = _starts(x, side + 1, rng) - size // 2  # [B, 1]
        inside.append((places >= start) & (places < start + size))  # [B, S]
    cut = inside[0][:, :, None] & inside[1][:, None]  # [B, S, S]
    return x * ~cut[:, None]


def _uniform(x: Tensor, rng: torch.Generator) -> Tensor:
    return torch.rand(len(x), 1, 1, 1, generator=rng)


def _starts(x: Tensor, number: int, rng: torch.Generator) -> Tensor:
    return torch.randint(number, (len(x), 1), generator=rng)


AUGMENTATIONS: tuple[Callable[[Tensor, torch.Generator], Tensor], ...] = (
    brightness,
    saturation,
    contrast,
    translation,
    cutout,
)
"""What is done to every image that the discriminator sees, in this order."""


def augmented(x: Tensor, rng: torch.Generator) -> Tensor:
    """Images under random augmentation, differentiable in them, [B, 3, H, W]."""
    for augmentation in AUGMENTATIONS:
        x = augmentation(x, rng)
    return x


def sameness(x: Tensor, z: Tensor) -> Tensor:
    """How little images differ for how much their latents do, which mode seeking lowers.

    Args:
        x: Images; the second half has the conditions of the first, [2 B, 3, H, W].
        z: Their latents, [2 B, Z].
    """
    apart, of_latents = ((one - two).abs().mean() for one, two in (x.chunk(2), z.chunk(2)))
    return of_latents / (apart + 1e-5)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained generator and the groups it knows."""

    network: Generator
    group_names: tuple[str, ...]


def fit(images: ImageDataset, seed: int, num_steps: int = NUM_STEPS) -> Fitted:
    """Trains on real images alone, all pairs of class and group alike often.

    Args:
        images: Real training images of a multiple of 8 pixels a side.
        seed: Of weights, batches, noise and augmentation.
        num_steps: Optimiser steps of each network.
    """
    real = real_of(images)
    sizes = real.num_classes, len(real.group_names), images.size[0]
    with seeded(seed) as rng:
        generator, discriminator = Generator(*sizes), Discriminator(*sizes)
        mean = AveragedModel(
            generator, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY), use_buffers=True
        )
        optimizers = [
            torch.optim.Adam(network.parameters(), LEARNING_RATE, BETAS)
            for network in (generator, discriminator)
        ]
        batches = balanced_batches(real.conditions, BATCH_SIZE, rng)
        for rows, _ in zip(batches, range(num_steps), strict=False):
            told = real.conditions[rows]
            conditions = told[: BATCH_SIZE // 2].repeat(2, 1)
            z = torch.randn(BATCH_SIZE, LATENT, generator=rng)
            drawn = generator(z, conditions)

            # Discriminator: real above 1, drawn below -1
            both = augmented(torch.cat([real.images[rows], drawn.detach()]), rng)
            of_real, of_drawn = discriminator(both, torch.cat([told, conditions])).chunk(2)
            loss = F.relu(1 - of_real).mean() + F.relu(1 + of_drawn).mean()
            optimizers[1].zero_grad()
            loss.backward()
            optimizers[1].step()

            # Generator: drawn as high as can be, and two of a condition not the same
            discriminator.requires_grad_(False)
            loss = -discriminator(augmented(drawn, rng), conditions).mean()
            loss = loss + MODE_SEEKING * sameness(drawn, z)
            optimizers[0].zero_grad()
            loss.backward()
            optimizers[0].step()
            discriminator.requires_grad_(True)
            mean.update_parameters(generator)
    return Fitted(mean.module.eval(), real.group_names)


@torch.no_grad()
def sample(fitted: Fitted, wanted: Asked) -> Tensor:
    """Draws the images that are wanted, each from its own seed.

    Returns:
        uint8, [N, 3, H, W].
    """
    conditions = conditions_of(wanted.labels, wanted.groups, fitted.group_names)
    z = randn((LATENT,), [stream(seed, "gan") for seed in wanted.seeds])  # [N, Z]
    pairs = zip(z.split(500), conditions.split(500), strict=True)
    return torch.cat([to_uint8(fitted.network(*pair)) for pair in pairs])
