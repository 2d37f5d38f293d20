"""A conditional variational autoencoder of the real training images, as another generator.

Encoder and decoder are told class and group, and so is the prior, a diagonal normal distribution:
images of a class are drawn where the encoder puts its images. The decoder's spread is one number,
the best one for each batch.

Sources: Kingma and Welling (2014), https://arxiv.org/abs/1312.6114; Sohn et al. (2015), Learning
    Structured Output Representation using Deep Conditional Generative Models; Rybkin et al.
    (2021), https://arxiv.org/abs/2006.13202 (the spread)

B images, Z latent numbers, E numbers that tell the condition.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

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
BATCH_SIZE = 48
LEARNING_RATE = 2e-3  # peak
LATENT = 16
WIDTH = 24
TOLD = 32


class Autoencoder(nn.Module):
    """Images of a multiple of 8 pixels a side to latents, and back."""

    def __init__(self, num_classes: int, num_groups: int, side: int) -> None:
        super().__init__()
        self.side = side // 8
        inner = 4 * WIDTH * self.side**2
        self.told = Condition(num_classes, num_groups, TOLD)
        self.encoder = nn.Sequential(
            *_down(3, WIDTH), *_down(WIDTH, 2 * WIDTH), *_down(2 * WIDTH, 4 * WIDTH), nn.Flatten()
        )
        self.to_prior = nn.Linear(TOLD, 2 * LATENT)
        self.to_posterior = nn.Linear(inner + TOLD, 2 * LATENT)
        self.from_latent = nn.Linear(LATENT + TOLD, inner)
        self.decoder = nn.Sequential(
            nn.SiLU(),
            *_up(4 * WIDTH, 2 * WIDTH),
            *_up(2 * WIDTH, WIDTH),
            nn.ConvTranspose2d(WIDTH, 3, 4, 2, 1),
        )

    def posterior(self, x: Tensor, conditions: Tensor) -> Normal:
        """Of the latents of images, [B, Z]."""
        seen = torch.cat([self.encoder(x), self.told(conditions)], dim=1)
        return _normal(self.to_posterior(seen))

    def prior(self, conditions: Tensor) -> Normal:
        """Of the latents of images that are not seen, [B, Z]."""
        return _normal(self.to_prior(self.told(conditions)))

    def decode(self, z: Tensor, conditions: Tensor) -> Tensor:
        """Images in about [-1, 1] of latents, [B, 3, H, W]."""
        inner = self.from_latent(torch.cat([z, self.told(conditions)], dim=1))
        images: Tensor = self.decoder(inner.unflatten(1, (-1, self.side, self.side)))
        return images


def _normal(numbers: Tensor) -> Normal:
    mean, log_scale = numbers.chunk(2, dim=1)
    return Normal(mean, log_scale.clamp(-5, 2).exp())


def _down(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.BatchNorm2d(outputs), nn.SiLU()]


def _up(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.BatchNorm2d(outputs), nn.SiLU()]


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained autoencoder and the groups it knows."""

    network: Autoencoder
    group_names: tuple[str, ...]


def negative_elbo(x: Tensor, decoded: Tensor, posterior: Normal, prior: Normal) -> Tensor:
    """Bound on the negative log-likelihood in nats a value, up to a constant.

    Args:
        x: Images, [B, 3, H, W].
        decoded: What became of them, normal about which they are with the best spread for the
            batch, [B, 3, H, W].
        posterior: Of their latents, [B, Z].
        prior: Of their latents, [B, Z].
    """
    reconstruction = 0.5 * F.mse_loss(decoded, x).log()
    divergence = kl_divergence(posterior, prior).sum(dim=1).mean()
    return reconstruction + divergence / math.prod(x.shape[1:])


def fit(images: ImageDataset, seed: int, num_steps: int = NUM_STEPS) -> Fitted:
    """Trains on real images alone, all pairs of class and group alike often.

    Args:
        images: Real training images of a multiple of 8 pixels a side.
        seed: Of weights, batches and noise.
        num_steps: Optimiser steps.
    """
    real = real_of(images)
    with seeded(seed) as rng:
        network = Autoencoder(real.num_classes, len(real.group_names), images.size[0])
        network = network.to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, num_steps)
        batches = balanced_batches(real.conditions, BATCH_SIZE, rng)
        for rows, _ in zip(batches, range(num_steps), strict=False):
            x, conditions = real.images[rows], real.conditions[rows]
            posterior, prior = network.posterior(x, conditions), network.prior(conditions)
            noise = torch.randn(BATCH_SIZE, LATENT, generator=rng)
            z = posterior.loc + posterior.scale * noise
            loss = negative_elbo(x, network.decode(z, conditions), posterior, prior)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return Fitted(network.eval(), real.group_names)


@torch.no_grad()
def sample(fitted: Fitted, wanted: Asked) -> Tensor:
    """Draws the images that are wanted, each from its own seed.

    Returns:
        uint8, [N, 3, H, W].
    """
    conditions = conditions_of(wanted.labels, wanted.groups, fitted.group_names)
    noise = randn((LATENT,), [stream(seed, "vae") for seed in wanted.seeds])  # [N, Z]
    drawn = []
    for told, each in zip(conditions.split(500), noise.split(500), strict=True):
        prior = fitted.network.prior(told)
        drawn.append(to_uint8(fitted.network.decode(prior.loc + prior.scale * each, told)))
    return torch.cat(drawn)
