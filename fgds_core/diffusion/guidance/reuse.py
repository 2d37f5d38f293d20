"""Gradients that push more than once: half as many cost about half."""

import torch
from torch import Tensor

from fgds_core.diffusion.denoise import ClassifierFree, NoiseLevel
from fgds_core.diffusion.guidance.gradient import Gradient, GradientAt, predictable


def reused(refresh: int, denoiser: ClassifierFree, gradient_at: GradientAt) -> GradientAt:
    """Finds a new gradient at every `refresh`-th guided step; in between the last one serves.

    An image that was left alone stays so until the next new gradient. The function that comes back
    remembers, so it serves one batch, from its first step to its last.

    Args:
        refresh: Guided steps from one new gradient to the next; 1 is each.
        denoiser: Predicts the clean latent where the gradient is known already.
        gradient_at: Finds new gradients.
    """
    looks = 0
    # With respect to z / alpha, which is the same in whatever scale the solver keeps z
    last: Tensor | None = None  # [B, C, H, W]

    def remembered(z: Tensor, level: NoiseLevel) -> Gradient:
        nonlocal looks, last
        if not predictable(level):
            return gradient_at(z, level)
        looks += 1
        if last is not None and (looks - 1) % refresh:
            with torch.inference_mode():
                z0 = denoiser(z, level)
            return Gradient(z0, last / level.alpha, None, torch.ones(len(z), dtype=torch.bool))
        found = gradient_at(z, level)
        last = None if found.grad is None else level.alpha * found.grad
        return found

    return remembered
