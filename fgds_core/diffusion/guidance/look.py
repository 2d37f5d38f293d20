"""What a sampler asks at each step: a noisy latent in, the clean one out, perhaps steered."""

from collections.abc import Callable, Collection
from typing import NamedTuple

import torch
from torch import Tensor

from fgds_core.diffusion.denoise import ClassifierFree, NoiseLevel
from fgds_core.diffusion.guidance.gradient import GradientAt


class GuidedState(NamedTuple):
    """Where a step of the solver begins: a noisy latent and the clean one predicted for it."""

    z: Tensor
    z0: Tensor


Look = Callable[[Tensor, NoiseLevel], GuidedState]
"""(noisy latents [B, C, H, W], their noise level) -> where the solver takes its step from."""

Rule = Callable[[Tensor, Tensor, Tensor, NoiseLevel, float, float], tuple[Tensor, Tensor]]
"""(z, z0, gradient with respect to z, noise level, c_skip of the network, scale) -> (z, z0)."""


def plain(denoiser: ClassifierFree) -> Look:
    """Predicts the clean latent and leaves the noisy one as it is."""

    def look(z: Tensor, level: NoiseLevel) -> GuidedState:
        with torch.inference_mode():
            return GuidedState(z, denoiser(z, level))

    return look


def guided(denoiser: ClassifierFree, gradient_at: GradientAt, rule: Rule, scale: float) -> Look:
    """Predicts the clean latent and steers it, and perhaps the noisy one, up a gradient.

    Args:
        denoiser: The generator under classifier-free guidance.
        gradient_at: What to steer by.
        rule: How to, one of `rules.RULES`.
        scale: How far; 0 asks for no gradient.
    """
    if scale == 0:
        return plain(denoiser)

    def look(z: Tensor, level: NoiseLevel) -> GuidedState:
        z0, grad, *_ = gradient_at(z, level)
        if grad is None:
            return GuidedState(z, z0)
        return GuidedState(*rule(z.detach(), z0, grad, level, denoiser.c_skip(level), scale))

    return look


def at(steps: Collection[int], guided: Look, otherwise: Look) -> Look:
    """Looks in one way at the steps of these indices, in another at all others."""

    def look(z: Tensor, level: NoiseLevel) -> GuidedState:
        return (guided if level.step in steps else otherwise)(z, level)

    return look
