"""The rule of the authors' released script."""

import torch
from torch import Tensor

from fgds_core.diffusion.denoise import NoiseLevel


def relative(
    z: Tensor, z0: Tensor, grad: Tensor, level: NoiseLevel, c_skip: float, scale: float
) -> tuple[Tensor, Tensor]:
    """Moves the noisy latent by a share of its own norm and leaves the network's answer as it is.

    `z + scale * ||z|| * grad / ||grad||`, norms per image. The solver then takes its step from the
    moved latent with the network's prediction (noise, velocity, ...) for the old one, so the clean
    latent shifts by `c_skip` of the move. It is the same whatever scale the solver keeps `z` in.

    Args:
        z: Noisy latents, [B, C, H, W].
        z0: Clean latents predicted for them, [B, C, H, W].
        grad: What to steer by, [B, C, H, W]; zero leaves an image alone.
        level: The noise level.
        c_skip: Share of `z` that reaches the clean latent around the network.
        scale: Share of the latent's norm.

    Returns:
        The moved noisy latents, and the clean ones that the network's prediction then stands for.
    """
    norm = torch.linalg.vector_norm(z, dim=(1, 2, 3), keepdim=True)
    grad_norm = torch.linalg.vector_norm(grad, dim=(1, 2, 3), keepdim=True)  # [B, 1, 1, 1]
    move = torch.where(grad_norm > 0, scale * norm * grad / grad_norm, 0.0)
    return z + move, z0 + c_skip * move
